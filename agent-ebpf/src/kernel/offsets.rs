//! Where fields lie in this kernel's structures. The loader reads them from the kernel's BTF and
//! writes them here before the programs are loaded; the verifier then sees constants.

use aya_ebpf::Global;

macro_rules! offsets {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        $($(#[$meta])* #[unsafe(no_mangle)] pub static $name: Global<u32> = Global::new(0);)+
    };
}

offsets! {
    /// `task_struct.bpf_storage`; zero where the kernel has no task storage.
    TASK_BPF_STORAGE,
    /// `task_struct.real_parent`.
    TASK_REAL_PARENT,
    /// `task_struct.group_leader`.
    TASK_GROUP_LEADER,
    /// `task_struct.pid`.
    TASK_PID,
    /// `task_struct.tgid`.
    TASK_TGID,
    /// `task_struct.start_boottime`.
    TASK_START_BOOTTIME,
    /// `task_struct.comm`.
    TASK_COMM,
    /// `linux_binprm.filename`.
    BINPRM_FILENAME,
    /// `socket.sk`.
    SOCKET_SK,
    /// `sock.__sk_common.skc_family`.
    SOCK_FAMILY,
    /// `sock.sk_protocol`.
    SOCK_PROTOCOL,
    /// `task_struct.cred`.
    TASK_CRED,
    /// `task_struct.real_cred`.
    TASK_REAL_CRED,
    /// `task_struct.flags`.
    TASK_FLAGS,
    /// `task_struct.mm`.
    TASK_MM,
    /// `task_struct.pid_links`.
    TASK_PID_LINKS,
    /// `mm_struct.exe_file`.
    MM_EXE_FILE,
    /// `file.f_path.dentry`.
    FILE_DENTRY,
    /// `file.f_inode`.
    FILE_INODE,
    /// `file.f_mode`.
    FILE_MODE,
    /// `file.f_flags`.
    FILE_FLAGS,
    /// `dentry.d_parent`.
    DENTRY_PARENT,
    /// `dentry.d_name.len`.
    DENTRY_NAME_LENGTH,
    /// `dentry.d_name.name`.
    DENTRY_NAME,
    /// `dentry.d_inode`.
    DENTRY_INODE,
    /// `dentry.d_sb`.
    DENTRY_SUPER,
    /// `dentry.d_hash.pprev`.
    DENTRY_HASHED,
    /// `inode.i_ino`.
    INODE_NUMBER,
    /// `inode.i_generation`.
    INODE_GENERATION,
    /// `inode.i_mode`.
    INODE_MODE,
    /// `super_block.s_dev`.
    SUPER_DEVICE,
    /// `super_block.s_root`.
    SUPER_ROOT,
    /// `super_block.s_magic`.
    SUPER_MAGIC,
    /// `vm_area_struct.vm_file`.
    AREA_FILE,
    /// `vm_area_struct.vm_flags`.
    AREA_FLAGS,
    /// `proc_inode.pid`.
    PROC_INODE_PID,
    /// `proc_inode.vfs_inode`.
    PROC_INODE_INODE,
    /// `pid.tasks`.
    PID_TASKS,
    /// `iattr.ia_valid`.
    ATTRIBUTES_VALID,
    /// Which argument of `inode_setattr` is the dentry: 5.12 and later put others before it.
    SETATTR_DENTRY,
    /// Which argument of `inode_setxattr` is the dentry.
    SETXATTR_DENTRY,
    /// Which argument of `inode_removexattr` is the dentry.
    REMOVEXATTR_DENTRY,
    /// 1 where `path_rename` is told the flags (since 5.19), or 0.
    RENAME_HAS_FLAGS,
}

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
    /// `task_struct.exit_state`.
    TASK_EXIT_STATE,
    /// `task_struct.exit_code`.
    TASK_EXIT_CODE,
    /// `task_struct.signal`.
    TASK_SIGNAL,
    /// `signal_struct.live`.
    SIGNAL_LIVE,
    /// `linux_binprm.filename`.
    BINPRM_FILENAME,
    /// `linux_binprm.interp`.
    BINPRM_INTERPRETER,
    /// `linux_binprm.file`.
    BINPRM_FILE,
    /// `linux_binprm.argc`.
    BINPRM_ARGUMENTS,
    /// `linux_binprm.buf`: how the file begins.
    BINPRM_START,
    /// `linux_binprm.p`.
    BINPRM_TOP,
    /// `socket.sk`.
    SOCKET_SK,
    /// `sock.__sk_common.skc_family`.
    SOCK_FAMILY,
    /// `sock.sk_protocol`.
    SOCK_PROTOCOL,
    /// `unix_sock.peer`.
    UNIX_PEER,
    /// `unix_sock.addr`.
    UNIX_ADDRESS,
    /// `unix_sock.path.dentry`: where it was bound.
    UNIX_DENTRY,
    /// `unix_address.len`.
    ADDRESS_LENGTH,
    /// `unix_address.name`.
    ADDRESS_NAME,
    /// `sock.__sk_common.skc_daddr`.
    SOCK_REMOTE,
    /// `sock.__sk_common.skc_v6_daddr`.
    SOCK_REMOTE_V6,
    /// `sock.__sk_common.skc_dport`.
    SOCK_REMOTE_PORT,
    /// `tcp_sock.write_seq`: behind the last byte that was taken to be sent.
    TCP_TAKEN,
    /// `tcp_sock.snd_nxt`: the next byte to be sent.
    TCP_SENT,
    /// `file.private_data`.
    FILE_PRIVATE,
    /// `msghdr.msg_name`: the address to send to, or null.
    MESSAGE_NAME,
    /// `sock.__sk_common.skc_num`: the port of this host's, in host order.
    SOCK_PORT,
    /// `sock.__sk_common.skc_rcv_saddr`: the IPv4 address of this host's.
    SOCK_ADDRESS,
    /// `sock.__sk_common.skc_v6_rcv_saddr`: the IPv6 address of this host's.
    SOCK_ADDRESS6,
    /// `task_struct.cred`: as whom the task acts.
    TASK_CRED,
    /// `task_struct.real_cred`: who the task is.
    TASK_REAL_CRED,
    /// `task_struct.io_uring`: what a task has that has told a ring to do something; zero where the kernel has no rings.
    TASK_IO_URING,
    /// `task_struct.pid_links`, of which the first is the task's own.
    TASK_PID_LINKS,
    /// `pid.tasks`, of which the first is the task with that id.
    PID_TASKS,
    /// `file.f_flags`.
    FILE_FLAGS,
    /// `file.f_inode`.
    FILE_INODE,
    /// `inode.i_sb`.
    INODE_SB,
    /// `inode.i_mode`.
    INODE_MODE,
    /// `inode.i_nlink`.
    INODE_LINKS,
    /// `super_block.s_magic`.
    SB_MAGIC,
    /// `proc_inode.pid`.
    PROC_INODE_PID,
    /// `proc_inode.vfs_inode.i_mode`.
    PROC_INODE_MODE,
    /// In `pt_regs`: the number of the system call.
    REGS_CALL,
    /// In `pt_regs`: the second argument of the system call.
    REGS_SECOND,
    /// In `pt_regs`: the third argument of the system call.
    REGS_THIRD,
    /// In `pt_regs`: the result of the system call, once it has one.
    REGS_RESULT,
    /// In `pt_regs`: where the first argument is kept that also lies where the result is to be. Zero where
    /// `-ENOSYS` lies there until then.
    REGS_FIRST,
    /// The number of `execve`; no offset, and those that follow are none.
    CALL_EXECVE,
    /// The number of `execveat`.
    CALL_EXECVEAT,
    /// The number of `open_by_handle_at`.
    CALL_OPEN_BY_HANDLE,
    /// The same as 32-bit programs count.
    CALL_OPEN_BY_HANDLE_32,
    /// One where the kernel has the helper `bpf_task_pt_regs`.
    HAS_TASK_REGS,
    /// `task_struct.flags`.
    TASK_FLAGS,
    /// `task_struct.mm`.
    TASK_MM,
    /// `mm_struct.exe_file`.
    MM_EXE_FILE,
    /// `file.f_path.dentry`.
    FILE_DENTRY,
    /// `file.f_mode`.
    FILE_MODE,
    /// `dentry.d_parent`.
    DENTRY_PARENT,
    /// `dentry.d_name.len`.
    DENTRY_NAME_LENGTH,
    /// `dentry.d_name.name`.
    DENTRY_NAME,
    /// Where a short name lies in its dentry: `d_iname`, or `d_shortname` since 6.15; zero where
    /// that is not known.
    DENTRY_SHORT_NAME,
    /// `dentry.d_inode`.
    DENTRY_INODE,
    /// `dentry.d_sb`.
    DENTRY_SUPER,
    /// `dentry.d_hash.pprev`.
    DENTRY_HASHED,
    /// `super_block.s_dev`.
    SUPER_DEVICE,
    /// `super_block.s_root`.
    SUPER_ROOT,
    /// `vm_area_struct.vm_file`.
    AREA_FILE,
    /// `vm_area_struct.vm_flags`.
    AREA_FLAGS,
    /// `vm_area_struct.anon_vma`: set once a page of the mapping was copied to be written to.
    AREA_COPIED,
    /// `iattr.ia_valid`.
    ATTRIBUTES_VALID,
    /// `task_struct.cgroups`.
    TASK_CGROUPS,
    /// `css_set.dfl_cgrp`.
    CGROUPS_UNIFIED,
    /// `cgroup.kn`.
    CGROUP_NODE,
    /// `cgroup.root`.
    CGROUP_ROOT,
    /// `cgroup_root.hierarchy_id`: 0 is the unified hierarchy's.
    ROOT_HIERARCHY,
    /// `cgroup.self.parent`: the parent's `self`.
    CGROUP_PARENT,
    /// `cgroup_subsys_state.parent`: where that lies in what it points to.
    STATE_PARENT,
    /// `kernfs_node.id`.
    NODE_ID,
    /// `kernfs_node.name`.
    NODE_NAME,
    /// `task_struct.nsproxy`.
    TASK_NAMESPACES,
    /// `nsproxy.mnt_ns`.
    NAMESPACES_MOUNTS,
    /// `signal_struct.nr_threads`.
    SIGNAL_THREADS,
    /// `inode.i_ino`.
    INODE_NUMBER,
    /// `inode.i_generation`.
    INODE_GENERATION,
    /// `mm_struct.arg_start`.
    MM_ARGUMENTS,
    /// `mm_struct.arg_end`.
    MM_ARGUMENTS_END,
    /// Which argument of `inode_setattr` is the dentry: 5.12 and later put others before it.
    SETATTR_DENTRY,
    /// Which argument of `inode_setxattr` is the dentry.
    SETXATTR_DENTRY,
    /// Which argument of `inode_removexattr` is the dentry.
    REMOVEXATTR_DENTRY,
    /// 1 where `path_rename` is told the flags (since 5.19), or 0.
    RENAME_HAS_FLAGS,
}

/// The address of `rename_lock`, whose first number changes when a name does; 0 where it is not known.
#[unsafe(no_mangle)]
pub static RENAME_LOCK: Global<u64> = Global::new(0);

/// 1 where the kernel asks for `CAP_SYS_NICE` before it knows whether it is needed, or 0.
#[unsafe(no_mangle)]
pub static ASKS_EARLY: Global<u32> = Global::new(0);

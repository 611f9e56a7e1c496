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
    /// `socket.sk`.
    SOCKET_SK,
    /// `sock.__sk_common.skc_family`.
    SOCK_FAMILY,
    /// `sock.sk_protocol`.
    SOCK_PROTOCOL,
    /// `task_struct.cred`: as whom the task acts.
    TASK_CRED,
    /// `task_struct.real_cred`: who the task is.
    TASK_REAL_CRED,
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
    /// `super_block.s_magic`.
    SB_MAGIC,
    /// `proc_inode.pid`.
    PROC_INODE_PID,
    /// `proc_inode.vfs_inode.i_mode`.
    PROC_INODE_MODE,
    /// `pt_regs.orig_ax`: the number of the system call.
    REGS_CALL,
    /// One where the kernel has the helper `bpf_task_pt_regs`; no offset.
    HAS_TASK_REGS,
}

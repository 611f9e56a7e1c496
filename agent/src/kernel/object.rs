//! The object file with the kernel programs, and what each program is for.

/// The object file, part of this binary.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("INTERLOCK_EBPF"));

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To an LSM hook of this name.
    Lsm(&'static str),
    /// To a BTF tracepoint of this name.
    Tracepoint(&'static str),
    /// To the root cgroup.
    Cgroup,
    /// Nowhere: user space runs it.
    Run,
}

/// Which way of enforcing a program belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Both ways.
    Always,
    /// With BPF LSM.
    WithLsm,
    /// With BPF LSM, on kernels that have the hook: the others have no need of it, or no way.
    WhereHooked,
    /// In place of BPF LSM.
    WithoutLsm,
}

/// One program of the object file.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name in the object file, and of its pin.
    pub name: &'static str,
    /// How it is attached.
    pub kind: Kind,
    /// When it is used.
    pub used: Use,
    /// What it does, for people.
    pub purpose: &'static str,
}

/// Every program of the object file, in the order in which they are attached: those that keep the
/// labels come first.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "task_alloc",
        kind: Kind::Lsm("task_alloc"),
        used: Use::WithLsm,
        purpose: "label every child before it runs, or fail the fork",
    },
    Program {
        name: "task_free",
        kind: Kind::Lsm("task_free"),
        used: Use::WithLsm,
        purpose: "take the label off a task that is gone",
    },
    Program {
        name: "task_newtask",
        kind: Kind::Tracepoint("task_newtask"),
        used: Use::WithoutLsm,
        purpose: "label every child before it runs",
    },
    Program {
        name: "process_exit",
        kind: Kind::Tracepoint("sched_process_exit"),
        used: Use::WithoutLsm,
        purpose: "take the label off a task that is gone",
    },
    Program {
        name: "process_exec",
        kind: Kind::Tracepoint("sched_process_exec"),
        used: Use::Always,
        purpose: "tell which program a process runs",
    },
    Program {
        name: "socket_connect",
        kind: Kind::Lsm("socket_connect"),
        used: Use::WithLsm,
        purpose: "judge connect, for every address family",
    },
    Program {
        name: "connect4",
        kind: Kind::Cgroup,
        used: Use::Always,
        purpose: "judge connect to IPv4, MSG_FASTOPEN included",
    },
    Program {
        name: "connect6",
        kind: Kind::Cgroup,
        used: Use::Always,
        purpose: "judge connect to IPv6, MSG_FASTOPEN included",
    },
    Program {
        name: "sendmsg4",
        kind: Kind::Cgroup,
        used: Use::Always,
        purpose: "judge datagrams to IPv4",
    },
    Program {
        name: "sendmsg6",
        kind: Kind::Cgroup,
        used: Use::Always,
        purpose: "judge datagrams to IPv6",
    },
    Program {
        name: "file_open",
        kind: Kind::Lsm("file_open"),
        used: Use::WithLsm,
        purpose: "judge every opening of a file, io_uring's included",
    },
    Program {
        name: "path_mknod",
        kind: Kind::Lsm("path_mknod"),
        used: Use::WithLsm,
        purpose: "judge the creation of files, sockets and devices",
    },
    Program {
        name: "path_mkdir",
        kind: Kind::Lsm("path_mkdir"),
        used: Use::WithLsm,
        purpose: "judge the creation of directories",
    },
    Program {
        name: "path_symlink",
        kind: Kind::Lsm("path_symlink"),
        used: Use::WithLsm,
        purpose: "judge the creation of symbolic links",
    },
    Program {
        name: "path_unlink",
        kind: Kind::Lsm("path_unlink"),
        used: Use::WithLsm,
        purpose: "judge the removal of files",
    },
    Program {
        name: "path_rmdir",
        kind: Kind::Lsm("path_rmdir"),
        used: Use::WithLsm,
        purpose: "judge the removal of directories",
    },
    Program {
        name: "path_link",
        kind: Kind::Lsm("path_link"),
        used: Use::WithLsm,
        purpose: "judge second names of files",
    },
    Program {
        name: "path_rename",
        kind: Kind::Lsm("path_rename"),
        used: Use::WithLsm,
        purpose: "judge new names of files",
    },
    Program {
        name: "mmap_file",
        kind: Kind::Lsm("mmap_file"),
        used: Use::WithLsm,
        purpose: "judge the mapping of files as code",
    },
    Program {
        name: "file_mprotect",
        kind: Kind::Lsm("file_mprotect"),
        used: Use::WithLsm,
        purpose: "judge mappings of files that become code",
    },
    Program {
        name: "file_receive",
        kind: Kind::Lsm("file_receive"),
        used: Use::WithLsm,
        purpose: "judge files whose descriptors come from others",
    },
    Program {
        name: "inode_setattr",
        kind: Kind::Lsm("inode_setattr"),
        used: Use::WithLsm,
        purpose: "judge changes of mode, owner, size and times",
    },
    Program {
        name: "inode_setxattr",
        kind: Kind::Lsm("inode_setxattr"),
        used: Use::WithLsm,
        purpose: "judge extended attributes that are set",
    },
    Program {
        name: "inode_removexattr",
        kind: Kind::Lsm("inode_removexattr"),
        used: Use::WithLsm,
        purpose: "judge extended attributes that are removed",
    },
    Program {
        name: "inode_set_acl",
        kind: Kind::Lsm("inode_set_acl"),
        used: Use::WhereHooked,
        purpose: "judge access control lists that are set",
    },
    Program {
        name: "inode_remove_acl",
        kind: Kind::Lsm("inode_remove_acl"),
        used: Use::WhereHooked,
        purpose: "judge access control lists that are removed",
    },
    Program {
        name: "uring_override_creds",
        kind: Kind::Lsm("uring_override_creds"),
        used: Use::WhereHooked,
        purpose: "deny io_uring the use of other credentials",
    },
    Program {
        name: ENROL,
        kind: Kind::Run,
        used: Use::Always,
        purpose: "put a process into a session",
    },
];

/// The program that puts a process into a session.
pub const ENROL: &str = "enrol";

impl Program {
    /// Whether the program is used when BPF LSM is there (or not).
    pub fn is_used(&self, lsm: bool) -> bool {
        match self.used {
            Use::Always => true,
            Use::WithLsm | Use::WhereHooked => lsm,
            Use::WithoutLsm => !lsm,
        }
    }
}

//! The object file with the kernel programs, and what each program is for.

use agent_common::privilege::Privilege;
use aya_obj::generated::bpf_attach_type;

/// The object file, part of this binary.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("INTERLOCK_EBPF"));

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To an LSM hook of this name.
    Lsm(&'static str),
    /// To a BTF tracepoint of this name.
    Tracepoint(&'static str),
    /// To the beginning of a function of the kernel's, of this name.
    Function(&'static str),
    /// To the root cgroup, at one of its points for addresses, sockets or packets.
    Cgroup(bpf_attach_type),
    /// Nowhere: user space runs it.
    Run,
    /// To a walk over all objects of this kind; who opens the pinned link reads what it writes.
    Iter(&'static str),
}

/// Which way of enforcing a program belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Both ways.
    Always,
    /// With BPF LSM.
    WithLsm,
    /// In place of BPF LSM.
    WithoutLsm,
    /// With BPF LSM, where the kernel has the hook: since this version.
    WithHookSince(&'static str),
    /// With BPF LSM, where the kernel has a function that it needs: since this version.
    WithFunctionSince(&'static str, &'static str),
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
        name: "process_freed",
        kind: Kind::Tracepoint("sched_process_free"),
        used: Use::WithoutLsm,
        purpose: "take the label off a task whose exit nobody saw",
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
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET4_CONNECT),
        used: Use::Always,
        purpose: "judge connect to IPv4, MSG_FASTOPEN included",
    },
    Program {
        name: "connect6",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET6_CONNECT),
        used: Use::Always,
        purpose: "judge connect to IPv6, MSG_FASTOPEN included",
    },
    Program {
        name: "sendmsg4",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG),
        used: Use::Always,
        purpose: "judge datagrams to IPv4",
    },
    Program {
        name: "sendmsg6",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG),
        used: Use::Always,
        purpose: "judge datagrams to IPv6",
    },
    Program {
        name: "socket_post_create",
        kind: Kind::Lsm("socket_post_create"),
        used: Use::WithLsm,
        purpose: "label every socket of a session",
    },
    Program {
        name: "sock_create",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET_SOCK_CREATE),
        used: Use::WithoutLsm,
        purpose: "label every socket of a session",
    },
    Program {
        name: "egress",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET_EGRESS),
        used: Use::Always,
        purpose: "drop what a revoked session's sockets send",
    },
    Program {
        name: "ingress",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET_INGRESS),
        used: Use::Always,
        purpose: "drop what comes to a revoked session's sockets",
    },
    Program {
        name: "file_open",
        kind: Kind::Lsm("file_open"),
        used: Use::WithLsm,
        purpose: "judge every opening of a file, of the kernel's own and of disks too",
    },
    Program {
        name: "file_receive",
        kind: Kind::Lsm("file_receive"),
        used: Use::WithLsm,
        purpose: "judge files whose descriptors come from others",
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
        name: "mmap_file",
        kind: Kind::Lsm("mmap_file"),
        used: Use::WithLsm,
        purpose: "judge the mapping of files and memory as code",
    },
    Program {
        name: "file_mprotect",
        kind: Kind::Lsm("file_mprotect"),
        used: Use::WithLsm,
        purpose: "judge mappings that become code",
    },
    Program {
        name: "inode_set_acl",
        kind: Kind::Lsm("inode_set_acl"),
        used: Use::WithHookSince("6.2"),
        purpose: "judge access control lists that are set",
    },
    Program {
        name: "inode_remove_acl",
        kind: Kind::Lsm("inode_remove_acl"),
        used: Use::WithHookSince("6.2"),
        purpose: "judge access control lists that are removed",
    },
    Program {
        name: "bprm_check_security",
        kind: Kind::Lsm("bprm_check_security"),
        used: Use::WithLsm,
        purpose: "judge every program that is executed, interpreters included",
    },
    // What is attached later is asked earlier.
    Program {
        name: DIGEST,
        kind: Kind::Lsm("bprm_check_security"),
        used: Use::WithFunctionSince("bpf_ima_file_hash", "5.18"),
        purpose: "read programs that policies know by their digests",
    },
    Program {
        name: "bprm_committed_creds",
        kind: Kind::Lsm("bprm_committed_creds"),
        used: Use::WithLsm,
        purpose: "judge a program by its arguments; begin tools",
    },
    Program {
        name: ENROL,
        kind: Kind::Run,
        used: Use::Always,
        purpose: "put a process into a session",
    },
    Program {
        name: "root_exit",
        kind: Kind::Tracepoint("sched_process_exit"),
        used: Use::WithLsm,
        purpose: "end a session with its first process",
    },
    Program {
        name: REVOKE,
        kind: Kind::Run,
        used: Use::Always,
        purpose: "end a session's permission",
    },
    Program {
        name: MOVE,
        kind: Kind::Run,
        used: Use::Always,
        purpose: "move a session to another policy",
    },
    Program {
        name: MEMBERS,
        kind: Kind::Iter("task"),
        used: Use::Always,
        purpose: "list the processes of sessions",
    },
    Program {
        name: ADOPT,
        kind: Kind::Iter("task"),
        used: Use::Always,
        purpose: "label processes that already run in a session's cgroup",
    },
    Program {
        name: "born",
        kind: Kind::Tracepoint("task_newtask"),
        used: Use::Always,
        purpose: "recognise who is born in a session's cgroup, or while its parent is adopted",
    },
    Program {
        name: "cgroup_made",
        kind: Kind::Tracepoint("cgroup_mkdir"),
        used: Use::Always,
        purpose: "recognise the cgroups of sessions",
    },
    Program {
        name: "cgroup_gone",
        kind: Kind::Tracepoint("cgroup_release"),
        used: Use::Always,
        purpose: "forget cgroups that are gone",
    },
    Program {
        name: "cgroup_moved",
        kind: Kind::Tracepoint("cgroup_attach_task"),
        used: Use::Always,
        purpose: "recognise who is moved into a session's cgroup",
    },
    held("sb_mount", "sb_mount", "judge mount"),
    held("sb_umount", "sb_umount", "judge umount"),
    held("sb_remount", "sb_remount", "judge remount"),
    held("sb_pivotroot", "sb_pivotroot", "judge pivot_root"),
    held("move_mount", "move_mount", "judge move_mount"),
    held_since(
        "userns_create",
        "userns_create",
        "judge user namespaces",
        "6.1",
    ),
    held("bpf", "bpf", "judge bpf()"),
    held(
        "module_request",
        "kernel_module_request",
        "judge modules that the kernel asks for",
    ),
    held(
        "perf_event_open",
        "perf_event_open",
        "judge perf_event_open",
    ),
    held_since(
        "uring_sqpoll",
        "uring_sqpoll",
        "judge io_uring threads that poll",
        "5.16",
    ),
    held_since(
        "uring_override",
        "uring_override_creds",
        "judge io_uring under other credentials",
        "5.16",
    ),
    held_since(
        "uring_cmd",
        "uring_cmd",
        "judge io_uring commands to devices",
        "6.0",
    ),
    held(
        "capable",
        "capable",
        "judge capabilities that reach round the hooks",
    ),
    Program {
        name: "credentials_taken",
        kind: Kind::Function("commit_creds"),
        used: Use::WithLsm,
        purpose: "tell what a ring does with former credentials from what the kernel does",
    },
    held(
        "ptrace_access",
        "ptrace_access_check",
        "judge ptrace and /proc/PID of others",
    ),
    held(
        "ptrace_traceme",
        "ptrace_traceme",
        "judge being traced by others",
    ),
    held("task_kill", "task_kill", "judge signals to others"),
    held("task_setnice", "task_setnice", "judge priorities of others"),
    held(
        "task_setioprio",
        "task_setioprio",
        "judge I/O priorities of others",
    ),
    held(
        "task_setscheduler",
        "task_setscheduler",
        "judge scheduling and CPUs of others",
    ),
    held("task_setrlimit", "task_setrlimit", "judge limits of others"),
    held(
        "task_movememory",
        "task_movememory",
        "judge where memory of others lies",
    ),
    held(
        "file_fcntl",
        "file_fcntl",
        "judge signals from files to others",
    ),
    held(
        "file_ioctl",
        "file_ioctl",
        "judge typing into terminals, signals from them, and snapshots",
    ),
    held_since(
        "file_ioctl_compat",
        "file_ioctl_compat",
        "judge the same from 32-bit programs",
        "6.8",
    ),
    held(
        "ipc_permission",
        "ipc_permission",
        "judge objects of System V of others",
    ),
    held(
        "ipc_memory_changed",
        "shm_shmctl",
        "judge changes of shared memory of others",
    ),
    held(
        "ipc_queue_changed",
        "msg_queue_msgctl",
        "judge changes of message queues of others",
    ),
    held(
        "ipc_semaphores_changed",
        "sem_semctl",
        "judge changes of semaphores of others",
    ),
    held(
        "ipc_memory_made",
        "shm_alloc_security",
        "note whose shared memory is",
    ),
    held(
        "ipc_queue_made",
        "msg_queue_alloc_security",
        "note whose message queues are",
    ),
    held(
        "ipc_semaphores_made",
        "sem_alloc_security",
        "note whose semaphores are",
    ),
    held(
        "ipc_memory_gone",
        "shm_free_security",
        "forget shared memory",
    ),
    held(
        "ipc_queue_gone",
        "msg_queue_free_security",
        "forget message queues",
    ),
    held(
        "ipc_semaphores_gone",
        "sem_free_security",
        "forget semaphores",
    ),
    held("special_mkdir", "inode_mkdir", "judge new folders there"),
    held(
        "special_rmdir",
        "inode_rmdir",
        "judge removed folders there",
    ),
    held(
        "special_unlink",
        "inode_unlink",
        "judge removed files there",
    ),
    held(
        "special_rename",
        "inode_rename",
        "judge renamed files there",
    ),
    held("special_symlink", "inode_symlink", "judge links there"),
    held(
        "file_signal",
        "file_send_sigiotask",
        "keep signals from files from the daemon",
    ),
    held("socket_gone", "sk_free_security", "forget sockets"),
    held(
        "unix_connect",
        "unix_stream_connect",
        "judge connections to Unix sockets",
    ),
    held(
        "unix_send",
        "unix_may_send",
        "judge datagrams to Unix sockets",
    ),
    held(
        "unix_sendmsg",
        "socket_sendmsg",
        "judge what is sent through inherited Unix sockets",
    ),
    held(
        "unix_recvmsg",
        "socket_recvmsg",
        "judge what is received through inherited Unix sockets",
    ),
    Program {
        name: "socket_bind",
        kind: Kind::Lsm("socket_bind"),
        used: Use::WithLsm,
        purpose: "judge which addresses of this host sockets get",
    },
    Program {
        name: "socket_listen",
        kind: Kind::Lsm("socket_listen"),
        used: Use::WithLsm,
        purpose: "judge where sockets listen",
    },
    Program {
        name: "socket_accept",
        kind: Kind::Lsm("socket_accept"),
        used: Use::WithLsm,
        purpose: "judge who takes connections where",
    },
    Program {
        name: "sock_graft",
        kind: Kind::Lsm("sock_graft"),
        used: Use::WithLsm,
        purpose: "label sockets that a session accepts",
    },
    Program {
        name: "socket_sendmsg",
        kind: Kind::Lsm("socket_sendmsg"),
        used: Use::WithLsm,
        purpose: "judge whether connected sockets may go on sending",
    },
    Program {
        name: "bind4",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET4_BIND),
        used: Use::WithoutLsm,
        purpose: "judge which IPv4 addresses sockets get",
    },
    Program {
        name: "bind6",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET6_BIND),
        used: Use::WithoutLsm,
        purpose: "judge which IPv6 addresses sockets get",
    },
    Program {
        name: "recvmsg4",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_UDP4_RECVMSG),
        used: Use::Always,
        purpose: "show whom a program asked for a name, and not who answered, by IPv4",
    },
    Program {
        name: "recvmsg6",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_UDP6_RECVMSG),
        used: Use::Always,
        purpose: "show whom a program asked for a name, and not who answered, by IPv6",
    },
    Program {
        name: "getpeername4",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET4_GETPEERNAME),
        used: Use::Always,
        purpose: "show the peer of a lookup that the program wanted, by IPv4",
    },
    Program {
        name: "getpeername6",
        kind: Kind::Cgroup(bpf_attach_type::BPF_CGROUP_INET6_GETPEERNAME),
        used: Use::Always,
        purpose: "show the peer of a lookup that the program wanted, by IPv6",
    },
    held(
        "socket_create",
        "socket_create",
        "judge which kinds of sockets are made",
    ),
];

/// A program at an LSM hook that holds privileges.
const fn held(name: &'static str, hook: &'static str, purpose: &'static str) -> Program {
    Program {
        name,
        kind: Kind::Lsm(hook),
        used: Use::WithLsm,
        purpose,
    }
}

/// The same at a hook that the kernel has since a version.
const fn held_since(
    name: &'static str,
    hook: &'static str,
    purpose: &'static str,
    since: &'static str,
) -> Program {
    Program {
        used: Use::WithHookSince(since),
        ..held(name, hook, purpose)
    }
}

/// What the programs hold, and which of them each privilege needs. Every capability is held by one.
pub const HOLDS: &[(Privilege, &[&str])] = &[
    (
        Privilege::Ptrace,
        &["ptrace_access", "ptrace_traceme", "file_open"],
    ),
    (
        Privilege::Signal,
        &[
            "task_kill",
            "task_setnice",
            "task_setioprio",
            "task_setscheduler",
            "task_setrlimit",
            "task_movememory",
            "file_fcntl",
            "file_ioctl",
        ],
    ),
    (
        Privilege::Mount,
        &[
            "sb_mount",
            "sb_umount",
            "sb_remount",
            "sb_pivotroot",
            "move_mount",
            "file_ioctl",
        ],
    ),
    (Privilege::Userns, &["userns_create"]),
    (
        Privilege::Bpf,
        &["bpf", "file_open", "special_unlink", "special_rename"],
    ),
    (Privilege::Module, &["module_request"]),
    (
        Privilege::Cgroup,
        &["task_alloc", "file_open", "special_mkdir", "special_rmdir"],
    ),
    (
        Privilege::KernelKnobs,
        &[
            "file_open",
            "special_mkdir",
            "special_rmdir",
            "special_unlink",
        ],
    ),
    (Privilege::Perf, &["perf_event_open"]),
    (
        Privilege::Uring,
        &["uring_sqpoll", "uring_override", "uring_cmd"],
    ),
    (Privilege::Disk, &["file_open"]),
    (Privilege::Terminal, &["file_ioctl", "file_ioctl_compat"]),
    (Privilege::Jit, &["mmap_file", "file_mprotect"]),
    (Privilege::Ping, &["socket_create"]),
    (Privilege::Mptcp, &["socket_create"]),
    (Privilege::Netlink, &["socket_create"]),
    (Privilege::Vsock, &["socket_create"]),
    (Privilege::Sockets, &["socket_create"]),
    (
        Privilege::Ipc,
        &[
            "ipc_permission",
            "ipc_memory_changed",
            "ipc_queue_changed",
            "ipc_semaphores_changed",
            "ipc_memory_made",
            "ipc_queue_made",
            "ipc_semaphores_made",
        ],
    ),
];

/// The function at which a program of an LSM hook is attached.
pub fn hook_function(hook: &str) -> String {
    format!("bpf_lsm_{hook}")
}

/// The program that reads programs.
pub const DIGEST: &str = "program_digest";

/// The program that ends a session's permission.
pub const REVOKE: &str = "revoke";

/// The program that moves a session to another policy.
pub const MOVE: &str = "move_session";

/// The program that lists the tasks of sessions.
pub const MEMBERS: &str = "members";

/// The program that labels processes that already run.
pub const ADOPT: &str = "adopt";

/// The program that puts a process into a session.
pub const ENROL: &str = "enrol";

impl Program {
    /// Its hook, and since when kernels have it if not all do.
    pub fn hook_and_since(&self) -> String {
        match (self.kind, self.used) {
            (Kind::Lsm(hook), Use::WithHookSince(since)) => format!("{hook} (since {since})"),
            (_, Use::WithFunctionSince(_, since)) => format!("{} (since {since})", self.name),
            _ => self.name.to_owned(),
        }
    }

    /// The function that the kernel must have so that this program can be attached, and since when
    /// kernels have it, if not all do.
    pub fn condition(&self) -> Option<(String, &'static str)> {
        match (self.kind, self.used) {
            (Kind::Lsm(hook), Use::WithHookSince(since)) => Some((hook_function(hook), since)),
            (_, Use::WithFunctionSince(function, since)) => Some((function.to_owned(), since)),
            _ => None,
        }
    }

    /// Whether the program is used when BPF LSM is there (or not).
    pub fn is_used(&self, lsm: bool) -> bool {
        match self.used {
            Use::Always => true,
            Use::WithLsm | Use::WithHookSince(_) | Use::WithFunctionSince(..) => lsm,
            Use::WithoutLsm => !lsm,
        }
    }
}

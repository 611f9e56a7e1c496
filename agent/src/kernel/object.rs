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
        name: MEMBERS,
        kind: Kind::Iter("task"),
        used: Use::Always,
        purpose: "list the processes of sessions",
    },
];

/// The program that ends a session's permission.
pub const REVOKE: &str = "revoke";

/// The program that lists the tasks of sessions.
pub const MEMBERS: &str = "members";

/// The program that puts a process into a session.
pub const ENROL: &str = "enrol";

impl Program {
    /// Whether the program is used when BPF LSM is there (or not).
    pub fn is_used(&self, lsm: bool) -> bool {
        match self.used {
            Use::Always => true,
            Use::WithLsm => lsm,
            Use::WithoutLsm => !lsm,
        }
    }
}

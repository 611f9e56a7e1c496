//! Who acts: the label a task carries, and the state its session shares.

use crate::egress::Endpoint;
use crate::wire::{assert_layout, wire_enum};

/// The label on a task: which session it belongs to. Copied to every child before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Label {
    /// The session's number, never used twice between two boots.
    pub session: u64,
    /// Where the session's state lies.
    pub slot: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Label, size 16, session at 0, slot at 8);

/// What the kernel programs keep for one task of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Member {
    /// The label.
    pub label: Label,
    /// What the task was last allowed to connect to.
    pub pass: Pass,
}

assert_layout!(Member, size 56, label at 0, pass at 16);

/// A connection that the LSM hook allowed and that the cgroup hook will be asked about in the same
/// system call. One action is judged once, or it would be counted against limits twice. A pass is
/// good for one use, for this socket and endpoint, and while the session's facts stay as they
/// were: then the judgement would be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pass {
    /// The socket's address in the kernel; zero when there is no pass.
    pub socket: u64,
    /// The session's facts after the judgement.
    pub facts: u64,
    /// Where to.
    pub endpoint: Endpoint,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Pass, size 40, socket at 0, facts at 8, endpoint at 16);

impl Pass {
    /// No pass.
    pub const NONE: Pass = Pass {
        socket: 0,
        facts: 0,
        endpoint: Endpoint::NOWHERE,
        reserved: 0,
    };
}

/// The state of one session, one slot of the session map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Session {
    /// The session that owns the slot; zero when the slot is free.
    pub id: u64,
    /// The facts that hold.
    pub facts: u64,
    /// Tasks that carry the session's label and still exist.
    pub tasks: u64,
    /// The compiled policy whose rules apply.
    pub policy: u32,
    /// Bits of [`Session::REVOKED`] and what may follow.
    pub flags: u32,
}

assert_layout!(Session, size 32, id at 0, facts at 8, tasks at 16, policy at 24, flags at 28);

impl Session {
    /// The permission has ended: every action is denied.
    pub const REVOKED: u32 = 1;

    /// An empty slot.
    pub const FREE: Session = Session {
        id: 0,
        facts: 0,
        tasks: 0,
        policy: 0,
        flags: 0,
    };
}

wire_enum! {
    /// What became of a process that asked to be put into a session.
    Enrolment: u32 {
        /// It is in the session, and so will be all that descends from it.
        Done = 0 => "done",
        /// No such session waits.
        NoSuchSession = 1 => "no such session",
        /// It is in a session already, which it cannot leave.
        AlreadyInOne = 2 => "already in a session",
        /// Its label cannot be stored.
        NoRoom = 3 => "no room for its label",
    }
}

//! Who acts: the label a task carries, and the state its session shares.

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

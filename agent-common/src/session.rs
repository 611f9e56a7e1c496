//! Who acts: the label a task carries, and the state its session shares.

use crate::decide::{LISTS, SCOPES, Weighing};
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
    /// The tools that it is inside, counted from 1, the outermost first; 0 for none. The last is
    /// always 0: one scope is the agent's own.
    pub tools: [u8; SCOPES],
    /// Padding, zero.
    pub reserved: [u8; 4],
    /// What the task was last allowed to connect to.
    pub pass: Pass,
    /// For each scope the lists of rules that speak of what the task attempts.
    pub lists: [[u32; LISTS]; SCOPES],
    /// The decision about what it attempts.
    pub weighing: Weighing,
}

assert_layout!(Member, size 352, label at 0, tools at 16, pass at 24, lists at 56, weighing at 152);

/// A connection that the LSM hook allowed and that the cgroup hook will be asked about in the same
/// system call. One action is judged once, or it would be counted against limits twice. A pass is
/// good for one use, for this socket and endpoint, and while the session's progress stays as it
/// was: then the judgement would be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pass {
    /// The socket's address in the kernel; zero when there is no pass.
    pub socket: u64,
    /// The version of the session's progress after the judgement.
    pub version: u32,
    /// Where to.
    pub endpoint: Endpoint,
}

assert_layout!(Pass, size 32, socket at 0, version at 8, endpoint at 12);

impl Pass {
    /// No pass.
    pub const NONE: Pass = Pass {
        socket: 0,
        version: 0,
        endpoint: Endpoint::NOWHERE,
    };
}

/// The state of one session, one slot of the session map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Session {
    /// The session that owns the slot; zero when the slot is free.
    pub id: u64,
    /// Tasks that carry the session's label and still exist.
    pub tasks: u64,
    /// The compiled policy whose rules apply.
    pub policy: u32,
    /// Bits of [`Session::REVOKED`] and what may follow.
    pub flags: u32,
}

assert_layout!(Session, size 24, id at 0, tasks at 8, policy at 16, flags at 20);

impl Session {
    /// The permission has ended: every action is denied.
    pub const REVOKED: u32 = 1;
    /// The chain is complete, and the permission ended with it.
    pub const COMPLETED: u32 = 2;
    /// Either.
    pub const ENDED: u32 = Self::REVOKED | Self::COMPLETED;

    /// The number under which the tables hold what the agent itself may do, or what a tool may.
    #[inline(always)]
    pub const fn scope(&self, tool: u8) -> u32 {
        self.policy << 8 | tool as u32
    }

    /// An empty slot.
    pub const FREE: Session = Session {
        id: 0,
        tasks: 0,
        policy: 0,
        flags: 0,
    };
}

/// What a session did that was written into the ring, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Share {
    /// Records that found their place.
    pub written: u64,
    /// Records that did not: the ring was full, or the session had its share of it.
    pub lost: u64,
}

assert_layout!(Share, size 16, written at 0, lost at 8);

impl Share {
    /// Unread records that every session may have in the ring, however full it is. Beyond them a
    /// session may write while the ring is less than half full: so one that does much cannot push
    /// out what another does.
    pub const OWN: u64 = 64;

    /// A session of which nothing was told.
    pub const NONE: Share = Share {
        written: 0,
        lost: 0,
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

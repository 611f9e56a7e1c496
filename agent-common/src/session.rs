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
    /// Bits of [`Member::ROOT`].
    pub flags: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Member, size 64, label at 0, pass at 16, flags at 56);

impl Member {
    /// The task is a thread of the session's first process, whose end is the session's.
    pub const ROOT: u32 = 1;
}

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
    /// When the permission ends by itself, in nanoseconds since boot; 0 where it does not.
    pub expires_ns: u64,
    /// The compiled policy whose rules apply.
    pub policy: u32,
    /// [`Session::REVOKED`], and why: a [`Cause`], [`Session::CAUSE_SHIFT`] bits up.
    pub flags: u32,
}

assert_layout!(Session, size 40, id at 0, facts at 8, tasks at 16, expires_ns at 24, policy at 32, flags at 36);

impl Session {
    /// The permission has ended: every action is denied. Never cleared while the slot is taken.
    pub const REVOKED: u32 = 1;

    /// Where the [`Cause`] begins in `flags`.
    pub const CAUSE_SHIFT: u32 = 8;

    /// The flags of a session whose permission has ended.
    #[inline(always)]
    pub const fn revoked_by(cause: Cause) -> u32 {
        Self::REVOKED | (cause.wire() << Self::CAUSE_SHIFT)
    }

    /// Whether the permission has ended, for whatever reason.
    #[inline(always)]
    pub const fn is_over(&self, now_ns: u64) -> bool {
        self.flags & Self::REVOKED != 0 || self.has_expired(now_ns)
    }

    /// Whether the time of the permission has passed.
    #[inline(always)]
    pub const fn has_expired(&self, now_ns: u64) -> bool {
        self.expires_ns != 0 && now_ns >= self.expires_ns
    }

    /// Why the permission has ended, if it was ended.
    pub const fn cause(&self) -> Option<Cause> {
        if self.flags & Self::REVOKED == 0 {
            return None;
        }
        Cause::from_wire(self.flags >> Self::CAUSE_SHIFT)
    }

    /// An empty slot.
    pub const FREE: Session = Session {
        id: 0,
        facts: 0,
        tasks: 0,
        expires_ns: 0,
        policy: 0,
        flags: 0,
    };
}

wire_enum! {
    /// What ended a session's permission.
    Cause: u32 {
        /// An action of its own, by a rule or by what the policy says of deviations.
        Deviation = 0 => "deviation",
        /// A person's order.
        Order = 1 => "order",
        /// Its first process is gone.
        RootExit = 2 => "root exit",
        /// Its time has passed.
        Ttl = 3 => "ttl",
        /// A child could not be labelled.
        Unlabelled = 4 => "unlabelled child",
        /// The chain is complete.
        Completion = 5 => "completion",
        /// The chain has failed.
        Failure = 6 => "failure",
        /// A step came too late.
        Timeout = 7 => "timeout",
    }
}

wire_enum! {
    /// What became of an order to end a session's permission.
    Revocation: u32 {
        /// It has ended.
        Done = 0 => "done",
        /// It had ended before.
        Already = 1 => "already revoked",
        /// No such session.
        NoSuchSession = 2 => "no such session",
    }
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
        /// The session's permission has ended.
        Revoked = 4 => "the session is revoked",
    }
}

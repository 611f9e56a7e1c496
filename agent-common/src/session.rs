//! Who acts: the label a task carries, and the state its session shares.

use crate::decide::{LISTS, SCOPES, Weighing};
use crate::egress::{Endpoint, NetworkKey};
use crate::uses::Kept;
use crate::wire::{assert_layout, wire_enum, wire_struct};

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

impl Label {
    /// No label.
    pub const NOBODY: Label = Label {
        session: 0,
        slot: 0,
        reserved: 0,
    };

    /// The label of a process that must be in a session when none can be had: it is denied
    /// everything, as whoever belongs to an unknown session.
    pub const HOMELESS: Label = Label {
        session: u64::MAX,
        slot: u32::MAX,
        reserved: 0,
    };
}

/// What the kernel programs keep for one task of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Member {
    /// The label.
    pub label: Label,
    /// The tools that it is inside, counted from 1, the outermost first; 0 for none. The last is
    /// always 0: one scope is the agent's own.
    pub tools: [u8; SCOPES],
    /// Bits: [`Member::ROOT`], [`Member::FORMER`].
    pub flags: u32,
    /// What the task was last allowed to connect to.
    pub pass: Pass,
    /// For each scope the lists of rules that speak of what the task attempts.
    pub lists: [[u32; LISTS]; SCOPES],
    /// The decision about what it attempts.
    pub weighing: Weighing,
    /// The tools that begin with the program it is about to execute, as `tools`.
    pub starting: [u8; SCOPES],
    /// The policy by which the task's action is judged, from the beginning of the judgement to its
    /// end: the session may be moved to another meanwhile.
    pub policy: u32,
    /// When the task was last allowed an action, in nanoseconds since boot.
    pub last_ns: u64,
    /// What it was allowed last, again and again, and is not counted yet.
    pub kept: Kept,
}

assert_layout!(Member, size 408, label at 0, tools at 16, flags at 20, pass at 24, lists at 56, weighing at 152, starting at 376, policy at 380, last_ns at 384, kept at 392);

impl Member {
    /// The task is a thread of the session's first process, whose end is the session's.
    pub const ROOT: u32 = 1;
    /// A ring of the task's may act with credentials that the task had before.
    pub const FORMER: u32 = 2;
}

/// The session whose task has made or accepted a socket, for those who know the socket by its address
/// alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Maker {
    /// The session.
    pub label: Label,
    /// The other session that was told to have been reached through it last, or 0.
    pub told: u64,
}

assert_layout!(Maker, size 24, label at 0, told at 16);

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
    /// When the permission ends by itself, in nanoseconds since boot; 0 where it does not.
    pub expires_ns: u64,
    /// The compiled policy whose rules apply.
    pub policy: u32,
    /// [`Session::REVOKED`], and why: a [`Cause`], [`Session::CAUSE_SHIFT`] bits up.
    pub flags: u32,
    /// The cgroup by which it was recognised; zero where it was otherwise.
    pub door: u64,
    /// The hash of the name that the file of its denials has in their folder.
    pub denials: u64,
    /// When the permission was ended, in nanoseconds since boot; 0 where it was not.
    pub revoked_ns: u64,
    /// When the first action was denied because of that, or the first packet dropped.
    pub denied_ns: u64,
}

assert_layout!(Session, size 64, id at 0, tasks at 8, expires_ns at 16, policy at 24, flags at 28, door at 32, denials at 40, revoked_ns at 48, denied_ns at 56);

impl Session {
    /// The permission has ended: every action is denied. Never cleared while the slot is taken.
    pub const REVOKED: u32 = 1;

    /// The number under which the tables hold what the agent itself may do, or what a tool may.
    #[inline(always)]
    pub const fn scope(&self, tool: u8) -> u32 {
        Self::scope_of(self.policy, tool)
    }

    /// The same for any policy's number.
    #[inline(always)]
    pub const fn scope_of(policy: u32, tool: u8) -> u32 {
        policy << 8 | tool as u32
    }

    /// The policy of such a number.
    #[inline(always)]
    pub const fn policy_of(scope: u32) -> u32 {
        (scope & !NetworkKey::LISTEN) >> 8
    }

    /// Where the [`Cause`] begins in `flags`.
    pub const CAUSE_SHIFT: u32 = 8;

    /// The flags of a session whose permission has ended.
    #[inline(always)]
    pub const fn revoked_by(cause: Cause) -> u32 {
        Self::REVOKED | (cause.wire() << Self::CAUSE_SHIFT)
    }

    /// Whether the time of the permission has passed.
    #[inline(always)]
    pub const fn has_expired(&self, now_ns: u64) -> bool {
        self.expires_ns != 0 && now_ns >= self.expires_ns
    }

    /// Whether an action that was allowed a moment ago may go on: the last one of the chain is the
    /// one that ended the permission.
    #[inline(always)]
    pub const fn lasts_for_what_completed_it(&self) -> bool {
        self.flags & Self::REVOKED == 0 || self.flags == Self::revoked_by(Cause::Completion)
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
        tasks: 0,
        expires_ns: 0,
        policy: 0,
        flags: 0,
        door: 0,
        denials: 0,
        revoked_ns: 0,
        denied_ns: 0,
    };

    /// Whether the session's sockets are dead. What a session had sent before it came to its own
    /// end still leaves: it was allowed.
    #[inline(always)]
    pub const fn is_silent(&self) -> bool {
        self.flags & Self::REVOKED != 0
            && self.flags != Self::revoked_by(Cause::RootExit)
            && self.flags != Self::revoked_by(Cause::Completion)
    }
}

wire_struct! {
    /// Whose a socket is. It stays so, whoever holds the socket later.
    Owner {
        /// The session's number.
        session: u64,
        /// The slot of the session.
        slot: u32,
        /// The policy by which its connection was allowed.
        policy: u32,
        /// The number, in that policy, of the rule that allowed it; [`NO_RULE`](crate::decide::NO_RULE)
        /// where none did.
        rule: u32,
        /// The tool inside which it was opened, or 0.
        tool: u8,
        /// Why what it sends goes to the daemon instead, as [`divert`](crate::divert) numbers it; 0 where it
        /// does not.
        diverted: u8,
        /// The budgets of bytes to which its packets count, a bit for each limit.
        budgets: u16,
        /// Where to the agent may send through it at all times and without counting, as was found
        /// when it last did; no place before.
        free: Endpoint,
        /// The edition of the policy by which that was found.
        edition: u32,
    }
}

assert_layout!(Owner, size 48, session at 0, slot at 8, policy at 12, rule at 16, tool at 20, budgets at 22, free at 24, edition at 44);

impl Owner {
    /// The session's label.
    #[inline(always)]
    pub const fn label(&self) -> Label {
        Label {
            session: self.session,
            slot: self.slot,
            reserved: 0,
        }
    }
}

wire_enum! {
    /// What an action that was allowed was about, as far as actions are counted.
    Allowed: u32 {
        /// A place on a network.
        Network = 0 => "network",
        /// A file.
        File = 1 => "file",
        /// A program that was executed.
        Program = 2 => "program",
        /// An act that needs a privilege.
        Privilege = 3 => "privilege",
    }
}

/// How many kinds of them there are.
pub const ALLOWED: usize = Allowed::ALL.len();

/// What a session did: that was written into the ring, that was not, and that was allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Share {
    /// Records that found their place.
    pub written: u64,
    /// Records that did not: the ring was full, or the session had its share of it.
    pub lost: u64,
    /// Actions that were allowed, by [`Allowed`].
    pub allowed: [u64; ALLOWED],
    /// How many different ones are told apart, as [`uses`](crate::uses) counts them.
    pub uses: u64,
}

assert_layout!(Share, size 56, written at 0, lost at 8, allowed at 16, uses at 48);

impl Share {
    /// Unread records that every session may have in the ring, however full it is. Beyond them a
    /// session may write while the ring is less than half full: so one that does much cannot push
    /// out what another does.
    pub const OWN: u64 = 512;

    /// A session of which nothing was told.
    pub const NONE: Share = Share {
        written: 0,
        lost: 0,
        allowed: [0; ALLOWED],
        uses: 0,
    };

    /// Whether something was told of it: then it has had a task.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        *self != Self::NONE
    }
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
        /// The controller was away for too long.
        ControllerLost = 8 => "controller lost",
        /// A budget is spent.
        Budget = 9 => "budget",
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
    /// What became of an order to move a session to another policy.
    Moving: u32 {
        /// Every judgement that begins from now on is by the other policy.
        Done = 0 => "done",
        /// No such session.
        NoSuchSession = 1 => "no such session",
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

//! Actions that wait for a person's answer.
//!
//! What is asked is the key, so that an answer is good for exactly that: another object, rule or
//! policy is another question. Who asks first puts the entry there; the daemon writes the answer
//! over it; who uses an answer that is good for one action takes the entry away, which one task
//! alone can.

use crate::decide::SCOPES;
use crate::wire::{Wire, assert_layout, wire_enum, wire_struct};

/// Questions that can be open or answered at once on one host.
pub const MAX_HOLDS: u32 = 8192;

/// Questions of one session that can be open at once.
pub const MAX_OPEN: u64 = 64;

/// Processes that can wait at once.
pub const MAX_WAITING: u32 = 16_384;

/// The bits of a question's number that say on which processor it was asked. The others are the time.
pub const PROCESSORS: u64 = 0x3ff;

/// How long an action waits where its policy does not say, in seconds.
pub const DEFAULT_WAIT_S: u32 = 300;

wire_struct! {
    /// What is asked: may this session do this to that, by this rule.
    HoldKey {
        /// The session.
        session: u64,
        /// What the action is done to, as its kind identifies it; the rest zero.
        ///
        /// A place on a network: the address, then port, protocol and family in one number. A file:
        /// the two hashes of its path, its inode's number and its device. A program: the same, with
        /// the hash of its words in place of the device, which is in the path's hashes. What has a
        /// name alone: the name's hash.
        object: [u64; 4],
        /// The edition of the policy.
        edition: u32,
        /// The rule's number in it.
        rule: u32,
        /// An [`Action`](crate::action::Action).
        action: u32,
        /// Padding, zero.
        reserved: u32,
    }
}
assert_layout!(HoldKey, size 56, session at 0, object at 8, edition at 40, rule at 44, action at 48);

wire_enum! {
    /// How far a question has got.
    HoldState: u32 {
        /// Nobody has answered.
        Asked = 1 => "asked",
        /// Somebody said yes.
        Approved = 2 => "approved",
        /// Somebody said no.
        Refused = 3 => "refused",
        /// Nobody answered in time.
        Late = 4 => "late",
    }
}

wire_struct! {
    /// A question and its answer.
    Hold {
        /// Its number, never used twice between two boots.
        id: u64,
        /// When it was asked, in nanoseconds since boot.
        asked_ns: u64,
        /// Until when it waits, or the answer is good, in nanoseconds since boot.
        until_ns: u64,
        /// A [`HoldState`].
        state: u32,
        /// Bits of [`Hold::ONCE`] and [`Hold::BY_DEPUTY`].
        flags: u32,
        /// The slot of the session.
        slot: u32,
        /// The process that asked first.
        pid: u32,
    }
}
assert_layout!(Hold, size 40, id at 0, asked_ns at 8, until_ns at 16, state at 24, flags at 28, slot at 32, pid at 36);

impl Hold {
    /// The yes is good for one action.
    pub const ONCE: u32 = 1;
    /// The deputy answered, because there was no daemon; the next daemon has yet to say so.
    pub const BY_DEPUTY: u32 = 2;
}

wire_struct! {
    /// A process that was stopped in the middle of what it asks for.
    Waiter {
        /// The question.
        hold: u64,
        /// The process.
        pid: u32,
        /// Padding, zero.
        reserved: u32,
    }
}
assert_layout!(Waiter, size 16, hold at 0, pid at 8);

/// What is kept for a task from its first question on. Its own programs alone look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Asking {
    /// What it asks.
    pub key: HoldKey,
    /// The question, before it is asked.
    pub hold: Hold,
    /// The number of the question that it asked last.
    pub id: u64,
    /// The hash of the path whose use was last approved, or 0: what belongs to the same call needs no
    /// second answer.
    pub granted: u64,
    /// 1 while the task is to stop, and its call to begin anew.
    pub stops: u32,
    /// 1 once the approvals that this action uses up are taken.
    pub claimed: u32,
    /// Whom to wake: the task's process and the question.
    pub waiter: Waiter,
    /// When its process began.
    pub began_ns: u64,
    /// The rules, each plus 1, by which the program that is being executed has its yes: that was used up
    /// when it was asked about, before anything else could use it.
    pub carried: [u32; SCOPES],
}
assert_layout!(Asking, size 160, key at 0, hold at 56, id at 96, granted at 104, stops at 112, claimed at 116, waiter at 120, began_ns at 136, carried at 144);

impl Asking {
    /// Nothing asked.
    pub const NONE: Self = Self {
        key: HoldKey::ZERO,
        hold: Hold::ZERO,
        id: 0,
        granted: 0,
        stops: 0,
        claimed: 0,
        waiter: Waiter::ZERO,
        began_ns: 0,
        carried: [0; SCOPES],
    };
}

//! A rule as the kernel has it, and how many of what there can be.

use super::Verdict;
use crate::wire::assert_layout;

/// A compiled rule: four masks over the session's facts, what else it demands, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Rule {
    /// Facts that must be set.
    pub require: u64,
    /// Facts that must not be set.
    pub forbid: u64,
    /// Facts that become set when the action is allowed.
    pub set: u64,
    /// Facts that become clear when the action is allowed.
    pub clear: u64,
    /// The rule's number in its policy, by which people find it again.
    pub number: u32,
    /// Traits of the action without which the rule does not speak of it.
    pub traits: u32,
    /// Traits of the action that the rule refuses.
    pub refuse: u32,
    /// Limits whose count begins anew when the action begins its step.
    pub renew: u16,
    /// A [`Verdict`].
    pub verdict: u8,
    /// The approval's fact and one; 0 where none is needed.
    pub approval: u8,
    /// The window's index and one; 0 at any hour.
    pub window: u8,
    /// The tool that an exec starts, counted from 1; 0 for none.
    pub tool: u8,
    /// Limits' indices and one; 0 for none.
    pub limits: [u8; 2],
    /// Bits of [`Rule::MORE`], [`Rule::LEVEL_END`], [`Rule::HOURS_OR_APPROVAL`] and [`Rule::RELAYED`].
    pub flags: u8,
    /// The fact and one of the step that the action performs; 0 for none.
    pub step: u8,
    /// Timers that begin anew with the facts that become set. The compiler knows them: a kernel
    /// program that looked for them would cost the verifier more than all the rest.
    pub timers: u16,
    /// How many seconds the action waits for approval; 0 for [`DEFAULT_WAIT_S`](crate::hold::DEFAULT_WAIT_S).
    pub wait_s: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Rule, size 64, require at 0, forbid at 8, set at 16, clear at 24, number at 32, traits at 36, refuse at 40, renew at 44, verdict at 46, approval at 47, window at 48, tool at 49, limits at 50, flags at 52, step at 53, timers at 54, wait_s at 56);

impl Rule {
    /// The next entry of the table belongs to the same list.
    pub const MORE: u8 = 1;
    /// Entries after this one are less specific.
    pub const LEVEL_END: u8 = 2;
    /// Outside its hours the action waits for approval; within them it needs none.
    pub const HOURS_OR_APPROVAL: u8 = 4;
    /// The connection must say first which of the policy's names it is for.
    pub const NAMED: u8 = 8;
    /// The connection goes to the policy's gateway instead.
    pub const GATEWAY: u8 = 16;
    /// Either: the connection goes through the daemon's relay.
    pub const RELAYED: u8 = Self::NAMED | Self::GATEWAY;

    /// A rule that always says the same.
    pub const fn always(verdict: Verdict, number: u32) -> Self {
        Self {
            require: 0,
            forbid: 0,
            set: 0,
            clear: 0,
            number,
            traits: 0,
            refuse: 0,
            renew: 0,
            verdict: verdict.wire(),
            approval: 0,
            window: 0,
            tool: 0,
            limits: [0; 2],
            flags: 0,
            step: 0,
            timers: 0,
            wait_s: 0,
            reserved: 0,
        }
    }
}

/// Rules that one object can have in one list.
pub const MAX_ALTERNATIVES: u32 = 16;

/// No list.
pub const NO_LIST: u32 = u32::MAX;

/// Lists that one scope can have for an object.
pub const LISTS: usize = 6;

/// The scopes of a task: its agent's, and those of the tools that it is inside.
pub const SCOPES: usize = 4;

/// Trait of an exec: the session may write the program.
pub const TRAIT_WRITABLE: u32 = 1 << 31;

/// Trait of a connection, or of what is sent: it does not go through the relay.
pub const TRAIT_DIRECT: u32 = 1 << 30;

/// Traits that stand for argument patterns, counted from bit 0.
pub const ARGUMENT_TRAITS: u32 = 30;

/// A limit that an action uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Charge {
    /// The limit's index and one; 0 for none.
    pub limit: u32,
    /// Padding, zero.
    pub reserved: u32,
    /// Its value afterwards.
    pub value: u64,
}

assert_layout!(Charge, size 16, limit at 0, value at 8);

impl Charge {
    /// Nothing is used.
    pub const NONE: Charge = Charge {
        limit: 0,
        reserved: 0,
        value: 0,
    };
}

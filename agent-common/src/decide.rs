//! The decision: what becomes of an action of a session.
//!
//! The kernel programs call [`decide`], and so do `policy test`, `explain` and the reference
//! tests: what is tried offline is what runs in the kernel.

use crate::session::Session;
use crate::wire::{assert_layout, wire_enum};

wire_enum! {
    /// What becomes of an action.
    Verdict: u8 {
        /// It takes effect.
        Allow = 0 => "allow",
        /// It fails with an error before it takes effect.
        Deny = 1 => "deny",
    }
}

wire_enum! {
    /// Why a verdict was given.
    Reason: u8 {
        /// A rule said so.
        Rule = 0 => "rule",
        /// No rule speaks of the object, and what is not named is denied.
        NoRule = 1 => "no rule",
        /// A fact that the rule requires is not set.
        FactMissing = 2 => "fact missing",
        /// A fact that the rule forbids is set.
        FactForbidden = 3 => "fact forbidden",
        /// The session's permission has ended.
        Revoked = 4 => "revoked",
        /// The session of the label is not the one in its slot.
        SessionUnknown = 5 => "session unknown",
        /// The address family is none that a policy can speak of.
        Family = 6 => "address family",
        /// Something needed for the decision could not be read.
        Unreadable = 7 => "unreadable",
    }
}

/// A compiled rule: four masks over the session's facts, and what it says when they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A [`Verdict`].
    pub verdict: u8,
    /// Padding, zero.
    pub reserved: [u8; 3],
}

assert_layout!(Rule, size 40, require at 0, forbid at 8, set at 16, clear at 24, number at 32, verdict at 36);

/// The outcome of [`decide`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the action.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The session's facts afterwards; as before unless the action is allowed.
    pub facts: u64,
}

impl Decision {
    /// A denial that leaves the facts as they are.
    #[inline(always)]
    pub const fn deny(reason: Reason, facts: u64) -> Self {
        Self {
            verdict: Verdict::Deny,
            reason,
            facts,
        }
    }
}

/// Holds one action against the session's state and the rule that speaks of its object.
#[inline(always)]
pub fn decide(session: &Session, rule: Option<&Rule>) -> Decision {
    let facts = session.facts;
    if session.flags & Session::REVOKED != 0 {
        return Decision::deny(Reason::Revoked, facts);
    }
    let Some(rule) = rule else {
        return Decision::deny(Reason::NoRule, facts);
    };
    if rule.verdict != Verdict::Allow.wire() {
        return Decision::deny(Reason::Rule, facts);
    }
    if facts & rule.require != rule.require {
        return Decision::deny(Reason::FactMissing, facts);
    }
    if facts & rule.forbid != 0 {
        return Decision::deny(Reason::FactForbidden, facts);
    }
    Decision {
        verdict: Verdict::Allow,
        reason: Reason::Rule,
        facts: (facts & !rule.clear) | rule.set,
    }
}

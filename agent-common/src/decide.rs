//! The decision: what becomes of an action of a session.
//!
//! The kernel programs call the functions of this file, and so do `policy test`, `explain` and the
//! reference tests: what is tried offline is what runs in the kernel.
//!
//! An object has a short list of rules, the most specific first. A rule that denies speaks when its
//! conditions hold. A rule that allows speaks of its object whether or not its conditions hold: once
//! one has spoken, no less specific rule is asked. Of the rules of one level any may allow.

use crate::session::Session;
use crate::terms::{LIMITS, Progress, TIMERS, Terms};
use crate::wire::{assert_layout, wire_enum};

wire_enum! {
    /// What becomes of an action.
    Verdict: u8 {
        /// It takes effect.
        Allow = 0 => "allow",
        /// It fails with an error before it takes effect.
        Deny = 1 => "deny",
        /// It fails, and the session's processes are killed.
        Kill = 2 => "kill",
        /// It waits for a person's answer.
        Hold = 3 => "hold",
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
        /// Somebody must approve it first.
        ApprovalMissing = 8 => "approval missing",
        /// A rate or budget is used up.
        Limit = 9 => "limit reached",
        /// It is not the hour for it.
        Hours = 10 => "outside hours",
        /// The session could have written the program it wants to run.
        Writable = 11 => "program is writable",
        /// The policy does not give the session this privilege.
        Privilege = 16 => "privilege missing",
    }
}

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
    /// Bits of [`Rule::MORE`], [`Rule::LEVEL_END`] and [`Rule::HOURS_OR_APPROVAL`].
    pub flags: u8,
    /// The fact and one of the step that the action performs; 0 for none.
    pub step: u8,
    /// Padding, zero.
    pub reserved: [u8; 6],
}

assert_layout!(Rule, size 64, require at 0, forbid at 8, set at 16, clear at 24, number at 32, traits at 36, refuse at 40, renew at 44, verdict at 46, approval at 47, window at 48, tool at 49, limits at 50, flags at 52, step at 53);

impl Rule {
    /// The next entry of the table belongs to the same list.
    pub const MORE: u8 = 1;
    /// Entries after this one are less specific.
    pub const LEVEL_END: u8 = 2;
    /// Outside its hours the action waits for approval; within them it needs none.
    pub const HOURS_OR_APPROVAL: u8 = 4;

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
            reserved: [0; 6],
        }
    }

    /// Whether the facts alone decide what it says.
    const fn is_plain(&self) -> bool {
        self.traits == 0
            && self.refuse == 0
            && self.approval == 0
            && self.window == 0
            && self.limits[0] == 0
            && self.limits[1] == 0
            && self.flags & Self::MORE == 0
    }
}

/// Rules that one object can have in one list.
pub const MAX_ALTERNATIVES: u32 = 16;

/// Trait of an exec: the session may write the program.
pub const TRAIT_WRITABLE: u32 = 1 << 31;

/// Traits that stand for argument patterns, counted from bit 0.
pub const ARGUMENT_TRAITS: u32 = 31;

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the action.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The session's facts afterwards; what has expired is clear.
    pub facts: u64,
    /// The rule's number, where a rule spoke.
    pub number: u32,
    /// The tool that begins, counted from 1; 0 for none.
    pub tool: u8,
    /// Whether the session's permission ends with this.
    pub revoke: bool,
    /// Timers that begin anew.
    pub timers: u16,
    /// Limits whose count begins anew, before `charges`.
    pub renew: u16,
    /// Limits that are charged: index and one (0 for none), and the new value.
    pub charges: [(u8, u64); 2],
}

impl Decision {
    /// A denial that leaves the facts as they are.
    #[inline(always)]
    pub const fn deny(reason: Reason, facts: u64) -> Self {
        Self {
            verdict: Verdict::Deny,
            reason,
            facts,
            number: u32::MAX,
            tool: 0,
            revoke: false,
            timers: 0,
            renew: 0,
            charges: [(0, 0); 2],
        }
    }

    /// Writes what changes besides the facts.
    pub fn apply(&self, progress: &mut Progress, terms: &Terms, now_ns: u64) {
        for i in 0..TIMERS {
            if self.timers & (1 << i) != 0 {
                progress.deadlines[i] = now_ns.saturating_add(terms.timers[i].lifetime_ns);
            }
        }
        for i in 0..LIMITS {
            if self.renew & (1 << i) != 0 {
                progress.limits[i] = 0;
            }
        }
        for (index, value) in self.charges {
            if index != 0 {
                progress.limits[(usize::from(index) - 1) & (LIMITS - 1)] = value;
            }
        }
    }
}

/// Everything about the session and the action that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The session.
    pub session: &'a Session,
    /// Its timers and limits.
    pub progress: &'a Progress,
    /// The policy's timers, limits and hours.
    pub terms: &'a Terms,
    /// Nanoseconds since boot.
    pub now_ns: u64,
    /// Seconds since 1970, UTC.
    pub wall_s: u64,
    /// Traits of the action.
    pub traits: u32,
    /// Bytes the action moves.
    pub bytes: u64,
}

/// A decision in the making: rules are considered one after the other.
#[derive(Debug)]
pub struct Weighing<'a> {
    view: View<'a>,
    facts: u64,
    claimed: bool,
    settled: bool,
    decision: Decision,
}

impl<'a> Weighing<'a> {
    /// Begins with what is true before any rule is asked.
    #[inline(always)]
    pub fn new(view: View<'a>) -> Self {
        let facts = view
            .terms
            .live_facts(view.session.facts, view.progress, view.now_ns);
        let revoked = view.session.flags & Session::REVOKED != 0;
        let reason = if revoked {
            Reason::Revoked
        } else {
            Reason::NoRule
        };
        Self {
            view,
            facts,
            claimed: false,
            settled: revoked,
            decision: Decision::deny(reason, facts),
        }
    }

    /// Considers a rule. True when no later rule can change the decision.
    #[inline(always)]
    pub fn consider(&mut self, rule: &Rule) -> bool {
        if self.settled {
            return true;
        }
        if self.view.traits & rule.traits == rule.traits {
            if rule.verdict == Verdict::Allow.wire() {
                self.consider_allow(rule);
            } else {
                self.consider_deny(rule);
            }
        }
        if rule.flags & Rule::LEVEL_END != 0 && self.claimed {
            self.settled = true;
        }
        self.settled
    }

    #[inline(always)]
    fn consider_deny(&mut self, rule: &Rule) {
        let holds = self.facts & rule.require == rule.require
            && self.facts & rule.forbid == 0
            && self.in_hours(rule);
        if holds {
            self.decision = Decision::deny(Reason::Rule, self.facts);
            self.decision.number = rule.number;
            if rule.verdict == Verdict::Kill.wire() {
                self.decision.verdict = Verdict::Kill;
            }
            self.settled = true;
        }
    }

    #[inline(always)]
    fn consider_allow(&mut self, rule: &Rule) {
        let first = !self.claimed;
        self.claimed = true;
        let in_hours = self.in_hours(rule);
        let excused = rule.flags & Rule::HOURS_OR_APPROVAL != 0;
        let approved = rule.approval == 0
            || (in_hours && excused)
            || self.facts & fact_bit(rule.approval) != 0;
        let (charged, charges, renew) = self.charge(rule);
        let reason = if self.view.traits & rule.refuse != 0 {
            Reason::Writable
        } else if self.facts & rule.require != rule.require {
            Reason::FactMissing
        } else if self.facts & rule.forbid != 0 {
            Reason::FactForbidden
        } else if !in_hours && !excused {
            Reason::Hours
        } else if !charged {
            Reason::Limit
        } else if !approved {
            Reason::ApprovalMissing
        } else {
            self.decision = Decision {
                verdict: Verdict::Allow,
                reason: Reason::Rule,
                facts: (self.facts & !rule.clear) | rule.set,
                number: rule.number,
                tool: rule.tool,
                revoke: false,
                timers: self.view.terms.timers_of(rule.set),
                renew,
                charges,
            };
            self.settled = true;
            return;
        };
        // A person's yes would be enough: that weighs more than any plain denial.
        let hold = reason as u8 == Reason::ApprovalMissing as u8;
        if first || (hold && self.decision.verdict as u8 != Verdict::Hold as u8) {
            self.decision = Decision::deny(reason, self.facts);
            self.decision.number = rule.number;
            if hold {
                self.decision.verdict = Verdict::Hold;
            }
        }
    }

    #[inline(always)]
    fn in_hours(&self, rule: &Rule) -> bool {
        rule.window == 0 || self.view.terms.in_window(rule.window, self.view.wall_s)
    }

    /// Whether every limit of the rule has room, and the limits' values afterwards.
    #[inline(always)]
    fn charge(&self, rule: &Rule) -> (bool, [(u8, u64); 2], u16) {
        let begins = rule.step != 0 && self.facts & fact_bit(rule.step) == 0;
        let renew = if begins { rule.renew } else { 0 };
        let mut charges = [(0, 0); 2];
        let mut charged = true;
        for (index, slot) in rule.limits.into_iter().zip(&mut charges) {
            if index == 0 {
                continue;
            }
            let at = (usize::from(index) - 1) & (LIMITS - 1);
            let before = if renew & (1 << at) != 0 {
                0
            } else {
                self.view.progress.limits[at]
            };
            let (room, after) =
                self.view.terms.limits[at].charge(before, self.view.now_ns, self.view.bytes);
            charged = charged && room;
            *slot = (index, after);
        }
        (charged, charges, renew)
    }

    /// Notes that a rule could not be read, which is a denial.
    #[inline(always)]
    pub fn unreadable(&mut self) {
        if !self.settled {
            self.decision = Decision::deny(Reason::Unreadable, self.facts);
            self.settled = true;
        }
    }

    /// Whether no later rule can change the decision.
    #[inline(always)]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether a rule that allows has spoken of the object.
    #[inline(always)]
    pub fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// The decision.
    #[inline(always)]
    pub fn finish(self) -> Decision {
        let mut decision = self.decision;
        let deviates = decision.verdict as u8 == Verdict::Deny as u8
            && matches!(
                decision.reason,
                Reason::Rule | Reason::NoRule | Reason::FactMissing | Reason::FactForbidden
            );
        if deviates {
            let on_deviation = self.view.terms.on_deviation;
            if on_deviation & Terms::DEVIATION_KILL != 0 {
                decision.verdict = Verdict::Kill;
            }
            decision.revoke = on_deviation & Terms::DEVIATION_REVOKE != 0;
        }
        decision
    }
}

/// The bit of a fact that is counted from 1.
#[inline(always)]
const fn fact_bit(number: u8) -> u64 {
    1 << ((number - 1) & 63)
}

/// Decides with everything a policy can say. `rule_at(list, i)` answers the i-th rule of a list;
/// lists are asked in their order until one has spoken.
#[inline(always)]
pub fn decide_all(
    view: View<'_>,
    lists: u32,
    mut rule_at: impl FnMut(u32, u32) -> Option<Rule>,
) -> Decision {
    let mut weighing = Weighing::new(view);
    let mut list = 0;
    while list < lists && !weighing.is_settled() && !weighing.is_claimed() {
        let mut i = 0;
        while i < MAX_ALTERNATIVES {
            let Some(rule) = rule_at(list, i) else {
                // A list without a first rule says nothing; one that breaks off is a doubt.
                if i > 0 {
                    weighing.unreadable();
                }
                break;
            };
            if weighing.consider(&rule) || rule.flags & Rule::MORE == 0 {
                break;
            }
            i += 1;
        }
        list += 1;
    }
    weighing.finish()
}

/// Decides where nothing but facts has a say: what [`decide_all`] says of one rule without other
/// demands, which a test holds it to. A rule with other demands is a denial.
#[inline(always)]
pub fn decide(session: &Session, rule: Option<&Rule>) -> Decision {
    let facts = session.facts;
    if session.flags & Session::REVOKED != 0 {
        return Decision::deny(Reason::Revoked, facts);
    }
    let Some(rule) = rule else {
        return Decision::deny(Reason::NoRule, facts);
    };
    let reason = if rule.verdict != Verdict::Allow.wire() {
        Reason::Rule
    } else if !rule.is_plain() {
        Reason::Unreadable
    } else if facts & rule.require != rule.require {
        Reason::FactMissing
    } else if facts & rule.forbid != 0 {
        Reason::FactForbidden
    } else {
        return Decision {
            verdict: Verdict::Allow,
            number: rule.number,
            ..Decision::deny(Reason::Rule, (facts & !rule.clear) | rule.set)
        };
    };
    Decision {
        number: rule.number,
        ..Decision::deny(reason, facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        /// Few bits, so that masks meet facts often.
        fn mask()(bits in 0u64..8) -> u64 { bits }
    }

    proptest! {
        #[test]
        fn the_short_way_says_what_the_long_way_says(
            (facts, require, forbid, set, clear) in (mask(), mask(), mask(), mask(), mask()),
            (revoked, denies, there) in (any::<bool>(), any::<bool>(), any::<bool>()),
        ) {
            let verdict = if denies { Verdict::Deny } else { Verdict::Allow };
            let rule = Rule { require, forbid, set, clear, ..Rule::always(verdict, 7) };
            let rule = there.then_some(rule);
            let flags = if revoked { Session::REVOKED } else { 0 };
            let session = Session { facts, flags, ..Session::FREE };
            let short = decide(&session, rule.as_ref());
            let view = View {
                session: &session,
                progress: &Progress::START,
                terms: &Terms::NONE,
                now_ns: 0,
                wall_s: 0,
                traits: 0,
                bytes: 0,
            };
            let long = decide_all(view, 1, |_, i| if i == 0 { rule } else { None });
            prop_assert_eq!((short.verdict, short.facts), (long.verdict, long.facts));
            if !denies {
                prop_assert_eq!((short.reason, short.number), (long.reason, long.number));
            }
        }

        #[test]
        fn the_short_way_denies_what_it_cannot_judge(limit in 1u8..16, allowed in any::<bool>()) {
            let rule = Rule { limits: [limit, 0], ..Rule::always(Verdict::Allow, 7) };
            let rule = if allowed { Rule::always(Verdict::Allow, 7) } else { rule };
            let decision = decide(&Session::FREE, Some(&rule));
            prop_assert_eq!(decision.verdict == Verdict::Allow, allowed);
        }
    }
}

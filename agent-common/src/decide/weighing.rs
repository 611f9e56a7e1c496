//! A decision in the making.

use super::{Charge, Reason, Rule, SCOPES, TRAIT_DIRECT, Verdict};
use crate::session::Session;
use crate::terms::{LIMITS, Limit, Progress, TIMERS, Terms};
use crate::wire::assert_layout;

/// What a decision depends on besides session, policy and rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Nanoseconds since boot.
    pub now_ns: u64,
    /// Seconds since 1970, UTC.
    pub wall_s: u64,
    /// Traits of the action.
    pub traits: u32,
    /// Bytes the action moves.
    pub bytes: u64,
}

/// The policy's terms, and how far the session has got with them.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The policy's timers, limits and hours.
    pub terms: &'a Terms,
    /// The session's facts, timers and limits.
    pub progress: &'a Progress,
}

/// A decision in the making: rules are considered one after the other, scope by scope. Integers
/// only, because the kernel programs keep it in a map: the verifier forgets what it knew of a
/// value that comes from there, and so has one state to follow instead of thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Weighing {
    /// Nanoseconds since boot.
    pub now_ns: u64,
    /// Seconds since 1970, UTC.
    pub wall_s: u64,
    /// Bytes the action moves.
    pub bytes: u64,
    /// The facts before the action, without those that have expired.
    pub before: u64,
    /// The facts after it, as far as it is decided.
    pub facts: u64,
    /// Limits that are charged, two for each scope.
    pub charges: [Charge; SCOPES * 2],
    /// For each scope the number of the rule that spoke.
    pub numbers: [u32; SCOPES],
    /// For each scope the number and one of the rule whose approval is taken as given; 0 for none. Kept
    /// from one weighing of an action to the next.
    pub approved: [u32; SCOPES],
    /// Traits of the action.
    pub traits: u32,
    /// Timers that begin anew.
    pub timers: u16,
    /// Limits whose count begins anew, before `charges`.
    pub renew: u16,
    /// A [`Verdict`].
    pub verdict: u8,
    /// A [`Reason`].
    pub reason: u8,
    /// The tool that begins, counted from 1; 0 for none.
    pub tool: u8,
    /// The scope that is asked.
    pub scope: u8,
    /// Bits of [`Weighing::CLAIMED`], [`Weighing::SETTLED`] and [`Weighing::REVOKE`].
    pub flags: u8,
    /// Whether a person is or was asked: [`Weighing::NOBODY_ASKED`] and those behind it.
    pub hold: u8,
    /// How the connection goes that is allowed: bits of [`Rule::RELAYED`], of all scopes.
    pub route: u8,
    /// Padding, zero.
    pub reserved: u8,
    /// How many seconds the action waits for approval, where it does.
    pub wait_s: u32,
    /// Padding, zero.
    pub padding: u32,
}

assert_layout!(Weighing, size 224, charges at 40, numbers at 168, approved at 184, traits at 200, timers at 204, verdict at 208, flags at 212, wait_s at 216);

/// The number of no rule.
pub const NO_RULE: u32 = u32::MAX;

impl Weighing {
    /// A rule that allows has spoken of the object.
    pub const CLAIMED: u8 = 1;
    /// No later rule of the scope can change the decision.
    pub const SETTLED: u8 = 2;
    /// The session's permission ends with this.
    pub const REVOKE: u8 = 4;
    /// In an answer of [`Weighing::consider`]: the next entry belongs to the same list.
    pub const MORE: u8 = 8;
    /// Nothing is done anew: what was allowed before goes on, or does not.
    pub const LOOK: u8 = 16;
    /// It is only tried what would become of the action.
    pub const TRY: u8 = 32;
    /// No approval is missing: it was given for what the action is part of.
    pub const GRANTED: u8 = 64;

    /// Nobody.
    pub const NOBODY_ASKED: u8 = 0;
    /// The denial is told with the question's number.
    pub const ASKS: u8 = 1;
    /// The action waits, and that was told when the question was asked.
    pub const TOLD: u8 = 2;
    /// The same as [`Weighing::ASKS`], of a question that was asked before.
    pub const ASKED_BEFORE: u8 = 3;

    /// Somebody must be asked.
    pub const TO_ASK: u8 = 4;

    /// Nothing weighed.
    pub const EMPTY: Weighing = Weighing {
        now_ns: 0,
        wall_s: 0,
        bytes: 0,
        before: 0,
        facts: 0,
        charges: [Charge::NONE; SCOPES * 2],
        numbers: [NO_RULE; SCOPES],
        approved: [0; SCOPES],
        traits: 0,
        timers: 0,
        renew: 0,
        verdict: Verdict::Deny.wire(),
        reason: Reason::NoRule.wire(),
        tool: 0,
        scope: 0,
        flags: 0,
        hold: Self::NOBODY_ASKED,
        route: 0,
        reserved: 0,
        wait_s: 0,
        padding: 0,
    };

    /// Begins with what is true before any rule is asked. `flags` are the session's.
    #[inline(always)]
    pub fn begin(&mut self, flags: u32, standing: Standing<'_>, given: Circumstances) {
        let Standing { terms, progress } = standing;
        let facts = terms.live_facts(progress, given.now_ns);
        self.now_ns = given.now_ns;
        self.wall_s = given.wall_s;
        self.bytes = given.bytes;
        self.traits = given.traits;
        self.before = facts;
        self.facts = facts;
        let mut i = 0;
        while i < self.charges.len() {
            self.charges[i] = Charge::NONE;
            i += 1;
        }
        self.numbers = [NO_RULE; SCOPES];
        self.timers = 0;
        self.renew = 0;
        self.tool = 0;
        self.scope = 0;
        self.flags = 0;
        self.hold = Self::NOBODY_ASKED;
        self.route = 0;
        self.reserved = 0;
        self.wait_s = 0;
        self.verdict = Verdict::Deny.wire();
        self.reason = Reason::NoRule.wire();
        if flags & Session::REVOKED != 0 {
            self.reason = Reason::Revoked.wire();
            self.flags = Self::SETTLED;
        }
    }

    /// Makes of a weighing that has just begun one that changes nothing.
    #[inline(always)]
    pub fn only_try(&mut self) {
        self.flags |= Self::TRY;
    }

    /// Takes every approval as given, in a weighing that has just begun.
    #[inline(always)]
    pub fn grant(&mut self) {
        self.flags |= Self::GRANTED;
    }

    /// Takes the approval of the rule that spoke last as given, in the next weighing of the action.
    #[inline(always)]
    pub fn approve(&mut self) {
        let scope = usize::from(self.scope) & (SCOPES - 1);
        self.approved[scope] = self.numbers[scope].wrapping_add(1);
    }

    #[inline(always)]
    fn is_approved(&self, rule: &Rule) -> bool {
        let scope = usize::from(self.scope) & (SCOPES - 1);
        self.flags & Self::GRANTED != 0 || self.approved[scope] == rule.number.wrapping_add(1)
    }

    /// Considers a rule, and says how to go on: bits of [`Weighing::SETTLED`],
    /// [`Weighing::CLAIMED`] and [`Weighing::MORE`].
    #[inline(always)]
    pub fn consider(&mut self, standing: Standing<'_>, rule: &Rule) -> u8 {
        if self.flags & Self::SETTLED != 0 {
            return self.flags;
        }
        if self.traits & rule.traits == rule.traits {
            if rule.verdict == Verdict::Allow.wire() {
                self.consider_allow(standing, rule);
            } else {
                self.consider_deny(standing, rule);
            }
        }
        if rule.flags & Rule::LEVEL_END != 0 && self.flags & Self::CLAIMED != 0 {
            self.flags |= Self::SETTLED;
        }
        if rule.flags & Rule::MORE != 0 {
            self.flags | Self::MORE
        } else {
            self.flags
        }
    }

    #[inline(always)]
    fn consider_deny(&mut self, standing: Standing<'_>, rule: &Rule) {
        let holds = self.facts & rule.require == rule.require
            && self.facts & rule.forbid == 0
            && self.in_hours(standing.terms, rule);
        if holds {
            let verdict = if rule.verdict == Verdict::Kill.wire() {
                Verdict::Kill
            } else {
                Verdict::Deny
            };
            self.speak(rule, verdict, Reason::Rule);
            self.flags |= Self::SETTLED;
        }
    }

    #[inline(always)]
    fn consider_allow(&mut self, standing: Standing<'_>, rule: &Rule) {
        let first = self.flags & Self::CLAIMED == 0;
        self.flags |= Self::CLAIMED;
        let in_hours = self.in_hours(standing.terms, rule);
        let excused = rule.flags & Rule::HOURS_OR_APPROVAL != 0;
        let looks = self.flags & Self::LOOK != 0;
        let begins = !looks && rule.step != 0 && self.facts & fact_bit(rule.step) == 0;
        let renew = if begins { rule.renew } else { 0 };
        // What the rule cleared and set when it allowed is not held against it.
        let (held, left) = if looks {
            (self.facts | rule.clear, self.facts & !rule.set)
        } else {
            (self.facts, self.facts)
        };
        let reason = if self.traits & rule.refuse & TRAIT_DIRECT != 0 {
            Reason::Direct
        } else if self.traits & rule.refuse != 0 {
            Reason::Writable
        } else if held & rule.require != rule.require {
            Reason::FactMissing
        } else if left & rule.forbid != 0 {
            Reason::FactForbidden
        } else if !in_hours && !excused {
            Reason::Hours
        } else if let Some(full) = self.charge(standing, rule, renew) {
            full
        } else if rule.approval != 0
            && !(in_hours && excused)
            && held & fact_bit(rule.approval) == 0
            && !self.is_approved(rule)
        {
            Reason::ApprovalMissing
        } else {
            if !looks {
                self.facts = (self.facts & !rule.clear) | rule.set;
                self.timers |= rule.timers;
                self.renew |= renew;
                if rule.tool != 0 {
                    self.tool = rule.tool;
                }
            }
            self.route |= rule.flags & Rule::RELAYED;
            self.speak(rule, Verdict::Allow, Reason::Rule);
            self.flags |= Self::SETTLED;
            return;
        };
        // A person's yes would be enough: that weighs more than any plain denial.
        let hold = reason as u8 == Reason::ApprovalMissing as u8;
        if first || (hold && self.verdict != Verdict::Hold.wire()) {
            let verdict = if hold { Verdict::Hold } else { Verdict::Deny };
            self.speak(rule, verdict, reason);
        }
    }

    #[inline(always)]
    fn speak(&mut self, rule: &Rule, verdict: Verdict, reason: Reason) {
        self.verdict = verdict.wire();
        self.reason = reason.wire();
        self.wait_s = rule.wait_s;
        self.numbers[usize::from(self.scope) & (SCOPES - 1)] = rule.number;
    }

    #[inline(always)]
    fn in_hours(&self, terms: &Terms, rule: &Rule) -> bool {
        rule.window == 0 || terms.in_window(rule.window, self.wall_s)
    }

    /// Charges the rule's limits. The reason of the first that has no room.
    #[inline(always)]
    fn charge(&mut self, standing: Standing<'_>, rule: &Rule, renew: u16) -> Option<Reason> {
        let own = (usize::from(self.scope) & (SCOPES - 1)) * 2;
        let mut full = None;
        let mut i = 0;
        while i < 2 {
            let mut charge = Charge::NONE;
            let limit = rule.limits[i];
            if limit != 0 {
                let at = (usize::from(limit) - 1) & (LIMITS - 1);
                let before = if (self.renew | renew) & (1 << at) != 0 {
                    0
                } else {
                    standing.progress.limits[at]
                };
                let asked = &standing.terms.limits[at];
                let (has_room, value) = asked.charge(before, self.now_ns, self.bytes);
                let looks = self.flags & Self::LOOK != 0;
                charge.limit = u32::from(limit);
                charge.value = value;
                if full.is_none() && !has_room && (!looks || asked.kind == Limit::BYTES) {
                    full = Some(asked.reason());
                }
            }
            self.charges[own + i] = charge;
            i += 1;
        }
        full
    }

    /// Notes that a rule could not be read, which is a denial.
    #[inline(always)]
    pub fn unreadable(&mut self) -> u8 {
        if self.flags & Self::SETTLED == 0 {
            self.verdict = Verdict::Deny.wire();
            self.reason = Reason::Unreadable.wire();
            self.flags |= Self::SETTLED;
        }
        self.flags
    }

    /// Whether the scope that was asked allows.
    #[inline(always)]
    pub fn allows(&self) -> bool {
        self.verdict == Verdict::Allow.wire()
    }

    /// Goes on to the next scope: what the ones before have allowed, it may still refuse.
    #[inline(always)]
    pub fn next_scope(&mut self) {
        self.scope += 1;
        self.flags &= !(Self::CLAIMED | Self::SETTLED);
        self.verdict = Verdict::Deny.wire();
        self.reason = Reason::NoRule.wire();
    }

    /// Ends the weighing: an action that is not allowed changes nothing, and what it brings upon
    /// the session besides is decided.
    #[inline(always)]
    pub fn finish(&mut self, terms: &Terms) {
        if self.allows() {
            return;
        }
        self.facts = self.before;
        self.tool = 0;
        let (verdict, revoke) = terms.follow(self.verdict, self.reason);
        self.verdict = verdict;
        if revoke {
            self.flags |= Self::REVOKE;
        }
    }

    /// Whether what was decided changes the session's progress.
    #[inline(always)]
    pub fn changes(&self, progress: &Progress) -> bool {
        let mut charged = 0;
        let mut i = 0;
        while i < self.charges.len() {
            charged |= self.charges[i].limit;
            i += 1;
        }
        self.allows()
            && self.flags & (Self::LOOK | Self::TRY) == 0
            && (self.facts != progress.facts || self.timers != 0 || self.renew != 0 || charged != 0)
    }

    /// Whether the chain is complete with this action, and the session's permission ends with that.
    #[inline(always)]
    pub fn completes(&self, terms: &Terms) -> bool {
        terms.flags & Terms::COMPLETION_REVOKE != 0
            && self.flags & Self::TRY == 0
            && terms.completion & self.facts & !self.before != 0
    }

    /// Writes what was decided. For an action that is allowed, and by nobody else at the same time.
    #[inline(always)]
    pub fn apply(&self, progress: &mut Progress, terms: &Terms) {
        progress.version = progress.version.wrapping_add(1);
        progress.facts = self.facts;
        let mut i = 0;
        while i < TIMERS {
            if self.timers & (1 << i) != 0 {
                progress.deadlines[i] = self.now_ns.saturating_add(terms.timers[i].lifetime_ns);
            }
            i += 1;
        }
        i = 0;
        while i < LIMITS {
            if self.renew & (1 << i) != 0 {
                progress.limits[i] = 0;
            }
            i += 1;
        }
        i = 0;
        while i < self.charges.len() {
            let charge = self.charges[i];
            let at = (charge.limit as usize).wrapping_sub(1) & (LIMITS - 1);
            // Where the bytes are counted as they go, others count at the same time.
            let is_counted = terms.limits[at].kind == Limit::BYTES && self.bytes == 0;
            if charge.limit != 0 && !is_counted {
                progress.limits[at] = charge.value;
            }
            i += 1;
        }
    }

    /// The budgets of bytes that the action draws on, a bit for each limit.
    #[inline(always)]
    pub fn budgets(&self, terms: &Terms) -> u16 {
        let mut budgets = 0;
        let mut i = 0;
        while i < self.charges.len() {
            let limit = self.charges[i].limit;
            let at = (limit as usize).wrapping_sub(1) & (LIMITS - 1);
            if limit != 0 && terms.limits[at].kind == Limit::BYTES {
                budgets |= 1 << at;
            }
            i += 1;
        }
        budgets
    }

    /// The number of the rule that decided.
    #[inline(always)]
    pub fn number(&self) -> u32 {
        self.numbers[usize::from(self.scope) & (SCOPES - 1)]
    }

    /// The number of the agent's own rule, which a step of the chain is made of.
    #[inline(always)]
    pub const fn agents_number(&self) -> u32 {
        self.numbers[0]
    }
}

/// The bit of a fact that is counted from 1.
#[inline(always)]
const fn fact_bit(number: u8) -> u64 {
    1 << (number.wrapping_sub(1) & 63)
}

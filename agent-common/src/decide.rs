//! The decision: what becomes of an action of a session.
//!
//! The kernel programs call the functions of this file, and so do `policy test`, `explain` and the
//! reference tests: what is tried offline is what runs in the kernel.
//!
//! An object has a short list of rules, the most specific first. A rule that denies speaks when its
//! conditions hold. A rule that allows speaks of its object whether or not its conditions hold: once
//! one has spoken, no less specific rule is asked. Of the rules of one level any may allow.

use crate::session::Session;
use crate::terms::{LIMITS, Limit, Progress, TIMERS, Terms};
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
        /// It is recorded, and takes effect: the policy is only watched.
        Audit = 4 => "audit",
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
        /// It came too soon after others: the rate has no room.
        Limit = 9 => "limit reached",
        /// It is not the hour for it.
        Hours = 10 => "outside hours",
        /// The session could have written the program it wants to run.
        Writable = 11 => "program is writable",
        /// Other actions of the session changed its facts again and again meanwhile.
        Busy = 12 => "session is busy",
        /// The policy does not give the session this privilege.
        Privilege = 16 => "privilege missing",
        /// The program is no file that has a name: memory, or removed since it was opened.
        Nameless = 20 => "program has no name",
        /// The program would begin a tool inside as many as can be kept apart.
        Nested = 21 => "too many tools inside one another",
        /// It is the enforcer's own, which no policy gives to a session.
        Protected = 24 => "protected",
        /// Somebody was asked and said no.
        ApprovalRefused = 28 => "approval refused",
        /// Somebody is asked; what cannot wait for the answer can be tried again after it.
        ApprovalPending = 29 => "approval pending",
        /// Somebody was asked, and nobody answered in time.
        ApprovalLate = 30 => "no answer in time",
        /// There is no room for another question.
        Questions = 31 => "too many open questions",
        /// A budget of how many or of bytes is used up.
        Spent = 25 => "budget spent",
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

/// Traits that stand for argument patterns, counted from bit 0.
pub const ARGUMENT_TRAITS: u32 = 31;

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
    /// Padding, zero.
    pub reserved: [u8; 2],
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
        reserved: [0; 2],
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
        self.reserved = [0; 2];
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
        let reason = if self.traits & rule.refuse != 0 {
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

/// Asks the lists of one scope in their order until one has spoken. `ask_list` asks one of them.
#[inline(always)]
pub fn ask(lists: impl Iterator<Item = u32>, mut ask_list: impl FnMut(u32) -> u8) {
    for list in lists {
        if list != NO_LIST && ask_list(list) & (Weighing::SETTLED | Weighing::CLAIMED) != 0 {
            return;
        }
    }
}

/// Asks the rules of one list, which begins at an index. `consider` weighs the rule of an index and
/// answers as [`Weighing::consider`] does, and so does this.
#[inline(always)]
pub fn ask_list(list: u32, mut consider: impl FnMut(u32) -> u8) -> u8 {
    let mut answer = 0;
    let mut i = 0;
    while i < MAX_ALTERNATIVES {
        answer = consider(list.wrapping_add(i));
        if answer & Weighing::SETTLED != 0 || answer & Weighing::MORE == 0 {
            break;
        }
        i += 1;
    }
    answer
}

/// Whether a rule allows its object to everybody at all times, and nothing changes by it. Then
/// there is nothing to weigh: what [`ask`] would say of a list that begins with it is known.
#[inline(always)]
pub const fn allows_always(rule: &Rule) -> bool {
    rule.verdict == Verdict::Allow.wire()
        && (rule.require | rule.forbid | rule.set | rule.clear) == 0
        && (rule.traits | rule.refuse) == 0
        && rule.approval == 0
        && rule.window == 0
        && rule.tool == 0
        && rule.limits[0] == 0
        && rule.limits[1] == 0
        && rule.step == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Weighs one list in one scope.
    fn weigh(flags: u32, progress: &Progress, traits: u32, list: &[Rule]) -> Weighing {
        weigh_as(false, flags, progress, traits, list)
    }

    fn weigh_as(
        looks: bool,
        flags: u32,
        progress: &Progress,
        traits: u32,
        list: &[Rule],
    ) -> Weighing {
        let standing = Standing {
            terms: &Terms::NONE,
            progress,
        };
        let mut weighing = Weighing::EMPTY;
        let circumstances = Circumstances {
            traits,
            ..Circumstances::default()
        };
        weighing.begin(flags, standing, circumstances);
        if looks {
            weighing.flags |= Weighing::LOOK;
        }
        ask_list(0, |index| match list.get(index as usize) {
            Some(rule) => weighing.consider(standing, rule),
            None => weighing.unreadable(),
        });
        weighing.finish(standing.terms);
        weighing
    }

    prop_compose! {
        /// A rule of which most fields are mostly empty.
        fn rule()(
            masks in any::<[u64; 4]>(),
            small in any::<[u8; 10]>(),
            few in any::<u16>(),
        ) -> Rule {
            let kept = |bit: u16, value: u8| if few >> bit & 7 == 7 { value } else { 0 };
            let mask = |bit: u16, value: u64| if few >> bit & 7 == 7 { value } else { 0 };
            Rule {
                require: mask(0, masks[0]),
                forbid: mask(1, masks[1]),
                set: mask(2, masks[2]),
                clear: mask(3, masks[3]),
                number: 7,
                traits: u32::from(kept(4, small[0])),
                refuse: u32::from(kept(5, small[1])),
                renew: u16::from(small[2]),
                verdict: small[3] & 1,
                approval: kept(6, small[4]),
                window: kept(7, small[5]),
                tool: kept(8, small[6]),
                limits: [kept(9, small[7]), 0],
                flags: small[8] & (Rule::LEVEL_END | Rule::HOURS_OR_APPROVAL),
                step: kept(10, small[9]),
                timers: 0,
                wait_s: 0,
                reserved: 0,
            }
        }
    }

    proptest! {
        #[test]
        fn what_always_allows_is_allowed_and_changes_nothing(
            rule in rule(), facts: u64, traits: u32, revoked: bool,
        ) {
            let flags = if revoked { Session::REVOKED } else { 0 };
            let progress = Progress { facts, ..Progress::START };
            let weighing = weigh(flags, &progress, traits, &[rule]);
            if allows_always(&rule) {
                prop_assert_eq!(weighing.allows(), !revoked);
                prop_assert!(!weighing.changes(&progress));
            }
        }

        #[test]
        fn what_is_not_allowed_changes_nothing(rule in rule(), facts: u64, traits: u32) {
            let progress = Progress { facts, ..Progress::START };
            let weighing = weigh(0, &progress, traits, &[rule]);
            if !weighing.allows() {
                prop_assert_eq!(weighing.facts, facts);
                prop_assert!(!weighing.changes(&progress));
            }
        }

        #[test]
        fn what_was_allowed_goes_on_and_changes_nothing(rule in rule(), facts: u64, traits: u32) {
            let mut progress = Progress { facts, ..Progress::START };
            let first = weigh(0, &progress, traits, &[rule]);
            if first.allows() {
                first.apply(&mut progress, &Terms::NONE);
                let again = weigh_as(true, 0, &progress, traits, &[rule]);
                prop_assert!(again.allows(), "{again:?}");
                prop_assert!(!again.changes(&progress));
                // What nobody has done to it takes the permission away.
                let lost = rule.require & !rule.clear & !rule.set;
                if lost != 0 {
                    progress.facts &= !lost;
                    prop_assert!(!weigh_as(true, 0, &progress, traits, &[rule]).allows());
                }
            }
        }

        #[test]
        fn a_list_that_breaks_off_denies(mut rule in rule(), facts: u64) {
            rule.verdict = Verdict::Deny.wire();
            rule.forbid = facts | 1;
            rule.flags |= Rule::MORE;
            let progress = Progress { facts: facts | 1, ..Progress::START };
            let weighing = weigh(0, &progress, u32::MAX, &[rule]);
            prop_assert_eq!(weighing.reason, Reason::Unreadable.wire());
        }
    }
}

//! The decision: what becomes of an action of a session.
//!
//! The kernel programs call the functions of this module, and so do `policy test`, `explain` and the
//! reference tests: what is tried offline is what runs in the kernel.
//!
//! An object has a short list of rules, the most specific first. A rule that denies speaks when its
//! conditions hold. A rule that allows speaks of its object whether or not its conditions hold: once
//! one has spoken, no less specific rule is asked. Of the rules of one level any may allow.

mod rule;
mod weighing;

use crate::wire::wire_enum;
pub use rule::{
    ARGUMENT_TRAITS, Charge, LISTS, MAX_ALTERNATIVES, NO_LIST, Rule, SCOPES, TRAIT_DIRECT,
    TRAIT_WRITABLE,
};
pub use weighing::{Circumstances, NO_RULE, Standing, Weighing};

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
        /// A lookup in a network namespace in which nobody answers.
        NoResolver = 32 => "no resolver in this network namespace",
        /// The rule wants connections to go through the relay, and this goes elsewhere.
        Direct = 33 => "not through the relay",
        /// A connection for the relay in a network namespace in which there is none.
        NoRelay = 34 => "no relay in this network namespace",
    }
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
    use crate::session::Session;
    use crate::terms::{Progress, Terms};
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

//! The decision about what the running task attempts, in functions that the verifier checks once.
//!
//! They are global functions: the verifier looks at each of them alone, with arguments it knows
//! nothing of, instead of following every caller through them. So they take numbers only, and find
//! the task's place in the maps by themselves. What they work on lies in the task's own entry, and
//! only the task's own programs touch it.

use super::member::Member;
use super::progress::Shared;
use super::state;
use super::task::Task;
use crate::kernel::record::now;
use crate::maps::{BOOTED, RULES, TERMS};
use agent_common::decide::{
    ARGUMENT_TRAITS, Circumstances, LISTS, MAX_ALTERNATIVES, NO_LIST, Rule, SCOPES, Standing,
    TRAIT_WRITABLE, Verdict, Weighing, ask, ask_list,
};
use agent_common::session::Cause;
use agent_common::terms::Terms;

const NS: u64 = 1_000_000_000;

/// [`weigh_once`] has decided.
pub(super) const DECIDED: u32 = 0;
/// Somebody changed the session's progress meanwhile.
pub(super) const AGAIN: u32 = 1;
/// Something that must be there is not.
const LOST: u32 = 2;

/// Whoever only looks asks whether what was allowed may go on.
pub const LOOK: u32 = Weighing::LOOK as u32;
/// Whoever only tries changes nothing.
pub const TRY: u32 = Weighing::TRY as u32;
/// No approval is missing.
pub const GRANTED: u32 = Weighing::GRANTED as u32;
/// Nobody is asked for an approval.
pub const QUIET: u32 = 1 << 8;

/// Whoever only tries uses up what is good for one action, and carries it until the action takes effect.
pub const CLAIM: u32 = 1 << 9;

/// How often a decision is made anew because others came first.
const ATTEMPTS: u32 = 64;

/// How a weighing ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The task's entry holds the decision.
    Decided,
    /// Others changed the session's progress again and again.
    Busy,
    /// Something that must be there is not.
    Lost,
}

/// Decides what becomes of the running task's attempt, of which its entry holds the lists of
/// rules, and keeps what follows from it. `how` are bits of [`LOOK`] and its like.
#[inline(always)]
pub fn weigh(traits: u32, bytes: u64, how: u32) -> Outcome {
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        match weigh_once(traits, bytes, how) {
            DECIDED => return Outcome::Decided,
            AGAIN => attempt += 1,
            _ => return Outcome::Lost,
        }
    }
    Outcome::Busy
}

/// Where everything lies that a decision of the running task needs.
#[derive(Clone, Copy)]
struct Bench {
    member: Member,
    flags: u32,
    terms: &'static Terms,
    shared: Shared,
}

impl Bench {
    #[inline(always)]
    fn of_current() -> Option<Self> {
        let member = Task::current().member()?;
        let label = member.label();
        let session = state::of(label)?;
        Some(Self {
            member,
            flags: session.flags,
            terms: TERMS.get(member.policy())?,
            shared: Shared::of(label.slot)?,
        })
    }

    #[inline(always)]
    fn standing(&self) -> Standing<'static> {
        Standing {
            terms: self.terms,
            progress: self.shared.look(),
        }
    }
}

/// What the lists of all scopes say of an object before anything is weighed. Masks, and no
/// booleans: 5.10's verifier would follow every combination of those to the end of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    any: u32,
    all: u32,
}

impl Survey {
    /// A rule speaks of the object whose traits are arguments.
    const ARGUMENTS: u32 = 1;
    /// A rule refuses what the session can write.
    const REFUSES_WRITABLE: u32 = 2;
    /// There is a rule that allows.
    const ALLOWS: u32 = 4;
    /// There is one whose facts hold.
    const ALLOWS_NOW: u32 = 8;
    /// The next rule belongs to the same list.
    const MORE: u32 = 16;
    /// A rule needs an approval.
    const APPROVAL: u32 = 32;

    /// Looks into the lists in the running task's entry.
    #[inline(always)]
    pub fn of(member: Member) -> Self {
        let mut survey = Self {
            any: 0,
            all: u32::MAX,
        };
        let mut scope = 0;
        while scope < SCOPES {
            if member.tool(scope).is_none() {
                break;
            }
            let found = survey_scope(scope as u32);
            survey.any |= found;
            survey.all &= found;
            scope += 1;
        }
        survey
    }

    /// Whether the arguments of a program can decide.
    #[inline(always)]
    pub fn asks_for_arguments(self) -> bool {
        self.any & Self::ARGUMENTS != 0
    }

    /// Whether somebody may have to be asked.
    #[inline(always)]
    pub fn asks_for_approval(self) -> bool {
        self.any & Self::APPROVAL != 0
    }

    /// Whether it matters that the session can write the program.
    #[inline(always)]
    pub fn refuses_writable(self) -> bool {
        self.any & Self::REFUSES_WRITABLE != 0
    }

    /// Whether the object could be allowed, whatever the action's traits; where facts may change
    /// before it is decided, whatever the session's facts.
    #[inline(always)]
    pub fn could_be_allowed(self, facts_may_change: bool) -> bool {
        let wanted = if facts_may_change {
            Self::ALLOWS
        } else {
            Self::ALLOWS_NOW
        };
        self.all & wanted != 0
    }
}

/// Whether a list in the agent's own scope has a rule that allows.
#[inline(always)]
pub fn allows_something() -> bool {
    survey_scope(0) & Survey::ALLOWS != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn survey_scope(scope: u32) -> u32 {
    let Some(member) = Task::current().member() else {
        return 0;
    };
    let lists = member.lists(scope as usize);
    let mut found = 0;
    let mut i = 0;
    while i < LISTS {
        if lists[i] != NO_LIST {
            found |= survey_list(lists[i]);
        }
        i += 1;
    }
    found
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn survey_list(list: u32) -> u32 {
    let mut found = 0;
    let mut i = 0;
    while i < MAX_ALTERNATIVES {
        let rule = survey_rule(list.wrapping_add(i));
        found |= rule;
        if rule & Survey::MORE == 0 {
            break;
        }
        i += 1;
    }
    found
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn survey_rule(index: u32) -> u32 {
    const ARGUMENTS: u32 = (1 << ARGUMENT_TRAITS) - 1;
    let Some((bench, rule)) = Bench::of_current().zip(RULES.get(index)) else {
        return 0;
    };
    let mut found = 0;
    if rule.traits & ARGUMENTS != 0 {
        found |= Survey::ARGUMENTS;
    }
    if rule.approval != 0 {
        found |= Survey::APPROVAL;
    }
    if rule.refuse & TRAIT_WRITABLE != 0 {
        found |= Survey::REFUSES_WRITABLE;
    }
    if rule.verdict == Verdict::Allow.wire() {
        found |= Survey::ALLOWS;
        let facts = bench.terms.live_facts(bench.shared.look(), now());
        if facts & rule.require == rule.require && facts & rule.forbid == 0 {
            found |= Survey::ALLOWS_NOW;
        }
    }
    if rule.flags & Rule::MORE != 0 {
        found |= Survey::MORE;
    }
    found
}

/// Three parts, and none of them both calls and counts: before 6.4 a verifier that meets a call on
/// its way back distrusts every number of the function, and follows each to the end.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn weigh_once(traits: u32, bytes: u64, how: u32) -> u32 {
    let version = weigh_begin(traits, bytes, how);
    if version == NO_VERSION {
        return LOST;
    }
    let Some(member) = Task::current().member() else {
        return LOST;
    };
    let weighing = member.weighing();
    let mut scope = 0;
    loop {
        let lists = member.lists(scope);
        ask(lists.iter().copied(), |list| weigh_list(list) as u8);
        scope += 1;
        if scope >= SCOPES || !weighing.allows() || member.tool(scope).is_none() {
            break;
        }
        weighing.next_scope();
    }
    weigh_end(version as u32)
}

/// What [`weigh_begin`] answers where something is missing: versions have 32 bits.
const NO_VERSION: u64 = u64::MAX;

/// Notes what is true before any rule is asked. Answers the version of the progress that it saw.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weigh_begin(traits: u32, bytes: u64, how: u32) -> u64 {
    let Some(bench) = Bench::of_current() else {
        return NO_VERSION;
    };
    let version = bench.shared.version();
    let now_ns = now();
    let booted = BOOTED.get(0).map_or(0, |seconds| *seconds);
    bench.member.weighing().begin(
        bench.flags,
        bench.standing(),
        Circumstances {
            now_ns,
            wall_s: booted.wrapping_add(now_ns / NS),
            traits,
            bytes,
        },
    );
    // Side by side, and not one after the other: the verifier would follow each combination.
    let weighing = bench.member.weighing();
    weighing.flags |= (how & (LOOK | TRY | GRANTED)) as u8;
    u64::from(version)
}

/// Keeps what follows from the decision, if nobody came first.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weigh_end(version: u32) -> u32 {
    let Some(bench) = Bench::of_current() else {
        return LOST;
    };
    let weighing = bench.member.weighing();
    weighing.finish(bench.terms);
    let done = if weighing.changes(bench.shared.look()) {
        bench.shared.commit(version, weighing, bench.terms)
    } else {
        bench.shared.version() == version
    };
    if done && weighing.completes(bench.terms) {
        state::revoke(bench.member.label(), Cause::Completion);
    }
    if done { DECIDED } else { AGAIN }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weigh_list(list: u32) -> u32 {
    u32::from(ask_list(list, |index| weigh_rule(index) as u8))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weigh_rule(index: u32) -> u32 {
    let Some(bench) = Bench::of_current() else {
        return u32::from(Weighing::SETTLED);
    };
    let weighing = bench.member.weighing();
    let answer = match RULES.get(index) {
        Some(rule) => weighing.consider(bench.standing(), rule),
        None => weighing.unreadable(),
    };
    u32::from(answer)
}

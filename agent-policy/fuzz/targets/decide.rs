//! Whatever lies in the tables, `decide_all` answers in a fixed number of steps, and its answers keep
//! what must always hold. Rules, terms and progress are arbitrary: also such as no compiler writes.

#![no_main]

use agent_common::decide::{
    Decision, MAX_ALTERNATIVES, Reason, Rule, Verdict, View, Weighing, decide_all,
};
use agent_common::session::Session;
use agent_common::terms::{LIMITS, Limit, Progress, TIMERS, Terms, Timer, WINDOWS, Window};
use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// One action of a trace.
#[derive(Arbitrary, Debug)]
struct Step {
    later_ns: u64,
    wall_s: u64,
    traits: u32,
    bytes: u64,
    lists: u8,
}

#[derive(Debug)]
struct Input {
    facts: u64,
    revoked: bool,
    terms: Terms,
    progress: Progress,
    lists: Vec<Vec<Rule>>,
    steps: Vec<Step>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(from: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            facts: from.arbitrary()?,
            revoked: from.ratio(1, 16)?,
            terms: terms(from)?,
            progress: progress(from)?,
            lists: (0..from.int_in_range(0..=4)?)
                .map(|_| {
                    (0..from.int_in_range(0..=18)?)
                        .map(|_| rule(from))
                        .collect()
                })
                .collect::<Result<_>>()?,
            steps: (0..from.int_in_range(1..=12)?)
                .map(|_| from.arbitrary())
                .collect::<Result<_>>()?,
        })
    }
}

/// Mostly few bits, so that masks meet.
fn mask(from: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match from.int_in_range(0..=4)? {
        0 | 1 => 0,
        2 | 3 => u64::from(from.arbitrary::<u8>()?),
        _ => from.arbitrary()?,
    })
}

/// An index and one: 0, one in range, or any.
fn index(from: &mut Unstructured<'_>, most: u8) -> Result<u8> {
    Ok(match from.int_in_range(0..=3)? {
        0 | 1 => 0,
        2 => from.int_in_range(1..=most)?,
        _ => from.arbitrary()?,
    })
}

fn rule(from: &mut Unstructured<'_>) -> Result<Rule> {
    let traits = |from: &mut Unstructured<'_>| -> Result<u32> {
        if from.ratio(3, 4)? {
            Ok(0)
        } else {
            from.arbitrary()
        }
    };
    Ok(Rule {
        require: mask(from)?,
        forbid: mask(from)?,
        set: mask(from)?,
        clear: mask(from)?,
        traits: traits(from)?,
        refuse: traits(from)?,
        renew: from.arbitrary()?,
        verdict: if from.ratio(3, 4)? {
            0
        } else {
            from.arbitrary()?
        },
        approval: index(from, 64)?,
        window: index(from, 8)?,
        tool: from.arbitrary()?,
        limits: [index(from, 16)?, index(from, 16)?],
        flags: from.arbitrary()?,
        step: index(from, 64)?,
        ..Rule::always(Verdict::Allow, from.arbitrary()?)
    })
}

fn terms(from: &mut Unstructured<'_>) -> Result<Terms> {
    let mut terms = Terms::NONE;
    for i in 0..from.int_in_range(0..=TIMERS)? {
        terms.timers[i] = Timer {
            lifetime_ns: from.arbitrary()?,
            fact: mask(from)?,
        };
    }
    for i in 0..from.int_in_range(0..=LIMITS)? {
        let small = from.arbitrary::<bool>()?;
        let amount = if small {
            from.int_in_range(0..=4)?
        } else {
            from.arbitrary()?
        };
        let kind = from.int_in_range(0..=4)?;
        terms.limits[i] = Limit {
            amount,
            burst_ns: from.arbitrary()?,
            kind,
            reserved: 0,
        };
    }
    for i in 0..from.int_in_range(0..=WINDOWS)? {
        terms.windows[i] = Window {
            offset_s: from.arbitrary()?,
            opens: from.arbitrary()?,
            closes: from.arbitrary()?,
            days: from.arbitrary()?,
        };
    }
    terms.on_deviation = from.arbitrary()?;
    Ok(terms)
}

fn progress(from: &mut Unstructured<'_>) -> Result<Progress> {
    let mut progress = Progress::START;
    if from.arbitrary()? {
        progress.deadlines = from.arbitrary()?;
        progress.limits = from.arbitrary()?;
    }
    Ok(progress)
}

fuzz_target!(|input: Input| {
    let mut session = Session {
        id: 1,
        facts: input.facts,
        ..Session::FREE
    };
    if input.revoked {
        session.flags = Session::REVOKED;
    }
    let mut progress = input.progress;
    let mut now_ns = 0u64;
    for step in &input.steps {
        now_ns = now_ns.saturating_add(step.later_ns);
        let view = View {
            session: &session,
            progress: &progress,
            terms: &input.terms,
            now_ns,
            wall_s: step.wall_s,
            traits: step.traits,
            bytes: step.bytes,
        };
        let lists = u32::from(step.lists % 6);
        let mut asked = 0;
        let mut decide = || {
            asked = 0;
            decide_all(view, lists, |list, i| {
                asked += 1;
                input.lists.get(list as usize)?.get(i as usize).copied()
            })
        };
        let decision = decide();
        assert_eq!(decide(), decision, "the same question has the same answer");
        assert!(
            asked <= lists * MAX_ALTERNATIVES,
            "{asked} rules of {lists} lists"
        );
        holds(&input.lists, lists, view, &decision);
        settled(&input.lists, view);
        session.facts = decision.facts;
        decision.apply(&mut progress, &input.terms, now_ns);
        within(&input.terms, &decision, &progress, now_ns);
        if decision.revoke {
            session.flags |= Session::REVOKED;
        }
    }
});

/// What must hold of every decision.
fn holds(lists: &[Vec<Rule>], asked: u32, view: View<'_>, decision: &Decision) {
    let live = view
        .terms
        .live_facts(view.session.facts, view.progress, view.now_ns);
    let revoked = view.session.flags & Session::REVOKED != 0;
    if decision.verdict != Verdict::Allow {
        assert_eq!(decision.facts, live, "only an allowed action changes facts");
        assert_eq!((decision.timers, decision.renew), (0, 0), "nor timers");
        assert_eq!(decision.charges, [(0, 0); 2], "nor limits");
        assert_eq!(decision.tool, 0, "nor begins a tool");
    }
    if revoked {
        assert_eq!(
            (decision.verdict, decision.reason),
            (Verdict::Deny, Reason::Revoked)
        );
        assert!(!decision.revoke);
        return;
    }
    assert_ne!(decision.reason, Reason::Revoked);
    let spoke = lists
        .iter()
        .take(asked as usize)
        .flatten()
        .filter(|rule| rule.number == decision.number)
        .filter(|rule| view.traits & rule.traits == rule.traits);
    let allows = |rule: &Rule| {
        rule.verdict == Verdict::Allow.wire()
            && live & rule.require == rule.require
            && live & rule.forbid == 0
            && view.traits & rule.refuse == 0
            && decision.facts == (live & !rule.clear) | rule.set
            && decision.tool == rule.tool
            && (rule.window == 0
                || rule.flags & Rule::HOURS_OR_APPROVAL != 0
                || view.terms.in_window(rule.window, view.wall_s))
            && [0, 1]
                .iter()
                .all(|i| decision.charges[*i].0 == rule.limits[*i])
    };
    match decision.verdict {
        Verdict::Allow => {
            assert_eq!(decision.reason, Reason::Rule);
            assert!(spoke.clone().any(allows), "no rule allows it: {decision:?}");
        }
        Verdict::Hold => {
            assert_eq!(decision.reason, Reason::ApprovalMissing);
            assert!(
                spoke.clone().any(|rule| rule.approval != 0),
                "nobody is to approve it"
            );
        }
        Verdict::Deny | Verdict::Kill => {
            assert_ne!(decision.reason, Reason::ApprovalMissing);
            let rules = lists
                .iter()
                .take(asked as usize)
                .map(Vec::len)
                .sum::<usize>();
            if rules == 0 {
                assert_eq!(decision.reason, Reason::NoRule);
            }
        }
    }
}

/// What is settled stays so, whatever rules come behind.
fn settled(lists: &[Vec<Rule>], view: View<'_>) {
    let mut weighing = Weighing::new(view);
    let mut then = weighing.is_settled().then(|| format!("{weighing:?}"));
    for rule in lists.iter().flatten() {
        let said = weighing.consider(rule);
        assert_eq!(said, weighing.is_settled());
        if said && then.is_none() {
            then = Some(format!("{weighing:?}"));
        }
        assert!(said || then.is_none(), "settled, and then open again");
    }
    weighing.unreadable();
    assert!(weighing.is_settled(), "a doubt settles");
    if let Some(then) = then {
        assert_eq!(format!("{weighing:?}"), then);
    } else {
        let decision = weighing.finish();
        assert_eq!(
            (decision.verdict, decision.reason),
            (Verdict::Deny, Reason::Unreadable)
        );
    }
}

/// No limit that was charged is beyond what it gives.
fn within(terms: &Terms, decision: &Decision, progress: &Progress, now_ns: u64) {
    for (number, _) in decision
        .charges
        .into_iter()
        .filter(|(number, _)| *number != 0)
    {
        let at = (usize::from(number) - 1) % LIMITS;
        let (limit, value) = (terms.limits[at], progress.limits[at]);
        match limit.kind {
            Limit::COUNT | Limit::BYTES => assert!(value <= limit.amount, "{limit:?}: {value}"),
            Limit::RATE => {
                let most = now_ns
                    .saturating_add(limit.burst_ns)
                    .saturating_add(limit.amount);
                assert!(value <= most, "{limit:?}: {value} at {now_ns}");
            }
            _ => panic!("a limit of no kind has no room: {limit:?}"),
        }
    }
}

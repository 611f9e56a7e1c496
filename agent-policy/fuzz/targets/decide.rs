//! Whatever lies in the tables, a weighing ends after a fixed number of steps, and its answers keep
//! what must always hold. Rules, terms and progress are arbitrary: also such as no compiler writes.

#![no_main]

use agent_common::decide::{
    Charge, Circumstances, LISTS, MAX_ALTERNATIVES, NO_LIST, NO_RULE, Reason, Rule, SCOPES,
    Standing, Verdict, Weighing, allows_always, ask, ask_list,
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
    scopes: Vec<[u8; LISTS]>,
}

#[derive(Debug)]
struct Input {
    flags: u32,
    terms: Terms,
    progress: Progress,
    rules: Vec<Rule>,
    steps: Vec<Step>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(from: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            flags: if from.ratio(1, 16)? {
                from.arbitrary()?
            } else {
                0
            },
            terms: terms(from)?,
            progress: progress(from)?,
            rules: (0..from.int_in_range(0..=40)?)
                .map(|number| rule(from, number))
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

/// Its number is its index, by which the checks find it again.
fn rule(from: &mut Unstructured<'_>, number: u32) -> Result<Rule> {
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
        ..Rule::always(Verdict::Allow, number)
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
    terms.flags = from.arbitrary()?;
    terms.completion = mask(from)?;
    Ok(terms)
}

fn progress(from: &mut Unstructured<'_>) -> Result<Progress> {
    let mut progress = Progress::START;
    progress.facts = mask(from)?;
    if from.arbitrary()? {
        progress.deadlines = from.arbitrary()?;
        progress.limits = from.arbitrary()?;
    }
    Ok(progress)
}

/// Which lists an action's scopes have: beginnings of runs of rules, or none.
fn lists<'s>(step: &'s Step, rules: usize) -> impl Iterator<Item = [u32; LISTS]> + 's {
    let list = move |byte: u8| match byte {
        200.. => NO_LIST,
        at => u32::from(at) % (u32::try_from(rules).unwrap_or(0) + 2),
    };
    let scopes = step.scopes.iter().take(SCOPES);
    scopes.map(move |scope| scope.map(list))
}

/// Weighs as the kernel programs and a trial do.
fn weigh(flags: u32, standing: Standing<'_>, step: &Step, rules: &[Rule], now_ns: u64) -> Weighing {
    let mut weighing = Weighing::EMPTY;
    let given = Circumstances {
        now_ns,
        wall_s: step.wall_s,
        traits: step.traits,
        bytes: step.bytes,
    };
    weighing.begin(flags, standing, given);
    for (number, scope) in lists(step, rules.len()).enumerate() {
        if number > 0 {
            weighing.next_scope();
        }
        let mut asked = 0;
        ask(scope.into_iter(), |list| {
            ask_list(list, |index| {
                asked += 1;
                let settled = weighing.flags & Weighing::SETTLED != 0;
                let before = weighing;
                let answer = match rules.get(index as usize) {
                    Some(rule) => weighing.consider(standing, rule),
                    None => weighing.unreadable(),
                };
                assert!(!settled || before == weighing, "settled means settled");
                answer
            })
        });
        assert!(asked <= LISTS * MAX_ALTERNATIVES as usize, "{asked} rules");
        if !weighing.allows() {
            break;
        }
    }
    weighing.finish(standing.terms);
    weighing
}

fuzz_target!(|input: Input| {
    let mut flags = input.flags;
    let mut progress = input.progress;
    let mut now_ns = 0u64;
    for step in &input.steps {
        now_ns = now_ns.saturating_add(step.later_ns);
        let standing = Standing {
            terms: &input.terms,
            progress: &progress,
        };
        let weighing = weigh(flags, standing, step, &input.rules, now_ns);
        let again = weigh(flags, standing, step, &input.rules, now_ns);
        assert_eq!(weighing, again, "the same question has the same answer");
        holds(flags, standing, step, &input.rules, &weighing);
        let before = progress;
        if weighing.changes(&progress) {
            weighing.apply(&mut progress, &input.terms);
            within(&input.terms, &weighing, &progress);
        }
        if !weighing.allows() {
            assert_eq!(progress, before, "only an allowed action changes anything");
        }
        if weighing.flags & Weighing::REVOKE != 0 {
            flags |= Session::REVOKED;
        }
    }
});

/// What must hold of every decision.
fn holds(flags: u32, standing: Standing<'_>, step: &Step, rules: &[Rule], weighing: &Weighing) {
    let live = standing
        .terms
        .live_facts(standing.progress, weighing.now_ns);
    assert_eq!(weighing.before, live);
    let verdict = Verdict::from_wire(weighing.verdict).expect("a verdict");
    let reason = Reason::from_wire(weighing.reason).expect("a reason");
    if flags & Session::REVOKED != 0 {
        assert_eq!((verdict, reason), (Verdict::Deny, Reason::Revoked));
        assert_eq!(weighing.flags & Weighing::REVOKE, 0);
        return;
    }
    assert_ne!(reason, Reason::Revoked);
    let spoke: Vec<Option<&Rule>> = weighing
        .numbers
        .iter()
        .map(|number| rules.get(*number as usize))
        .collect();
    match verdict {
        Verdict::Allow => {
            assert_eq!(reason, Reason::Rule);
            allowed(standing.terms, step, &spoke, weighing);
        }
        Verdict::Hold => {
            assert_eq!(reason, Reason::ApprovalMissing);
            let rule = spoke[usize::from(weighing.scope)].expect("a rule that wants approval");
            assert_ne!(rule.approval, 0, "nobody is to approve it");
        }
        Verdict::Deny | Verdict::Kill => {
            assert_ne!(reason, Reason::ApprovalMissing);
            assert_eq!((weighing.facts, weighing.tool), (live, 0));
        }
        Verdict::Audit => panic!("a weighing never says what only a watched policy does"),
    }
    first_always_allows(step, rules, weighing);
}

/// An action is allowed by a rule in every scope, each on the facts that the ones before it left.
fn allowed(terms: &Terms, step: &Step, spoke: &[Option<&Rule>], weighing: &Weighing) {
    let scopes = usize::from(weighing.scope) + 1;
    assert_eq!(
        scopes,
        step.scopes.len().min(SCOPES),
        "a scope was not asked"
    );
    let mut facts = weighing.before;
    for (scope, rule) in spoke.iter().take(scopes).enumerate() {
        let rule = rule.expect("an allowed action has its rule");
        assert_eq!(rule.verdict, Verdict::Allow.wire());
        assert_eq!(facts & rule.require, rule.require);
        assert_eq!(facts & rule.forbid, 0);
        assert_eq!(step.traits & rule.traits, rule.traits);
        assert_eq!(step.traits & rule.refuse, 0);
        let open = rule.window == 0 || terms.in_window(rule.window, step.wall_s);
        assert!(
            open || rule.flags & Rule::HOURS_OR_APPROVAL != 0,
            "outside its hours"
        );
        let excused = open && rule.flags & Rule::HOURS_OR_APPROVAL != 0;
        if rule.approval != 0 && !excused {
            assert_ne!(facts & 1 << ((rule.approval - 1) & 63), 0, "not approved");
        }
        for (limit, charge) in rule.limits.iter().zip(&weighing.charges[scope * 2..]) {
            assert_eq!(charge.limit, u32::from(*limit), "a limit is not charged");
        }
        facts = (facts & !rule.clear) | rule.set;
    }
    assert_eq!(weighing.facts, facts);
    for charge in &weighing.charges[scopes * 2..] {
        assert_eq!(
            *charge,
            Charge::NONE,
            "a scope that was not asked is charged"
        );
    }
}

/// The short way of the kernel programs: what always allows needs no weighing.
fn first_always_allows(step: &Step, rules: &[Rule], weighing: &Weighing) {
    let mut scopes = lists(step, rules.len());
    let (Some(scope), None) = (scopes.next(), scopes.next()) else {
        return;
    };
    let first = scope.iter().find(|list| **list != NO_LIST);
    if let Some(rule) = first.and_then(|list| rules.get(*list as usize))
        && allows_always(rule)
    {
        assert!(weighing.allows() && weighing.facts == weighing.before);
        assert_eq!((weighing.timers, weighing.renew), (0, 0));
        assert_ne!(weighing.number(), NO_RULE);
    }
}

/// No limit that was charged is beyond what it gives.
fn within(terms: &Terms, weighing: &Weighing, progress: &Progress) {
    for charge in weighing.charges.iter().filter(|charge| charge.limit != 0) {
        let at = (charge.limit as usize - 1) % LIMITS;
        let (limit, value) = (terms.limits[at], progress.limits[at]);
        match limit.kind {
            Limit::COUNT | Limit::BYTES => assert!(value <= limit.amount, "{limit:?}: {value}"),
            Limit::RATE => {
                let ahead = limit.burst_ns.saturating_add(limit.amount);
                let most = weighing.now_ns.saturating_add(ahead);
                assert!(value <= most, "{limit:?}: {value}");
            }
            _ => panic!("a limit of no kind has no room: {limit:?}"),
        }
    }
}

//! The meaning of policies, tested against an executable definition: random policies and random
//! traces are judged by [`model`], which is slow and obvious, and by the compiled tables.
//!
//! `INTERLOCK_PAIRS` sets how many pairs of a policy and a trace are drawn.

mod draw;
mod model;

use agent_policy::{Action, Instant, Trial, parse};

use draw::Draw;
use model::{Model, Step};

const TRACES: u64 = 10;
/// Policies between two words of progress.
const TOLD: u64 = 10_000;

#[test]
fn compiled_tables_agree_with_the_model() {
    let pairs: u64 = std::env::var("INTERLOCK_PAIRS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000);
    let seed: u64 = std::env::var("INTERLOCK_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let mut seen = std::collections::BTreeMap::new();
    let mut refused = 0;
    for i in 0..pairs.div_ceil(TRACES) {
        if i > 0 && i % TOLD == 0 {
            eprintln!("{} of {pairs} pairs agree", i * TRACES);
        }
        let mut draw = Draw::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i));
        let text = draw.policy();
        let policies =
            parse("drawn.yaml", text.as_bytes()).unwrap_or_else(|e| panic!("{text}\n{e}"));
        let compiled = match policies[0].compile() {
            Ok(compiled) => compiled,
            // Some draws are beyond a stated bound; too many of them would be no test.
            Err(_) => {
                refused += 1;
                continue;
            }
        };
        for _ in 0..TRACES {
            let start = draw.start();
            let mut trial = Trial::start(&compiled, start);
            let mut model = Model::start(&policies[0], start);
            let mut at = start;
            let mut told = String::new();
            for step in draw.trace(&policies[0]) {
                match step {
                    Step::Wait(seconds) => {
                        at = Instant {
                            now_ns: at.now_ns + seconds * 1_000_000_000,
                            wall_s: at.wall_s + seconds,
                        };
                        told += &format!("wait {seconds}\n");
                    }
                    Step::Approve(number) => {
                        model.approve(number, at);
                        approve(&mut trial, &compiled, &policies[0], number, at);
                        told += &format!("approve {number}\n");
                    }
                    Step::Attempt {
                        action,
                        tool,
                        bytes,
                    } => {
                        let expected = model.attempt(&action, tool, at, bytes);
                        let found = trial.attempt(&action, tool, at, bytes);
                        told += &format!("{action:?} in {tool:?}: {expected:?}\n");
                        let found = (
                            found.decision.verdict,
                            found.decision.reason,
                            trial.facts(at),
                        );
                        let expected = (expected.0, expected.1, model.facts(&compiled.facts, at));
                        assert_eq!(
                            found, expected,
                            "seed {seed} policy {i}\n{text}\n{told}\n{compiled:#?}"
                        );
                        let kind = format!("{}: {}", found.0, found.1);
                        let by_name = matches!(action, Action::Host { .. });
                        for kind in [
                            by_name.then(|| format!("by name {kind}")),
                            tool.map(|_| format!("in a tool {kind}")),
                            Some(kind),
                        ] {
                            *kind.map_or(&mut 0, |kind| seen.entry(kind).or_insert(0u64)) += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{pairs} pairs, {refused} policies refused, {seen:#?}");
    assert!(
        refused * 20 < pairs.div_ceil(TRACES),
        "{refused} policies refused"
    );
    // A test that never reaches a verdict shows nothing about it.
    for kind in [
        "allow: rule",
        "deny: rule",
        "deny: no rule",
        "deny: fact missing",
        "deny: fact forbidden",
        "deny: limit reached",
        "deny: budget spent",
        "deny: outside hours",
        "deny: program is writable",
        "deny: revoked",
        "deny: privilege missing",
        "hold: approval missing",
        "kill: rule",
        "kill: no rule",
        "by name allow: rule",
        "by name deny: rule",
        "by name hold: approval missing",
        "in a tool allow: rule",
        "in a tool deny: fact missing",
        "in a tool hold: approval missing",
    ] {
        assert!(
            pairs < 10_000 || seen.get(kind).is_some_and(|count| *count > 20),
            "{kind}: {seen:#?}"
        );
    }
}

/// Gives the approval of an author's rule, as the daemon would: through the fact of its approval.
fn approve(
    trial: &mut Trial<'_>,
    compiled: &agent_policy::Compiled,
    policy: &agent_policy::Policy,
    number: u32,
    at: Instant,
) {
    use agent_policy::{FactKind, Place};
    let authored = policy.authored();
    let rule = &authored[number as usize];
    let wanted = match rule.place {
        Place::Step(i) if rule.common().approval.is_none() => {
            let step = policy
                .chain
                .steps()
                .nth(i)
                .expect("a step of that number")
                .1;
            FactKind::StepApproved(step.name.clone())
        }
        _ => FactKind::Approved(number),
    };
    if let Some(bit) = compiled.facts.iter().position(|kind| *kind == wanted) {
        trial.set_facts(1 << bit, at);
    }
}

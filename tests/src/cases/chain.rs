//! Facts, steps, limits, hours, and what a deviation brings: in the kernel as `policy test` says.

use crate::harness::Test;
use crate::harness::events::{self, Events};
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::replay::replay;
use crate::harness::session::{Obedient, Place};
use anyhow::{Result, ensure};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "chain.facts",
            "facts are set, cleared, required, forbidden, and expire",
            facts,
        ),
        Test::new(
            "chain.steps",
            "steps happen in their order, and as often as they may",
            steps,
        ),
        Test::new(
            "chain.limits",
            "rates and budgets end where they end",
            limits,
        ),
        Test::new(
            "chain.hours",
            "a rule with hours speaks within them only",
            hours,
        ),
        Test::new(
            "chain.precedence",
            "of several rules for one object those with conditions are asked first",
            precedence,
        ),
        Test::new(
            "chain.kill",
            "a rule that kills ends the session's permission",
            kill,
        ),
        Test::new(
            "chain.revoke",
            "onDeviation: revoke denies everything after the first deviation",
            revoke,
        ),
        Test::new(
            "chain.completion",
            "revokeOn: completion denies everything after the last step",
            completion,
        ),
        Test::new(
            "chain.late",
            "revokeOn: timeout ends the session of which a step comes too late, and no other",
            late,
        ),
        Test::new(
            "chain.budget",
            "revokeOn: budget denies everything once a budget is spent, and a rate does not",
            budget,
        ),
        Test::new("chain.audit", "mode: audit records and lets happen", audit),
        Test::new(
            "chain.once",
            "of 200 threads that use one permission at once, one succeeds",
            || once(200, 50),
        )
        .patience(240),
        Test::new(
            "long.once",
            "of 200 threads that use one permission at once, one succeeds, ten thousand times",
            // No actor lives long enough for all rounds.
            || {
                (0..20).try_for_each(|_| {
                    events::forget()?;
                    once(200, 500)
                })
            },
        )
        .patience(3600),
    ]
}

/// Plays a trace of datagrams to ports of one address. The text of a case has `{to}` for it.
fn played(name: &str, spec: &str, traces: &[&[&str]]) -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named(name).with(&spec.replace("{to}", ALLOWED4));
    let mut cases =
        format!("apiVersion: interlock.dev/v1alpha1\nkind: PolicyCases\nagent: {name}\ncases:\n");
    for (number, trace) in traces.iter().enumerate() {
        cases.push_str(&format!("  - case: trace {number}\n    trace:\n"));
        for event in *trace {
            let event = match event.split_once(' ') {
                Some(("wait", seconds)) => format!("wait: {seconds}"),
                Some((port, expect)) => {
                    format!("do: connect {ALLOWED4}:{port}/udp, expect: {expect}")
                }
                None => (*event).to_owned(),
            };
            cases.push_str(&format!("      - {{{event}}}\n"));
        }
    }
    replay(&policy, &cases)
}

fn facts() -> Result<()> {
    played(
        "facts",
        "  facts: [{fact: read}, {fact: fresh, expires: 2s}]
  egress:
    allow:
      - {to: [\"{to}\"], ports: [1], sets: [read]}
      - {to: [\"{to}\"], ports: [2], clears: [read]}
      - {to: [\"{to}\"], ports: [3], requires: [read]}
      - {to: [\"{to}\"], ports: [4], forbids: [read]}
      - {to: [\"{to}\"], ports: [5], sets: [fresh]}
      - {to: [\"{to}\"], ports: [6], requires: [fresh]}
",
        &[
            &[
                "3 deny", "4 allow", "1 allow", "3 allow", "4 deny", "2 allow", "3 deny", "4 allow",
            ],
            &[
                "6 deny", "5 allow", "6 allow", "wait 3s", "6 deny", "5 allow", "6 allow",
            ],
        ],
    )
}

fn steps() -> Result<()> {
    played(
        "steps",
        "  chain:
    steps:
      - {step: fetch, repeat: true, egress: [{to: [\"{to}\"], ports: [1]}]}
      - anyOf:
          - {step: quick, egress: [{to: [\"{to}\"], ports: [2]}]}
          - {step: full, egress: [{to: [\"{to}\"], ports: [3]}]}
      - {step: correct, optional: true, resets: [fetch], egress: [{to: [\"{to}\"], ports: [4]}]}
      - {step: post, within: 3s, egress: [{to: [\"{to}\"], ports: [5]}]}
  egress:
    allow:
      - {to: [\"{to}\"], ports: [6], during: [fetch]}
",
        &[
            &[
                "6 deny", "2 deny", "5 deny", "1 allow", "6 allow", "1 allow", "3 allow", "6 deny",
                "3 deny", "1 deny", "5 allow", "5 deny",
            ],
            &[
                "1 allow", "2 allow", "4 allow", "5 deny", "1 allow", "3 allow", "5 allow",
            ],
            &["1 allow", "2 allow", "wait 4s", "5 deny"],
        ],
    )
}

fn limits() -> Result<()> {
    played(
        "limits",
        "  egress:
    allow:
      - {to: [\"{to}\"], ports: [1], limit: {perSession: 3}}
      - {to: [\"{to}\"], ports: [2], limit: {rate: 20/min, burst: 2}}
",
        &[
            &["1 allow", "1 allow", "1 allow", "1 deny", "1 deny"],
            &[
                "2 allow", "2 allow", "2 deny", "wait 4s", "2 allow", "2 deny",
            ],
        ],
    )
}

/// A case begins on a Monday at ten, in the virtual machine as well.
fn hours() -> Result<()> {
    played(
        "hours",
        "  egress:
    allow:
      - {to: [\"{to}\"], ports: [1], hours: {from: \"00:00\", to: \"00:00\", zone: UTC}}
      - {to: [\"{to}\"], ports: [2], hours: {from: \"00:00\", to: \"23:59\", days: [thu], zone: UTC}}
      - {to: [\"{to}\"], ports: [3], hours: {from: \"11:00\", to: \"12:00\", days: [mon], zone: Europe/Berlin}}
      - {to: [\"{to}\"], ports: [4], hours: {from: \"10:00\", to: \"11:00\", days: [mon], zone: Europe/Berlin}}
",
        &[&["1 allow", "2 deny", "3 allow", "4 deny"]],
    )
}

fn precedence() -> Result<()> {
    played(
        "precedence",
        "  facts: [{fact: hot}, {fact: warm}]
  egress:
    allow:
      - {to: [\"{to}\"], ports: [1], sets: [hot]}
      - {to: [\"{to}\"], ports: [2], sets: [warm]}
      - {to: [\"{to}\"], ports: [3], requires: [warm]}
      - {to: [\"{to}\"], ports: [3], requires: [hot]}
    deny:
      - {to: [\"{to}\"], ports: [3], requires: [hot, warm]}
",
        &[
            &["3 deny", "1 allow", "3 allow", "2 allow", "3 deny"],
            &["2 allow", "3 allow", "1 allow", "3 deny"],
        ],
    )
}

fn kill() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("kills").with(&format!(
        "  egress:\n    allow: [{{to: [\"{ALLOWED4}\"]}}]\n    kill: [{{to: [\"{DENIED4}\"]}}]\n"
    ));
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    let allowed = format!("way udp {}", at(ALLOWED4, PORT)?);
    let before = actor.order(&allowed)?;
    ensure!(before != "EPERM", "before the deviation: {before}");
    let deadly = format!("way udp {}", at(DENIED4, PORT)?);
    // Either it dies of it, or it finds everything denied.
    let first = actor.order(&deadly);
    let after = actor.order(&allowed);
    ensure!(
        after.as_ref().map_or(true, |answer| answer == "EPERM"),
        "after the deviation ({first:?}) the session may still connect: {after:?}"
    );
    let _ = actor.end();
    let told = events.wait("kills", 1)?;
    ensure!(
        told.iter().any(|denial| denial.verdict == "kill"),
        "no event speaks of the kill: {told:?}"
    );
    Ok(())
}

fn revoke() -> Result<()> {
    ended(
        "revokes",
        "  end: {onDeviation: revoke}
  egress:
    allow: [{to: [\"{to}\"], ports: [1]}]
",
        &["1", "2!", "1!"],
    )
}

fn completion() -> Result<()> {
    ended(
        "completes",
        "  end: {revokeOn: [completion]}
  chain:
    steps:
      - {step: first, repeat: true, egress: [{to: [\"{to}\"], ports: [1]}]}
      - {step: last, repeat: true, egress: [{to: [\"{to}\"], ports: [2]}]}
",
        &["1", "2", "2!", "1!"],
    )?;
    played(
        "completes-as-said",
        "  end: {revokeOn: [completion]}
  chain:
    steps:
      - {step: first, repeat: true, egress: [{to: [\"{to}\"], ports: [1]}]}
      - {step: last, repeat: true, egress: [{to: [\"{to}\"], ports: [2]}]}
",
        &[&[
            "2 deny",
            "1 allow",
            "2 allow",
            "2 deny, reason: revoked",
            "1 deny, reason: revoked",
        ]],
    )
}

fn late() -> Result<()> {
    const SPEC: &str = "  end: {revokeOn: [timeout]}
  chain:
    steps:
      - {step: first, repeat: true, egress: [{to: [\"{to}\"], ports: [1]}]}
      - {step: last, within: 3s, repeat: true, egress: [{to: [\"{to}\"], ports: [2]}]}
  egress:
    allow: [{to: [\"{to}\"], ports: [3]}]
";
    Daemon::shared()?;
    let events = Events::from_now()?;
    let begun = |name: &str, orders: &[u16]| -> Result<Obedient> {
        let mut actor =
            Place::Inside(&Policy::named(name).with(&SPEC.replace("{to}", ALLOWED4))).obey()?;
        for port in orders {
            let answer = actor.order(&format!("way udp {ALLOWED4}:{port}"))?;
            ensure!(answer != "EPERM", "{name}, port {port}: {answer}");
        }
        Ok(actor)
    };
    // Nothing is due before the first step was done, and nothing any more after the last.
    let mut waits = begun("late-not-due", &[3])?;
    let mut done = begun("late-done", &[1, 2])?;
    let mut late = begun("late", &[1, 3])?;
    let ended = events.ended("late")?;
    ensure!(
        ended.cause.as_deref() == Some("timeout") && ended.outcome == "failed",
        "{ended:?}"
    );
    ensure!(
        late.order(&format!("way udp {ALLOWED4}:3")).is_err(),
        "it still runs"
    );
    let _ = late.end();
    for actor in [&mut waits, &mut done] {
        let answer = actor.order(&format!("way udp {ALLOWED4}:3"))?;
        ensure!(
            answer != "EPERM",
            "a session of which nothing is late: {answer}"
        );
    }
    waits.end()?;
    done.end()?;
    played(
        "late-as-said",
        SPEC,
        &[&["1 allow", "3 allow", "wait 4s", "3 deny, reason: revoked"]],
    )
}

fn budget() -> Result<()> {
    let spec = "  end: {revokeOn: [budget]}
  egress:
    allow:
      - {to: [\"{to}\"], ports: [1], limit: {rate: 1/min, burst: 1}}
      - {to: [\"{to}\"], ports: [2], limit: {perSession: 2}}
      - {to: [\"{to}\"], ports: [3]}
";
    ended("budget", spec, &["1", "1!", "3", "2", "2", "3", "2!", "3!"])?;
    let trace = [
        "1 allow",
        "1 deny, reason: limit reached",
        "2 allow",
        "2 allow",
        "3 allow",
        "2 deny, reason: budget spent",
        "3 deny, reason: revoked",
    ];
    played("budget-as-said", spec, &[&trace])
}

/// Sends to ports in turn; those with an exclamation mark must be denied, the others not. The
/// session may be gone once its permission has ended.
fn ended(name: &str, spec: &str, ports: &[&str]) -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named(name).with(&spec.replace("{to}", ALLOWED4));
    let mut actor = Place::Inside(&policy).obey()?;
    for port in ports {
        let (number, denied) = match port.strip_suffix('!') {
            Some(number) => (number, true),
            None => (*port, false),
        };
        let answer = actor.order(&format!("way udp {ALLOWED4}:{number}"));
        if denied {
            ensure!(
                answer.as_ref().map_or(true, |answer| answer == "EPERM"),
                "port {number}: {answer:?}, expected a denial"
            );
        } else {
            ensure!(
                answer.as_deref().is_ok_and(|answer| answer != "EPERM"),
                "{answer:?}"
            );
        }
    }
    let _ = actor.end();
    Ok(())
}

fn audit() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("watched").with("  mode: audit\n");
    let events = Events::from_now()?;
    let answer = Place::Inside(&policy).act(&["way", "udp", &at(DENIED4, PORT)?.to_string()])?;
    ensure!(answer != "EPERM", "denied although it is only watched");
    let told = events.wait("watched", 1)?;
    ensure!(
        told.iter()
            .any(|denial| denial.verdict == "audit" && denial.reason == "no rule"),
        "what would have been denied is not told: {told:?}"
    );
    Ok(())
}

fn once(threads: u32, rounds: u32) -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("once").with(&format!(
        "  facts: [{{fact: permitted}}]
  egress:
    allow:
      - {{to: [\"{ALLOWED4}\"], ports: [1], sets: [permitted]}}
      - {{to: [\"{ALLOWED4}\"], ports: [2], requires: [permitted], clears: [permitted]}}
"
    ));
    let (permission, use_up) = (at(ALLOWED4, 1)?.to_string(), at(ALLOWED4, 2)?.to_string());
    let said = Place::Inside(&policy).act(&[
        "race",
        &permission,
        &use_up,
        &threads.to_string(),
        &rounds.to_string(),
    ])?;
    ensure!(said == format!("one {rounds} none 0 several 0"), "{said}");
    Ok(())
}

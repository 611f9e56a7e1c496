//! `interlock policy explain`: a policy in words, or why an action has its verdict.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read;
use crate::cli::Explain;
use agent_common::decide::Verdict;
use agent_policy::{
    Action, Compiled, Description, Explanation, Instant, Policy, Trial, approval_facts, describe,
    explain, program_digest,
};
use serde::Serialize;
use std::fmt::Write as _;

/// One explanation, and what became of the actions before it.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    before: Vec<Before>,
}

#[derive(Serialize)]
struct Before {
    action: String,
    verdict: String,
    reason: String,
}

pub(super) fn run(options: &Explain) -> Result<Answer, Fault> {
    let file = read::policies(&options.file, &options.reading.profiles)?;
    let agent = options.agent.as_deref();
    match &options.action {
        Some(text) => {
            let (policy, compiled) = file.one(agent)?;
            why(options, policy, &compiled, text)
        }
        None => {
            let chosen = file.chosen(agent)?;
            let descriptions: Vec<Description> =
                chosen.iter().map(|(policy, _)| describe(policy)).collect();
            if options.reading.json {
                return Answer::json(&descriptions, Outcome::Fine);
            }
            let texts: Vec<String> = descriptions
                .iter()
                .map(|description| format!("{}\n\n{description}", description.agent))
                .collect();
            Ok(Answer::text(texts.join("\n\n\n"), Outcome::Fine))
        }
    }
}

fn why(
    options: &Explain,
    policy: &Policy,
    compiled: &Compiled,
    text: &str,
) -> Result<Answer, Fault> {
    let action = |option, text: &str| {
        text.parse::<Action>()
            .map_err(|source| Fault::Action { option, source })
    };
    let mut attempted = action("action", text)?;
    of_a_program(options, &mut attempted)?;
    let tool = match &options.tool {
        Some(name) => Some(tool(policy, name)?),
        None => None,
    };
    let at = time(options.at.as_deref())?;
    let mut trial = Trial::start(compiled, at);
    let mut before = Vec::new();
    for text in &options.after {
        let action = action("after", text)?;
        let decision = trial.attempt(&action, tool, at, 0).decision;
        before.push(Before {
            action: action.to_string(),
            verdict: decision.verdict.to_string(),
            reason: decision.reason.to_string(),
        });
    }
    for name in &options.approved {
        match approval_facts(policy, compiled, name) {
            0 => {
                return Err(unknown(
                    "--approved",
                    "rule with an approval",
                    name,
                    approvable(policy),
                ));
            }
            facts => trial.set_facts(facts, at),
        }
    }
    for name in &options.fact {
        let Some(fact) = compiled.fact_bit(name) else {
            return Err(unknown("--fact", "fact", name, facts(policy)));
        };
        trial.set_facts(fact, at);
    }
    let explanation = explain(compiled, &trial, &attempted, tool, at);
    let allowed = explanation.verdict == Verdict::Allow.word();
    let explained = Explained {
        explanation,
        before,
    };
    let outcome = Outcome::findings(!allowed);
    if options.reading.json {
        return Answer::json(&explained, outcome);
    }
    let mut text = String::new();
    for Before {
        action,
        verdict,
        reason,
    } in &explained.before
    {
        let _ = writeln!(text, "before it: {action}: {verdict} ({reason})");
    }
    let _ = write!(text, "{}", explained.explanation);
    Ok(Answer::text(text, outcome))
}

/// What is said of the program, which only an exec has.
fn of_a_program(options: &Explain, attempted: &mut Action) -> Result<(), Fault> {
    if let Action::Exec {
        writable, digest, ..
    } = attempted
    {
        *writable = options.writable;
        *digest = match &options.digest {
            Some(text) => Some(program_digest(text).ok_or_else(|| {
                let expected = "sha256: and 64 hexadecimal digits in lower case";
                Fault::unexpected("--digest", format!("`{text}`"), expected)
            })?),
            None => None,
        };
        return Ok(());
    }
    for (option, given) in [
        ("--writable", options.writable),
        ("--digest", options.digest.is_some()),
    ] {
        if given {
            return Err(Fault::unexpected(option, attempted.to_string(), "exec"));
        }
    }
    Ok(())
}

fn tool(policy: &Policy, name: &str) -> Result<usize, Fault> {
    let names = policy.tools.iter().map(|tool| tool.name.clone());
    policy
        .tools
        .iter()
        .position(|tool| tool.name == name)
        .ok_or_else(|| unknown("--tool", "tool", name, names.collect()))
}

fn unknown(option: &str, what: &'static str, name: &str, known: Vec<String>) -> Fault {
    Fault::Unknown {
        place: option.to_owned(),
        what,
        name: name.to_owned(),
        known,
    }
}

/// What can be approved, by the names that people use for it.
fn approvable(policy: &Policy) -> Vec<String> {
    let rules = policy
        .commons()
        .filter(|common| common.approval.is_some())
        .filter_map(|common| common.id.clone());
    let steps = policy
        .chain
        .steps()
        .filter(|(_, step)| step.approval.is_some())
        .map(|(_, step)| format!("step:{}", step.name));
    rules.chain(steps).collect()
}

fn facts(policy: &Policy) -> Vec<String> {
    let own = policy.facts.iter().map(|fact| fact.name.clone());
    let steps = policy
        .chain
        .steps()
        .map(|(_, step)| format!("step:{}", step.name));
    own.chain(steps).collect()
}

/// The moment of the action. The session began at the same moment, a second after boot.
fn time(text: Option<&str>) -> Result<Instant, Fault> {
    let at = match text {
        None => jiff::Timestamp::now(),
        Some(text) => text.parse().map_err(|_| {
            Fault::unexpected(
                "--at",
                format!("`{text}`"),
                "a time such as 2026-03-02T10:00:00Z",
            )
        })?,
    };
    Ok(Instant {
        now_ns: 1_000_000_000,
        wall_s: u64::try_from(at.as_second()).unwrap_or(0),
    })
}

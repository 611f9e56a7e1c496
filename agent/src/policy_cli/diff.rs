//! `interlock policy diff`: what a change allows and denies.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read;
use crate::cli;
use agent_policy::{Compiled, Difference, Policy, describe, diff};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Serialize)]
struct Compared {
    agents: Vec<Agent>,
    added: Vec<String>,
    removed: Vec<String>,
}

/// One agent in both files.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    agent: String,
    same: bool,
    old_digest: String,
    new_digest: String,
    #[serde(flatten)]
    difference: Difference,
    /// Sentences that only the old policy says of who it is for and how its sessions end.
    no_longer: Vec<String>,
    /// Those that only the new one says.
    from_now_on: Vec<String>,
}

pub(super) fn run(options: &cli::Diff) -> Result<Answer, Fault> {
    let old_file = read::policies(&options.old, &options.reading.profiles)?;
    let new_file = read::policies(&options.new, &options.reading.profiles)?;
    let (old, new) = (old_file.chosen(None)?, new_file.chosen(None)?);
    let compared = compare(&old, &new);
    let same = compared.agents.iter().all(|agent| agent.same)
        && compared.added.is_empty()
        && compared.removed.is_empty();
    let outcome = Outcome::findings(!same);
    if options.reading.json {
        return Answer::json(&compared, outcome);
    }
    Ok(Answer::text(in_words(&compared), outcome))
}

fn compare(old: &[(&Policy, Compiled)], new: &[(&Policy, Compiled)]) -> Compared {
    let names = |policies: &[(&Policy, Compiled)], others: &[(&Policy, Compiled)]| {
        policies
            .iter()
            .map(|(policy, _)| policy.name.clone())
            .filter(|name| !others.iter().any(|(other, _)| other.name == *name))
            .collect()
    };
    // One agent that is renamed is still the one to compare.
    if let ([before], [after]) = (old, new) {
        return Compared {
            agents: vec![agent(before, after)],
            added: Vec::new(),
            removed: Vec::new(),
        };
    }
    let pairs = old.iter().filter_map(|before| {
        let after = new.iter().find(|after| after.0.name == before.0.name)?;
        Some(agent(before, after))
    });
    Compared {
        agents: pairs.collect(),
        added: names(new, old),
        removed: names(old, new),
    }
}

fn agent(old: &(&Policy, Compiled), new: &(&Policy, Compiled)) -> Agent {
    let (before, after) = (sentences(old.0), sentences(new.0));
    let without = |all: &[String], others: &[String]| -> Vec<String> {
        all.iter()
            .filter(|sentence| !others.contains(sentence))
            .cloned()
            .collect()
    };
    let difference = diff((old.0, &old.1), (new.0, &new.1));
    let no_longer = without(&before, &after);
    let from_now_on = without(&after, &before);
    let identical = old.1.digest == new.1.digest;
    let same = identical
        || difference.complete
            && difference.becomes_allowed.is_empty()
            && difference.becomes_denied.is_empty()
            && difference.conditions_change.is_empty()
            && no_longer.is_empty()
            && from_now_on.is_empty();
    Agent {
        agent: new.0.name.clone(),
        same,
        old_digest: old.1.digest_hex(),
        new_digest: new.1.digest_hex(),
        difference,
        no_longer,
        from_now_on,
    }
}

/// What a policy says besides rules, in its first and its last paragraph.
fn sentences(policy: &Policy) -> Vec<String> {
    let paragraphs = describe(policy).paragraphs;
    [paragraphs.first(), paragraphs.last()]
        .into_iter()
        .flatten()
        .flat_map(|paragraph| paragraph.sentences.clone())
        .collect()
}

fn in_words(compared: &Compared) -> String {
    let mut text = String::new();
    for agent in &compared.agents {
        let _ = writeln!(text, "{}\n{}", agent.agent, agent.difference);
        for sentence in &agent.no_longer {
            let _ = writeln!(text, "no longer: {sentence}");
        }
        for sentence in &agent.from_now_on {
            let _ = writeln!(text, "from now on: {sentence}");
        }
    }
    for name in &compared.added {
        let _ = writeln!(text, "new agent: {name}");
    }
    for name in &compared.removed {
        let _ = writeln!(text, "agent removed: {name}");
    }
    text
}

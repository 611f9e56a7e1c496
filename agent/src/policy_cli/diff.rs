//! `interlock policy diff`: what a change allows and denies.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read;
use crate::cli;
use agent_policy::{Compiled, Difference, Policy, diff};
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
    let difference = diff((old.0, &old.1), (new.0, &new.1));
    let same = old.1.digest == new.1.digest || difference.is_none();
    Agent {
        agent: new.0.name.clone(),
        same,
        old_digest: old.1.digest_hex(),
        new_digest: new.1.digest_hex(),
        difference,
    }
}

fn in_words(compared: &Compared) -> String {
    let mut text = String::new();
    for agent in &compared.agents {
        let _ = writeln!(text, "{}\n{}", agent.agent, agent.difference);
    }
    for name in &compared.added {
        let _ = writeln!(text, "new agent: {name}");
    }
    for name in &compared.removed {
        let _ = writeln!(text, "agent removed: {name}");
    }
    text
}

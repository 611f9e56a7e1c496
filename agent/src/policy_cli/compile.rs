//! `interlock policy compile`: the tables that the kernel programs look up.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read;
use crate::cli::Compile;
use agent_policy::Compiled;

pub(super) fn run(options: &Compile) -> Result<Answer, Fault> {
    let file = read::policies(&options.file, &options.reading.profiles)?;
    let chosen = file.chosen(options.agent.as_deref())?;
    if options.reading.json {
        let all: Vec<_> = chosen.iter().map(|(_, compiled)| compiled.json()).collect();
        return Answer::json(&all, Outcome::Fine);
    }
    let lines: Vec<String> = chosen
        .iter()
        .map(|(_, compiled)| summary(compiled))
        .collect();
    Ok(Answer::text(lines.join("\n"), Outcome::Fine))
}

fn summary(compiled: &Compiled) -> String {
    let counts = [
        ("rules", compiled.rules.len()),
        ("networks", compiled.networks.len()),
        ("port prefixes", compiled.ports.len()),
        ("paths", compiled.objects.paths.len()),
        ("facts", compiled.facts.len()),
        ("tools", compiled.tools.len()),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    let counts = match counts.is_empty() {
        true => "no rules: everything is denied".to_owned(),
        false => counts.join(", "),
    };
    let digest = compiled.digest_hex();
    format!("{}  {digest}\n  {counts}", compiled.name)
}

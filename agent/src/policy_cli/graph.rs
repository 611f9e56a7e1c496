//! `interlock policy graph`: the chain as a picture.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read;
use crate::cli;
use agent_policy::{Graph, graph};
use serde::Serialize;

#[derive(Serialize)]
struct Drawn {
    agent: String,
    #[serde(flatten)]
    graph: Graph,
}

pub(super) fn run(options: &cli::Graph) -> Result<Answer, Fault> {
    let file = read::policies(&options.file, &options.reading.profiles)?;
    let chosen = file.chosen(options.agent.as_deref())?;
    let drawn: Vec<Drawn> = chosen
        .iter()
        .map(|(policy, _)| Drawn {
            agent: policy.name.clone(),
            graph: graph(policy),
        })
        .collect();
    if options.reading.json {
        return Answer::json(&drawn, Outcome::Fine);
    }
    let texts: Vec<&str> = drawn
        .iter()
        .map(|drawn| match options.dot {
            true => drawn.graph.dot.as_str(),
            false => drawn.graph.text.as_str(),
        })
        .collect();
    Ok(Answer::text(texts.join("\n"), Outcome::Fine))
}

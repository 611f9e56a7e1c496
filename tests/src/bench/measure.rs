//! Measures operations in this very process: `interlock-tests measure KIND allowed|denied`.

use super::operations::{self, Kind, Operation};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// What is said when the process is there and has its label.
pub(super) const THERE: &str = "there";
/// How long to rest then, for whoever started this to prepare the host, and for the machine.
pub(super) const REST: Duration = Duration::from_secs(4);

const ROUNDS: usize = 5;

/// One operation's figure: nanoseconds for one, over rounds of `n`. On a machine whose clock
/// counts instructions a nanosecond is one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Figure {
    pub(super) label: String,
    pub(super) rules: Option<u32>,
    pub(super) daemon: String,
    pub(super) run: u32,
    pub(super) op: String,
    pub(super) n: u32,
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

/// Measures and prints.
pub(crate) fn main(words: &[String]) -> ExitCode {
    match measure(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: &[String]) -> Result<()> {
    let [kind, verdict] = words else {
        bail!("found {} words, expected a kind and a verdict", words.len());
    };
    let kind = Kind::parse(kind).with_context(|| format!("found the kind {kind:?}"))?;
    let chosen = match verdict.as_str() {
        "allowed" => operations::allowed(kind)?,
        "denied" => operations::denied(kind)?,
        _ => bail!("found the verdict {verdict:?}, expected allowed or denied"),
    };
    println!("{THERE}");
    thread::sleep(REST);
    let mut figures = Vec::new();
    for operation in chosen {
        figures.push(one(operation)?);
    }
    for figure in figures {
        println!("{}", serde_json::to_string(&figure)?);
    }
    Ok(())
}

fn one(mut operation: Operation) -> Result<Figure> {
    let n = operation.per_round;
    let mut run = |count: u32| -> Result<()> {
        for _ in 0..count {
            (operation.run)().with_context(|| operation.name.to_owned())?;
        }
        Ok(())
    };
    run(n / 4)?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        run(n)?;
        rounds.push(began.elapsed().as_secs_f64() * 1e9 / f64::from(n));
    }
    rounds.sort_by(f64::total_cmp);
    ensure!(rounds.len() == ROUNDS, "a round is missing");
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    Ok(Figure {
        op: operation.name.to_owned(),
        n,
        min: tenth(rounds[0]),
        median: tenth(rounds[ROUNDS / 2]),
        max: tenth(rounds[ROUNDS - 1]),
        ..Figure::default()
    })
}

//! Measures operations in this very process: `interlock-tests measure [OPERATION]`.

use super::operations::{self, Operation};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// How long to rest before measuring, for whoever starts this to prepare the host.
pub(super) const REST_MILLISECONDS: &str = "INTERLOCK_TESTS_REST_MS";

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
    match measure(words.first().map_or("", String::as_str)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(only: &str) -> Result<()> {
    if let Some(rest) = std::env::var(REST_MILLISECONDS)
        .ok()
        .and_then(|text| text.parse().ok())
    {
        thread::sleep(Duration::from_millis(rest));
    }
    let mut figures = Vec::new();
    for operation in operations::chosen(only)? {
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

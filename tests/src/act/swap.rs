//! An agent whose policy is swapped while it acts: it tries the same few things again and again, and
//! counts what became of each.

use super::execute::execute;
use super::file;
use super::way::probe;
use crate::harness::session::own_program;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// While this is there, everybody goes on.
pub(crate) const GO: &str = "/tmp/swap/go";

/// Where the files lie: so deep that it takes a while to find what rules speak of them.
pub(crate) const FOLDER: &str =
    "/tmp/swap/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24";

/// Between two rounds the processor belongs to others.
const REST: Duration = Duration::from_millis(1);

/// How often something was allowed, denied, or ended otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
    pub(crate) other: u64,
}

/// What became of each thing that was tried, by its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(pub(crate) BTreeMap<String, Outcomes>);

impl Tally {
    fn note(&mut self, what: &str, outcome: &str) {
        let outcomes = self.0.entry(what.to_owned()).or_default();
        match outcome {
            "ok" | "ran 0" => outcomes.allowed += 1,
            "EPERM" | "killed 9" => outcomes.denied += 1,
            _ => outcomes.other += 1,
        }
    }

    /// Adds what another has counted, as it is printed.
    pub(crate) fn add(&mut self, text: &str) -> Result<()> {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, allowed, denied, other] = words.as_slice() else {
                anyhow::bail!("no outcomes: {line:?}");
            };
            let outcomes = self.0.entry((*what).to_owned()).or_default();
            outcomes.allowed += allowed.parse::<u64>()?;
            outcomes.denied += denied.parse::<u64>()?;
            outcomes.other += other.parse::<u64>()?;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, outcomes)| {
            let Outcomes {
                allowed,
                denied,
                other,
            } = outcomes;
            writeln!(f, "{what} {allowed} {denied} {other}")
        })
    }
}

/// Acts in so many processes, until nobody wants it any more. Ports are tried at one address.
pub(crate) fn act(address: &str, processes: u32) -> Result<Tally> {
    let program = own_program()?;
    let others = (1..processes).map(|_| {
        Command::new(&program)
            .args(["act", "swap", address, "1"])
            .stdout(Stdio::piped())
            .spawn()
            .context("starting another")
    });
    let others: Vec<_> = others.collect::<Result<_>>()?;
    let mut tally = alone(address)?;
    for other in others {
        let output = other.wait_with_output()?;
        ensure!(output.status.success(), "another ended: {}", output.status);
        tally.add(&String::from_utf8(output.stdout)?)?;
    }
    Ok(tally)
}

fn alone(address: &str) -> Result<Tally> {
    let mut tally = Tally::default();
    // Each process begins elsewhere, so that few rounds of many reach all.
    let first = std::process::id() as usize;
    let mut round = 0usize;
    while Path::new(GO).exists() {
        for name in ["t", "q", "p", "t"] {
            read(&mut tally, "read", name)?;
        }
        connect(&mut tally, "both", &format!("{address}:3"))?;
        // What is denied is told, and the daemon has more to do than that.
        if round.is_multiple_of(8) {
            for name in ["a", "b", "n"] {
                read(&mut tally, "read", name)?;
            }
            read(&mut tally, "read-write", "m")?;
            for (what, port) in [("a", 1), ("b", 2), ("none", 4)] {
                connect(&mut tally, what, &format!("{address}:{port}"))?;
            }
        }
        // And programs take so much longer that the rest would hardly be tried.
        if round.is_multiple_of(16) {
            let word = ["c", "a", "c", "b", "c", "n"][(round / 16 + first) % 6];
            let ended = execute("execve", "/tmp/swap/say", &[word])?;
            tally.note(&format!("say-{word}"), &ended);
        }
        round += 1;
        thread::sleep(REST);
    }
    Ok(tally)
}

fn read(tally: &mut Tally, how: &str, name: &str) -> Result<()> {
    let outcome = file::attempt(&[how, &format!("{FOLDER}/{name}")])?;
    tally.note(&format!("{how}-{name}"), &crate::sys::outcome(&outcome));
    Ok(())
}

fn connect(tally: &mut Tally, what: &str, to: &str) -> Result<()> {
    let to: SocketAddr = to.parse()?;
    tally.note(&format!("port-{what}"), &crate::sys::outcome(&probe(to)));
    Ok(())
}

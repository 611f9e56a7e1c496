//! The guest's half of `cargo xtask bench`: what Interlock costs, as JSON lines.
//!
//! Every operation is measured with nothing loaded, with Interlock loaded but outside every
//! session, inside one where it is allowed, and inside one where it is denied; each with policies
//! of one rule, a hundred and ten thousand in force. Each is done with the daemon stopped, because
//! on one processor the daemon's own work shows in what is measured, and the last also with the
//! daemon running. Everything is done twice, and the two must agree.
//!
//! `getppid` and `stat` have no hook: they are the control. When one of them moves, the run is
//! void, and says so.

mod hold;
mod lookup;
mod measure;
mod memory;
mod operations;
mod report;
mod revoke;
mod rules;

use crate::harness::product::{self, Daemon};
use crate::harness::session::{Obedient, Place, own_program};
use anyhow::{Context, Result, ensure};
use measure::Figure;
use operations::Kind;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

pub(crate) use hold::run as hold;
pub(crate) use lookup::run as lookup;
pub(crate) use measure::main as measure;
pub(crate) use memory::run as memory;
pub(crate) use revoke::run as revoke;

/// The situation that all others are compared with: nothing is loaded.
const NONE: &str = "none";

/// Measures everything twice.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let only = words.first().map_or("", String::as_str);
    operations::prepare()?;
    let kinds: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.word().contains(only))
        .collect();
    ensure!(
        !kinds.is_empty(),
        "found the kind {only:?}, expected files, programs or network"
    );
    let first = once(1, &kinds)?;
    let second = once(2, &kinds)?;
    report::judge(&first, &second)
}

/// A situation in which the operations of a kind are measured.
#[derive(Clone, Copy)]
struct Situation<'a> {
    label: &'static str,
    rules: Option<u32>,
    daemon: Option<(Daemon, bool)>,
    place: Place<'a>,
    kind: Kind,
    verdict: &'static str,
    run: u32,
}

fn once(run: u32, kinds: &[Kind]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    product::remove()?;
    for kind in kinds {
        figures.extend(measured(&Situation {
            label: NONE,
            rules: None,
            daemon: None,
            place: Place::Outside,
            kind: *kind,
            verdict: "allowed",
            run,
        })?);
    }
    let daemon = Daemon::shared()?;
    for rules in rules::SIZES {
        let policies: Vec<_> = kinds
            .iter()
            .map(|kind| (*kind, rules::policy(*kind, rules)))
            .collect();
        // Somebody else's sessions keep all of them in force.
        let others = policies
            .iter()
            .map(|(_, policy)| Place::Inside(policy).obey())
            .collect::<Result<Vec<_>>>()?;
        for (kind, policy) in &policies {
            for (label, place, verdict) in [
                ("outside", Place::Outside, "allowed"),
                ("inside", Place::Inside(policy), "allowed"),
                ("denied", Place::Inside(policy), "denied"),
            ] {
                for runs in [false, true] {
                    if runs && Some(&rules) != rules::SIZES.last() {
                        continue;
                    }
                    figures.extend(measured(&Situation {
                        label,
                        rules: Some(rules),
                        daemon: Some((daemon, runs)),
                        place,
                        kind: *kind,
                        verdict,
                        run,
                    })?);
                }
            }
        }
        others
            .into_iter()
            .try_for_each(|other| Obedient::end(other).map(drop))?;
    }
    product::remove()?;
    Ok(figures)
}

/// Measures in a process of its own. A daemon that is to be stopped is stopped once the process is
/// there, and goes on when all is measured.
fn measured(situation: &Situation<'_>) -> Result<Vec<Figure>> {
    let what = situation.to_string();
    eprintln!("measuring {what}");
    let program = own_program()?;
    let words = [
        &program,
        "measure",
        situation.kind.word(),
        situation.verdict,
    ];
    let mut child = situation
        .place
        .command(&words)?
        .stdout(Stdio::piped())
        .spawn()
        .context("measuring")?;
    let mut said = BufReader::new(child.stdout.take().context("its output")?);
    let mut there = String::new();
    said.read_line(&mut there)?;
    thread::sleep(Duration::from_secs(1));
    let stopped = situation.daemon.filter(|(_, runs)| !runs);
    if let Some((daemon, _)) = stopped {
        daemon.freeze()?;
    }
    let mut output = String::new();
    let read = said.read_to_string(&mut output);
    let status = child.wait();
    if let Some((daemon, _)) = stopped {
        daemon.signal(libc::SIGCONT)?;
    }
    read?;
    ensure!(
        status?.success() && there.trim() == measure::THERE,
        "measuring {what}: it said {there:?} and {output:?}"
    );
    let figures = read_figures(&output, situation)?;
    ensure!(!figures.is_empty(), "nothing was measured {what}");
    Ok(figures)
}

fn read_figures(output: &str, situation: &Situation<'_>) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in output.lines() {
        let mut figure: Figure =
            serde_json::from_str(line).with_context(|| format!("no figure: {line}"))?;
        figure.label = situation.label.to_owned();
        figure.rules = situation.rules;
        figure.daemon = situation.daemon_word().to_owned();
        figure.run = situation.run;
        println!("{}", serde_json::to_string(&figure)?);
        figures.push(figure);
    }
    Ok(figures)
}

impl Situation<'_> {
    fn daemon_word(&self) -> &'static str {
        match self.daemon {
            None => "absent",
            Some((_, false)) => "stopped",
            Some((_, true)) => "running",
        }
    }
}

impl std::fmt::Display for Situation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, run {}: {}", self.kind.word(), self.run, self.label)?;
        if let Some(rules) = self.rules {
            write!(f, ", rules {rules}")?;
        }
        write!(f, ", daemon {}", self.daemon_word())
    }
}

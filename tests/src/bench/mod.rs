//! The guest's half of `cargo xtask bench`: what Interlock costs, as JSON lines.
//!
//! Every operation is measured with nothing loaded, with Interlock loaded but outside every
//! session, inside one whose policy has one rule and ten thousand, and for a denied connect. Each
//! is done with the daemon running and with it stopped, because on one processor the daemon's own
//! work shows in what is measured. Everything is done twice, and the two must agree.
//!
//! `getppid` and `stat` have no hook: they are the control. When one of them moves, the run is
//! void, and says so.

mod measure;
mod operations;
mod report;

use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::{Place, own_program};
use anyhow::{Context, Result, ensure};
use measure::Figure;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

pub(crate) use measure::main as measure;

/// How long the machine rests before a measurement.
const REST: Duration = Duration::from_secs(3);

/// Measures everything twice.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let only = words.first().map_or("", String::as_str);
    operations::prepare()?;
    let first = once(1, only)?;
    let second = once(2, only)?;
    report::judge(&first, &second)
}

/// A situation in which operations are measured.
struct Situation<'a> {
    label: &'static str,
    rules: Option<u32>,
    place: Place<'a>,
    operations: &'a str,
}

fn once(round: u32, only: &str) -> Result<Vec<Figure>> {
    let one = with_rules("bench-one", 0);
    let many = with_rules("bench-many", 9_999);
    let none = Policy::named("bench-none");
    let mut figures = Vec::new();
    product::remove()?;
    let nothing = Situation {
        label: "none",
        rules: None,
        place: Place::Outside,
        operations: only,
    };
    figures.extend(measured(&nothing, "absent", round)?);
    let daemon = Daemon::shared()?;
    let situations = [
        Situation {
            label: "outside",
            rules: None,
            place: Place::Outside,
            operations: only,
        },
        Situation {
            label: "inside",
            rules: Some(1),
            place: Place::Inside(&one),
            operations: only,
        },
        Situation {
            label: "inside",
            rules: Some(10_000),
            place: Place::Inside(&many),
            operations: only,
        },
        Situation {
            label: "denied",
            rules: Some(0),
            place: Place::Inside(&none),
            operations: "denied",
        },
    ];
    for situation in &situations {
        figures.extend(measured(situation, "running", round)?);
        figures.extend(stopped(daemon, situation, round)?);
    }
    product::remove()?;
    Ok(figures)
}

/// One allowed endpoint for each operation, among so many other rules.
fn with_rules(name: &str, others: u32) -> Policy {
    let [udp, tcp] = [operations::UDP, operations::TCP].map(|at: SocketAddr| at);
    let mut policy = Policy::named(name)
        .allow(&udp.ip().to_string(), &udp.port().to_string(), "udp")
        .allow(&tcp.ip().to_string(), &tcp.port().to_string(), "tcp");
    for number in 0..others {
        let [_, a, b, c] = number.to_be_bytes();
        let network = format!("10.{}.{b}.{c}/32", a.wrapping_add(1));
        policy = policy.allow(&network, &(1_000 + number % 50_000).to_string(), "tcp");
    }
    policy
}

fn measured(situation: &Situation<'_>, daemon: &str, round: u32) -> Result<Vec<Figure>> {
    let mut command = command(situation)?;
    thread::sleep(REST);
    let output = command.output().context("measuring")?;
    ensure!(
        output.status.success(),
        "measuring {}: {}",
        situation.label,
        said(&output)
    );
    read(&output.stdout, situation, daemon, round)
}

/// Stops the daemon once the session is there, and lets it go on when all is measured.
fn stopped(daemon: Daemon, situation: &Situation<'_>, round: u32) -> Result<Vec<Figure>> {
    let mut command = command(situation)?;
    // The measuring process itself rests after its start, so that this comes before it measures.
    command.env(measure::REST_MILLISECONDS, "4000");
    let child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("measuring")?;
    thread::sleep(Duration::from_secs(2));
    daemon.signal(libc::SIGSTOP)?;
    let output = child.wait_with_output();
    daemon.signal(libc::SIGCONT)?;
    let output = output?;
    ensure!(
        output.status.success(),
        "measuring {}: {}",
        situation.label,
        said(&output)
    );
    read(&output.stdout, situation, "stopped", round)
}

fn command(situation: &Situation<'_>) -> Result<std::process::Command> {
    let program = own_program()?;
    situation
        .place
        .command(&[&program, "measure", situation.operations])
}

fn read(output: &[u8], situation: &Situation<'_>, daemon: &str, round: u32) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in String::from_utf8_lossy(output).lines() {
        let mut figure: Figure =
            serde_json::from_str(line).with_context(|| format!("no figure: {line}"))?;
        figure.label = situation.label.to_owned();
        figure.rules = situation.rules;
        figure.daemon = daemon.to_owned();
        figure.run = round;
        println!("{}", serde_json::to_string(&figure)?);
        figures.push(figure);
    }
    ensure!(
        !figures.is_empty(),
        "nothing was measured for {}",
        situation.label
    );
    Ok(figures)
}

//! A denial is told with all that somebody needs who was not there.

use crate::harness::Test;
use crate::harness::events::{Denial, Events, FILE};
use crate::harness::network::{self, ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, begun, call, said};
use crate::harness::session::{Place, own_program};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "explained.ancestry",
            "who acted, and whom it descends from, is told with words and start, even when it is \
             long gone and its words are hostile",
            ancestry,
        ),
        Test::new(
            "explained.chain",
            "rule, place, step, missing facts and the author's words are told, by `why` too",
            chain,
        ),
    ]
}

/// A script that waits for a file before it lets somebody be denied.
const SCRIPT: &str = "/tmp/explained.sh";
const GO: &str = "/tmp/explained.go";
/// It ends when this is there.
const TOLD: &str = "/tmp/explained.told";

fn ancestry() -> Result<()> {
    let daemon = Daemon::shared()?;
    network::set_up()?;
    let (own, to) = (own_program()?, at(DENIED4, PORT)?.to_string());
    for file in [GO, TOLD] {
        let _ = fs::remove_file(file);
    }
    let script = format!(
        "while [ ! -e {GO} ]; do sleep 0.05; done\n{own} act way udp {to}\nrm {GO}\n\
         while [ ! -e {TOLD} ]; do sleep 0.05; done\n"
    );
    fs::write(SCRIPT, script).context(SCRIPT)?;
    let events = Events::from_now()?;
    let hostile = "a\nb\x1b[31m\u{202e}";
    let huge = "x".repeat(100_000);
    let words = ["sh", SCRIPT, hostile, "", &huge];
    let mut run = Place::Inside(&Policy::named("explained"))
        .command(&words)?
        .spawn()?;
    begun("explained")?;
    // Nobody looks while it happens: whoever was denied is gone when its event is read.
    daemon.freeze()?;
    fs::write(GO, "")?;
    let gone = (0..200).any(|_| {
        sleep(Duration::from_millis(20));
        !Path::new(GO).exists()
    });
    daemon.signal(libc::SIGCONT)?;
    ensure!(gone, "the script did not end");
    let denials = events.wait("explained", 1)?;
    // `interlock run` is in no session: what its words were only itself can tell.
    fs::write(TOLD, "")?;
    run.wait()?;
    let Denial {
        process, ancestry, ..
    } = denials.first().context("no denial")?;
    ensure!(
        process.exe.as_deref() == Some(own.as_str())
            && process.args == [own.as_str(), "act", "way", "udp", &to]
            && !process.args_cut,
        "who acted is told as {process:?}"
    );
    let shell = ancestry.first().context("no ancestors")?;
    let expected = ["sh", SCRIPT, r"a\nb\x1b[31m\xe2\x80\xae", ""];
    ensure!(
        shell.args.starts_with(&expected.map(str::to_owned))
            && shell.args.len() == 5
            && shell.args[4].starts_with("xxx")
            && shell.args_cut,
        "the shell is told as {shell:?}, expected {expected:?}"
    );
    let bytes: usize = shell.args.iter().map(|word| word.len() + 1).sum();
    ensure!(bytes < 300, "{bytes} bytes of words are told");
    let above = ancestry.get(1).context("nobody above the shell")?;
    ensure!(
        above.args.get(1).is_some_and(|word| word == "run"),
        "above the shell there is {above:?}, expected interlock run"
    );
    let mut starts: Vec<&str> = vec![&process.started];
    starts.extend(ancestry.iter().map(|process| process.started.as_str()));
    ensure!(
        starts
            .iter()
            .all(|start| start.len() > 20 && start.ends_with('Z'))
            && starts
                .iter()
                .rev()
                .is_sorted_by_key(|start| start.get(..19)),
        "they started at {starts:?}, expected parents first"
    );
    ensure!(
        ancestry.last().is_some_and(|eldest| eldest.pid == 1),
        "process 1 is not the last"
    );
    let told = fs::read_to_string(FILE)?;
    let line = told.lines().rfind(|line| line.contains("explained.sh"));
    let line = line.context("the line")?;
    ensure!(
        line.len() < 16_384 && !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "the line is {line:?}"
    );
    let why = call(&["why", &process.pid.to_string()])?;
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    ensure!(
        text.contains(&format!("{own} act way udp {to}"))
            && text.contains(&format!("sh {SCRIPT} "))
            && text.lines().all(|line| line.len() < 400),
        "why: {}",
        said(&why)
    );
    Ok(())
}

fn chain() -> Result<()> {
    Daemon::shared()?;
    network::set_up()?;
    let name = "explained-chain";
    let policy = Policy::named(name).with(&format!(
        "  chain:\n    steps:\n      \
         - {{step: fetch, egress: [{{to: [{ALLOWED4}], ports: [{PORT}]}}]}}\n      \
         - {{step: post, because: Fetch first., egress: [{{id: posting, to: [{ALLOWED4}], ports: [{}]}}]}}\n",
        PORT + 1
    ));
    let text = policy.text();
    let line = text.lines().position(|line| line.contains("step: post"));
    let line = line.context("the line")? + 1;
    let mut actor = Place::Inside(&policy).obey()?;
    let events = Events::from_now()?;
    let (first, second) = (at(ALLOWED4, PORT)?, at(ALLOWED4, PORT + 1)?);
    for (to, expected) in [(second, "EPERM"), (first, "ok"), (first, "EPERM")] {
        let answer = actor.order(&format!("way udp {to}"))?;
        ensure!(answer == expected, "{to}: {answer}, expected {expected}");
    }
    let denials = events.wait(name, 2)?;
    actor.end()?;
    let early = denials.first().context("no denial")?;
    let rule = early.rule.as_ref().context("no rule")?;
    ensure!(
        early.reason == "fact missing"
            && early.because.as_deref() == Some("Fetch first.")
            && early.missing == ["step fetch performed"]
            && early.step.is_none()
            && early.facts.is_empty()
            && rule["step"] == "post"
            && rule["id"] == "posting"
            && rule["line"] == line
            && rule["file"]
                .as_str()
                .is_some_and(|file| file.ends_with(".yaml")),
        "too early: {early:?}, expected it on line {line}"
    );
    let again = denials.get(1).context("one denial")?;
    ensure!(
        again.reason == "fact forbidden"
            && again.because.is_none()
            && again.missing.is_empty()
            && again.step.as_deref() == Some("fetch")
            && again.facts == ["step:fetch"],
        "twice: {again:?}"
    );
    let why = call(&["why", &format!("e{}", early.number)])?;
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    for part in [
        "The author says: Fetch first.",
        "It would have performed step post.",
        "The rule also requires: step fetch performed.",
        &format!(".yaml:{line}: "),
    ] {
        ensure!(
            text.contains(part),
            "why does not say {part:?}: {}",
            said(&why)
        );
    }
    Ok(())
}

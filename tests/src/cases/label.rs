//! The label's end, and those who never had one (red team P4).

use super::inherit::tally;
use crate::act::spread::Tally;
use crate::harness::Test;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Place, own_program};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::{Command, Stdio};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "label.pid_reused",
            "a process that gets the pid of a dead member of a session is free",
            pid_reused,
        ),
        Test::new(
            "label.memory_reused",
            "a thousand processes made where members of a session died are free",
            memory_reused,
        ),
        Test::new(
            "label.outside_at_once",
            "processes outside are free while a session forks and is denied",
            outside_at_once,
        )
        .patience(120),
        Test::new(
            "label.parent_stays_outside",
            "the process that starts a session is not in it",
            parent_stays_outside,
        ),
    ]
}

fn pid_reused() -> Result<()> {
    Daemon::shared()?;
    let to = at(DENIED4, PORT)?.to_string();
    let mut actor = Place::Inside(&Policy::named("pid-reused")).obey()?;
    let inside = actor.order(&format!("probe {to}"))?;
    ensure!(
        inside == "EPERM",
        "inside a session: {inside}, expected EPERM"
    );
    let pid = actor.pid;
    actor.end()?;
    let program = own_program()?;
    // Another process may take the number in between, so a few tries are made.
    for _ in 0..20 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
            .context("/proc/sys/kernel/ns_last_pid")?;
        let child = Command::new(&program)
            .args(["act", "spread", "exec", &to, "1"])
            .stdout(Stdio::piped())
            .spawn()?;
        let got = i32::try_from(child.id())?;
        let output = child.wait_with_output()?;
        if got == pid {
            let tally = tally(&String::from_utf8_lossy(&output.stdout))?;
            let expected = Tally {
                allowed: 1,
                ..Tally::default()
            };
            ensure!(
                tally == expected,
                "the new process {pid}: {tally:?}, expected {expected:?}"
            );
            return Ok(());
        }
    }
    anyhow::bail!("in twenty tries no process got the pid {pid}")
}

fn memory_reused() -> Result<()> {
    Daemon::shared()?;
    let to = at(DENIED4, PORT)?.to_string();
    let part = ["spread", "fork", &to, "1000"];
    let inside = tally(&Place::Inside(&Policy::named("memory-reused")).act(&part)?)?;
    let expected = Tally {
        denied: 1000,
        ..Tally::default()
    };
    ensure!(
        inside == expected,
        "inside a session: {inside:?}, expected {expected:?}"
    );
    let after = tally(&Place::Outside.act(&part)?)?;
    let expected = Tally {
        allowed: 1000,
        ..Tally::default()
    };
    ensure!(
        after == expected,
        "afterwards: {after:?}, expected {expected:?}"
    );
    Ok(())
}

fn outside_at_once() -> Result<()> {
    Daemon::shared()?;
    let to = at(DENIED4, PORT)?.to_string();
    let program = own_program()?;
    let count = "1500";
    let part = [program.as_str(), "act", "spread", "fork", &to, count];
    let policy = Policy::named("outside-at-once");
    let inside = Place::Inside(&policy)
        .command(&part)?
        .stdout(Stdio::piped())
        .spawn()?;
    let outside = Place::Outside
        .command(&part)?
        .stdout(Stdio::piped())
        .spawn()?;
    let outside = outside.wait_with_output()?;
    let inside = inside.wait_with_output()?;
    let outside = tally(&String::from_utf8_lossy(&outside.stdout))?;
    let inside = tally(&String::from_utf8_lossy(&inside.stdout))?;
    let count = count.parse()?;
    ensure!(
        outside
            == Tally {
                allowed: count,
                ..Tally::default()
            },
        "outside: {outside:?}"
    );
    ensure!(
        inside
            == Tally {
                denied: count,
                ..Tally::default()
            },
        "inside: {inside:?}"
    );
    Ok(())
}

fn parent_stays_outside() -> Result<()> {
    Daemon::shared()?;
    let to = at(DENIED4, PORT)?;
    let inside = Place::Inside(&Policy::named("parent")).act(&["way", "udp", &to.to_string()])?;
    ensure!(
        inside == "EPERM",
        "inside a session: {inside}, expected EPERM"
    );
    crate::act::way::probe(to).context("from the process that started the session")
}

//! The end of a session: with its first process, or when its time has passed.

use super::life_revoke::{is_running, revoked_line};
use crate::harness::Test;
use crate::harness::events::{Ended, Events, Exit};
use crate::harness::kernel::has_bpf_lsm;
use crate::harness::network::{ALLOWED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::session::{Place, own_program};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "life.end.root_exit",
            "when the first process ends, what it left behind is killed, and the end says how",
            root_exit,
        ),
        Test::new(
            "life.end.no_daemon",
            "the same with no daemon: what is left is denied, and the next daemon kills it",
            no_daemon,
        ),
        Test::new(
            "life.end.unknown",
            "whose record the next daemon cannot read is denied everything and killed, and nobody else",
            unknown,
        ),
        Test::new(
            "life.end.threads",
            "a first process whose main thread ends goes on until its last thread ends",
            threads,
        ),
        Test::new(
            "life.end.ttl",
            "when its time has passed a session is denied and killed",
            ttl,
        ),
        Test::new(
            "life.end.ttl_no_daemon",
            "the kernel denies a session whose time has passed with no daemon",
            ttl_no_daemon,
        ),
    ]
}

fn root_exit() -> Result<()> {
    Daemon::shared()?;
    let program = own_program()?;
    for (how, outcome, exit) in [
        ("exit-0", "completed", Exit::Code(0)),
        ("exit-3", "failed", Exit::Code(3)),
        ("kill-15", "failed", Exit::Signal(15)),
    ] {
        let agent = format!("root-{how}");
        let file = format!("/tmp/left-behind-{how}");
        // The control: outside a session who is left behind goes on.
        let control = leave(Place::Outside, &program, how, &file)?;
        thread::sleep(Duration::from_millis(500));
        ensure!(is_running(control), "outside, the one left behind is gone");
        crate::sys::process::kill(control, libc::SIGKILL)?;

        let events = Events::from_now()?;
        let policy = Policy::named(&agent);
        let left = leave(Place::Inside(&policy), &program, how, &file)?;
        let ended = events.ended(&agent)?;
        let expected = Ended {
            agent: agent.clone(),
            entered: None,
            outcome: outcome.to_owned(),
            cause: Some("root exit".to_owned()),
            exit: Some(exit),
        };
        ensure!(ended == expected, "{ended:?}, expected {expected:?}");
        ensure!(!is_running(left), "{how}: the one left behind still runs");
        let told = revoked_line(events, &agent)?;
        ensure!(
            told.cause == "root exit" && told.killed == 4 && told.left.is_empty(),
            "{told:?}, expected four killed and none left"
        );
    }
    Ok(())
}

/// Runs the part and gives the pid of one that it left behind.
fn leave(place: Place<'_>, program: &str, how: &str, file: &str) -> Result<i32> {
    let _ = fs::remove_file(file);
    // Who is left behind would keep pipes open.
    let status = place
        .command(&[program, "act", "outlive", how, file])?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let right = match how.split_once('-') {
        Some(("exit", number)) => status.code() == Some(number.parse()?),
        Some((_, number)) => status.signal() == Some(number.parse()?),
        None => false,
    };
    ensure!(right, "{how} {place:?} ended with {status}");
    let pid = fs::read_to_string(file).context("the pid of the one left behind")?;
    Ok(pid.parse()?)
}

fn no_daemon() -> Result<()> {
    let daemon = Daemon::shared()?;
    let program = own_program()?;
    let policy = Policy::named("root-no-daemon");
    let file = "/tmp/left-behind-no-daemon";
    let mut run = Place::Inside(&policy)
        .command(&[
            "sh",
            "-c",
            &format!("sleep 2; exec {program} act outlive exit-7 {file}"),
        ])?
        .spawn()?;
    product::begun("root-no-daemon")?;
    daemon.end(libc::SIGKILL)?;
    let status = run.wait()?;
    ensure!(
        status.code() == Some(7),
        "it ended with {status}, expected 7"
    );
    let left: i32 = fs::read_to_string(file)?.parse()?;
    ensure!(
        is_running(left),
        "without a daemon nobody kills, and yet it is gone"
    );
    let events = Events::from_now()?;
    Daemon::start()?;
    let ended = events.ended("root-no-daemon")?;
    ensure!(
        ended.exit == Some(Exit::Code(7)) && ended.cause.as_deref() == Some("root exit"),
        "{ended:?}, expected the end that came while there was no daemon"
    );
    ensure!(!is_running(left), "the one left behind still runs");
    Ok(())
}

fn unknown() -> Result<()> {
    let daemon = Daemon::shared()?;
    let allows = |name| Policy::named(name).allow(ALLOWED4, &PORT.to_string(), "udp");
    let (known, unknown) = (allows("record-known"), allows("record-unknown"));
    let mut stays = Place::Inside(&known).obey()?;
    let goes = Place::Inside(&unknown).obey()?;
    let session = product::begun("record-unknown")?.session;
    daemon.end(libc::SIGKILL)?;
    let record = format!("/run/interlock/sessions/{session}.json");
    fs::write(&record, r#"{"of": "another build"}"#).context(record)?;
    let events = Events::from_now()?;
    Daemon::start()?;
    let told = revoked_line(events, "interlock-unknown")?;
    ensure!(
        told.session == session && told.killed == 1 && told.left.is_empty(),
        "{told:?}, expected session {session}, one killed and none left"
    );
    let reason = told.reason.as_deref();
    ensure!(
        reason == Some("this daemon cannot tell what it was held to"),
        "found the reason {reason:?}"
    );
    let status = goes.end()?;
    ensure!(
        status.signal() == Some(libc::SIGKILL),
        "it ended with {status}"
    );
    let answer = stays.order(&format!("probe {}", at(ALLOWED4, PORT)?))?;
    ensure!(answer == "ok", "the other: {answer}, expected ok");
    stays.end()?;
    Ok(())
}

fn threads() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("root-threads").allow(ALLOWED4, &PORT.to_string(), "udp");
    let to = at(ALLOWED4, PORT)?.to_string();
    let events = Events::from_now()?;
    let output = Place::Inside(&policy).run(&[&own_program()?, "act", "main-thread-ends", &to])?;
    ensure!(
        output.status.code() == Some(5) && output.stdout == b"ok\n",
        "the thread that went on: {}, expected ok and exit code 5",
        product::said(&output)
    );
    let ended = events.ended("root-threads")?;
    ensure!(
        ended.exit == Some(Exit::Code(5)),
        "{ended:?}, expected exit code 5"
    );
    Ok(())
}

fn ttl() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("ttl")
        .allow(ALLOWED4, &PORT.to_string(), "udp")
        .with("  end: {ttl: 3s}\n");
    let events = Events::from_now()?;
    let began = Instant::now();
    let mut actor = Place::Inside(&policy).obey()?;
    let before = actor.order(&format!("probe {}", at(ALLOWED4, PORT)?))?;
    ensure!(before == "ok", "before: {before}, expected ok");
    let told = revoked_line(events, "ttl")?;
    let after = began.elapsed();
    ensure!(
        told.cause == "ttl" && told.killed == 1,
        "{told:?}, expected one killed by ttl"
    );
    ensure!(
        (Duration::from_millis(2900)..Duration::from_millis(10_000)).contains(&after),
        "killed after {after:?}, expected about 3 s"
    );
    let status = actor.end()?;
    ensure!(
        status.signal() == Some(libc::SIGKILL),
        "it ended with {status}"
    );
    let ended = events.ended("ttl")?;
    ensure!(ended.outcome == "revoked", "{ended:?}, expected revoked");
    Ok(())
}

fn ttl_no_daemon() -> Result<()> {
    let daemon = Daemon::shared()?;
    let policy = Policy::named("ttl-no-daemon")
        .allow(ALLOWED4, &PORT.to_string(), "udp")
        .with("  end: {ttl: 3s}\n");
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    let mut actor = Place::Inside(&policy).obey()?;
    daemon.end(libc::SIGKILL)?;
    // Where files are judged, the directory is known the second time.
    let read = "file read /etc/passwd".to_owned();
    for order in [&probe, &read, &read] {
        let before = actor.order(order)?;
        ensure!(before == "ok", "{order}, before: {before}, expected ok");
    }
    thread::sleep(Duration::from_millis(3200));
    let after = actor.order(&probe)?;
    ensure!(
        after == "EPERM",
        "after three seconds: {after}, expected EPERM"
    );
    let after = actor.order(&read)?;
    let expected = if has_bpf_lsm() { "EPERM" } else { "ok" };
    ensure!(
        after == expected,
        "{read}, after three seconds: {after}, expected {expected}"
    );
    let events = Events::from_now()?;
    Daemon::start()?;
    let told = revoked_line(events, "ttl-no-daemon")?;
    ensure!(
        told.cause == "ttl" && told.killed == 1,
        "{told:?}, expected ttl"
    );
    actor.end()?;
    let reason = events
        .denials("ttl-no-daemon")?
        .first()
        .map(|denial| denial.reason.clone());
    ensure!(
        reason.as_deref() == Some("revoked"),
        "the denial's reason is {reason:?}"
    );
    Ok(())
}

//! How long questions and answers last: without an answer, after one, and across daemons.

use super::hold::{ROOT, answered, lay_out, policy};
use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::holds::{approve, deny, nth, questions_of, until_stopped};
use crate::harness::kernel::unless_it_waits;
use crate::harness::product::{Daemon, call, revoke, said, session_of};
use crate::harness::session::Place;
use crate::sys::process::kill;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "hold.life",
            "no answer in time, a revoked session, a daemon that is killed and comes back",
            life,
        )
        .unless(unless_it_waits),
        Test::new(
            "hold.lasting",
            "a yes is good for its time, or for one action, whichever daemon runs then",
            lasting,
        )
        .unless(unless_it_waits),
    ]
}

fn life() -> Result<()> {
    let daemon = Daemon::shared()?;
    lay_out()?;
    let agent = "hold-life";
    let mut actor = Place::Inside(&policy(agent, "once: true, wait: 2s")).obey()?;
    let events = Events::from_now()?;
    let told = actor.order(&format!("file read {ROOT}/read"))?;
    ensure!(told == "EPERM", "no answer: {told}");
    let told = events.wait(agent, 2)?;
    ensure!(
        told.iter()
            .any(|denial| denial.reason == "no answer in time" && denial.verdict == "deny"),
        "{told:?}"
    );
    let hold = nth(events, agent, 1)?;
    let late = call(&["approve", &hold])?;
    ensure!(late.status.code() == Some(1), "too late: {}", said(&late));
    let expired = events.first("the end of the question", |line| match line {
        Line::Answered(answered) if answered.hold == hold => Some(answered.answer),
        _ => None,
    })?;
    ensure!(expired == "expired", "{expired}");
    actor.end()?;

    let agent = "hold-daemon";
    let mut actor = Place::Inside(&policy(agent, "expires: 5m")).obey()?;
    // A yes that is good for a while is so without a daemon, and with the next one.
    let lasting = format!("file read {ROOT}/again");
    let told = answered(&mut actor, agent, &lasting, 1, approve)?;
    ensure!(told == "ok", "{lasting}: {told}");
    let events = Events::from_now()?;
    actor.begin(&format!("file unlink {ROOT}/unlink"))?;
    let hold = nth(events, agent, 1)?;
    until_stopped(actor.pid)?;
    // One that ends in order leaves its questions to the next.
    daemon.end(libc::SIGTERM)?;
    kill(actor.pid, libc::SIGCONT)?;
    thread::sleep(Duration::from_millis(100));
    until_stopped(actor.pid).context("without a daemon")?;
    ensure!(Path::new(&format!("{ROOT}/unlink")).exists(), "unlinked");
    let daemon = Daemon::start()?;
    let found = questions_of(agent)?;
    ensure!(
        found.len() == 1 && found[0].hold == hold && found[0].action == "delete",
        "after the daemon came back: {found:?}"
    );
    approve(&hold)?;
    let told = actor.answer()?;
    ensure!(told == "ok", "approved by the next daemon: {told}");
    let told = actor.order(&lasting)?;
    ensure!(told == "ok", "approved by the one before: {told}");

    // One that dies leaves nobody who says yes: what is asked before and after is denied at once, while a yes
    // that was given stays good.
    actor.begin(&format!("file read {ROOT}/read"))?;
    nth(events, agent, 2)?;
    until_stopped(actor.pid)?;
    daemon.end(libc::SIGKILL)?;
    let told = actor.answer()?;
    ensure!(told == "EPERM", "asked of a daemon that died: {told}");
    for (order, expected) in [
        (format!("file unlink {ROOT}/swap"), "EPERM"),
        (lasting.clone(), "ok"),
    ] {
        let told = actor.order(&order)?;
        ensure!(told == expected, "{order}, without a daemon: {told}");
    }
    ensure!(Path::new(&format!("{ROOT}/swap")).exists(), "unlinked");
    let daemon = Daemon::start()?;

    // With its deputy dead as well, the next daemon says no.
    actor.begin(&format!("file write {ROOT}/other"))?;
    let hold = nth(events, agent, 4)?;
    until_stopped(actor.pid)?;
    daemon.freeze()?;
    for pid in deputies(daemon.pid)? {
        kill(pid, libc::SIGKILL)?;
    }
    daemon.end(libc::SIGKILL)?;
    thread::sleep(Duration::from_millis(200));
    until_stopped(actor.pid).context("without a daemon and its deputy")?;
    Daemon::start()?;
    let told = actor.answer()?;
    ensure!(told == "EPERM", "asked of a daemon that died: {told}");
    let answered = events.first("the end of the question", |line| match line {
        Line::Answered(answered) if answered.hold == hold => Some(answered),
        _ => None,
    })?;
    ensure!(
        answered.answer == "refused" && answered.by.as_deref() == Some("the deputy"),
        "{answered:?}"
    );

    actor.begin(&format!("file write {ROOT}/write"))?;
    nth(events, agent, 5)?;
    until_stopped(actor.pid)?;
    let session = session_of(agent)?.context("no session")?.session;
    let revoked = revoke(&session, "held")?;
    ensure!(
        revoked.empty_after_us.is_some() && revoked.left.is_empty(),
        "{revoked:?}"
    );
    // Killed where it is stopped; or, if it was just looked at, denied before.
    let told = actor.answer().unwrap_or_else(|_| "EPERM".to_owned());
    ensure!(told == "EPERM", "it answers {told}");
    ensure!(questions_of(agent)?.is_empty(), "the question stays");
    Ok(())
}

/// The processes that are ready to answer in a daemon's place.
fn deputies(daemon: i32) -> Result<Vec<i32>> {
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children"))?;
    let is_deputy = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.contains("deputy"))
    };
    let pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    let found: Vec<i32> = pids.filter(is_deputy).collect();
    ensure!(found.len() == 1, "one deputy, not {found:?}");
    Ok(found)
}

fn lasting() -> Result<()> {
    let daemon = Daemon::shared()?;
    lay_out()?;
    let (agent, order) = ("hold-lasting", format!("file read {ROOT}/again"));
    let mut actor = Place::Inside(&policy(agent, "expires: 5m")).obey()?;
    let events = Events::from_now()?;
    actor.begin(&order)?;
    let hold = nth(events, agent, 1)?;
    let given = call(&["approve", &hold, "--for", "4s"])?;
    ensure!(given.status.success(), "{}", said(&given));
    for which in ["the first", "the second"] {
        let told = match which {
            "the first" => actor.answer()?,
            _ => actor.order(&order)?,
        };
        ensure!(told == "ok", "{which} within four seconds: {told}");
    }
    thread::sleep(Duration::from_secs(4));
    actor.begin(&order)?;
    deny(&nth(events, agent, 2).context("after four seconds")?)?;
    let told = actor.answer()?;
    ensure!(told == "EPERM", "denied: {told}");
    actor.end()?;

    // What io_uring does cannot wait: the yes is there before it is used, and so can another daemon be.
    let (agent, order) = ("hold-once", format!("file uring {ROOT}/again"));
    let mut actor = Place::Inside(&policy(agent, "once: true")).obey()?;
    let events = Events::from_now()?;
    let told = actor.order(&order)?;
    ensure!(told == "EPERM", "not asked yet: {told}");
    let asked = events.wait(agent, 1)?;
    approve(asked[0].hold.as_deref().context("no question")?)?;
    daemon.end(libc::SIGKILL)?;
    Daemon::start()?;
    for (which, expected) in [("first", "ok"), ("second", "EPERM")] {
        let told = actor.order(&order)?;
        ensure!(
            told == expected,
            "the {which} with a yes that is good for one: {told}"
        );
    }
    actor.end()?;
    Ok(())
}

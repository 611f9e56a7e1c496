//! Agents that would get round a person's answer (red team A1 to A3).

use super::hold::{ROOT, lay_out, policy};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::holds::{approve, deny, nth, questions_of, until_stopped};
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.a1.itself",
            "no session answers, whatever its policy",
            itself,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.a2.another",
            "a yes to one file lets no other through that takes its name",
            another,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.a3.memory",
            "a yes to one path lets no other through that is written over it",
            memory,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

fn itself() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let agent = "red-a1";
    let policy = policy(agent, "once: true");
    let policy = policy.with("  # nothing is kept from it otherwise\n");
    let mut actor = Place::Inside(&policy).obey()?;
    let mut helper = Place::Inside(&policy).obey()?;
    let events = Events::from_now()?;
    actor.begin(&format!("file read {ROOT}/read"))?;
    let hold = nth(events, agent, 1)?;
    until_stopped(actor.pid)?;
    for words in [
        format!("answer /usr/local/bin/interlock approve {hold}"),
        "answer /usr/local/bin/interlock holds".to_owned(),
        "unix /run/interlock/control.sock".to_owned(),
        "file read /run/interlock/holds".to_owned(),
    ] {
        let said = helper.order(&words)?;
        ensure!(
            said.is_empty() || said == "EPERM" || said == "EACCES",
            "{words}: {said}"
        );
    }
    until_stopped(actor.pid).context("its own yes was taken")?;
    let question = questions_of(agent)?;
    ensure!(question.len() == 1, "{question:?}");
    deny(&hold)?;
    let said = actor.answer()?;
    ensure!(said == "EPERM", "denied: {said}");
    helper.end()?;
    actor.end()?;
    Ok(())
}

fn another() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let agent = "red-a2";
    let mut actor = Place::Inside(&policy(agent, "once: true")).obey()?;
    // Another file takes the name.
    let events = Events::from_now()?;
    actor.begin(&format!("file read {ROOT}/read"))?;
    let first = nth(events, agent, 1)?;
    until_stopped(actor.pid)?;
    fs::rename(format!("{ROOT}/other"), format!("{ROOT}/read"))?;
    approve(&first)?;
    let second = nth(events, agent, 2).context("another file at the same path")?;
    ensure!(first != second, "the same question");
    until_stopped(actor.pid)?;
    deny(&second)?;
    let said = actor.answer()?;
    ensure!(said == "EPERM", "another file: {said}");
    // A symbolic link leads elsewhere.
    let link = "/tmp/interlock-hold-link";
    let _ = fs::remove_file(link);
    std::os::unix::fs::symlink(format!("{ROOT}/write"), link)?;
    let events = Events::from_now()?;
    actor.begin(&format!("file read {link}"))?;
    let first = nth(events, agent, 1)?;
    until_stopped(actor.pid)?;
    fs::remove_file(link)?;
    std::os::unix::fs::symlink(format!("{ROOT}/both"), link)?;
    approve(&first)?;
    let second = nth(events, agent, 2).context("a link that leads elsewhere")?;
    until_stopped(actor.pid)?;
    deny(&second)?;
    let said = actor.answer()?;
    ensure!(said == "EPERM", "a link that leads elsewhere: {said}");
    actor.end()?;
    Ok(())
}

fn memory() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let agent = "red-a3";
    let mut actor = Place::Inside(&policy(agent, "once: true")).obey()?;
    // The path in memory is another one when the call begins anew.
    let events = Events::from_now()?;
    actor.begin(&format!("shared-open {ROOT}/over {ROOT}/swap"))?;
    let first = nth(events, agent, 1)?;
    std::thread::sleep(Duration::from_millis(300));
    approve(&first)?;
    let second = nth(events, agent, 2).context("another path in memory")?;
    deny(&second)?;
    let said = actor.answer()?;
    ensure!(said == "Exited(1)", "another path in memory: {said}");
    // The yes to the first is still good, for that.
    let said = actor.order(&format!("file read {ROOT}/over"))?;
    ensure!(said == "ok", "what was approved: {said}");
    actor.end()?;
    Ok(())
}

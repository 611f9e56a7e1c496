//! Agents that would get round a person's answer (red team A1 to A3).

use super::hold::{ROOT, lay_out, policy};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::holds::{approve, deny, nth, questions_of, until_stopped};
use crate::harness::kernel::unless_it_waits;
use crate::harness::network::{ALLOWED4, DENIED4, PORT};
use crate::harness::product::{Daemon, call, said};
use crate::harness::session::{Obedient, Place};
use crate::sys::host::mount;
use crate::sys::system::umount;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.a1.itself",
            "no session answers, whatever its policy",
            itself,
        )
        .unless(unless_it_waits),
        Test::new(
            "red.a1.replay",
            "an answer is good for one question of one session: not for another's, nor once more",
            replay,
        )
        .unless(unless_it_waits),
        Test::new(
            "red.a2.another",
            "a yes to one file lets no other through that takes its name: by rename, link, mount, or new contents",
            another,
        )
        .unless(unless_it_waits),
        Test::new(
            "red.a3.memory",
            "a yes to one path, address or word lets no other through that is written over it",
            memory,
        )
        .unless(unless_it_waits),
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
    swapped(&mut actor, agent, &format!("file read {link}"), || {
        fs::remove_file(link)?;
        Ok(std::os::unix::fs::symlink(format!("{ROOT}/both"), link)?)
    })
    .context("a link that leads elsewhere")?;
    // Another file is mounted over it.
    let over = format!("{ROOT}/over");
    swapped(&mut actor, agent, &format!("file read {over}"), || {
        let old = format!("{ROOT}/old");
        Ok(mount(Some(&old), &over, libc::MS_BIND)?)
    })
    .context("another file is mounted over it")?;
    umount(&over)?;
    contents(&mut actor, agent).context("a program that is written over")?;
    actor.end()?;
    Ok(())
}

/// Changes the world while an action waits: the yes is no yes to what there is now.
fn swapped(
    actor: &mut Obedient,
    agent: &str,
    order: &str,
    swap: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let events = Events::from_now()?;
    actor.begin(order)?;
    let first = nth(events, agent, 1)?;
    until_stopped(actor.pid)?;
    swap()?;
    approve(&first)?;
    let second = nth(events, agent, 2)?;
    until_stopped(actor.pid)?;
    deny(&second)?;
    let said = actor.answer()?;
    ensure!(said == "EPERM", "it was told {said}");
    Ok(())
}

/// The same file with other contents: nobody can say yes to the program that was asked about.
fn contents(actor: &mut Obedient, agent: &str) -> Result<()> {
    let program = format!("{ROOT}/program");
    fs::copy("/bin/true", &program)?;
    for changed in [true, false] {
        let events = Events::from_now()?;
        let word = if changed { "changed" } else { "same" };
        actor.begin(&format!("execute execve {program} {word}"))?;
        let hold = nth(events, agent, 1)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let question = loop {
            let mut questions = questions_of(agent)?;
            let question = questions.pop().context("no question")?;
            if question.digest.is_some() {
                break question;
            }
            ensure!(Instant::now() < deadline, "no digest: {question:?}");
        };
        ensure!(
            question.object["arguments"][1].as_str() == Some(word),
            "its words are not shown: {question:?}"
        );
        if changed {
            let mut file = fs::OpenOptions::new().append(true).open(&program)?;
            file.write_all(b"more")?;
        }
        let answer = call(&["approve", &hold])?;
        ensure!(
            answer.status.success() != changed,
            "{changed}: {}",
            said(&answer)
        );
        if changed {
            ensure!(
                said(&answer).contains("changed meanwhile"),
                "{}",
                said(&answer)
            );
            deny(&hold)?;
        }
        let told = actor.answer()?;
        ensure!(told == if changed { "EPERM" } else { "ran 0" }, "{told}");
    }
    Ok(())
}

/// Answers that are no answers to what is asked.
fn replay() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let agents = ["red-a1-one", "red-a1-other"];
    let order = format!("file read {ROOT}/read");
    let mut actors = Vec::new();
    for agent in agents {
        let mut actor = Place::Inside(&policy(agent, "once: true")).obey()?;
        let events = Events::from_now()?;
        actor.begin(&order)?;
        let hold = nth(events, agent, 1)?;
        until_stopped(actor.pid)?;
        actors.push((actor, hold));
    }
    let [(one, first), (other, second)] = actors.as_mut_slice() else {
        anyhow::bail!("two actors");
    };
    ensure!(first != second, "two questions with one number");
    approve(first)?;
    let told = one.answer()?;
    ensure!(told == "ok", "the one that was approved: {told}");
    std::thread::sleep(Duration::from_millis(100));
    until_stopped(other.pid).context("another session's yes let it through")?;
    // The same once more is another question, to which the old answer is none.
    let events = Events::from_now()?;
    one.begin(&order)?;
    let third = nth(events, agents[0], 1)?;
    ensure!(third != *first, "a number that was used");
    let unknown = "0000000000000001".to_owned();
    for hold in [&*first, &unknown] {
        let again = call(&["approve", hold])?;
        ensure!(again.status.code() == Some(1), "{hold}: {}", said(&again));
    }
    until_stopped(one.pid).context("an old yes was taken")?;
    for (actor, hold) in [(one, &third), (other, &*second)] {
        deny(hold)?;
        let told = actor.answer()?;
        ensure!(told == "EPERM", "denied: {told}");
    }
    for (actor, _) in actors {
        actor.end()?;
    }
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
    // Nor is a yes to one address, or to a program with one word, one to another.
    fs::copy("/bin/true", format!("{ROOT}/program"))?;
    let server = TcpListener::bind((ALLOWED4, PORT))?;
    server.set_nonblocking(true)?;
    for (order, what) in [
        (
            format!("shared-connect {ALLOWED4}:{PORT} {DENIED4}:{PORT}"),
            "another address in memory",
        ),
        (
            format!("shared-execute {ROOT}/program good evil"),
            "another word in memory",
        ),
    ] {
        let events = Events::from_now()?;
        actor.begin(&order)?;
        let first = nth(events, agent, 1).context(what)?;
        std::thread::sleep(Duration::from_millis(300));
        approve(&first)?;
        if what.contains("word") {
            deny(&nth(events, agent, 2).context(what)?)?;
        }
        let said = actor.answer()?;
        ensure!(said == "Exited(1)", "{what}: {said}");
    }
    ensure!(server.accept().is_err(), "somebody came");
    actor.end()?;
    Ok(())
}

//! Actions that wait for a person's yes (issue 7): nothing happens before the answer, and what happens
//! then is what the answer says.

use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::holds::{
    approve, asked, deny, nth, open_questions, questions_of, until_stopped,
};
use crate::harness::kernel::{unless_it_waits, unless_nothing_waits};
use crate::harness::network::{ALLOWED4, PORT};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, call, said};
use crate::harness::session::{Obedient, Place};
use crate::sys::process::kill;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "hold.network",
            "what goes to a network waits for its yes, and nothing is at the receiver before",
            network,
        )
        .unless(unless_it_waits),
        Test::new(
            "hold.exec",
            "so does a program, with its words: with others it is killed",
            exec,
        )
        .unless(unless_it_waits),
        Test::new(
            "hold.together",
            "eight threads at once, io_uring, a process that is not stopped",
            several,
        )
        .unless(unless_it_waits),
        Test::new(
            "hold.nothing_waits",
            "before 5.15 what needs a yes is denied, and passes when it is tried again after it; programs do not",
            nothing_waits,
        )
        .unless(unless_nothing_waits),
    ]
}

/// Where the files lie that need a yes.
pub(crate) const ROOT: &str = "/tmp/interlock-hold";

/// Files under [`ROOT`] and an address need a yes, which is good for one action.
pub(crate) fn policy(agent: &str, approval: &str) -> Policy {
    let approval = format!("approval: {{by: [tester], {approval}}}");
    Policy::named(agent).with(&format!(
        "  files:
    allow:
      - {{access: [read, write, create, delete, rename, link, map], paths: [\"/**\"]}}
      - {{id: file, access: [read, write, create, delete, rename, link], paths: [{ROOT}/**], {approval}}}
  exec:
    allow:
      - {{programs: [/**]}}
      - {{id: program, programs: [{ROOT}/program], {approval}}}
  egress:
    allow:
      - {{id: tcp, to: [{ALLOWED4}], ports: [{PORT}], protocol: tcp, {approval}}}
      - {{id: udp, to: [{ALLOWED4}], ports: [{PORT}], protocol: udp, {approval}}}
      - {{id: unix, to: [\"unix:{ROOT}/socket\"], {approval}}}
  listen:
    allow:
      - {{id: listen, on: [127.0.0.1], ports: [9000-9010], protocol: tcp, {approval}}}
"
    ))
}

/// Files with something in them, and a folder.
pub(crate) fn lay_out() -> Result<()> {
    let _ = fs::remove_dir_all(ROOT);
    fs::create_dir_all(ROOT)?;
    for name in [
        "read", "write", "both", "unlink", "old", "over", "again", "swap", "other",
    ] {
        fs::write(format!("{ROOT}/{name}"), name)?;
    }
    Ok(())
}

/// Gives an order that must wait, answers each of its questions, and gives what the actor says then.
pub(super) fn answered(
    actor: &mut Obedient,
    agent: &str,
    order: &str,
    questions: usize,
    answer: fn(&str) -> Result<()>,
) -> Result<String> {
    let events = Events::from_now()?;
    actor.begin(order)?;
    for count in 1..=questions {
        let hold = nth(events, agent, count).with_context(|| order.to_owned())?;
        until_stopped(actor.pid).with_context(|| order.to_owned())?;
        answer(&hold)?;
    }
    let said = actor.answer()?;
    let count = asked(events, agent)?.len();
    ensure!(
        count == questions,
        "{order}: {count} questions, expected {questions}"
    );
    Ok(said)
}

fn network() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let agent = "hold-network";
    let mut actor = Place::Inside(&policy(agent, "once: true, show: [amount]")).obey()?;
    let to = format!("{ALLOWED4}:{PORT}");
    let server = TcpListener::bind(&to)?;
    server.set_nonblocking(true)?;
    let datagrams = UdpSocket::bind(&to)?;
    datagrams.set_nonblocking(true)?;
    let events = Events::from_now()?;
    actor.begin(&format!("way tcp {to}"))?;
    let hold = nth(events, agent, 1)?;
    until_stopped(actor.pid)?;
    let questions = questions_of(agent)?;
    let [question] = questions.as_slice() else {
        anyhow::bail!("one question, not {questions:?}");
    };
    ensure!(
        question.hold == hold
            && question.stopped
            && question.once
            && question.action == "connect"
            && question.object["port"] == PORT
            && question.by == ["tester"]
            && question.show == ["amount"]
            && question.owner.is_some()
            && question.waiting == [actor.pid],
        "{question:?}"
    );
    // A stray signal leads to the same question again, without a word.
    for _ in 0..3 {
        kill(actor.pid, libc::SIGCONT)?;
        std::thread::sleep(Duration::from_millis(50));
        until_stopped(actor.pid)?;
    }
    ensure!(asked(events, agent)?.len() == 1, "asked again");
    let nobody = server.accept().map(drop).map_err(|error| error.kind());
    ensure!(nobody == Err(ErrorKind::WouldBlock), "{nobody:?} came");
    approve(&hold)?;
    let said = actor.answer()?;
    ensure!(said == "ok", "connect, approved: {said}");
    server.accept().context("nobody came after the yes")?;
    let again = call(&["approve", &hold])?;
    ensure!(
        again.status.code() == Some(1),
        "a second yes: {}",
        said_of(&again)
    );
    let answers = events.first("the answer", |line| match line {
        Line::Answered(answered) if answered.hold == hold => Some(answered),
        _ => None,
    })?;
    ensure!(
        answers.answer == "given" && answers.by.is_some_and(|by| by.starts_with("root")),
        "the answer was told otherwise"
    );
    let order = format!("way udp {to}");
    let said = answered(&mut actor, agent, &order, 1, approve)?;
    ensure!(said == "ok", "{order}, approved: {said}");
    let mut room = [0; 64];
    datagrams.recv_from(&mut room).context("no datagram came")?;
    let said = answered(&mut actor, agent, &order, 1, deny)?;
    ensure!(said == "EPERM", "{order}, denied: {said}");
    ensure!(datagrams.recv_from(&mut room).is_err(), "a datagram came");
    let order = "listen 1 127.0.0.1:9001";
    let said = answered(&mut actor, agent, order, 1, approve)?;
    ensure!(said == "ok", "{order}, approved: {said}");
    let order = format!("way tcp {to}");
    let said = answered(&mut actor, agent, &order, 1, deny)?;
    ensure!(said == "EPERM", "{order}, denied: {said}");
    let nobody = server.accept().map(drop).map_err(|error| error.kind());
    ensure!(nobody == Err(ErrorKind::WouldBlock), "{nobody:?} came");
    actor.end()?;
    Ok(())
}

fn said_of(output: &std::process::Output) -> String {
    said(output)
}

fn exec() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let agent = "hold-exec";
    let program = format!("{ROOT}/program");
    fs::copy("/bin/true", &program)?;
    let mut actor = Place::Inside(&policy(agent, "once: true")).obey()?;
    // Each in a child, which stops: of fork, and of vfork, whose parent waits for it.
    for way in ["execve", "vfork"] {
        for (answer, expected) in [
            (approve as fn(&str) -> Result<()>, "ran 0"),
            (deny, "EPERM"),
        ] {
            let events = Events::from_now()?;
            actor.begin(&format!("execute {way} {program} {way} {expected}"))?;
            let hold = nth(events, agent, 1)?;
            let question = questions_of(agent)?;
            let question = question.first().context("no question")?;
            ensure!(question.action == "exec", "{question:?}");
            answer(&hold)?;
            let said = actor.answer()?;
            ensure!(said == expected, "{way}: {said}, expected {expected}");
        }
    }
    // Other words are another question.
    let events = Events::from_now()?;
    actor.begin(&format!("execute execve {program} one"))?;
    let one = nth(events, agent, 1)?;
    approve(&one)?;
    let said = actor.answer()?;
    ensure!(said == "ran 0", "one: {said}");
    actor.begin(&format!("execute execve {program} two"))?;
    deny(&nth(events, agent, 2)?)?;
    let said = actor.answer()?;
    ensure!(said == "EPERM", "two: {said}");
    actor.end()?;
    Ok(())
}

fn several() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let agent = "hold-several";
    let policy = policy(agent, "expires: 5m");
    let mut actor = Place::Inside(&policy).obey()?;
    let events = Events::from_now()?;
    actor.begin(&format!("together 8 {ROOT}/read"))?;
    let hold = nth(events, agent, 1)?;
    until_stopped(actor.pid)?;
    approve(&hold)?;
    let said = actor.answer()?;
    ensure!(said == ["ok"; 8].join(" "), "eight threads: {said}");
    ensure!(
        asked(events, agent)?.len() == 1,
        "they asked more than once"
    );
    // It is good for a while.
    let said = actor.order(&format!("file read {ROOT}/read"))?;
    ensure!(said == "ok", "again: {said}");
    // What io_uring does cannot wait, and passes afterwards.
    let events = Events::from_now()?;
    let order = format!("file uring {ROOT}/again");
    let said = actor.order(&order)?;
    ensure!(said == "EPERM", "io_uring: {said}");
    let told = events.wait(agent, 1)?;
    let pending = &told[0];
    ensure!(
        pending.verdict == "deny" && pending.reason == "approval pending",
        "{pending:?}"
    );
    let question = questions_of(agent)?;
    ensure!(question.len() == 1 && !question[0].stopped, "{question:?}");
    approve(pending.hold.as_deref().context("no question")?)?;
    let said = actor.order(&order)?;
    ensure!(said == "ok", "io_uring after the yes: {said}");
    // One session has no more open questions than 64: the others are denied at once.
    let events = Events::from_now()?;
    actor.order(&format!("mkdirs {ROOT}/many 70"))?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (open, told) = (open_questions(agent)?.len(), events.denials(agent)?);
        let over = told
            .iter()
            .filter(|it| it.reason == "too many open questions");
        let over = over.count();
        if (open, over) == (64, 6) {
            break;
        }
        ensure!(
            Instant::now() < deadline && open <= 64,
            "{open} are open, {over} were too many"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    actor.end()?;
    events.ended(agent)?;
    // Whoever comes next gets the place in the tables, and none of these questions.
    let (events, agent) = (Events::from_now()?, "hold-next");
    let mut actor = Place::Inside(&self::policy(agent, "once: true")).obey()?;
    for number in 1..=2 {
        actor.begin(&format!("file read {ROOT}/read"))?;
        approve(&nth(events, agent, number)?)?;
        let said = actor.answer()?;
        ensure!(
            said == "ok",
            "question {number} of the next session: {said}"
        );
    }
    actor.end()?;
    Ok(())
}

fn nothing_waits() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    let doctor = call(&["doctor", "--json"])?;
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(
        told.contains("use a kernel since 5.15"),
        "doctor says {told}"
    );
    let agent = "hold-nothing-waits";
    let mut actor = Place::Inside(&policy(agent, "once: true")).obey()?;
    let server = TcpListener::bind((ALLOWED4, PORT))?;
    server.set_nonblocking(true)?;
    for order in [
        format!("file read {ROOT}/read"),
        format!("file unlink {ROOT}/unlink"),
        format!("way tcp {ALLOWED4}:{PORT}"),
    ] {
        let events = Events::from_now()?;
        let said = actor.order(&order)?;
        ensure!(said == "EPERM", "{order}: {said}");
        let told = events.wait(agent, 1)?;
        ensure!(
            told[0].verdict == "deny" && told[0].reason == "approval pending",
            "{order}: {told:?}"
        );
        let question = questions_of(agent)?;
        ensure!(question.len() == 1 && !question[0].stopped, "{question:?}");
        let is_unlinked = !Path::new(&format!("{ROOT}/unlink")).exists();
        ensure!(
            !(is_unlinked && order.contains("unlink")) && server.accept().is_err(),
            "{order}: it has happened"
        );
        approve(&question[0].hold)?;
        let said = actor.order(&order)?;
        ensure!(said == "ok", "{order}, after the yes: {said}");
    }
    fs::copy("/bin/true", format!("{ROOT}/program"))?;
    let order = format!("execute execve {ROOT}/program");
    let said = actor.order(&order)?;
    ensure!(said == "EPERM", "{order}: {said}");
    actor.end()?;
    Ok(())
}

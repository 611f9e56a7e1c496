//! Questions at the controller: they appear there, and people answer them from there.

use super::hold::{ROOT, lay_out};
use crate::harness::Test;
use crate::harness::controller::{
    Controller, ctl, ctl_as, daemon_with, is_connected, until, until_recorded,
};
use crate::harness::events::{Events, Line};
use crate::harness::holds::{approve, nth, until_stopped};
use crate::harness::kernel::unless_it_waits;
use crate::harness::network;
use crate::harness::policy::Policy;
use crate::harness::product::{self, call, said};
use crate::harness::session::{Obedient, Place};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const AGENT: &str = "hold-central";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "hold.central",
            "a question appears at the controller, and is answered there, by one or by two people",
            central,
        )
        .unless(unless_it_waits),
    ]
}

/// Where the bell is.
const BELL: &str = "127.0.0.1:8099";
const BELL_KEY: &str = "/run/interlock-bell-key";

/// Whoever is told by the bell: everything that comes.
fn listen() -> Result<Receiver<String>> {
    fs::write(BELL_KEY, "a key that nobody guesses")?;
    let listener = TcpListener::bind(BELL)?;
    let (tell, heard) = channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut said, mut room) = (String::new(), [0; 4096]);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
            while let Ok(count @ 1..) = stream.read(&mut room) {
                said.push_str(&String::from_utf8_lossy(&room[..count]));
            }
            let _ = stream.write_all(b"HTTP/1.1 204 Heard\r\nconnection: close\r\n\r\n");
            if tell.send(said).is_err() {
                return;
            }
        }
    });
    Ok(heard)
}

/// Waits until the bell says something of a question.
fn hear(heard: &Receiver<String>, event: &str, hold: &str) -> Result<()> {
    let event = format!("\"event\":\"{event}\"");
    loop {
        let said = heard
            .recv_timeout(Duration::from_secs(10))
            .with_context(|| event.clone())?;
        if said.contains(&event) && said.contains(hold) {
            ensure!(said.contains("x-interlock-signature: sha256="), "{said}");
            return Ok(());
        }
    }
}

/// One file needs one person, the other two.
fn policy() -> Policy {
    Policy::named(AGENT).with(&format!(
        "  files:
    allow:
      - {{access: [read, write, create, delete, rename, link, map], paths: [\"/**\"]}}
      - {{access: [read], paths: [{ROOT}/read, {ROOT}/swap], approval: {{by: [tester], once: true}}}}
      - {{access: [read], paths: [{ROOT}/over], approval: {{by: [tester], once: true, controllerLost: wait}}}}
      - {{access: [read], paths: [{ROOT}/both], approval: {{by: [tester], once: true, people: 2}}}}
      - access: [read]
        paths: [{ROOT}/again]
        approval: {{by: [tester], answer: \"session.agent == '{AGENT}' && counters.approved > 0\"}}
      - {{access: [read], paths: [{ROOT}/other], approval: {{by: [tester], answer: \"counters.approved > 99\"}}}}
      - {{access: [read], paths: [{ROOT}/old], approval: {{by: [tester], answer: \"1 / 0 == 1\"}}}}
"
    ))
}

fn central() -> Result<()> {
    network::set_up()?;
    product::stop()?;
    lay_out()?;
    let mut controller = Controller::start(0)?;
    let heard = listen()?;
    daemon_with(&["--bell", &format!("http://{BELL}/"), "--bell-key", BELL_KEY])?;
    until(&["nodes"], is_connected)?;
    let mut actor = Place::Inside(&policy()).obey()?;
    let (hold, asked) = ask(&mut actor, "read")?;
    let path = format!("{ROOT}/read");
    ensure!(
        asked["agent"] == AGENT
            && asked["node"] == "node-1"
            && asked["people"] == 1
            && asked["asks"]["object"]["path"] == path.as_str()
            && asked["asks"]["policy"]
                .as_str()
                .is_some_and(|it| it.len() == 64)
            && asked["asks"]["boot"]
                .as_str()
                .is_some_and(|it| it.len() == 36)
            && asked["asks"]["onNoAnswer"] == "denied",
        "{asked}"
    );
    hear(&heard, "asked", &hold)?;
    let (done, told) = ctl(&["approve", &hold, "--reason", "release 4.2"])?;
    ensure!(done && told["nodes"][0]["state"] == "in force", "{told}");
    let answer = actor.answer()?;
    ensure!(answer == "ok", "approved at the controller: {answer}");
    until_recorded("approval", "operator/admin")?;
    hear(&heard, "answered", &hold)?;
    // What a policy answers by itself.
    for (file, expected) in [("again", "ok"), ("other", "EPERM"), ("old", "EPERM")] {
        let answer = actor.order(&format!("file read {ROOT}/{file}"))?;
        ensure!(
            answer == expected,
            "answered by the policy, {file}: {answer}"
        );
    }
    until_recorded("approval", "counters.approved > 99")?;
    let (hold, _) = ask(&mut actor, "read")?;
    let (done, told) = ctl(&["deny", &hold])?;
    ensure!(done, "{told}");
    let answer = actor.answer()?;
    ensure!(answer == "EPERM", "denied at the controller: {answer}");

    let (hold, asked) = ask(&mut actor, "both")?;
    ensure!(asked["people"] == 2, "{asked}");
    let alone = call(&["approve", &hold])?;
    ensure!(
        alone.status.code() == Some(1) && said(&alone).contains("needs 2 people"),
        "on the node: {}",
        said(&alone)
    );
    let (done, told) = ctl(&["approve", &hold])?;
    ensure!(done && told["missing"] == 1, "{told}");
    let again = ctl(&["approve", &hold]);
    ensure!(again.is_err(), "one person is two: {again:?}");
    thread::sleep(Duration::from_millis(300));
    until_stopped(actor.pid).context("one person was enough")?;
    let (done, told) = ctl_as("operator-grace", &["approve", &hold])?;
    ensure!(done && told["nodes"][0]["state"] == "in force", "{told}");
    let answer = actor.answer()?;
    ensure!(answer == "ok", "approved by two: {answer}");
    until(&["approvals"], |list| list == &Value::Array(Vec::new()))?;

    // What waits when the controller is lost is denied long before its time is over.
    let events = Events::from_now()?;
    actor.begin(&format!("file read {ROOT}/swap"))?;
    nth(events, AGENT, 1)?;
    until_stopped(actor.pid)?;
    controller.freeze()?;
    denied_alone(&actor.answer()?, events)?;
    controller.kill()?;
    // What is asked then is denied at once.
    let (events, before) = (Events::from_now()?, Instant::now());
    denied_alone(&actor.order(&format!("file read {ROOT}/both"))?, events)?;
    let took = before.elapsed();
    ensure!(took < Duration::from_secs(3), "denied after {took:?}");
    // The policy answers as before, and what may wait is for the node's own people.
    let answer = actor.order(&format!("file read {ROOT}/again"))?;
    ensure!(answer == "ok", "by the policy, alone: {answer}");
    let events = Events::from_now()?;
    actor.begin(&format!("file read {ROOT}/over"))?;
    let hold = nth(events, AGENT, 1)?;
    thread::sleep(Duration::from_secs(1));
    until_stopped(actor.pid)?;
    approve(&hold)?;
    let answer = actor.answer()?;
    ensure!(answer == "ok", "approved without the controller: {answer}");
    actor.end()?;
    Ok(())
}

/// Whether the node has denied because nobody is at the controller, and told that.
fn denied_alone(answer: &str, events: Events) -> Result<()> {
    ensure!(answer == "EPERM", "without the controller: {answer}");
    let (by, because) = events.first("the answer", |line| match line {
        Line::Answered(answered) if answered.answer == "refused" => {
            answered.by.zip(answered.because)
        }
        _ => None,
    })?;
    ensure!(by == "the daemon", "{by} has answered");
    ensure!(because.contains("the controller is away"), "{because}");
    Ok(())
}

/// Reads a file that needs a yes, and waits until the controller knows.
fn ask(actor: &mut Obedient, file: &str) -> Result<(String, Value)> {
    let events = Events::from_now()?;
    actor.begin(&format!("file read {ROOT}/{file}"))?;
    let hold = nth(events, AGENT, 1)?;
    until_stopped(actor.pid)?;
    let at = |list: &Value| {
        let mut all = list.as_array().into_iter().flatten();
        all.position(|asked| asked["question"] == hold.as_str())
    };
    let list = until(&["approvals"], |list| at(list).is_some())?;
    let asked = list[at(&list).context("the question")?].clone();
    Ok((hold, asked))
}

//! Questions at the controller: they appear there, and people answer them from there.

use super::hold::{ROOT, lay_out};
use crate::harness::Test;
use crate::harness::controller::{
    Controller, ctl, ctl_as, daemon, is_connected, until, until_recorded,
};
use crate::harness::events::Events;
use crate::harness::holds::{nth, until_stopped};
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network;
use crate::harness::policy::Policy;
use crate::harness::product::{self, call, said};
use crate::harness::session::{Obedient, Place};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

const AGENT: &str = "hold-central";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "hold.central",
            "a question appears at the controller, and is answered there, by one or by two people",
            central,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

/// One file needs one person, the other two.
fn policy() -> Policy {
    Policy::named(AGENT).with(&format!(
        "  files:
    allow:
      - {{access: [read, write, create, delete, rename, link, map], paths: [\"/**\"]}}
      - {{access: [read], paths: [{ROOT}/read], approval: {{by: [tester], once: true}}}}
      - {{access: [read], paths: [{ROOT}/both], approval: {{by: [tester], once: true, people: 2}}}}
"
    ))
}

fn central() -> Result<()> {
    network::set_up()?;
    product::stop()?;
    lay_out()?;
    let _controller = Controller::start(0)?;
    daemon()?;
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
    let (done, told) = ctl(&["approve", &hold, "--reason", "release 4.2"])?;
    ensure!(done && told["nodes"][0]["state"] == "in force", "{told}");
    let answer = actor.answer()?;
    ensure!(answer == "ok", "approved at the controller: {answer}");
    until_recorded("approval", "operator/admin")?;
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
    std::thread::sleep(std::time::Duration::from_millis(300));
    until_stopped(actor.pid).context("one person was enough")?;
    let (done, told) = ctl_as("operator-grace", &["approve", &hold])?;
    ensure!(done && told["nodes"][0]["state"] == "in force", "{told}");
    let answer = actor.answer()?;
    ensure!(answer == "ok", "approved by two: {answer}");
    until(&["approvals"], |list| list == &Value::Array(Vec::new()))?;
    actor.end()?;
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

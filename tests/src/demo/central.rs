//! The controller's part of the demonstration: a grant, a deviation seen from afar, payouts that wait for a
//! person, the kill switch and its proof, and the record held against what the controller has.

use super::{field, say, title};
use crate::harness::controller::{
    ADDRESS, Controller, ctl, daemon, is_connected, until, until_countersigned, until_recorded,
};
use crate::harness::policy::Policy;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Shows it, and ends controller and daemon.
pub(super) fn show(policy: &Policy, elsewhere: SocketAddr) -> Result<()> {
    title(&format!(
        "9. A controller sees and steers all nodes: interlock daemon --controller {ADDRESS}"
    ));
    let _controller = Controller::start(0)?;
    daemon()?;
    let nodes = until(&["nodes"], is_connected)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let node = text(&nodes[0]["node"]);
    field("interlock ctl nodes", &format!("{node} is connected"));
    field("enforcement there", &text(&nodes[0]["enforcement"]));

    let agent = policy.agent();
    title(&format!(
        "10. interlock ctl grant --agent {agent} --node {node}: for one start, and signed"
    ));
    let file = policy.write()?;
    let words = [
        "grant", "--agent", agent, "--node", &node, "--task", "T-17", "--policy",
    ];
    let (_, issued) = ctl(&[&words[..], &[file.to_str().context("a path")?]].concat())?;
    let grant = Path::new("/run/interlock-demo-grant");
    fs::write(grant, text(&issued["grant"]))?;
    let mut actor = Place::Granted(policy, grant).obey()?;
    field("interlock run --grant grant", "runs");
    let again = Place::Granted(policy, grant).run(&["/bin/true"])?;
    let error = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure!(
        again.status.code() == Some(125) && error.contains("replayed"),
        "the grant started twice: {error}"
    );
    let why = error.lines().last().unwrap_or_default();
    field("the same once more", why.trim_start_matches("interlock: "));

    title("11. What it is denied, the controller has: interlock ctl events");
    let answer = actor.order(&format!("way tcp {elsewhere}"))?;
    ensure!(answer == "EPERM", "under the grant: {answer}");
    let line = until_recorded("decision", "\"task\":\"T-17\"")?;
    let event: Value = serde_json::from_str(&line)?;
    let record = &event["record"];
    let (session, what) = (&record["session"], &record["what"]["decision"]);
    field("agent", &text(&session["agent"]));
    field("task", &text(&session["task"]));
    let to = format!(
        "{}:{}",
        text(&what["object"]["address"]),
        what["object"]["port"]
    );
    field("did", &format!("{} {to}", text(&what["action"])));
    field(
        "verdict",
        &format!("{}: {}", text(&what["verdict"]), text(&what["reason"])),
    );
    ensure!(
        to == elsewhere.to_string(),
        "the controller was told of {to}"
    );

    super::payout::show(&node)?;

    title(&format!(
        "13. The kill switch: interlock ctl revoke agent {agent}"
    ));
    let reason = "a demonstration";
    let (done, told) = ctl(&["revoke", "agent", agent, "--reason", reason])?;
    let there = &told["nodes"][0];
    ensure!(done && there["state"] == "tree empty", "{told}");
    field(&format!("on {node}"), "tree empty: nothing of it runs");
    let end = &there["sessions"][0];
    field(
        "everything was denied after",
        &format!("{} us", end["deniedAfterUs"]),
    );
    field(
        "nothing of it was left after",
        &format!("{} us", end["emptyAfterUs"]),
    );
    let status = actor.end()?;
    ensure!(
        status.signal() == Some(libc::SIGKILL),
        "the agent ended with {status}"
    );
    field("the agent ended by signal", &libc::SIGKILL.to_string());
    let barred = Place::Inside(policy).run(&["/bin/true"])?;
    let error = String::from_utf8_lossy(&barred.stderr).into_owned();
    ensure!(error.contains("was revoked"), "it begins again: {error}");
    let why = error.lines().last().unwrap_or_default();
    field("started anew", why.trim_start_matches("interlock: "));

    title(&format!(
        "14. interlock evidence verify --against {ADDRESS}"
    ));
    until_recorded("lifecycle", reason)?;
    for line in until_countersigned()?.lines() {
        say(line);
    }
    Ok(())
}

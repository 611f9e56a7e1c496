//! A controller, a node and its sessions in one machine.

use crate::harness::Test;
use crate::harness::controller::{
    self, Controller, LABEL, PATIENCE, STATE, ctl, daemon, is_connected, until,
    until_countersigned, until_recorded, verify,
};
use crate::harness::events::Events;
use crate::harness::network::{self, ALLOWED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, INTERLOCK, said};
use crate::harness::session::{Obedient, Place, own_program};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// What the record was once.
const OLD: &str = "/var/lib/interlock-central-old";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "central.kill_switch",
            "revocations, policies, grants and records go between a controller and a node, which \
             outlive each other, and a node that loses its controller ends its sessions",
            kill_switch,
        )
        .patience(240),
    ]
}

/// `interlock run` with more options, which must be refused for this reason.
fn refused(policy: &Policy, options: &[&str], why: &str) -> Result<()> {
    let file = policy.write()?;
    let output = Command::new(INTERLOCK)
        .args(["run", "--agent", policy.agent(), "--policy"])
        .arg(file)
        .args(options)
        .args(["--", "/bin/true"])
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(125) && error.contains(why),
        "{options:?}: {}, expected a refusal with {why:?}",
        said(&output)
    );
    Ok(())
}

fn kill_switch() -> Result<()> {
    network::set_up()?;
    product::stop()?;
    let controller = Controller::start(6)?;
    daemon()?;
    until(&["nodes"], |nodes| {
        is_connected(nodes) && nodes[0]["enforcement"] == "full"
    })?;
    let policy = Policy::named("central").allow(ALLOWED4, &PORT.to_string(), "udp");
    let other = Policy::named("central-other").allow(ALLOWED4, &PORT.to_string(), "udp");

    // Lives longer than the lease, during which the controller is there, and over all that follows.
    let long = Place::Inside(&Policy::named("central-long")).obey()?;
    revoked_everywhere(&policy, &other).context("revoking an agent")?;
    grants(&policy, &other).context("grants")?;
    away(&other).context("a node that was away")?;
    rolled_out(&policy).context("rolling out")?;
    lost(&controller, long).context("a controller that is lost")
}

fn revoked_everywhere(policy: &Policy, other: &Policy) -> Result<()> {
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    let mut actor = Place::Inside(policy).obey()?;
    let mut bystander = Place::Inside(other).obey()?;
    ensure!(
        actor.order(&probe)? == "ok",
        "the session does not work before"
    );
    // A session that another test could not begin may still be among them.
    let is_own = |session: &&Value| {
        let agent = session["agent"].as_str();
        agent.is_some_and(|agent| agent.starts_with("central"))
    };
    let there = |sessions: &Value| {
        let list = sessions.as_array();
        list.is_some_and(|list| list.iter().filter(is_own).count() == 3)
    };
    until(&["sessions"], there)?;
    let (done, told) = ctl(&["revoke", "agent", "central", "--reason", "a test"])?;
    let node = &told["nodes"][0];
    ensure!(
        done && node["state"] == "tree empty" && node["sessions"][0]["killed"] == 1,
        "{told}, expected the tree empty"
    );
    ensure!(
        node["empty"].as_u64() >= node["inForce"].as_u64() && node["inForce"].as_u64() > Some(0),
        "{told}, expected times in order"
    );
    actor.killed("the revoked session")?;
    ensure!(bystander.order(&probe)? == "ok", "the bystander was hurt");
    bystander.end()?;
    refused(policy, &[], "agent central was revoked by operator/admin")?;
    let epoch = told["directive"].to_string();
    ensure!(ctl(&["lift", &epoch])?.0, "it was not lifted");
    let again = Place::Inside(policy).act(&["way", "udp", &at(ALLOWED4, PORT)?.to_string()])?;
    ensure!(again == "ok", "after the lift: {again}");
    until_recorded("lifecycle", "operator/admin: a test")?;
    Ok(())
}

fn grants(policy: &Policy, other: &Policy) -> Result<()> {
    let file = policy.write()?;
    let file = file.to_str().context("a path")?;
    let grant = |node: &str, lives: &str| -> Result<String> {
        let words = [
            "grant", "--agent", "central", "--node", node, "--task", "T-1", "--policy", file,
            "--lives", lives,
        ];
        let (_, answer) = ctl(&words)?;
        let path = format!("/run/interlock-grant-{node}-{lives}");
        fs::write(&path, answer["grant"].as_str().context("a grant")?)?;
        Ok(path)
    };
    let short = grant("node-1", "1")?;
    let good = grant("node-1", "600")?;
    refused(
        policy,
        &["--grant", &good, "--task", "T-2"],
        "it is for task `T-1`",
    )?;
    refused(
        policy,
        &["--grant", &grant("node-2", "600")?],
        "it is for node `node-2`",
    )?;
    let wider = Policy::named("central").allow(ALLOWED4, "1-1000", "tcp");
    refused(&wider, &["--grant", &good], "it is for policy")?;
    let strict = Policy::named("central").with("  grant: required\n");
    refused(&strict, &[], "requires a grant, and none was given")?;
    policy.write()?;
    refused(other, &["--grant", &good], "it is for agent `central`")?;
    thread::sleep(Duration::from_millis(1100));
    refused(policy, &["--grant", &short], "expired")?;
    let forged = "/run/interlock-grant-forged";
    let mut text = fs::read_to_string(&good)?;
    let last = if text.pop() == Some('A') { 'B' } else { 'A' };
    text.insert(text.len() - 20, last);
    fs::write(forged, text)?;
    refused(policy, &["--grant", forged], "grant refused")?;
    // Nothing of this used it up.
    let status = Command::new(INTERLOCK)
        .args([
            "run", "--agent", "central", "--policy", file, "--grant", &good,
        ])
        .args(["--", "/bin/true"])
        .output()?;
    ensure!(status.status.success(), "with the grant: {}", said(&status));
    refused(policy, &["--grant", &good], "replayed: session ")?;
    product::stop()?;
    copy(STATE, OLD)?;
    daemon()?;
    refused(policy, &["--grant", &good], "replayed: session ")?;
    for wanted in ["given", "replayed", "expired", "it is for node"] {
        until_recorded("approval", wanted)?;
    }
    budgets().context("budgets")
}

/// Of the five datagrams that its policy gives to each session, two are left to one with this grant. It may begin
/// on nodes with a label, of which this is one.
fn budgets() -> Result<()> {
    let policy = Policy::named("central").with(&format!(
        "  egress:
    allow:
      - {{id: send, to: [{ALLOWED4}], ports: [{PORT}], protocol: udp, limit: {{perSession: 5}}}}
"
    ));
    let file = policy.write()?;
    let file = file.to_str().context("a path")?;
    let grant = |label: &str, budget: &str| {
        let words = [
            "grant", "--agent", "central", "--label", label, "--policy", file, "--budget", budget,
        ];
        controller::call(&words)
    };
    let told = said(&grant(LABEL, "send=20MB")?);
    ensure!(told.contains("found a budget `send=20000000B`"), "{told}");
    let keep = |output: &Output, path: &str| -> Result<()> {
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        Ok(fs::write(
            path,
            answer["grant"].as_str().context("a grant")?,
        )?)
    };
    let (good, elsewhere) = (
        "/run/interlock-grant-label",
        "/run/interlock-grant-elsewhere",
    );
    keep(&grant("zone=moon", "send=2")?, elsewhere)?;
    refused(
        &policy,
        &["--grant", elsewhere],
        "it is for nodes with `zone=moon`",
    )?;
    keep(&grant(LABEL, "send=2")?, good)?;
    let send = format!("{} act way udp {}", own_program()?, at(ALLOWED4, PORT)?);
    let output = Command::new(INTERLOCK)
        .args([
            "run", "--agent", "central", "--policy", file, "--grant", good,
        ])
        .args(["--", "bash", "-c", &format!("{send}; {send}; {send}")])
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(told == "ok\nok\nEPERM\n", "{told}{}", said(&output));
    Ok(())
}

fn copy(from: &str, to: &str) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").args(["-a", from, to]).output()?;
    ensure!(copied.status.success(), "{}", said(&copied));
    Ok(())
}

/// The folder and all that lies beside it is what it was once: only somebody else can know.
fn roll_back() -> Result<()> {
    copy(OLD, STATE)?;
    verify(false, 0).context("alone")?;
    let told = verify(true, 1).context("against the controller")?;
    ensure!(told.contains("rolled back after record"), "{told}");
    Ok(())
}

/// What is ordered while the node is away ends its sessions when it comes back, and that its record
/// is not what it was is seen on both sides.
fn away(policy: &Policy) -> Result<()> {
    until(&["nodes"], is_connected)?;
    until_countersigned()?;
    let mut actor = Place::Inside(policy).obey()?;
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    product::stop()?;
    until(&["nodes"], |nodes| !is_connected(nodes))?;
    ensure!(
        actor.order(&probe)? == "ok",
        "the session does not live on without a daemon"
    );
    let (done, told) = ctl(&["revoke", "agent", policy.agent(), "--no-wait"])?;
    ensure!(done && told["nodes"][0]["state"] == "waiting", "{told}");
    roll_back()?;
    daemon()?;
    let epoch = told["directive"].to_string();
    let done = |told: &Value| told["nodes"][0]["state"] == "tree empty";
    until(&["watch", &epoch], done)?;
    actor.killed("the session of the node that was away")?;
    until(&["nodes"], |nodes| nodes[0]["forks"] == 1)?;
    let status = product::call(&["status"])?;
    let text = String::from_utf8_lossy(&status.stdout);
    ensure!(
        status.status.code() == Some(1) && text.contains("FORKED ") && text.contains("rolled back"),
        "{}, expected a record that forks",
        said(&status)
    );
    ensure!(ctl(&["lift", &epoch])?.0, "it was not lifted");
    Ok(())
}

fn rolled_out(policy: &Policy) -> Result<()> {
    let file = policy.write()?;
    let file = file.to_str().context("a path")?;
    ctl(&["policy", "upload", file, "--agent", "central"])?;
    let (done, told) = ctl(&["policy", "roll-out", "central", "1"])?;
    ensure!(done && told["nodes"][0]["state"] == "in force", "{told}");
    let place = at(ALLOWED4, PORT)?.to_string();
    let said = Place::Loaded("central").act(&["way", "udp", &place])?;
    ensure!(said == "ok", "under the policy that was rolled out: {said}");
    let (_, audit) = ctl(&["audit"])?;
    ensure!(audit["whole"] == true, "{audit}");
    Ok(())
}

/// A controller that takes everything and answers nothing changes no verdict and holds up no command;
/// whoever has lost it for its lease ends its sessions by itself.
fn lost(controller: &Controller, mut long: Obedient) -> Result<()> {
    const AGENT: &str = "central-long";
    ensure!(
        product::session_of(AGENT)?.is_some(),
        "it ended although the controller is there"
    );
    let events = Events::from_now()?;
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    controller.freeze()?;
    for _ in 0..50 {
        let answer = long.order(&probe)?;
        ensure!(answer == "EPERM", "{answer} while the controller is silent");
    }
    let asked = Instant::now();
    let status = product::call(&["status"])?;
    ensure!(
        asked.elapsed() < Duration::from_secs(3) && !status.stdout.is_empty(),
        "status takes {:?}: {}",
        asked.elapsed(),
        said(&status)
    );
    let deadline = Instant::now() + PATIENCE;
    while product::session_of(AGENT)?.is_some() {
        ensure!(Instant::now() < deadline, "it goes on without a controller");
        thread::sleep(Duration::from_millis(200));
    }
    long.killed("the session without a controller")?;
    let told = events.ended(AGENT)?;
    ensure!(told.cause.as_deref() == Some("controller lost"), "{told:?}");
    Ok(())
}

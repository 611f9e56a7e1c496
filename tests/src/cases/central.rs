//! A controller, a node and its sessions in one machine.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{self, ALLOWED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, INTERLOCK, said};
use crate::harness::session::{Obedient, Place};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CONTROLLER: &str = "interlock-controller";
const ADDRESS: &str = "127.0.0.1:7443";
const CERTS: &str = "/etc/interlock/certs";
const DATA: &str = "/run/interlock-controller-data";
const KEPT: &str = "/var/lib/interlock/central";
const PATIENCE: Duration = Duration::from_secs(30);

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

/// What is made for one test.
struct Scene {
    controller: Child,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.controller.kill();
        let _ = self.controller.wait();
        let _ = product::stop();
        for folder in [CERTS, DATA, KEPT] {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn serve() -> Result<Child> {
    let mut command = Command::new(CONTROLLER);
    command.args(["serve", "--listen", ADDRESS, "--data", DATA, "--lease", "6"]);
    let log = fs::File::create("/run/interlock-controller.log")?;
    command.stderr(log).stdin(Stdio::null());
    command.spawn().context("starting the controller")
}

fn daemon() -> Result<Daemon> {
    match Daemon::try_start_with(&["--controller", ADDRESS])? {
        Ok(daemon) => Ok(daemon),
        Err(log) => bail!("the daemon did not become ready:\n{log}"),
    }
}

/// `interlock ctl WORDS --json`, and whether it was as ordered.
fn ctl(words: &[&str]) -> Result<(bool, Value)> {
    let mut all = vec![
        "ctl",
        "--controller",
        ADDRESS,
        "--as",
        "operator-admin",
        "--json",
    ];
    all.extend(words);
    let output = product::call(&all)?;
    let answer = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("interlock {}: {}", all.join(" "), said(&output)))?;
    Ok((output.status.success(), answer))
}

/// Asks until the answer is as wanted.
fn until(words: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ctl(words) {
            Ok((_, answer)) if wanted(&answer) => return Ok(answer),
            last if Instant::now() > deadline => bail!("{words:?} does not come true: {last:?}"),
            _ => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn is_connected(nodes: &Value) -> bool {
    nodes[0]["connected"] == true
}

fn killed(actor: Obedient, who: &str) -> Result<()> {
    let status = actor.end()?;
    ensure!(
        status.signal() == Some(libc::SIGKILL),
        "{who} ended with {status}, expected SIGKILL"
    );
    Ok(())
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
    let made = Command::new(CONTROLLER).args(["certs", CERTS]).output()?;
    ensure!(made.status.success(), "certs: {}", said(&made));
    for end in ["pem", "key"] {
        fs::rename(
            format!("{CERTS}/node-node-1.{end}"),
            format!("{CERTS}/node.{end}"),
        )?;
    }
    let mut scene = Scene {
        controller: serve()?,
    };
    daemon()?;
    until(&["nodes"], is_connected)?;
    let policy = Policy::named("central").allow(ALLOWED4, &PORT.to_string(), "udp");
    let other = Policy::named("central-other").allow(ALLOWED4, &PORT.to_string(), "udp");

    revoked_everywhere(&policy, &other).context("revoking an agent")?;
    grants(&policy, &other).context("grants")?;
    away(&other).context("a node that was away")?;
    rolled_out(&policy).context("rolling out")?;
    lost(&mut scene, &policy).context("a controller that is lost")
}

fn revoked_everywhere(policy: &Policy, other: &Policy) -> Result<()> {
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    let mut actor = Place::Inside(policy).obey()?;
    let mut bystander = Place::Inside(other).obey()?;
    ensure!(
        actor.order(&probe)? == "ok",
        "the session does not work before"
    );
    let there = |sessions: &Value| sessions.as_array().is_some_and(|list| list.len() == 2);
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
    killed(actor, "the revoked session")?;
    ensure!(bystander.order(&probe)? == "ok", "the bystander was hurt");
    bystander.end()?;
    refused(policy, &[], "agent central was revoked by operator/admin")?;
    let epoch = told["directive"].to_string();
    ensure!(ctl(&["lift", &epoch])?.0, "it was not lifted");
    let again = Place::Inside(policy).act(&["way", "udp", &at(ALLOWED4, PORT)?.to_string()])?;
    ensure!(again == "ok", "after the lift: {again}");
    let asked = Command::new(INTERLOCK)
        .args([
            "ctl",
            "--controller",
            ADDRESS,
            "--as",
            "operator-admin",
            "--json",
        ])
        .args(["events", "--kind", "revoked"])
        .output()?;
    ensure!(
        String::from_utf8_lossy(&asked.stdout).contains("operator/admin: a test"),
        "{}, expected the revocation among the records",
        said(&asked)
    );
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
    policy.write()?;
    refused(other, &["--grant", &good], "it is for agent `central`")?;
    let short = grant("node-1", "1")?;
    thread::sleep(Duration::from_millis(1500));
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
    daemon()?;
    refused(policy, &["--grant", &good], "replayed: session ")?;
    let recorded = |wanted: &str| {
        let words = [
            "ctl",
            "--controller",
            ADDRESS,
            "--as",
            "operator-admin",
            "--json",
        ];
        let output = product::call(&[&words[..], &["events", "--kind", "grant"]].concat())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok::<bool, anyhow::Error>(text.contains(wanted))
    };
    let deadline = Instant::now() + PATIENCE;
    for wanted in ["accepted", "replayed", "expired", "it is for node"] {
        while !recorded(wanted)? {
            ensure!(
                Instant::now() < deadline,
                "no record of a grant with {wanted:?}"
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

/// What is ordered while the node is away ends its sessions when it comes back.
fn away(policy: &Policy) -> Result<()> {
    until(&["nodes"], is_connected)?;
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
    daemon()?;
    let epoch = told["directive"].to_string();
    let done = |told: &Value| told["nodes"][0]["state"] == "tree empty";
    until(&["watch", &epoch], done)?;
    killed(actor, "the session of the node that was away")?;
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

/// Whoever loses its controller ends its sessions by itself.
fn lost(scene: &mut Scene, policy: &Policy) -> Result<()> {
    let actor = Place::Inside(policy).obey()?;
    // Longer than the lease, during which the controller is there.
    thread::sleep(Duration::from_secs(7));
    ensure!(
        product::session_of("central")?.is_some(),
        "it ended although the controller is there"
    );
    let events = Events::from_now()?;
    scene.controller.kill()?;
    scene.controller.wait()?;
    let deadline = Instant::now() + PATIENCE;
    while product::session_of("central")?.is_some() {
        ensure!(Instant::now() < deadline, "it goes on without a controller");
        thread::sleep(Duration::from_millis(200));
    }
    killed(actor, "the session without a controller")?;
    let told = events.ended("central")?;
    ensure!(told.cause.as_deref() == Some("controller lost"), "{told:?}");
    Ok(())
}

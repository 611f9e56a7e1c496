//! Sessions of what ran before: a cgroup's processes, and the trees of an executable.

use super::recognise::{copy, daemon, expect, make, move_into, recognised, wait_until};
use crate::harness::events::Events;
use crate::harness::network::{self, ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, begun, call, said};
use crate::harness::session::{Place, own_program};
use crate::harness::{Test, kernel};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};

/// Processes of a storm at most.
const STORM: u32 = 150;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.p5.adopt",
            "a fork storm that ran before is adopted whole, with its unknown history",
            cgroup,
        )
        .patience(180),
        Test::new(
            "red.p5.adopt_executable",
            "whoever runs an executable is adopted with its whole tree, each tree for itself",
            executable,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(180),
        Test::new(
            "red.p5.adopt_slow",
            "who is being made while its parent is adopted is adopted as well, however long that takes",
            slow,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(180),
    ]
}

/// A process, as `interlock ps --json` says.
#[derive(Debug, Deserialize)]
struct Shown {
    pid: i32,
    agent: Option<String>,
}

/// The processes of an agent's sessions.
fn members(agent: &str) -> Result<BTreeSet<i32>> {
    let output = call(&["ps", "--json"])?;
    let shown: Vec<Shown> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("interlock ps --json: {}", said(&output)))?;
    Ok(shown
        .into_iter()
        .filter(|process| process.agent.as_deref() == Some(agent))
        .map(|process| process.pid)
        .collect())
}

/// The processes of a cgroup.
fn processes(cgroup: &str) -> Result<BTreeSet<i32>> {
    let file = format!("{cgroup}/cgroup.procs");
    let text = fs::read_to_string(&file).context(file)?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// A policy that allows one thing to those whose history is known.
fn forbids_unknown(name: &str, way: &str) -> Result<Policy> {
    let allowed = at(ALLOWED4, PORT)?;
    Ok(recognised(name, way).with(&format!(
        "  egress:\n    allow:\n      - {{to: [{}], ports: [{}], protocol: udp, forbids: \
         [unknown_history]}}\n",
        allowed.ip(),
        allowed.port()
    )))
}

/// A storm of processes in a cgroup. It brings itself in, so that all its children are born there.
fn storm(cgroup: &str, command: &str) -> Result<Child> {
    let script = format!("echo $$ > {cgroup}/cgroup.procs && exec {command}");
    let storm = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    wait_until("a storm of processes", || {
        Ok(processes(cgroup)?.len() > STORM as usize / 2)
    })?;
    Ok(storm)
}

fn processes_of(cgroups: &[&str]) -> Result<BTreeSet<i32>> {
    let mut all = BTreeSet::new();
    for cgroup in cgroups {
        all.extend(processes(cgroup)?);
    }
    Ok(all)
}

/// Holds the processes of cgroups against the members of an agent's sessions. What stands still can
/// be counted on both sides.
fn compare(agent: &str, frozen: &str, cgroups: &[&str]) -> Result<()> {
    let mut there = BTreeSet::new();
    // A storm has its lulls.
    wait_until("there are many", || {
        freeze(frozen)?;
        there = processes_of(cgroups)?;
        let are_many = there.len() > STORM as usize / 5;
        if !are_many {
            thaw(frozen)?;
        }
        Ok(are_many)
    })?;
    let known = members(agent)?;
    // 7.x tells of a fork that was under way when it said that all stands still.
    let later = processes_of(cgroups)?;
    let missed: Vec<_> = there.difference(&known).collect();
    let strangers = known
        .iter()
        .filter(|pid| !there.contains(*pid) && !later.contains(*pid));
    ensure!(
        missed.is_empty(),
        "{} of {} were missed: {:?}",
        missed.len(),
        there.len(),
        missed
            .iter()
            .map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")))
            .collect::<Vec<_>>()
    );
    // One that waits for its parent is a member still, and in no cgroup's list.
    for pid in strangers {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ensure!(
            stat.is_empty() || stat.contains(") Z "),
            "a stranger was adopted: {stat}"
        );
    }
    thaw(frozen)
}

fn freeze(cgroup: &str) -> Result<()> {
    fs::write(format!("{cgroup}/cgroup.freeze"), "1").context("freezing")?;
    wait_until("the cgroup stands still", || {
        let events = fs::read_to_string(format!("{cgroup}/cgroup.events"))?;
        Ok(events.contains("frozen 1"))
    })
}

fn thaw(cgroup: &str) -> Result<()> {
    fs::write(format!("{cgroup}/cgroup.freeze"), "0").context("thawing")
}

fn cgroup() -> Result<()> {
    let name = "adopted";
    let allowed = at(ALLOWED4, PORT)?;
    let policy = forbids_unknown(name, "cgroup: /recognise-storm")?;
    network::set_up()?;
    let cgroup = make("/recognise-storm")?;
    let nested = make("/recognise-storm/nested")?;
    let probe = format!("probe {allowed}");
    let mut outside = Place::Outside.obey()?;
    let mut old = Place::Outside.obey()?;
    let mut deep = Place::Outside.obey()?;
    move_into(&cgroup, old.pid)?;
    move_into(&nested, deep.pid)?;
    expect(&mut old, &probe, "ok", "before the daemon")?;
    let program = own_program()?;
    let mut storm = storm(&cgroup, &format!("{program} act bomb {STORM}"))?;
    daemon(&[&policy])?;
    let facts = product::facts(name)?;
    ensure!(
        facts == ["unknown_history"],
        "facts {facts:?}, expected unknown_history"
    );
    expect(&mut old, &probe, "EPERM", "adopted")?;
    expect(&mut deep, &probe, "EPERM", "adopted from below")?;
    expect(&mut outside, &probe, "ok", "outside")?;
    compare(name, &cgroup, &[&cgroup, &nested])?;
    let session = begun(name)?;
    let events = Events::from_now()?;
    let revoked = product::revoke(&session.session, "the storm is over")?;
    ensure!(revoked.left.is_empty(), "left: {:?}", revoked.left);
    storm.wait()?;
    // They were killed; what is left of them is for their parent to take.
    for killed in [old, deep] {
        killed.end()?;
    }
    events.ended(name)?;
    // Who comes now has a known history.
    let mut fresh = Place::Outside.obey()?;
    move_into(&nested, fresh.pid)?;
    expect(&mut fresh, &probe, "ok", "a session of known history")?;
    let denied = format!("probe {}", at(DENIED4, PORT)?);
    expect(&mut fresh, &denied, "EPERM", "a session of known history")?;
    fresh.end()?;
    outside.end()?;
    Ok(())
}

fn executable() -> Result<()> {
    let name = "adopted-trees";
    let (program, other) = (copy("running")?, own_program()?);
    let policy = forbids_unknown(name, &format!("executable: {program}"))?;
    network::set_up()?;
    let cgroup = make("/recognise-trees")?;
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    let below = format!("in below {probe}");
    let mut outside = Place::Outside.obey()?;
    let mut first = Place::Outside.obey_as(&program)?;
    let mut second = Place::Outside.obey_as(&program)?;
    for (actor, started) in [(&mut first, &other), (&mut second, &program)] {
        move_into(&cgroup, actor.pid)?;
        expect(actor, &format!("start below {started}"), "ok", "its child")?;
        expect(actor, &below, "ok", "its child, before the daemon")?;
        expect(actor, "threads 3", "ok", "its threads")?;
    }
    // What a stranger starts is nobody's.
    expect(
        &mut outside,
        &format!("start below {other}"),
        "ok",
        "a stranger's child",
    )?;
    let command = format!("{program} act execute vfork {other} act breed {STORM}");
    let mut storm = storm(&cgroup, &command)?;

    daemon(&[&policy])?;
    for actor in [&mut first, &mut second] {
        expect(actor, &probe, "EPERM", "adopted")?;
        expect(actor, &below, "EPERM", "adopted below")?;
    }
    for order in [&probe, &below] {
        expect(&mut outside, order, "ok", "outside")?;
    }
    let sessions = product::sessions_of(name)?;
    ensure!(
        sessions.len() == 3,
        "sessions: {sessions:?}, expected three"
    );
    for session in &sessions {
        ensure!(
            session.facts == ["unknown_history"],
            "{session:?}, expected unknown_history"
        );
    }
    let tasks: Vec<_> = sessions.iter().filter(|it| it.tasks == 5).collect();
    ensure!(
        tasks.len() == 2,
        "{sessions:?}, expected two of a program with four threads and its child"
    );
    compare(name, &cgroup, &[&cgroup])?;

    // A session ends with its root, and no other does.
    let events = Events::from_now()?;
    first.end()?;
    events.ended(name)?;
    expect(&mut second, &probe, "EPERM", "the other tree")?;
    ensure!(product::sessions_of(name)?.len() == 2, "not two sessions");
    for session in product::sessions_of(name)? {
        let revoked = product::revoke(&session.session, "the storm is over")?;
        ensure!(revoked.left.is_empty(), "left: {:?}", revoked.left);
    }
    storm.wait()?;
    second.end()?;
    // Who begins now has a known history.
    let mut fresh = Place::Outside.obey_as(&program)?;
    expect(&mut fresh, &probe, "ok", "a session of known history")?;
    let denied = format!("probe {}", at(DENIED4, PORT)?);
    expect(&mut fresh, &denied, "EPERM", "a session of known history")?;
    fresh.end()?;
    outside.end()?;
    Ok(())
}

/// Trees that are adopted one after the other, each while a child of its root is being made.
const DRAGS: u32 = 2;

fn slow() -> Result<()> {
    let (mut policies, mut roots) = (Vec::new(), Vec::new());
    for number in 0..DRAGS {
        let name = format!("adopted-slowly-{number}");
        let (program, cgroup) = (copy(&name)?, make(&format!("/{name}"))?);
        policies.push(recognised(&name, &format!("executable: {program}")));
        let script = format!("echo $$ > {cgroup}/cgroup.procs && exec {program} act drag");
        let root = Command::new("sh").args(["-c", &script]).spawn()?;
        wait_until("it has a child", || Ok(processes(&cgroup)?.len() > 1))?;
        roots.push((name, cgroup, root));
    }
    daemon(&policies.iter().collect::<Vec<_>>())?;
    for (name, cgroup, root) in &mut roots {
        freeze(cgroup)?;
        let (there, known) = (processes(cgroup)?, members(name)?);
        let missed: Vec<_> = there.difference(&known).collect();
        ensure!(
            there.len() > 1 && missed.is_empty(),
            "{name}: of {there:?} {missed:?} were missed"
        );
        thaw(cgroup)?;
        for session in product::sessions_of(name)? {
            product::revoke(&session.session, "the test is over")?;
        }
        root.wait()?;
    }
    Ok(())
}

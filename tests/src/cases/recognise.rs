//! Sessions that nobody starts: recognised by their cgroup, their unit, their executable; and what
//! already ran.

use super::containers::AWAY;
use crate::harness::events::{Events, Line};
use crate::harness::network::{self, ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, begun, call, said, session_of};
use crate::harness::session::{Obedient, Place, own_program};
use crate::harness::{Test, kernel};
use crate::sys::file;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where the daemon looks for policies when nobody says otherwise.
pub(super) const POLICIES: &str = "/etc/interlock/policies";
/// The root of the cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Where programs of these tests lie.
const PROGRAMS: &str = "/opt/recognise";
/// How long something that is done in the background may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn tests() -> Vec<Test> {
    let by_executable = [
        Test::new(
            "recognise.status",
            "status says how many sessions lie ready, and which way is not in force, and fails then",
            status,
        ),
        Test::new(
            "recognise.executable",
            "an executable begins a session by whatever name or way, and by no other file",
            executable,
        ),
        Test::new(
            "recognise.executable_replaced",
            "an executable that was replaced a moment ago begins a session",
            replaced,
        ),
        Test::new(
            "recognise.script",
            "a script begins a session; its interpreter does not",
            script,
        ),
        Test::new(
            "recognise.none_ready",
            "where no session lies ready the exec is denied and told, and nobody else's is",
            none_ready,
        ),
    ];
    let mut tests = vec![
        Test::new(
            "red.p5.cgroup",
            "who comes into a cgroup, or one below it, is in its session, and nobody else",
            cgroup,
        ),
        Test::new(
            "recognise.moves",
            "recognised sessions are moved to another version of their policy, or kept",
            moves,
        ),
        Test::new(
            "recognise.unit",
            "a unit is recognised where systemd puts it, and nowhere else",
            unit,
        ),
        Test::new(
            "recognise.threads",
            "a process that is moved in brings all its threads",
            threads,
        ),
    ];
    for test in by_executable {
        tests.push(test.unless(kernel::unless_with_bpf_lsm));
    }
    // The first of them may have to load everything.
    tests.into_iter().map(|test| test.patience(180)).collect()
}

/// A daemon that has loaded these policies and no others. It takes over from the one before, whose
/// policies are gone.
pub(super) fn daemon(policies: &[&Policy]) -> Result<Daemon> {
    network::set_up()?;
    product::stop()?;
    let _ = fs::remove_dir_all(POLICIES);
    fs::create_dir_all(POLICIES).context(POLICIES)?;
    for policy in policies {
        let path = format!("{POLICIES}/{}.yaml", policy.agent());
        fs::write(&path, policy.text()).context(path)?;
    }
    Daemon::start()
}

/// A policy whose sessions are recognised.
pub(super) fn recognised(name: &str, way: &str) -> Policy {
    Policy::named(name).with(&format!("  session: [{{{way}}}]\n"))
}

pub(super) fn make(cgroup: &str) -> Result<String> {
    let path = format!("{CGROUPS}{cgroup}");
    fs::create_dir_all(&path).with_context(|| path.clone())?;
    Ok(path)
}

pub(super) fn move_into(cgroup: &str, pid: i32) -> Result<()> {
    let file = format!("{cgroup}/cgroup.procs");
    fs::write(&file, pid.to_string()).with_context(|| format!("{pid} into {file}"))
}

pub(super) fn expect(actor: &mut Obedient, order: &str, expected: &str, when: &str) -> Result<()> {
    let answer = actor.order(order)?;
    ensure!(
        answer == expected,
        "{when}: {order}: {answer}, expected {expected}"
    );
    Ok(())
}

/// Waits until something is so.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn cgroup() -> Result<()> {
    let name = "by-cgroup";
    let policy = recognised(name, "cgroup: /recognise.slice/agent");
    let first = make("/recognise.slice/agent")?;
    fs::remove_dir(&first).context("the cgroup is made after the policy is loaded")?;
    daemon(&[&policy])?;
    let to = at(DENIED4, PORT)?;
    let probe = format!("probe {to}");
    let events = Events::from_now()?;
    let mut outside = Place::Outside.obey()?;
    let mut moved = Place::Outside.obey()?;
    expect(&mut moved, &probe, "ok", "before it is moved")?;

    let first = make("/recognise.slice/agent")?;
    move_into(&first, moved.pid)?;
    expect(&mut moved, &probe, "EPERM", "moved in")?;
    expect(&mut moved, &format!("fork {to}"), "EPERM", "a child")?;
    let session = begun(name)?;
    ensure!(
        session.facts.is_empty(),
        "facts {:?}, expected none",
        session.facts
    );

    let below = make("/recognise.slice/agent/below/deep")?;
    let mut second = Place::Outside.obey()?;
    move_into(&below, second.pid)?;
    expect(&mut second, &probe, "EPERM", "moved below")?;
    let same = begun(name)?;
    ensure!(same.session == session.session, "another session below");
    ensure!(same.tasks >= 2, "{} tasks, expected two", same.tasks);

    // Born there, by a parent that is outside.
    let born = Place::Outside.act(&["born-into", &below, &to.to_string()])?;
    ensure!(born == "EPERM", "born there: {born}, expected EPERM");

    let beside = make("/recognise.slice/beside")?;
    move_into(&beside, outside.pid)?;
    expect(&mut outside, &probe, "ok", "beside it")?;
    outside.end()?;
    // Nobody leaves.
    move_into(&beside, second.pid)?;
    expect(&mut second, &probe, "EPERM", "moved out")?;
    second.end()?;
    moved.end()?;
    events.ended(name)?;

    let mut next = Place::Outside.obey()?;
    move_into(&first, next.pid)?;
    expect(&mut next, &probe, "EPERM", "the next")?;
    let other = begun(name)?;
    ensure!(
        other.session != session.session,
        "who came after the end is in the session that ended"
    );
    next.end()?;
    Ok(())
}

fn moves() -> Result<()> {
    let name = "by-cgroup-moves";
    let write = |rest: &str| {
        let policy = recognised(name, "cgroup: /recognise-moves").with(rest);
        let path = format!("{POLICIES}/{name}.yaml");
        fs::write(&path, policy.text()).context(path)
    };
    let adopts = recognised(name, "cgroup: /recognise-moves");
    let cgroup = make("/recognise-moves")?;
    let to = at(ALLOWED4, PORT)?;
    let allows = format!("  egress: {{allow: [{{to: [{ALLOWED4}], ports: [{PORT}]}}]}}\n");
    let probe = format!("probe {to}");
    let generation = |generation: u64| {
        wait_until(&format!("generation {generation} is loaded"), || {
            let output = call(&["status", "--json"])?;
            let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let mut policies = status["policies"].as_array().into_iter().flatten();
            Ok(policies.any(|it| it["agent"] == name && it["generation"] == generation))
        })
    };
    let mut old = Place::Outside.obey()?;
    move_into(&cgroup, old.pid)?;
    daemon(&[&adopts])?;
    generation(1)?;
    expect(&mut old, &probe, "EPERM", "adopted")?;
    write(&format!("  onChange: move\n{allows}"))?;
    generation(2)?;
    // An adopted one, and its facts, which have the place that they had.
    wait_until("the session is moved", || Ok(old.order(&probe)? == "ok"))?;
    let facts = product::facts(name)?;
    ensure!(
        facts == ["unknown_history"],
        "facts {facts:?}, expected unknown_history"
    );
    old.end()?;
    wait_until("its end", || Ok(session_of(name)?.is_none()))?;
    // One that lay ready.
    let mut new = Place::Outside.obey()?;
    move_into(&cgroup, new.pid)?;
    expect(
        &mut new,
        &probe,
        "ok",
        "recognised under the second version",
    )?;
    write("  onChange: keep\n")?;
    generation(3)?;
    thread::sleep(Duration::from_secs(2));
    expect(&mut new, &probe, "ok", "kept")?;
    write("  onChange: move\n")?;
    generation(4)?;
    wait_until("the session is moved", || Ok(new.order(&probe)? == "EPERM"))?;
    // The next daemon goes on.
    write(&format!("  onChange: move\n{allows}"))?;
    generation(5)?;
    product::stop()?;
    write("  onChange: move\n")?;
    Daemon::start()?;
    wait_until("the next daemon moves it", || {
        Ok(new.order(&probe)? == "EPERM")
    })?;
    new.end()?;
    Ok(())
}

fn status() -> Result<()> {
    let way = |name: &str| -> Result<(bool, serde_json::Value)> {
        let output = call(&["status", "--json"])?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let mut ways = status["ways"].as_array().into_iter().flatten();
        let way = ways.find(|way| way["agent"] == name).cloned();
        Ok((output.status.success(), way.unwrap_or_default()))
    };
    let running = daemon(&[&recognised("shows", "cgroup: /recognise-shows")])?;
    let (whole, shown) = way("shows")?;
    ensure!(
        whole && shown["ready"] == 16 && shown["recognised"] == "cgroup /recognise-shows",
        "status: {shown}, exit code 0: {whole}"
    );
    // The daemon itself must be in no session.
    move_into(&make("/recognise-host")?, running.pid)?;
    let host = recognised("host", "cgroup: /recognise-host");
    fs::write(format!("{POLICIES}/host.yaml"), host.text())?;
    wait_until("the policy is followed", || Ok(way("host")?.1.is_object()))?;
    let (whole, shown) = way("host")?;
    ensure!(
        !whole
            && shown["error"]
                .as_str()
                .is_some_and(|error| error.contains("process 1")),
        "status: {shown}, exit code 0: {whole}, expected an error and exit code 1"
    );
    let text = call(&["status"])?;
    ensure!(
        said(&text).contains("NOT IN FORCE host by cgroup /recognise-host"),
        "status: {}",
        said(&text)
    );
    fs::remove_file(format!("{POLICIES}/host.yaml"))?;
    wait_until("status is whole again", || {
        Ok(call(&["status"])?.status.success())
    })
}

fn unit() -> Result<()> {
    let name = "by-unit";
    daemon(&[&recognised(name, "systemdUnit: recognise.service")])?;
    let probe = format!("probe {}", at(DENIED4, PORT)?);
    for (cgroup, expected) in [
        ("/system.slice/recognise.service", "EPERM"),
        ("/a.slice/a-b.slice/recognise.service", "EPERM"),
        ("/recognise.service", "EPERM"),
        ("/system.slice/a.scope/recognise.service", "ok"),
        ("/system.slice/xrecognise.service", "ok"),
        ("/system.slice/recognise.servicex", "ok"),
    ] {
        let path = make(cgroup)?;
        let mut actor = Place::Outside.obey()?;
        expect(&mut actor, &probe, "ok", "outside")?;
        move_into(&path, actor.pid)?;
        expect(&mut actor, &probe, expected, cgroup)?;
        actor.end()?;
    }
    Ok(())
}

fn threads() -> Result<()> {
    let name = "by-cgroup-threads";
    daemon(&[&recognised(name, "cgroup: /recognise-threads")])?;
    let mut actor = Place::Outside.obey()?;
    ensure!(actor.order("threads 8")? == "ok", "no threads");
    move_into(&make("/recognise-threads")?, actor.pid)?;
    wait_until("nine tasks have the label", || {
        Ok(session_of(name)?.is_some_and(|session| session.tasks == 9))
    })?;
    actor.end()?;
    Ok(())
}

/// A copy of this program.
pub(super) fn copy(name: &str) -> Result<String> {
    fs::create_dir_all(PROGRAMS).context(PROGRAMS)?;
    let path = format!("{PROGRAMS}/{name}");
    let _ = fs::remove_file(&path);
    fs::copy(own_program()?, &path).with_context(|| path.clone())?;
    Ok(path)
}

/// Executes a copy in a way, and says how its one probe ended.
fn probes(way: &str, path: &str) -> Result<String> {
    let to = at(DENIED4, PORT)?.to_string();
    let said = Place::Outside.act(&["execute", way, path, "act", "probe-code", &to])?;
    Ok(match said.as_str() {
        "ran 40" => "ok".to_owned(),
        "ran 41" => "EPERM".to_owned(),
        other => other.to_owned(),
    })
}

fn executable() -> Result<()> {
    let name = "by-executable";
    let (program, other) = (copy("agent")?, copy("other")?);
    let soft = format!("{PROGRAMS}/soft");
    let hard = format!("{PROGRAMS}/hard");
    for link in [&soft, &hard] {
        let _ = fs::remove_file(link);
    }
    file::symlink(&program, &soft)?;
    file::link(&program, &hard)?;
    network::set_up()?;
    let control = probes("execve", &program)?;
    ensure!(control == "ok", "the control: {control}");
    daemon(&[&recognised(name, &format!("executable: {program}"))])?;
    let refused = product::status()?.labels_refused;
    for (way, path, expected) in [
        ("execve", &program, "EPERM"),
        ("execve", &soft, "EPERM"),
        ("execve", &hard, "EPERM"),
        ("vfork", &program, "EPERM"),
        ("thread", &program, "EPERM"),
        ("at", &program, "EPERM"),
        ("handle", &program, "EPERM"),
        ("self-root", &program, "EPERM"),
        ("self-fd", &program, "EPERM"),
        ("execve", &other, "ok"),
        ("handle", &other, "ok"),
    ] {
        let events = Events::from_now()?;
        let found = probes(way, path)?;
        ensure!(
            found == expected,
            "{way} {path}: {found}, expected {expected}"
        );
        if expected == "EPERM" {
            events.wait(name, 1)?;
            events.ended(name)?;
        }
    }
    let refused = product::status()?.labels_refused - refused;
    ensure!(refused == 0, "{refused} labels were refused");
    Ok(())
}

fn replaced() -> Result<()> {
    let name = "by-executable-replaced";
    let program = copy("replaced")?;
    daemon(&[&recognised(name, &format!("executable: {program}"))])?;
    ensure!(probes("execve", &program)? == "EPERM", "the first file");
    for round in 0..5 {
        let new = copy("replacement")?;
        fs::rename(&new, &program)?;
        let found = probes("execve", &program)?;
        ensure!(found == "EPERM", "replacement {round}: {found}");
    }
    // Nor is one forgotten that had another name before.
    thread::sleep(Duration::from_secs(2));
    ensure!(probes("execve", &program)? == "EPERM", "two seconds later");
    Ok(())
}

fn script() -> Result<()> {
    let name = "by-script";
    fs::create_dir_all(PROGRAMS).context(PROGRAMS)?;
    let path = format!("{PROGRAMS}/agent.sh");
    let program = own_program()?;
    let to = at(DENIED4, PORT)?;
    fs::write(
        &path,
        format!("#!/bin/sh\n{program} act probe-code {to}\nexit $?\n"),
    )?;
    Command::new("chmod").args(["755", &path]).status()?;
    let run = |words: &[&str]| -> Result<Option<i32>> {
        let (first, rest) = words.split_first().context("no words")?;
        Ok(Command::new(first).args(rest).status()?.code())
    };
    network::set_up()?;
    ensure!(run(&[&path])? == Some(40), "the control");
    daemon(&[&recognised(name, &format!("executable: {path}"))])?;
    ensure!(run(&[&path])? == Some(41), "the script is not recognised");
    let line = format!("{program} act probe-code {to}");
    ensure!(
        run(&["sh", "-c", &line])? == Some(40),
        "its interpreter is recognised"
    );
    Ok(())
}

fn none_ready() -> Result<()> {
    // The harness waits for the word `ready` in the daemon's log.
    let name = "scarce";
    let (program, other) = (copy("scarce")?, copy("plenty")?);
    let daemon = daemon(&[&recognised(name, &format!("executable: {program}"))])?;
    let events = Events::from_now()?;
    daemon.freeze()?;
    // One that is there would be waited for.
    thread::sleep(AWAY);
    let mut running = Vec::new();
    let refused = loop {
        let started = Command::new(&program)
            .args(["act", "obey"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        match started {
            Ok(child) => running.push(child),
            Err(error) => break error,
        }
        ensure!(running.len() < 100, "nothing is ever refused");
    };
    let others = Command::new(&other).args(["act", "exit", "0"]).status();
    daemon.signal(libc::SIGCONT)?;
    ensure!(
        refused.raw_os_error() == Some(libc::EPERM),
        "refused with {refused}"
    );
    ensure!(running.len() == 16, "{} began, of 16", running.len());
    ensure!(
        others.is_ok_and(|status| status.success()),
        "another program was refused"
    );
    events.first("that no session lay ready", |line| match line {
        Line::NotReady(told) if told.agent.as_deref() == Some(name) => Some(()),
        _ => None,
    })?;
    wait_until("sessions lie ready again", || {
        Ok(probes("execve", &program)? == "EPERM")
    })?;
    for mut child in running {
        child.kill()?;
        child.wait()?;
    }
    wait_until("the sessions are over", || Ok(session_of(name)?.is_none()))?;
    Ok(())
}

//! The record of what happened, written by the running daemon and read by `interlock evidence`.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the daemon keeps what outlives the boot.
const STATE: &str = "/var/lib/interlock";
const FOLDER: &str = "/var/lib/interlock/evidence";
/// How long a record may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "evidence.denial",
            "a denial is recorded, verifies, outlives a killed daemon, and a changed byte is found",
            denial,
        )
        .patience(240),
        Test::new(
            "evidence.full",
            "with a disk that is full or read-only all is still denied, said, and recorded later",
            full,
        )
        .patience(240),
    ]
}

/// The records of a session, as `interlock evidence export` prints them.
fn records(session: &str) -> Result<Vec<Value>> {
    let output = product::call(&["evidence", "export", "--session", session])?;
    ensure!(output.status.success(), "export: {}", said(&output));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

/// Waits until a session's record says that it ended: what came before is recorded then.
pub(super) fn wait(session: &str) -> Result<Vec<Value>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let records = records(session)?;
        let mut steps = records
            .iter()
            .map(|record| &record["what"]["lifecycle"]["step"]);
        if steps.any(|step| step == "ended") {
            return Ok(records);
        }
        ensure!(
            Instant::now() < deadline,
            "of session {session} only this is recorded: {records:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn denials(records: &[Value]) -> Vec<&Value> {
    let decisions = records.iter().map(|record| &record["what"]["decision"]);
    decisions.filter(|decision| !decision.is_null()).collect()
}

/// A session that is denied one send and allowed another, and its number.
fn denied(agent: &str) -> Result<String> {
    let told = Events::from_now()?;
    let policy = Policy::named(agent).allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut actor = Place::Inside(&policy).obey()?;
    for (order, to, expected) in [("way udp", DENIED4, "EPERM"), ("probe", ALLOWED4, "ok")] {
        let answer = actor.order(&format!("{order} {}", at(to, PORT)?))?;
        ensure!(
            answer == expected,
            "{order} {to}: {answer}, expected {expected}"
        );
    }
    // Who started it is looked at while it runs.
    let session = told.wait(agent, 1)?[0].session.clone();
    actor.end()?;
    told.ended(agent)?;
    Ok(session)
}

fn verify(words: &[&str], code: i32) -> Result<String> {
    let mut all = vec!["evidence", "verify"];
    all.extend(words);
    let output = product::call(&all)?;
    ensure!(
        output.status.code() == Some(code),
        "{all:?}: expected {code}: {}",
        said(&output)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Why a record may be missing.
fn how_it_is() -> Result<String> {
    let status = said(&product::call(&["status"])?);
    let output = product::call(&["evidence", "export"])?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut last: Vec<&str> = lines.lines().rev().take(8).collect();
    last.reverse();
    let disk = said(&Command::new("df").args(["/", FOLDER]).output()?);
    Ok(format!(
        "{status}; the last records: {last:#?}; the disk: {disk}"
    ))
}

fn denial() -> Result<()> {
    let daemon = Daemon::shared()?;
    let session = denied("recorded")?;
    let before = wait(&session)?;
    let decisions = denials(&before);
    let [decision] = decisions[..] else {
        anyhow::bail!("{} decisions are recorded, expected 1", decisions.len());
    };
    ensure!(
        decision["verdict"] == "deny"
            && decision["reason"] == "no rule"
            && decision["object"]["address"] == DENIED4
            && !decision["ancestry"].as_array().is_none_or(Vec::is_empty)
            && before[0]["session"]["agent"] == "recorded",
        "{decision}"
    );
    let networks = before.iter().map(|record| &record["what"]["summary"]);
    let networks: Vec<_> = networks
        .filter(|summary| summary["about"] == "network" && summary["object"].is_null())
        .collect();
    ensure!(
        networks.len() == 1 && networks[0]["allowed"] == 1 && networks[0]["total"] == 1,
        "{networks:?}: expected the one send that was allowed, in {before:?}; {}",
        how_it_is()?
    );
    let output = product::call(&["evidence", "show", &session])?;
    let story = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        story.contains("It began, by `interlock run`: /usr/local/bin/interlock-tests (process")
            && story.contains(", started by /usr/local/bin/interlock (process")
            && story.contains(&format!(
                "attempted: send {DENIED4}:{PORT}/udp. It was refused"
            ))
            && story.contains("It ended"),
        "{}",
        said(&output)
    );
    ensure!(verify(&[], 0)?.contains("ok: nothing was changed"));

    daemon.end(libc::SIGKILL)?;
    Daemon::start()?;
    let later = wait(&denied("recorded")?)?;
    ensure!(
        wait(&session)? == before,
        "the next daemon has other records of the session"
    );
    let number = |record: &Value| record["sequence"].as_u64();
    ensure!(
        number(&later[0]) > number(&before[before.len() - 1]),
        "{later:?} is numbered before {before:?}"
    );
    let whole = verify(&["--json"], 0)?;
    let whole: Value = serde_json::from_str(&whole)?;
    ensure!(whole["findings"] == Value::Array(Vec::new()), "{whole}");

    changed(&session)
}

/// The same folder elsewhere, whole and with one byte of a record changed.
fn changed(session: &str) -> Result<()> {
    let copy = Path::new("/run/evidence-copy");
    let _ = fs::remove_dir_all(copy);
    fs::create_dir_all(copy)?;
    let needle = format!("\"id\":\"{session}\"");
    let mut target = None;
    for entry in fs::read_dir(FOLDER)? {
        let path = entry?.path();
        let to = copy.join(path.file_name().context("a file has a name")?);
        fs::copy(&path, &to)?;
        let bytes = fs::read(&to)?;
        let found = bytes
            .windows(needle.len())
            .position(|part| part == needle.as_bytes());
        if let Some(at) = found {
            target = Some((to, bytes, at + 6));
        }
    }
    let (path, mut bytes, at) = target.context("no segment speaks of the session")?;
    let words = [
        "--folder",
        "/run/evidence-copy",
        "--key",
        "/var/lib/interlock/evidence.pub",
    ];
    verify(&words, 0)?;
    bytes[at] ^= 1;
    fs::write(&path, &bytes)?;
    let told = verify(&words, 1)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        told.contains("WRONG  changed") && told.contains(name.as_ref()),
        "{told}"
    );
    fs::remove_dir_all(copy)?;
    Ok(())
}

fn status() -> Result<Value> {
    let output = product::call(&["status", "--json"])?;
    serde_json::from_slice(&output.stdout).with_context(|| said(&output))
}

/// Waits until what `status` says of the record holds.
fn until(what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let evidence = status()?["evidence"].clone();
        if holds(&evidence) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{what}: {evidence}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn mount(words: &[&str]) -> Result<()> {
    let output = Command::new(words[0]).args(&words[1..]).output()?;
    ensure!(output.status.success(), "{words:?}: {}", said(&output));
    Ok(())
}

/// Fills the disk to its last byte.
fn fill(name: &str) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(Path::new(STATE).join(name))?;
    for size in [64 * 1024, 512] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    Ok(())
}

fn full() -> Result<()> {
    Daemon::shared()?;
    product::stop()?;
    fs::create_dir_all(STATE)?;
    mount(&["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", STATE])?;
    let tried = on_a_small_disk();
    // Whatever came of it, the others want their disk back.
    product::stop()?;
    mount(&["umount", STATE])?;
    Daemon::start()?;
    tried
}

/// More sessions than the last page of a file has room for.
const PAGES_OF_RECORDS: u32 = 12;

fn on_a_small_disk() -> Result<()> {
    Daemon::start()?;
    wait(&denied("roomy")?)?;
    until("there is room", |evidence| evidence["degraded"].is_null())?;
    fill("filler")?;
    let first = denied("full")?;
    wait(&first)?;
    until("the room for denials is used", |evidence| {
        let degraded = evidence["degraded"].as_str().unwrap_or_default();
        degraded.contains("only what is not ordinary")
    })?;
    fill("filler-2")?;
    let is_out_of_space = |evidence: &Value| {
        let degraded = evidence["degraded"].as_str().unwrap_or_default();
        degraded.contains("No space") && evidence["waiting"].as_u64() > Some(0)
    };
    // What the disk gave before still has room for some.
    let mut second = denied("fuller")?;
    for _ in 0..PAGES_OF_RECORDS {
        std::thread::sleep(Duration::from_millis(300));
        if is_out_of_space(&status()?["evidence"]) {
            break;
        }
        second = denied("fuller")?;
    }
    until("nothing can be written", is_out_of_space)?;
    let shown = product::call(&["status"])?;
    ensure!(
        shown.status.code() == Some(1)
            && String::from_utf8_lossy(&shown.stdout).contains("DEGRADED     evidence: No space"),
        "{}",
        said(&shown)
    );
    for name in ["filler", "filler-2"] {
        fs::remove_file(Path::new(STATE).join(name))?;
    }
    let records = wait(&second)?;
    ensure!(
        denials(&records).len() == 1,
        "{records:?}: expected one denial, once"
    );
    until("all is well again", |evidence| {
        evidence["degraded"].is_null()
    })?;
    verify(&[], 0)?;
    read_only()
}

/// A daemon that finds a disk on which nothing can be written.
fn read_only() -> Result<()> {
    product::stop()?;
    mount(&["mount", "-o", "remount,ro", STATE])?;
    Daemon::start()?;
    let session = denied("read-only")?;
    until("nothing can be written", |evidence| {
        let degraded = evidence["degraded"].as_str().unwrap_or_default();
        degraded.contains("Read-only") && evidence["waiting"].as_u64() > Some(0)
    })?;
    mount(&["mount", "-o", "remount,rw", STATE])?;
    ensure!(denials(&wait(&session)?).len() == 1, "one denial, once");
    verify(&[], 0)?;
    Ok(())
}

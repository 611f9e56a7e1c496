//! A session asks why it was denied: it reads its own denials, and nobody else's.

use super::files::expect;
use crate::harness::Test;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{self, DENIED4, PORT, at};
use crate::harness::policy::{EVERY_USE, Policy};
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::{Obedient, Place, own_program};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Where the daemon keeps them.
const FOLDER: &str = "/run/interlock/denials";
/// What the author says.
const BECAUSE: &str = "Ask \\\"#network\\\".";

pub(super) fn tests() -> Vec<Test> {
    let tests = vec![
        Test::new(
            "denials.own",
            "a session reads its own denials whatever its rules, and changes none",
            own,
        ),
        Test::new(
            "denials.others",
            "no session reads another's denials, and none lists them, not even one that is only \
             watched",
            others,
        ),
        Test::new(
            "denials.bounded",
            "the newest denials are kept, the next daemon goes on, and the end takes them away",
            bounded,
        ),
    ];
    tests
        .into_iter()
        .map(|test| test.unless(unless_with_bpf_lsm))
        .collect()
}

/// A policy whose author has something to say about one address, and that allows every use of
/// every file.
fn policy(name: &str) -> Policy {
    Policy::named(name).with(&format!(
        "  egress: {{deny: [{{to: [{DENIED4}], because: \"{BECAUSE}\"}}]}}\n"
    ))
}

/// What the variable says to an actor.
fn file_of(actor: &mut Obedient) -> Result<String> {
    let file = actor.order("answer /usr/bin/printenv INTERLOCK_DENIALS")?;
    ensure!(
        file.starts_with(FOLDER) && Path::new(&file).is_file(),
        "INTERLOCK_DENIALS is {file:?}, expected a file in {FOLDER}"
    );
    Ok(file)
}

/// What the last line says, as the actor reads it, once it is about a port.
fn last(actor: &mut Obedient, file: &str, port: u16) -> Result<Value> {
    let mut line = String::new();
    for _ in 0..100 {
        line = actor.order(&format!("answer /usr/bin/tail -n1 {file}"))?;
        if let Ok(told) = serde_json::from_str::<Value>(&line)
            && told["object"]["port"] == port
        {
            return Ok(told);
        }
        sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the last line is {line:?}, expected one about port {port}")
}

fn probe(actor: &mut Obedient, port: u16) -> Result<()> {
    let answer = actor.order(&format!("probe {}", at(DENIED4, port)?))?;
    ensure!(answer == "EPERM", "the probe: {answer}, expected EPERM");
    Ok(())
}

fn own() -> Result<()> {
    Daemon::shared()?;
    network::set_up()?;
    let strict = policy("denials-strict")
        .without_files()
        .files(
            "allow",
            "read, map",
            &["/usr/**", "/lib/**", "/lib64/**", "/etc/**"],
        )
        .files("allow", "read, map", &[&own_program()?])
        .files("allow", "read, write", &["/dev/null"])
        .files("deny", EVERY_USE, &["/run/**", FOLDER]);
    // Whoever it runs as, and whether its rules allow everything or nothing.
    for (place, name) in [
        (Place::Inside(&policy("denials-open")), "root, every file"),
        (Place::Inside(&strict), "root, no file"),
        (Place::As(&strict, "nobody"), "nobody, no file"),
    ] {
        let mut actor = place.obey().context(name)?;
        let file = file_of(&mut actor).context(name)?;
        expect(&mut actor, &[(&format!("read {file}"), "ok")]).context(name)?;
        probe(&mut actor, PORT)?;
        let told = last(&mut actor, &file, PORT).context(name)?;
        ensure!(
            told["because"] == "Ask \"#network\"."
                && told["object"]["address"] == DENIED4
                && told["pid"] == actor.pid
                && told["action"] == "connect"
                && told["reason"] == "rule"
                && told["verdict"] == "deny"
                && told["comm"].is_string()
                && told["time"].is_string(),
            "{name}: told {told}"
        );
        let keys = told.as_object().map_or(0, serde_json::Map::len);
        ensure!(
            keys == 9,
            "{name}: more is told than a session may know: {told}"
        );
        let other = format!("{FOLDER}/other.jsonl");
        let orders: Vec<String> = [
            "write",
            "append",
            "read-write",
            "read-truncate",
            "unlink",
            "truncate",
            "chmod",
            "chown",
            "setxattr",
            "utimes",
            "map",
            "create-if-absent",
        ]
        .iter()
        .map(|way| format!("{way} {file}"))
        .chain([
            format!("list {FOLDER}"),
            format!("rename {FOLDER} {FOLDER}-away"),
            format!("create {other}"),
            format!("mkdir {other}"),
            format!("link {file} {other}"),
            format!("link {file} /run/other.jsonl"),
            format!("rename {file} {other}"),
            format!("symlink {file} {other}"),
            format!("chmod {FOLDER}"),
        ])
        .collect();
        for order in orders {
            let answer = actor.order(&format!("file {order}"))?;
            // Another user is refused some before the kernel asks anybody.
            let refused = matches!(answer.as_str(), "EPERM" | "EACCES");
            ensure!(
                refused && (answer == "EPERM" || name.starts_with("nobody")),
                "{name}: {order}: {answer}, expected EPERM"
            );
        }
        actor.end()?;
    }
    // The same is possible outside.
    let mut outside = Place::Outside.obey()?;
    let file = format!("{FOLDER}/0123456789abcdef.jsonl");
    expect(
        &mut outside,
        &[
            (&format!("list {FOLDER}"), "ok"),
            (&format!("create {file}"), "ok"),
            (&format!("append {file}"), "ok"),
            (&format!("unlink {file}"), "ok"),
        ],
    )?;
    outside.end()?;
    Ok(())
}

fn others() -> Result<()> {
    Daemon::shared()?;
    network::set_up()?;
    let mut victim = Place::Inside(&policy("denials-victim")).obey()?;
    let file = file_of(&mut victim)?;
    let open = policy("denials-curious");
    let watched = policy("denials-watched").with("  mode: audit\n");
    for policy in [&open, &watched] {
        let mut curious = Place::Inside(policy).obey()?;
        let own = file_of(&mut curious)?;
        ensure!(own != file, "two sessions have one file");
        fs::write("/run/interlock-tests.readable", "x")?;
        let name = policy.agent();
        expect(
            &mut curious,
            &[
                ("read /run/interlock-tests.readable", "ok"),
                (&format!("read {own}"), "ok"),
                (&format!("read {file}"), "EPERM"),
                (&format!("openat2 {file}"), "EPERM"),
                (&format!("unlink {file}"), "EPERM"),
                (&format!("list {FOLDER}"), "EPERM"),
            ],
        )
        .context(name.to_owned())?;
        curious.end()?;
    }
    expect(&mut victim, &[(&format!("read {file}"), "ok")])?;
    let session = product::begun("denials-victim")?.session;
    ensure!(
        file == format!("{FOLDER}/{session}.jsonl"),
        "the file is {file}, expected one named by session {session}"
    );
    victim.end()?;
    Ok(())
}

fn bounded() -> Result<()> {
    let daemon = Daemon::shared()?;
    network::set_up()?;
    let mut actor = Place::Inside(&policy("denials-many")).obey()?;
    let file = file_of(&mut actor)?;
    for port in 1000..1200 {
        probe(&mut actor, port)?;
    }
    last(&mut actor, &file, 1199)?;
    let lines = fs::read_to_string(&file)?.lines().count();
    ensure!(lines == 64, "{lines} lines are kept, expected 64");
    daemon.end(libc::SIGTERM)?;
    Daemon::start()?;
    probe(&mut actor, 2000)?;
    last(&mut actor, &file, 2000)?;
    let text = fs::read_to_string(&file)?;
    ensure!(
        text.lines().count() == 64 && text.contains("\"port\":1199"),
        "the next daemon did not go on: {text}"
    );
    let output = product::call(&["sessions", "--json"])?;
    ensure!(
        String::from_utf8_lossy(&output.stdout).contains(&file),
        "sessions --json does not say {file}: {}",
        said(&output)
    );
    actor.end()?;
    for _ in 0..100 {
        if !Path::new(&file).exists() {
            return Ok(());
        }
        sleep(Duration::from_millis(50));
    }
    anyhow::bail!("{file} is still there after the session's end")
}

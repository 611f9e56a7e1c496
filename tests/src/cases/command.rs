//! `interlock run` is as good a parent as any: exit codes, signals, users, files.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, call, said};
use crate::harness::session::{Place, own_program};
use crate::sys::process;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "command.exit_code",
            "the command's exit code is that of `interlock run`",
            exit_code,
        ),
        Test::new(
            "command.killed",
            "a signal that ends the command ends `interlock run`",
            killed,
        ),
        Test::new(
            "command.signals",
            "SIGTERM, SIGINT and SIGHUP to `interlock run` reach the command",
            signals,
        ),
        Test::new(
            "command.kill_9",
            "the session outlives `interlock run` and stays denied",
            kill_9,
        ),
        Test::new(
            "command.not_started",
            "126, 127 and 125 say why nothing ran",
            not_started,
        ),
        Test::new(
            "command.input_output",
            "input, output, arguments and folder pass through",
            input_output,
        ),
        Test::new(
            "command.user",
            "--user changes user, group and groups, and the event says so",
            user,
        ),
        Test::new(
            "command.in_a_session",
            "a session cannot start another session",
            in_a_session,
        ),
    ]
}

fn exit_code() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("exit-code");
    let program = own_program()?;
    for code in [0, 1, 2, 7, 125, 127, 255] {
        let output = Place::Inside(&policy).run(&[&program, "act", "exit", &code.to_string()])?;
        ensure!(
            output.status.code() == Some(code),
            "exit {code}: {}",
            said(&output)
        );
    }
    Ok(())
}

fn killed() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("killed");
    let program = own_program()?;
    for signal in [
        libc::SIGTERM,
        libc::SIGKILL,
        libc::SIGABRT,
        libc::SIGINT,
        libc::SIGXCPU,
    ] {
        let output =
            Place::Inside(&policy).run(&[&program, "act", "signal", &signal.to_string()])?;
        ensure!(
            output.status.signal() == Some(signal),
            "signal {signal}: {}",
            said(&output)
        );
    }
    Ok(())
}

fn signals() -> Result<()> {
    Daemon::shared()?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let actor = Place::Inside(&Policy::named("signals")).obey()?;
        let started = actor.started()?;
        ensure!(
            started != actor.pid,
            "`interlock run` has become the command"
        );
        process::kill(started, signal)?;
        ensure!(
            gone(actor.pid)?,
            "signal {signal} did not reach the command"
        );
        let status = actor.end()?;
        ensure!(status.signal() == Some(signal), "signal {signal}: {status}");
    }
    Ok(())
}

fn kill_9() -> Result<()> {
    Daemon::shared()?;
    let order = format!("probe {}", at(DENIED4, PORT)?);
    let mut actor = Place::Inside(&Policy::named("kill-9")).obey()?;
    process::kill(actor.started()?, libc::SIGKILL)?;
    thread::sleep(Duration::from_millis(1500));
    let answer = actor.order(&order)?;
    ensure!(
        answer == "EPERM",
        "without `interlock run`: {answer}, expected EPERM"
    );
    actor.end()?;
    Ok(())
}

/// Whether a process ends within a few seconds.
fn gone(pid: i32) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z") {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}

fn not_started() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("not-started");
    fs::write("/tmp/not-executable", "no program").context("/tmp/not-executable")?;
    for (command, code) in [
        ("/nowhere/at/all", 127),
        ("/tmp/not-executable", 126),
        ("/tmp", 126),
    ] {
        let output = Place::Inside(&policy).run(&[command])?;
        ensure!(
            output.status.code() == Some(code),
            "{command}, expected {code}: {}",
            said(&output)
        );
        ensure!(
            String::from_utf8_lossy(&output.stderr).contains(command),
            "the error does not name {command}: {}",
            said(&output)
        );
    }
    let path = policy.write()?.display().to_string();
    let output = call(&[
        "run",
        "--policy",
        &path,
        "--agent",
        "not-started",
        "--socket",
        "/nowhere.sock",
        "--",
        "true",
    ])?;
    ensure!(
        output.status.code() == Some(125),
        "no daemon, expected 125: {}",
        said(&output)
    );
    Ok(())
}

fn input_output() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("input-output");
    let output = Place::Inside(&policy).run(&[
        "sh",
        "-c",
        "echo out; echo err >&2; pwd; echo \"$1|$2\"",
        "sh",
        "a b",
        "-c",
    ])?;
    let here = std::env::current_dir()?;
    let expected = format!("out\n{}\na b|-c\n", here.display());
    ensure!(
        output.stdout == expected.as_bytes(),
        "expected {expected:?}: {}",
        said(&output)
    );
    ensure!(
        output.stderr == b"err\n",
        "standard error is not the command's alone: {}",
        said(&output)
    );
    Ok(())
}

fn user() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("user");
    for name in ["nobody", "65534"] {
        let who = Place::As(&policy, name).act(&["identity"])?;
        let expected = "uid=65534 euid=65534 gid=65534 egid=65534 groups=[65534]";
        ensure!(
            who.lines().any(|line| line == expected),
            "--user {name}: {who:?}, expected {expected}"
        );
        let events = Events::from_now()?;
        let to = at(DENIED4, PORT)?;
        let inside = Place::As(&policy, name).act(&["way", "udp", &to.to_string()])?;
        ensure!(inside == "EPERM", "--user {name}: {inside}, expected EPERM");
        let denial = events.expect("user", "send", to, "udp")?;
        ensure!(
            denial.uid == 65534,
            "the event's user is {}, expected 65534",
            denial.uid
        );
    }
    let path = policy.write()?.display().to_string();
    let output = call(&[
        "run",
        "--policy",
        &path,
        "--agent",
        "user",
        "--user",
        "no-such-user",
        "--",
        "true",
    ])?;
    ensure!(
        output.status.code() == Some(2),
        "an unknown user, expected 2: {}",
        said(&output)
    );
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("no-such-user"),
        "the error does not name the user: {}",
        said(&output)
    );
    Ok(())
}

fn in_a_session() -> Result<()> {
    Daemon::shared()?;
    let inner = Policy::named("inner").allow("0.0.0.0/0", "1-65535", "udp");
    let path = inner.write()?.display().to_string();
    let program = own_program()?;
    let to = at(DENIED4, PORT)?.to_string();
    let words = [
        "interlock",
        "run",
        "--policy",
        &path,
        "--agent",
        "inner",
        "--",
        &program,
        "act",
        "way",
        "udp",
        &to,
    ];
    let control = Place::Outside.run(&words)?;
    ensure!(
        String::from_utf8_lossy(&control.stdout).trim() == "ok",
        "the control, the inner session alone: {}",
        said(&control)
    );
    let output = Place::Inside(&Policy::named("outer")).run(&words)?;
    ensure!(
        output.status.code() == Some(125),
        "a session inside a session, expected 125: {}",
        said(&output)
    );
    Ok(())
}

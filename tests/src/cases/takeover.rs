//! The daemon goes and comes (red team T5): the kernel goes on denying.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::Place;
use crate::harness::steps::{Steps, Talk};
use anyhow::{Result, ensure};
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "takeover.killed",
            "with the daemon killed a session stays denied; the next daemon adopts it and tells",
            || takeover(libc::SIGKILL),
        ),
        Test::new(
            "takeover.terminated",
            "the same when the daemon is asked to end",
            || takeover(libc::SIGTERM),
        ),
        Test::new(
            "takeover.ten_times",
            "ten daemons killed one after the other leave one session, denied throughout",
            ten_times,
        )
        .patience(240),
        Test::new(
            "takeover.ended_meanwhile",
            "a session whose last process ended while no daemon was there is over at once for the next one, and recorded",
            ended_meanwhile,
        ),
        Test::new(
            "red.t5.kills",
            "50 daemons, each killed a tenth of a second after its start, change no verdict of a session that never rests",
            || kills(50),
        )
        .patience(240),
        Test::new(
            "long.kills",
            "nor do 1,000",
            || kills(1_000),
        )
        .patience(1_200),
        Test::new(
            "takeover.second",
            "a second daemon beside the first is refused",
            second,
        ),
        Test::new(
            "takeover.no_daemon",
            "without a daemon `interlock run` fails with 125, and runs nothing",
            no_daemon,
        ),
        Test::new(
            "takeover.uninstall_twice",
            "uninstalling what is not there is no error",
            || {
                product::remove()?;
                product::uninstall()
            },
        )
        .removes(),
    ]
}

fn takeover(signal: i32) -> Result<()> {
    let daemon = Daemon::shared()?;
    let denied = at(DENIED4, PORT)?;
    let allowed = at(ALLOWED4, PORT)?;
    let agent = format!("takeover-{signal}");
    let policy = Policy::named(&agent).allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut actor = Place::Inside(&policy).obey()?;
    let events = Events::from_now()?;
    let mut ask = || -> Result<[String; 3]> {
        Ok([
            actor.order(&format!("way udp {denied}"))?,
            actor.order(&format!("fork {denied}"))?,
            actor.order(&format!("probe {allowed}"))?,
        ])
    };
    let expected = ["EPERM", "EPERM", "ok"];
    let with = ask()?;
    ensure!(
        with == expected,
        "with the daemon: {with:?}, expected {expected:?}"
    );
    // What a daemon has taken from the ring and not yet printed dies with it, uncounted. That gap
    // is known; what is shown here is the kernel's side and the next daemon's.
    events.wait(&agent, 2)?;
    daemon.end(signal)?;
    let without = ask()?;
    ensure!(
        without == expected,
        "without a daemon: {without:?}, expected {expected:?}"
    );
    Daemon::start()?;
    ensure!(
        product::status()?.programs.how == "adopted",
        "the new daemon says that it adopted nothing"
    );
    let again = ask()?;
    ensure!(
        again == expected,
        "with the next daemon: {again:?}, expected {expected:?}"
    );
    // Two denials before, two between, two after, every one told under the agent's name.
    let denials = events.wait(&agent, 6)?;
    ensure!(
        denials.len() == 6,
        "{} denials were told, expected 6",
        denials.len()
    );
    actor.end()?;
    Ok(())
}

fn ten_times() -> Result<()> {
    let mut daemon = Daemon::shared()?;
    let order = format!("fork {}", at(DENIED4, PORT)?);
    let mut actor = Place::Inside(&Policy::named("ten-times")).obey()?;
    for time in 0..10 {
        daemon.end(libc::SIGKILL)?;
        let answer = actor.order(&order)?;
        ensure!(
            answer == "EPERM",
            "after kill {time}: {answer}, expected EPERM"
        );
        daemon = Daemon::start()?;
        let answer = actor.order(&order)?;
        ensure!(
            answer == "EPERM",
            "after start {time}: {answer}, expected EPERM"
        );
    }
    actor.end()?;
    Ok(())
}

fn ended_meanwhile() -> Result<()> {
    let daemon = Daemon::shared()?;
    let policy = Policy::named("meanwhile").allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut actor = Place::Inside(&policy).obey()?;
    let events = Events::from_now()?;
    daemon.end(libc::SIGKILL)?;
    let answer = actor.order(&format!("probe {}", at(ALLOWED4, PORT)?))?;
    ensure!(answer == "ok", "{answer} without a daemon, expected ok");
    actor.end()?;
    Daemon::start()?;
    // One that never had a process is given a minute.
    let begun = Instant::now();
    while product::session_of(policy.agent())?.is_some() {
        ensure!(
            begun.elapsed() < Duration::from_secs(30),
            "it is still listed"
        );
        thread::sleep(Duration::from_millis(200));
    }
    events.ended(policy.agent())?;
    Ok(())
}

fn kills(times: u32) -> Result<()> {
    const END: &str = "/tmp/takeover.end";
    let daemon = Daemon::shared()?;
    let policy = Policy::named("red-t5").allow(ALLOWED4, &PORT.to_string(), "udp");
    let client = Steps::of("/tmp/takeover-loop.py", include_str!("takeover/loop.py"))?;
    let mut session = Place::Inside(&policy)
        .command(&client.words(&[&format!("{ALLOWED4} {DENIED4} {PORT} {END}")]))?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Talk::of(&mut session)?;
    said.expect("begun")?;
    daemon.end(libc::SIGKILL)?;
    for _ in 0..times {
        let mut daemon = Command::new(product::INTERLOCK)
            .arg("daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        thread::sleep(Duration::from_millis(100));
        daemon.kill()?;
        daemon.wait()?;
    }
    Daemon::start()?;
    ensure!(
        product::status()?.programs.how == "adopted",
        "the last daemon adopted nothing"
    );
    fs::write(END, "")?;
    let (verdicts, actions) = (said.next()?, said.next()?);
    session.wait()?;
    fs::remove_file(END)?;
    println!("NOTE {times} daemons killed, {actions} actions: {verdicts}");
    ensure!(verdicts == "as the policy says", "{verdicts} of {actions}");
    Ok(())
}

fn second() -> Result<()> {
    Daemon::shared()?;
    let output = product::call(&["daemon"])?;
    ensure!(
        output.status.code() == Some(1),
        "expected exit code 1: {}",
        said(&output)
    );
    product::status()?;
    let output = product::call(&["uninstall"])?;
    ensure!(
        !output.status.success(),
        "uninstalled under a running daemon: {}",
        said(&output)
    );
    Ok(())
}

fn no_daemon() -> Result<()> {
    Daemon::shared()?.end(libc::SIGTERM)?;
    let policy = Policy::named("no-daemon").write()?.display().to_string();
    let words = [
        "run",
        "--policy",
        &policy,
        "--agent",
        "no-daemon",
        "--",
        "echo",
        "ran",
    ];
    let output = product::call(&words)?;
    ensure!(
        output.status.code() == Some(125),
        "expected exit code 125: {}",
        said(&output)
    );
    ensure!(
        output.stdout.is_empty(),
        "the command ran: {}",
        said(&output)
    );
    Ok(())
}

//! The enforcer itself, attacked by a session that runs as root.

use crate::harness::events::{Events, Line};
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::Place;
use crate::harness::{Test, kernel};
use crate::sys::system;
use anyhow::{Context, Result, ensure};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.t1.daemon",
            "a session that runs as root can neither end nor change the daemon",
            daemon,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "red.t1.everybody",
            "a session that signals every process reaches its own alone",
            everybody,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "red.t2.pins",
            "a session that runs as root cannot take the pins away, nor bpffs",
            pins,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "red.e3.jump",
            "when the clock jumps, nothing ends sooner or later by it",
            jump,
        ),
    ]
}

/// What time it is, by the clock that can be set.
fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

fn jump() -> Result<()> {
    const HOURS: i64 = 3;
    Daemon::shared()?;
    let (first, then) = (at(ALLOWED4, PORT)?, at(ALLOWED4, PORT + 1)?);
    let rule = |port, rest: &str| {
        format!(
            "      - {{to: [{}], ports: [{port}], protocol: udp, {rest}}}\n",
            first.ip()
        )
    };
    let lasting = Policy::named("e3-lasting").with(&format!(
        "  end: {{ttl: 1h}}\n  facts: [{{fact: seen, meaning: was there, expires: 30m}}]\n  \
         egress:\n    allow:\n{}{}",
        rule(PORT, "sets: [seen]"),
        rule(PORT + 1, "requires: [seen]")
    ));
    let brief = Policy::named("e3-brief").with("  end: {ttl: 3s}\n");
    let (first, then) = (format!("probe {first}"), format!("probe {then}"));
    let mut session = Place::Inside(&lasting).obey()?;
    let without = session.order(&then)?;
    ensure!(
        without == "EPERM",
        "the control, without the fact: {without}"
    );
    session.order(&first)?;
    let (began, clock) = (now()?, Instant::now());
    let events = Events::from_now()?;
    let ends = Place::Inside(&brief).obey()?;
    let outcome = (|| {
        for hours in [HOURS, -HOURS] {
            system::set_clock_to(began + hours * 3600).context("setting the clock")?;
            let answer = session.order(&then)?;
            ensure!(
                answer == "ok",
                "with the clock moved by {hours} h: {answer}, expected ok"
            );
        }
        // What was to end in three seconds ends, though the clock was set back.
        events.first("the end of the brief session", |line| match line {
            Line::Revoked(revoked) if revoked.agent == "e3-brief" => Some(revoked.cause),
            _ => None,
        })
    })();
    let passed = i64::try_from(clock.elapsed().as_secs())?;
    system::set_clock_to(began + passed).context("setting the clock right")?;
    let cause = outcome?;
    ensure!(cause == "ttl", "the brief session ended by {cause}");
    ends.end()?;
    session.end()?;
    Ok(())
}

fn daemon() -> Result<()> {
    let daemon = Daemon::shared()?;
    let pid = daemon.pid.to_string();
    let policy = Policy::named("t1-daemon");
    let inside = Place::Inside(&policy);
    for signal in ["KILL", "TERM", "STOP", "INT"] {
        let output = inside.run(&["sh", "-c", &format!("kill -{signal} {pid}")])?;
        ensure!(
            said(&output).contains("Operation not permitted"),
            "kill -{signal}: {}",
            said(&output)
        );
    }
    let events = Events::from_now()?;
    for (act, denied) in [
        ("ptrace", "EPERM"),
        ("vm-write", "EPERM"),
        ("pidfd-getfd", "EPERM"),
        ("sigio", "EPERM"),
        ("tgkill", "EPERM"),
        ("limit", "EPERM"),
        ("proc-oom", "EPERM"),
    ] {
        let answer = inside.act(&["overreach", act, &pid])?;
        ensure!(answer == denied, "{act}: {answer}, expected {denied}");
    }
    events.expect_privilege("t1-daemon", "ptrace")?;
    events.expect_privilege("t1-daemon", "signal")?;
    ensure!(
        Daemon::shared()?.pid == daemon.pid,
        "the daemon is another one now"
    );
    // It still answers and still tells.
    product::status()?;
    let events = Events::from_now()?;
    let answer = inside.act(&["overreach", "kill", &pid])?;
    ensure!(answer == "EPERM", "afterwards: {answer}");
    events.expect_privilege("t1-daemon", "signal")?;
    Ok(())
}

fn everybody() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut victim = Place::Outside.obey()?;
    let policy = Policy::named("everybody");
    // A shell of its own, which is spared, and a child, which is not.
    let script = "sleep 200 & kill -KILL -1; wait $!; echo $?";
    let output = Place::Inside(&policy).run(&["sh", "-c", script])?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        answer == "137",
        "its own child ended with {answer:?}, expected 137"
    );
    let alive = victim.order(&format!("probe {}", at(DENIED4, PORT)?))?;
    ensure!(alive == "ok", "the process outside: {alive}");
    victim.end()?;
    ensure!(
        Daemon::shared()?.pid == daemon.pid,
        "the daemon is another one now"
    );
    Ok(())
}

fn pins() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("t2-pins");
    let inside = Place::Inside(&policy);
    let count = || -> Result<usize> {
        let output = Place::Outside.run(&["find", product::PINS, "-type", "f"])?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().count())
    };
    let before = count()?;
    ensure!(before > 20, "{before} pins are found");
    let events = Events::from_now()?;
    inside.run(&["rm", "-rf", product::PINS])?;
    inside.run(&["mv", product::PINS, "/sys/fs/bpf/elsewhere"])?;
    inside.run(&["mkdir", "/sys/fs/bpf/elsewhere"])?;
    inside.run(&["umount", "/sys/fs/bpf"])?;
    inside.run(&["umount", "-l", "/sys/fs/bpf"])?;
    inside.run(&["mount", "-o", "remount,ro", "/sys/fs/bpf"])?;
    inside.run(&["mount", "-t", "tmpfs", "none", "/sys/fs/bpf"])?;
    events.expect_privilege("t2-pins", "bpf")?;
    events.expect_privilege("t2-pins", "cap_sys_admin")?;
    events.expect_privilege("t2-pins", "mount")?;
    let after = count()?;
    ensure!(after == before, "{after} pins are left of {before}");
    let to = at(DENIED4, PORT)?.to_string();
    let answer = inside.act(&["way", "tcp", &to])?;
    ensure!(answer == "EPERM", "a connection: {answer}, expected EPERM");
    // The control: outside, what was tried works.
    let other = "/sys/fs/bpf/interlock-tests-pin";
    let output = Place::Outside.run(&["sh", "-c", &format!("mkdir {other} && rm -rf {other}")])?;
    ensure!(output.status.success(), "outside: {}", said(&output));
    Ok(())
}

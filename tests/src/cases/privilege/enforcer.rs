//! The enforcer itself, attacked by a session that runs as root.

use crate::harness::events::Events;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::Place;
use crate::harness::{Test, kernel};
use anyhow::{Result, ensure};

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
    ]
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

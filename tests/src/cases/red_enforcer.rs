//! The enforcer attacked by a session whose policy allows everything (red team T1, T2, T6): what is
//! the daemon's own lies above every policy.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, PINS, SOCKET, said};
use crate::harness::session::{Place, own_program};
use crate::sys::{host, pass, system};
use agent_common::abi;
use agent_common::privilege::Privilege;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// Beside it, on the same file system.
const RUN: &str = "/run/interlock-enforcer";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.t6.socket",
            "under a policy that allows everything, the daemon's socket is reached by no name",
            socket,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.t6.files",
            "under a policy that allows everything, nothing of the daemon's files is changed",
            files,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.t1.all_allowed",
            "with every privilege, no session reaches the daemon's process",
            process,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.t2.bpf_get",
            "with every privilege, a session gets none of the enforcer's maps and links",
            maps,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

/// A policy that allows whatever there is.
fn everything(agent: &str) -> Policy {
    let words: Vec<&str> = Privilege::ALL.iter().map(|word| word.word()).collect();
    Policy::named(agent)
        .with("  egress:\n    allow:\n      - {to: [\"0.0.0.0/0\", \"::/0\", loopback, \"unix:/**\"]}\n")
        .privileges(&words)
}

fn socket() -> Result<()> {
    Daemon::shared()?;
    let _ = fs::remove_dir_all(RUN);
    fs::create_dir_all(RUN)?;
    let at = |name: &str| format!("{RUN}/{name}");
    let (other, hard, symbolic, bound) = (at("other"), at("hard"), at("symbolic"), at("bound"));
    let listener = UnixListener::bind(&other)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(crate::act::local::GREETING.as_bytes());
        }
    });
    fs::hard_link(SOCKET, &hard)?;
    std::os::unix::fs::symlink(SOCKET, &symbolic)?;
    fs::write(&bound, "")?;
    host::mount(Some(SOCKET), &bound, libc::MS_BIND).context("a bind mount")?;
    let audit = everything("red-t6-audit").with("  mode: audit\n");
    let policy = everything("red-t6");
    let outcome = (|| {
        for policy in [&policy, &audit] {
            let events = Events::from_now()?;
            let mut inside = Place::Inside(policy).obey()?;
            let control = inside.order(&format!("local path {other}"))?;
            ensure!(control == "ok", "the control, another socket: {control}");
            let root = format!("/proc/self/root{SOCKET}");
            let names = [SOCKET, &hard, &symbolic, &bound, &root];
            for name in names {
                let answer = inside.order(&format!("unix {name}"))?;
                ensure!(answer == "EPERM", "{name}: {answer}, expected EPERM");
                let control = Place::Outside.act(&["file", "path", name])?;
                ensure!(control == "ok", "the control, {name}: {control}");
            }
            inside.end()?;
            let denials = events.wait(policy.agent(), names.len())?;
            ensure!(
                denials.iter().all(|denial| denial.object.unix == SOCKET
                    && denial.reason == "protected"
                    && denial.verdict == "deny"),
                "told: {denials:?}"
            );
        }
        Ok(())
    })();
    system::umount(&bound).context("taking the bind mount away")?;
    outcome?;
    // A connection that somebody else has made.
    let program = own_program()?;
    for (place, to, expected) in [
        (Place::Outside, SOCKET, "EAGAIN"),
        (Place::Inside(&policy), SOCKET, "nothing came"),
    ] {
        let (near, far) = UnixStream::pair()?;
        let stream = UnixStream::connect(to)?;
        stream.set_nonblocking(true)?;
        pass::send(near.as_fd(), stream.as_fd())?;
        let output = place
            .command(&[&program, "act", "receive"])?
            .stdin(OwnedFd::from(far))
            .output()?;
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(
            answer == expected,
            "{place:?}: {answer}, expected {expected}: {}",
            said(&output)
        );
    }
    product::status().map(drop)
}

fn files() -> Result<()> {
    Daemon::shared()?;
    let policies = "/etc/interlock/policies";
    fs::create_dir_all(policies)?;
    let own = format!("{RUN}/own");
    fs::create_dir_all(RUN)?;
    let program = fs::canonicalize(which(product::INTERLOCK)?)?;
    let program = program.display();
    let journal = first_in("/var/lib/interlock/events")?;
    let records = "/run/interlock/sessions";
    let policy = everything("red-t6-files");
    let events = Events::from_now()?;
    let mut inside = Place::Inside(&policy).obey()?;
    let record = first_in(records)?;
    for (order, expected) in [
        (format!("create {own}"), "ok"),
        (format!("read {program}"), "ok"),
        (format!("list {policies}"), "ok"),
        (format!("read {record}"), "EPERM"),
        (format!("write {record}"), "EPERM"),
        (format!("unlink {record}"), "EPERM"),
        (format!("create {records}/new"), "EPERM"),
        (format!("rename {own} {record}"), "EPERM"),
        (format!("unlink {SOCKET}"), "EPERM"),
        (format!("rename {SOCKET} {own}"), "EPERM"),
        (format!("chmod {SOCKET}"), "EPERM"),
        (format!("rename {own} {SOCKET}"), "EPERM"),
        (format!("link {SOCKET} {RUN}/link"), "EPERM"),
        // Another folder of the same name would have none of this.
        (
            "rename /run/interlock /run/interlock-elsewhere".to_owned(),
            "EPERM",
        ),
        (format!("read {journal}"), "EPERM"),
        (format!("write {journal}"), "EPERM"),
        (format!("unlink {journal}"), "EPERM"),
        (format!("create {policies}/red-t6.yaml"), "EPERM"),
        (
            "rename /etc/interlock /etc/interlock-elsewhere".to_owned(),
            "EPERM",
        ),
        (format!("chmod {program}"), "EPERM"),
        (format!("unlink {program}"), "EPERM"),
        (format!("rename {program} {program}-elsewhere"), "EPERM"),
        (
            format!("unlink {PINS}/v{}/links/file_open", abi::VERSION),
            "EPERM",
        ),
        (format!("rename {PINS} {PINS}-elsewhere"), "EPERM"),
        (format!("unlink {own}"), "ok"),
    ] {
        let answer = inside.order(&format!("file {order}"))?;
        ensure!(answer == expected, "{order}: {answer}, expected {expected}");
    }
    inside.end()?;
    let denials = events.wait("red-t6-files", 19)?;
    let protected = denials.iter().filter(|denial| denial.reason == "protected");
    ensure!(protected.count() >= 17, "told: {denials:?}");
    product::status().map(drop)
}

fn which(program: &str) -> Result<String> {
    let output = Place::Outside.run(&["sh", "-c", &format!("command -v {program}")])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn first_in(folder: &str) -> Result<String> {
    let mut files = fs::read_dir(folder).with_context(|| folder.to_owned())?;
    let file = files.next().context("nothing is there")??;
    Ok(file.path().display().to_string())
}

fn process() -> Result<()> {
    let daemon = Daemon::shared()?;
    let other = Place::Outside.obey()?;
    let policy = everything("red-t1-all");
    let inside = Place::Inside(&policy);
    for audit in [false, true] {
        let audited = everything("red-t1-audit").with("  mode: audit\n");
        let inside = if audit {
            Place::Inside(&audited)
        } else {
            inside
        };
        for act in [
            "ptrace",
            "vm-write",
            "proc-mem",
            "proc-oom",
            "pidfd-getfd",
            "kill",
            "tgkill",
            "sigqueue",
            "sigio",
            "priority",
            "limit",
        ] {
            let control = inside.act(&["overreach", act, &other.pid.to_string()])?;
            ensure!(
                control != "EPERM",
                "the control, {act} on another: {control}"
            );
            let answer = inside.act(&["overreach", act, &daemon.pid.to_string()])?;
            ensure!(answer == "EPERM", "{act}: {answer}, expected EPERM");
        }
    }
    let denial = Events::ALL.wait("red-t1-all", 11)?;
    ensure!(
        denial
            .iter()
            .all(|denial| denial.reason == "protected" && denial.object.target == Some(daemon.pid)),
        "told: {denial:?}"
    );
    drop(other);
    product::status().map(drop)
}

fn maps() -> Result<()> {
    Daemon::shared()?;
    let policy = everything("red-t2-get");
    let folder = format!("{PINS}/v{}", abi::VERSION);
    for name in ["maps/SESSIONS", "links/file_open", "programs/revoke"] {
        let pin = format!("{folder}/{name}");
        for (place, expected) in [
            (Place::Outside, "ok"),
            (Place::Inside(&policy), "EPERM"),
            (Place::Outside, "ok"),
        ] {
            let answer = place.act(&["overreach", "bpf-get", &pin])?;
            ensure!(
                answer == expected,
                "{place:?}, {name}: {answer}, expected {expected}"
            );
        }
    }
    // Its privilege is for what it makes itself.
    let answer = Place::Inside(&policy).act(&["overreach", "bpf-list", "-"])?;
    ensure!(answer == "ok", "the control: {answer}");
    let denials = Events::ALL.wait("red-t2-get", 3)?;
    ensure!(
        denials.iter().all(|denial| denial.reason == "protected"),
        "told: {denials:?}"
    );
    Ok(())
}

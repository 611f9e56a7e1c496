//! Files that the kernel makes, and how it looks names up.

use super::files::{HERE, expect, policy, set_up, told};
use super::red_files::{Body, control, denying, policy_allowing, with_bpf_lsm};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Result, ensure};
use std::fs;

pub(super) fn tests() -> Vec<Test> {
    let tests: Vec<(&str, &str, Body)> = vec![
        (
            "files.procfs",
            "a session reads of itself in procfs, and not of others",
            procfs,
        ),
        (
            "files.pipes",
            "pipes and memory can be opened again by their descriptors",
            pipes,
        ),
        (
            "files.look_first",
            "opening what exists with O_CREAT is no creation",
            look_first,
        ),
        (
            "files.swap",
            "rules follow a rename by others, and a cached directory does not survive it",
            swap,
        ),
    ];
    with_bpf_lsm(tests)
}

fn procfs() -> Result<()> {
    Daemon::shared()?;
    let own = std::process::id();
    // Libraries, and nothing in /proc.
    let policy = Policy::named("files-procfs").without_files().files(
        "allow",
        "read, map",
        &["/usr/**", "/lib/**", "/lib64/**", "/etc/**"],
    );
    let mut actor = Place::Inside(&policy).obey()?;
    let others = format!("read /proc/{own}/status");
    expect(
        &mut actor,
        &[
            ("read /proc/self/status", "ok"),
            ("read /proc/self/maps", "ok"),
            ("read /proc/thread-self/stat", "ok"),
            ("list /proc/self/fd", "ok"),
            ("list /proc/self/task", "ok"),
            ("write /proc/self/mem", "EPERM"),
            ("write /proc/self/oom_score_adj", "EPERM"),
            (&others, "EPERM"),
            ("read /proc/1/status", "EPERM"),
            ("read /proc/meminfo", "EPERM"),
            ("list /proc", "EPERM"),
        ],
    )?;
    actor.end()?;
    let policy = policy.files("allow", "read", &["/proc/**"]);
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            (&others, "ok"),
            ("read /proc/meminfo", "ok"),
            ("list /proc", "ok"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

fn pipes() -> Result<()> {
    Daemon::shared()?;
    let policy = policy("files-pipes");
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[("reopen-pipe", "ok"), ("reopen-memory", "ok")],
    )?;
    actor.end()?;
    let output = Place::Inside(&policy).run(&["bash", "-c", "cat <(echo through) | cat"])?;
    ensure!(
        output.stdout == b"through\n",
        "bash's <(...) gave {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

fn look_first() -> Result<()> {
    Daemon::shared()?;
    set_up(&["f"])?;
    let agent = "files-look-first";
    let policy = policy_allowing(agent, "read, write");
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    for _ in 0..3 {
        // Forget every name, so that the kernel asks before it looks.
        fs::write("/proc/sys/vm/drop_caches", "2")?;
        expect(&mut actor, &[("create-if-absent ./f", "ok")])?;
    }
    ensure!(
        events.denials(agent)?.is_empty(),
        "told {:?}",
        events.denials(agent)?
    );
    for _ in 0..3 {
        fs::write("/proc/sys/vm/drop_caches", "2")?;
        expect(&mut actor, &[("create-if-absent ./absent", "EPERM")])?;
    }
    actor.end()?;
    let told = told(events, agent, 3)?;
    ensure!(
        told == vec![format!("create {HERE}/absent"); 3],
        "told {told:?}"
    );
    Ok(())
}

fn swap() -> Result<()> {
    Daemon::shared()?;
    set_up(&["work/open/f", "work/shut/f"])?;
    let policy = denying("files-swap", &["./work/shut/**"]);
    let mut actor = Place::Inside(&policy).obey()?;
    for _ in 0..50 {
        expect(
            &mut actor,
            &[
                ("read ./work/open/f", "ok"),
                ("read ./work/shut/f", "EPERM"),
            ],
        )?;
        control(&["exchange ./work/open ./work/shut"])?;
    }
    // A directory that takes the place of one that is gone.
    for _ in 0..50 {
        set_up(&["work/open/f"])?;
        expect(&mut actor, &[("read ./work/open/f", "ok")])?;
        set_up(&["work/shut/f"])?;
        expect(&mut actor, &[("read ./work/shut/f", "EPERM")])?;
    }
    actor.end()?;
    Ok(())
}

//! A host on which cgroups of version 1 are in use beside the unified hierarchy.

use super::recognise::{daemon, expect, move_into, recognised, wait_until};
use crate::harness::Test;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::product::{self, call, said};
use crate::harness::session::Place;
use crate::sys::host;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

/// As systemd lays the hierarchies out that is told to use both.
const BOTH: &str = r"
set -e
mount -t tmpfs none /sys/fs/cgroup
cd /sys/fs/cgroup
mkdir unified systemd
mount -t cgroup2 none unified
mount -t cgroup -o none,name=systemd none systemd
";

const UNIFIED: &str = "/sys/fs/cgroup/unified";
const FIRST: &str = "/sys/fs/cgroup/systemd";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "recognise.hybrid",
            "beside cgroups of version 1 all is as without, and a container that has no others is told",
            hybrid,
        )
        .patience(180),
        Test::new(
            "long.hybrid.anew",
            "the same where the kernel programs are loaded beside them, and not only taken over",
            || product::remove().and_then(|()| hybrid()),
        )
        .patience(300),
    ]
}

fn hybrid() -> Result<()> {
    product::stop()?;
    host::keep_mounts_to_ourselves().context("keeping mounts to ourselves")?;
    let laid_out = Command::new("bash").args(["-c", BOTH]).output()?;
    ensure!(laid_out.status.success(), "{laid_out:?}");
    beside_version_1()?;
    product::stop()
}

fn beside_version_1() -> Result<()> {
    let by_cgroup = recognised("hybrid", "cgroup: /hybrid-agent");
    let contained = recognised("contained", "container: {labels: {app: contained}}");
    daemon(&[&by_cgroup, &contained])?;
    let probe = format!("probe {}", at(DENIED4, PORT)?);
    let agents = format!("{UNIFIED}/hybrid-agent");
    fs::create_dir(&agents).context(agents.clone())?;
    let mut actor = Place::Outside.obey()?;
    expect(&mut actor, &probe, "ok", "outside")?;
    move_into(&agents, actor.pid)?;
    expect(&mut actor, &probe, "EPERM", "moved in")?;
    actor.end()?;

    let container = format!("docker/{}", "0123456789abcdef".repeat(4));
    let (seen, unseen) = (
        format!("{UNIFIED}/{container}"),
        format!("{FIRST}/{container}"),
    );
    ensure!(is_whole()?, "status fails before there is a container");
    fs::create_dir_all(&unseen).context(unseen.clone())?;
    wait_until("the container is told", || Ok(!is_whole()?))?;
    let status = said(&call(&["status"])?);
    ensure!(
        status.contains("NOT IN FORCE contained") && status.contains(&unseen),
        "status: {status}, expected {unseen}"
    );
    fs::create_dir_all(&seen).context(seen.clone())?;
    wait_until("a container with both is none", is_whole)?;
    let doctor = said(&call(&["doctor"])?);
    ensure!(
        doctor.contains(&format!("mounted at {UNIFIED}")) && doctor.contains(FIRST),
        "doctor: {doctor}"
    );
    fs::remove_dir(&seen)?;
    fs::remove_dir(&unseen).context(unseen)
}

fn is_whole() -> Result<bool> {
    Ok(call(&["status"])?.status.success())
}

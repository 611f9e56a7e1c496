//! A controller whose disk is full: records wait on their nodes, the kill switch still works.

use crate::harness::Test;
use crate::harness::controller::{
    Controller, DATA, PATIENCE, ctl, daemon, is_connected, until, until_countersigned, verify,
};
use crate::harness::network::{self, ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, said};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "central.full_disk",
            "a controller without room takes no records and still revokes; with room again it gets all",
            full_disk,
        )
        .patience(240),
    ]
}

/// A disk of its own for the database, which is gone afterwards.
struct Disk;

impl Disk {
    fn mount() -> Result<Self> {
        fs::create_dir_all(DATA)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs", DATA])
            .output()?;
        ensure!(mounted.status.success(), "mount: {}", said(&mounted));
        Ok(Self)
    }

    /// Takes all the room there is but so many MiB.
    fn fill(name: &str, left_mib: u64) -> Result<()> {
        let mut file = File::create(format!("{DATA}/{name}"))?;
        while file.write_all(&[7; 64 * 1024]).is_ok() {}
        let size = file.metadata()?.len();
        file.set_len(size.saturating_sub(left_mib << 20))?;
        Ok(())
    }

    fn free(name: &str) -> Result<()> {
        fs::remove_file(format!("{DATA}/{name}")).context("making room")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", DATA]).status();
    }
}

/// What the daemon says of its controller.
fn controller() -> Result<serde_json::Value> {
    let output = product::call(&["status", "--json"])?;
    let status: serde_json::Value =
        serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    Ok(status["controller"].clone())
}

fn until_so(what: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = controller()?;
        if is_so(&told) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{what}: {told}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn full_disk() -> Result<()> {
    network::set_up()?;
    product::stop()?;
    let _disk = Disk::mount()?;
    let _controller = Controller::start_with(0, &["--reserve", "8"])?;
    daemon()?;
    until(&["nodes"], is_connected)?;
    until_countersigned()?;

    let policy = Policy::named("central-full").allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut actor = Place::Inside(&policy).obey()?;
    let mut other = Place::Inside(&Policy::named("central-full-other")).obey()?;
    let (allowed, denied) = (at(ALLOWED4, PORT)?, at(DENIED4, PORT)?);
    let mut as_before = || -> Result<()> {
        let (yes, no) = (
            other.order(&format!("probe {denied}"))?,
            other.order(&format!("flood {denied} 300"))?,
        );
        ensure!(
            yes == "EPERM" && no.contains("denied=300"),
            "{yes}, {no}, expected what was denied before"
        );
        Ok(())
    };

    Disk::fill("some", 4)?;
    as_before()?;
    until_so("records are held up", |it| {
        let why = it["heldUp"].as_str().unwrap_or_default();
        it["connected"] == true && why.contains("no room for records") && it["waiting"] != 0
    })?;
    let answer = actor.order(&format!("probe {allowed}"))?;
    ensure!(answer == "ok", "the session does not work before: {answer}");
    let (done, told) = ctl(&["revoke", "agent", "central-full"])?;
    ensure!(
        done && told["nodes"][0]["state"] == "tree empty",
        "the kill switch without room for records: {told}"
    );
    actor.killed("the revoked session")?;

    Disk::fill("all", 0)?;
    as_before()?;
    let order = ["ctl", "--controller", crate::harness::controller::ADDRESS];
    let refused = product::call(
        &[
            &order[..],
            &["--as", "operator-admin", "revoke", "agent", "nobody-at-all"],
        ]
        .concat(),
    )?;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && error.contains("store fails"),
        "an order that cannot be kept: {}",
        said(&refused)
    );
    verify(false, 0).context("the node's own record")?;

    Disk::free("all")?;
    Disk::free("some")?;
    until_so("all records have come", |it| {
        it["connected"] == true && it["heldUp"].is_null() && it["waiting"] == 0
    })?;
    until_countersigned()?;
    Ok(())
}

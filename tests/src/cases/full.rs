//! Full maps (red team E2): a session is denied what there is no room for, nobody else notices.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, PINS};
use crate::harness::session::Place;
use crate::sys::map;
use agent_common::abi;
use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use std::os::fd::AsFd;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.e2.labels",
            "with no room for a label a session's fork fails with ENOMEM, and all else goes on",
            labels,
        )
        .patience(120),
        Test::new(
            "red.e2.walks",
            "with no room to find a path a session's new process is denied every file and program",
            walks,
        )
        .unless(unless_with_bpf_lsm)
        .patience(120),
    ]
}

/// Fills a real map that has tasks for keys with tasks that do not exist.
struct Filling {
    map: MapData,
    keys: Vec<u64>,
}

impl Filling {
    fn of(name: &str) -> Result<Self> {
        let path = format!("{PINS}/v{}/maps/{name}", abi::VERSION);
        let map = MapData::from_pin(&path).with_context(|| path.clone())?;
        let value = vec![0; map.info().context("the map's size")?.value_size() as usize];
        let mut keys = Vec::new();
        // No task_struct lies at an address of user space.
        for key in 1..=u64::from(abi::MAX_TASKS) {
            let key = key << 12;
            match map::put(map.fd().as_fd(), key, &value) {
                Ok(()) => keys.push(key),
                Err(_) => break,
            }
        }
        Ok(Self { map, keys })
    }

    fn empty(self) -> Result<()> {
        for key in self.keys {
            map::remove(self.map.fd().as_fd(), key).context("removing what fills")?;
        }
        Ok(())
    }
}

fn walks() -> Result<()> {
    const TRUE: &[&str] = &["execute", "execve", "/usr/bin/true"];
    Daemon::shared()?;
    let agent = "full-walks";
    let policy = Policy::named(agent);
    let mut actor = Place::Inside(&policy).obey()?;
    let order = TRUE.join(" ");
    let before = actor.order(&order)?;
    ensure!(before == "ran 0", "while there is room: {before}");
    let doubts = product::status()?.doubts;
    let events = Events::from_now()?;
    let filling = Filling::of("WALKS")?;
    let filled = filling.keys.len();
    // A new process has no place of its own yet.
    let full = actor.order(&order);
    let outside = Place::Outside.act(TRUE);
    filling.empty()?;
    ensure!(filled > 60_000, "only {filled} walks filled the map");
    let (full, outside) = (full?, outside?);
    ensure!(full == "EPERM", "with no room: {full}, expected EPERM");
    ensure!(outside == "ran 0", "outside, with no room: {outside}");
    let denials = events.wait(agent, 1)?;
    ensure!(
        denials
            .iter()
            .all(|denial| denial.action == "exec" && denial.reason == "unreadable"),
        "told: {denials:?}"
    );
    let counted = product::status()?.doubts - doubts;
    ensure!(counted >= 1, "{counted} doubts were counted");
    let after = actor.order(&order)?;
    ensure!(after == "ran 0", "once there is room again: {after}");
    actor.end()?;
    Ok(())
}

fn labels() -> Result<()> {
    Daemon::shared()?;
    let denied = at(DENIED4, PORT)?;
    let policy = Policy::named("full").allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut actor = Place::Inside(&policy).obey()?;
    let fork = format!("fork {denied}");
    let before = actor.order(&fork)?;
    ensure!(
        before == "EPERM",
        "while there is room, a child: {before}, expected EPERM"
    );

    let count = product::status()?.labels_refused;
    let filling = Filling::of("MEMBERS")?;
    ensure!(
        filling.keys.len() > 60_000,
        "only {} labels filled the map",
        filling.keys.len()
    );
    let full = [
        actor.order(&fork)?,
        actor.order(&format!("probe {denied}"))?,
        actor.order(&format!("probe {}", at(ALLOWED4, PORT)?))?,
    ];
    let outside = Place::Outside.act(&["spread", "fork", &denied.to_string(), "200"]);
    let new_session = Place::Inside(&Policy::named("full-new")).run(&["true"]);
    let refused = product::status()?.labels_refused - count;
    filling.empty()?;

    let expected = ["fork ENOMEM", "EPERM", "ok"];
    ensure!(
        full == expected,
        "with no room: {full:?}, expected {expected:?}"
    );
    let outside = super::inherit::tally(&outside?)?;
    ensure!(
        outside.allowed == 200,
        "outside, with no room: {outside:?}, expected 200 allowed"
    );
    let new_session = new_session?;
    ensure!(
        new_session.status.code() == Some(125),
        "a new session with no room, expected 125: {}",
        product::said(&new_session)
    );
    ensure!(
        refused >= 2,
        "{refused} refused labels were counted, expected at least 2"
    );
    let after = actor.order(&fork)?;
    ensure!(
        after == "EPERM",
        "once there is room again, a child: {after}, expected EPERM"
    );
    actor.end()?;
    Ok(())
}

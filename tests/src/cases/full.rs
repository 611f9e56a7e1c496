//! Full maps (red team E2): a session's fork fails, nobody else notices.

use crate::harness::Test;
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, PINS};
use crate::harness::session::Place;
use agent_common::abi;
use agent_common::session::Member;
use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, Map, MapData};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "full.labels",
            "with no room for a label a session's fork fails with ENOMEM, and all else goes on",
            labels,
        )
        .patience(120),
    ]
}

/// Bytes that the kernel programs keep for one task.
const MEMBER: usize = size_of::<Member>();

/// Fills the real map with labels of tasks that do not exist.
struct Filling {
    map: HashMap<MapData, u64, [u8; MEMBER]>,
    keys: Vec<u64>,
}

impl Filling {
    fn new() -> Result<Self> {
        let path = format!("{PINS}/v{}/maps/MEMBERS", abi::VERSION);
        let data = MapData::from_pin(&path).with_context(|| path.clone())?;
        let mut map =
            HashMap::<_, u64, [u8; MEMBER]>::try_from(Map::HashMap(data)).context("MEMBERS")?;
        let mut keys = Vec::new();
        // No task_struct lies at an address of user space.
        for key in 1..=u64::from(abi::MAX_TASKS) {
            let key = key << 12;
            match map.insert(key, [0; MEMBER], 0) {
                Ok(()) => keys.push(key),
                Err(_) => break,
            }
        }
        Ok(Self { map, keys })
    }

    fn empty(mut self) -> Result<()> {
        for key in &self.keys {
            self.map
                .remove(key)
                .context("removing a label of no task")?;
        }
        Ok(())
    }
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
    let filling = Filling::new()?;
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

//! What already runs when a way comes in force: sessions for the processes of a cgroup, and for the
//! trees of those that run an executable.

use super::adopt::Adopter;
use super::{RecognitionError, Way, sought};
use crate::events::line::Line;
use crate::kernel::clock;
use crate::sessions::Sessions;
use agent_common::event::Process;
use agent_common::recognise::{Inside, door_of_process};
use agent_common::session::Label;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A session's number, and when it was found to have begun.
pub(super) type Found = (u64, u64);

/// Makes a container a session's, with everybody who is in it. While they are labelled it is a place, so
/// that whoever is born there is labelled as well; afterwards one comes into it by executing a program.
pub(super) fn adopt_container(
    sessions: &mut Sessions,
    adopter: &Adopter,
    way: &Way,
    root: &Path,
    inside: Inside,
) -> Result<Option<Found>, RecognitionError> {
    let adopted = adopt_cgroup(sessions, adopter, inside.way, way, root);
    set_all(sessions, way, root, inside)?;
    adopted
}

/// Makes a cgroup and all below it a session's.
pub(super) fn set_all(
    sessions: &mut Sessions,
    way: &Way,
    root: &Path,
    inside: Inside,
) -> Result<(), RecognitionError> {
    let unreadable = |error| RecognitionError::Cgroups(way.sought.clone(), error);
    let mut known = BTreeSet::new();
    loop {
        let before = known.len();
        for cgroup in sought::numbers(root) {
            if known.insert(cgroup) {
                sessions.recognised().set_cgroup(cgroup, inside)?;
            }
        }
        if known.len() == before {
            return Ok(());
        }
        sought::wait_for_makers().map_err(unreadable)?;
    }
}

/// Makes a cgroup and all below it a session's, with everybody who is in them.
pub(super) fn adopt_cgroup(
    sessions: &mut Sessions,
    adopter: &Adopter,
    number: u32,
    way: &Way,
    root: &Path,
) -> Result<Option<Found>, RecognitionError> {
    let unreadable = |error| RecognitionError::Cgroups(way.sought.clone(), error);
    let door = std::fs::metadata(root).map_err(unreadable)?.ino();
    let inside = Inside::place(door, number);
    // The session is open before anybody can be recognised, so that whoever is found has its facts.
    let recognised = way.sought.to_string();
    let label = sessions.prepare_running(&way.prepared(&recognised), door)?;
    let opened = sessions.recognised().open_door(door, label)?;
    if !opened {
        sessions.end(label.session)?;
    }
    set_all(sessions, way, root, inside)?;
    sessions.recognised().set_settling(None)?;
    let adopted = adopter.adopt(sessions.maps());
    sessions.recognised().set_settled()?;
    adopted?;
    if !opened {
        return Ok(None);
    }
    if sessions.tasks(label)? == 0 {
        // Nobody was there. Who comes now begins a session of its own.
        sessions.recognised().close_door(door)?;
        if sessions.tasks(label)? == 0 {
            sessions.end(label.session)?;
            return Ok(None);
        }
    }
    Ok(Some((label.session, clock::boot_ns())))
}

/// Makes everybody a session's who runs the way's executable, each with all that descend from it:
/// one session for each tree.
pub(super) fn adopt_trees(
    sessions: &mut Sessions,
    adopter: &Adopter,
    number: u32,
    way: &Way,
) -> Result<Vec<Line>, RecognitionError> {
    sessions.recognised().set_settling(Some(number))?;
    let mut doors = BTreeMap::new();
    let adopted = adopt_all(sessions, adopter, way, &mut doors);
    sessions.recognised().set_settled()?;
    let mut lines = Vec::new();
    for (door, label) in doors {
        sessions.recognised().close_door(door)?;
        if sessions.tasks(label)? == 0 {
            // Its root has ended meanwhile, and nobody was there with it.
            sessions.end(label.session)?;
            continue;
        }
        let seen = sessions.seen(label.session, clock::boot_ns());
        lines.extend(seen.map(Line::Started));
    }
    adopted.map(|()| lines)
}

fn adopt_all(
    sessions: &mut Sessions,
    adopter: &Adopter,
    way: &Way,
    doors: &mut BTreeMap<u64, Label>,
) -> Result<(), RecognitionError> {
    let host = sought::host_processes();
    let recognised = way.sought.to_string();
    loop {
        let roots = adopter.adopt(sessions.maps())?;
        if roots.is_empty() {
            return Ok(());
        }
        for Process { pid, start_ns, .. } in roots.into_values() {
            if host.contains(&pid) {
                return Err(RecognitionError::Host(way.sought.clone()));
            }
            let door = door_of_process(start_ns);
            let label = sessions.prepare_running(&way.prepared(&recognised), door)?;
            if !sessions.recognised().open_door(door, label)? {
                sessions.end(label.session)?;
                continue;
            }
            doors.insert(door, label);
        }
    }
}

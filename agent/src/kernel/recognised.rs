//! The maps by which the kernel programs recognise sessions.

use super::maps::{MapsError, open, typed};
use super::pins::Pins;
use super::plain::Plain;
use crate::ids::SessionId;
use agent_common::recognise::{Executable, Inside, Latecomer, PlaceKey, Pool, Watch};
use agent_common::session::Label;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use std::collections::BTreeMap;

/// `BPF_NOEXIST`: an entry that is there stays.
const ONLY_NEW: u64 = 1;

/// Every one of them, by the name it has in agent-ebpf/src/maps.rs.
pub struct Recognised {
    watch: Array<MapData, Plain<Watch>>,
    pools: Array<MapData, Plain<Pool>>,
    claims: HashMap<MapData, u64, u64>,
    cgroups: HashMap<MapData, u64, Plain<Inside>>,
    doors: HashMap<MapData, u64, Plain<Label>>,
    places: HashMap<MapData, Plain<PlaceKey>, u32>,
    executables: HashMap<MapData, Plain<Executable>, u32>,
    latecomers: HashMap<MapData, u64, Plain<Latecomer>>,
    alive: Array<MapData, u64>,
}

impl Recognised {
    /// Opens them.
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        let hash = |name| Ok::<_, MapsError>(Map::HashMap(open(pins, name)?));
        Ok(Self {
            watch: typed("WATCH", Map::Array(open(pins, "WATCH")?))?,
            pools: typed("POOLS", Map::Array(open(pins, "POOLS")?))?,
            claims: typed("CLAIMS", hash("CLAIMS")?)?,
            cgroups: typed("CGROUPS", hash("CGROUPS")?)?,
            doors: typed("DOORS", hash("DOORS")?)?,
            places: typed("PLACES", hash("PLACES")?)?,
            executables: typed("EXECUTABLES", hash("EXECUTABLES")?)?,
            latecomers: typed("LATECOMERS", hash("LATECOMERS")?)?,
            alive: typed("ALIVE", Map::Array(open(pins, "ALIVE")?))?,
        })
    }

    /// Says what is recognised at all.
    pub fn set_watch(&mut self, watch: Watch) -> Result<(), MapsError> {
        Ok(self.watch.set(0, Plain(watch), 0)?)
    }

    /// Says that what already runs is being adopted: whoever is in a cgroup, or the trees of the
    /// executable of a way.
    pub fn set_settling(&mut self, executable: Option<u32>) -> Result<(), MapsError> {
        let mut watch = self.watch.get(&0, 0)?.0;
        watch.settling = 1;
        watch.adopting = executable.map_or(0, |way| way + 1);
        self.set_watch(watch)
    }

    /// Says that it no longer is.
    pub fn set_settled(&mut self) -> Result<(), MapsError> {
        let watch = self.watch.get(&0, 0)?.0;
        self.set_watch(Watch {
            cgroups: watch.cgroups,
            executables: watch.executables,
            containers: watch.containers,
            ..Watch::default()
        })
    }

    /// Lays sessions ready for a way.
    pub fn set_pool(&mut self, way: u32, pool: Pool) -> Result<(), MapsError> {
        Ok(self.pools.set(way, Plain(pool), 0)?)
    }

    /// Takes a session that lies ready, as the kernel programs do. False when it was taken before.
    pub fn claim(&mut self, session: u64) -> Result<bool, MapsError> {
        is_new(self.claims.insert(session, 0, ONLY_NEW))
    }

    /// Whether a session was taken.
    pub fn is_claimed(&self, session: u64) -> Result<bool, MapsError> {
        Ok(found(self.claims.get(&session, 0))?.is_some())
    }

    /// The session into whose container somebody came who took a session.
    pub fn entered(&self, session: u64) -> Result<Option<SessionId>, MapsError> {
        let entered = found(self.claims.get(&session, 0))?;
        Ok(entered.filter(|entered| *entered != 0).map(SessionId))
    }

    /// Forgets that it was. Only when it is over.
    pub fn unclaim(&mut self, session: u64) -> Result<(), MapsError> {
        found(self.claims.remove(&session)).map(drop)
    }

    /// Opens a session for a cgroup, or a process's tree, unless one is open.
    pub fn open_door(&mut self, door: u64, label: Label) -> Result<bool, MapsError> {
        is_new(self.doors.insert(door, Plain(label), ONLY_NEW))
    }

    /// The session that is open.
    pub fn door(&self, door: u64) -> Result<Option<Label>, MapsError> {
        Ok(found(self.doors.get(&door, 0))?.map(|label| label.0))
    }

    /// Lets the next that comes begin another session.
    pub fn close_door(&mut self, door: u64) -> Result<(), MapsError> {
        found(self.doors.remove(&door)).map(drop)
    }

    /// Makes a cgroup a session's.
    pub fn set_cgroup(&mut self, cgroup: u64, inside: Inside) -> Result<(), MapsError> {
        Ok(self.cgroups.insert(cgroup, Plain(inside), 0)?)
    }

    /// What is known of one.
    pub fn cgroup(&self, cgroup: u64) -> Result<Option<Inside>, MapsError> {
        Ok(found(self.cgroups.get(&cgroup, 0))?.map(|inside| inside.0))
    }

    /// Makes it anybody's.
    pub fn remove_cgroup(&mut self, cgroup: u64) -> Result<(), MapsError> {
        found(self.cgroups.remove(&cgroup)).map(drop)
    }

    /// Every cgroup of which something is known.
    pub fn cgroups(&self) -> Result<BTreeMap<u64, Inside>, MapsError> {
        let entry = |entry: Result<(u64, Plain<Inside>), MapError>| {
            let (cgroup, inside) = entry?;
            Ok((cgroup, inside.0))
        };
        self.cgroups.iter().map(entry).collect()
    }

    /// Recognises cgroups that will be made.
    pub fn set_place(&mut self, place: PlaceKey, way: u32) -> Result<(), MapsError> {
        Ok(self.places.insert(Plain(place), way, 0)?)
    }

    /// Recognises them no more.
    pub fn remove_place(&mut self, place: PlaceKey) -> Result<(), MapsError> {
        found(self.places.remove(&Plain(place))).map(drop)
    }

    /// Every such place.
    pub fn places(&self) -> Result<BTreeMap<PlaceKey, u32>, MapsError> {
        let entry = |entry: Result<(Plain<PlaceKey>, u32), MapError>| {
            let (place, way) = entry?;
            Ok((place.0, way))
        };
        self.places.iter().map(entry).collect()
    }

    /// Recognises an executable.
    pub fn set_executable(&mut self, executable: Executable, way: u32) -> Result<(), MapsError> {
        Ok(self.executables.insert(Plain(executable), way, 0)?)
    }

    /// Recognises it no more.
    pub fn remove_executable(&mut self, executable: Executable) -> Result<(), MapsError> {
        found(self.executables.remove(&Plain(executable))).map(drop)
    }

    /// Every executable.
    pub fn executables(&self) -> Result<BTreeMap<Executable, u32>, MapsError> {
        let entry = |entry: Result<(Plain<Executable>, u32), MapError>| {
            let (executable, way) = entry?;
            Ok((executable.0, way))
        };
        self.executables.iter().map(entry).collect()
    }

    /// The processes that wait for a session to lie ready, by task. One that goes meanwhile is left out.
    pub fn latecomers(&self) -> Vec<(u64, Latecomer)> {
        let entries = self.latecomers.iter().flatten();
        entries.map(|(task, late)| (task, late.0)).collect()
    }

    /// Forgets that one waits.
    pub fn forget_latecomer(&mut self, task: u64) -> Result<(), MapsError> {
        found(self.latecomers.remove(&task)).map(drop)
    }

    /// Says that somebody is there to wake who waits.
    pub fn set_alive(&mut self, now_ns: u64) -> Result<(), MapsError> {
        Ok(self.alive.set(0, now_ns, 0)?)
    }
}

/// What a map has, if it has it.
fn found<T>(result: Result<T, MapError>) -> Result<Option<T>, MapsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an entry was put there.
fn is_new(result: Result<(), MapError>) -> Result<bool, MapsError> {
    match result {
        Ok(()) => Ok(true),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

//! The maps of questions to people: what is asked, who waits, how many each session has asked.

use super::maps::{MapsError, open, typed};
use super::pins::Pins;
use super::plain::Plain;
use agent_common::hold::{Hold, HoldKey, Waiter};
use aya::maps::{Array, HashMap, Map, MapData, MapError};

/// An entry is written only where there is one.
const ONLY_OLD: u64 = 2;

/// Questions and their answers.
pub struct Held {
    holds: HashMap<MapData, Plain<HoldKey>, Plain<Hold>>,
    waiting: HashMap<MapData, Plain<Waiter>, u64>,
    opened: Array<MapData, u64>,
    closed: Array<MapData, u64>,
}

impl Held {
    /// Opens the maps of a set of pins.
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        Ok(Self {
            holds: typed("HOLDS", Map::HashMap(open(pins, "HOLDS")?))?,
            waiting: typed("WAITING", Map::HashMap(open(pins, "WAITING")?))?,
            opened: typed("OPENED", Map::Array(open(pins, "OPENED")?))?,
            closed: typed("CLOSED", Map::Array(open(pins, "CLOSED")?))?,
        })
    }

    /// Every question, open or answered. One that goes meanwhile is left out.
    pub fn all(&self) -> Vec<(HoldKey, Hold)> {
        let entries = self.holds.iter().flatten();
        entries.map(|(key, hold)| (key.0, hold.0)).collect()
    }

    /// Writes an answer, unless the question has gone.
    pub fn answer(&mut self, key: HoldKey, hold: Hold) -> Result<(), MapsError> {
        Ok(self.holds.insert(Plain(key), Plain(hold), ONLY_OLD)?)
    }

    /// Takes a question away.
    pub fn remove(&mut self, key: HoldKey) -> Result<(), MapsError> {
        gone(self.holds.remove(&Plain(key)))
    }

    /// The processes that wait, each with the nanoseconds since boot at which it began.
    pub fn waiting(&self) -> Vec<(Waiter, u64)> {
        let entries = self.waiting.iter().flatten();
        entries
            .map(|(waiter, began_ns)| (waiter.0, began_ns))
            .collect()
    }

    /// Forgets that a process waits.
    pub fn forget(&mut self, waiter: Waiter) -> Result<(), MapsError> {
        gone(self.waiting.remove(&Plain(waiter)))
    }

    /// Says how many of a slot's questions are open.
    pub fn set_open(&mut self, slot: u32, open: u64) -> Result<(), MapsError> {
        let opened = self.opened.get(&slot, 0)?;
        Ok(self.closed.set(slot, opened.saturating_sub(open), 0)?)
    }
}

/// What was to be taken away may have gone.
pub(super) fn gone(removed: Result<(), MapError>) -> Result<(), MapsError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(2) => Ok(()),
        other => Ok(other?),
    }
}

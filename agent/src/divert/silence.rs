//! Whether a session has fallen silent.

use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::kernel::plain::Plain;
use agent_common::session::Session;
use aya::maps::{Array, HashMap as KernelMap, Map, MapData};

/// What the kernel asks of each packet of a session's socket; asked here of what leaves a socket of the
/// daemon's in its place.
pub struct Silence {
    sessions: Array<MapData, Plain<Session>>,
    draining: KernelMap<MapData, u64, u8>,
}

impl std::fmt::Debug for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Silence").finish_non_exhaustive()
    }
}

impl Silence {
    /// Opens the tables.
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        Ok(Self {
            sessions: typed("SESSIONS", Map::Array(open(pins, "SESSIONS")?))?,
            draining: typed("DRAINING", Map::LruHashMap(open(pins, "DRAINING")?))?,
        })
    }

    /// Whether nothing of a session may leave any more. What came to its own end still says what it had sent.
    pub fn is_on(&self, session: u64, slot: u32) -> bool {
        match self.sessions.get(&slot, 0) {
            Ok(Plain(state)) if state.id == session => state.is_silent(),
            _ => self.draining.get(&session, 0).is_err(),
        }
    }
}

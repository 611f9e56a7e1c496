//! Waiting for records in the ring.

#![expect(
    unsafe_code,
    reason = "tokio asks for the promise that the ring keeps its descriptor"
)]

use crate::kernel::maps::{Maps, MapsError};
use crate::kernel::pins::Pins;
use agent_common::event::{DecodeError, Event};
use aya::maps::{MapData, RingBuf};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Records that are taken in one go before others get their turn.
const BATCH: usize = 64;

/// The ring of decisions. The kernel keeps our place in it, so that a daemon which comes after
/// another goes on where that one stopped.
pub struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
}

/// The ring cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The map does not open.
    #[error("cannot open the ring of decisions")]
    Open(#[from] MapsError),
    /// It cannot be waited for.
    #[error("cannot wait for the ring of decisions")]
    Wait(#[from] io::Error),
}

impl Ring {
    /// Opens the ring.
    pub fn open(pins: &Pins) -> Result<Self, RingError> {
        let ring = Maps::decisions(pins)?;
        // SAFETY: the ring owns its descriptor and keeps it open for as long as it lives.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(io::Error::from)?;
        Ok(Self { ring })
    }

    /// Takes what is there without waiting.
    pub fn take(&mut self) -> Vec<Result<Event, DecodeError>> {
        let ring = self.ring.get_mut();
        let mut events = Vec::new();
        while events.len() < BATCH {
            let Some(record) = ring.next() else { break };
            events.push(Event::decode(&record));
        }
        events
    }

    /// Waits until there is something, and takes it.
    pub async fn next(&mut self) -> io::Result<Vec<Result<Event, DecodeError>>> {
        loop {
            // What came before we began to wait makes no edge.
            let events = self.take();
            if !events.is_empty() {
                return Ok(events);
            }
            self.ring.readable_mut().await?.clear_ready();
        }
    }
}

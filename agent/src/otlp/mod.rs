//! Events and metrics for a collector of OpenTelemetry, by OTLP over gRPC.
//!
//! | thread | task | does |
//! |---|---|---|
//! | the daemon's | events | puts each line of the journal into the queue, if there is room ([`queue`]) |
//! | `otlp` | telling | makes log records of lines ([`event`]), asks the daemon for its figures ([`metric`]), sends both |
//!
//! Nobody waits for the collector: the queue has a bound in bytes, and what finds no room is counted as lost. While
//! the collector is away what is in the queue stays there, and is tried again after growing pauses.

mod collector;
mod event;
mod headers;
mod metric;
mod queue;
mod settings;
mod telling;
#[cfg(test)]
mod tests;

pub use queue::Queue;
pub use settings::{Bounds, OtlpError, Settings};

use crate::health::Wanted;
use crate::serving;
use collector::Collector;
use serde::{Deserialize, Serialize};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use telling::Telling;
use tokio::sync::{mpsc, oneshot};

/// How the way to the collector is, for `interlock status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtlpInfo {
    /// Where the collector is.
    pub url: String,
    /// Whether it took what was sent to it last.
    pub connected: bool,
    /// Since when that is so.
    pub since: String,
    /// Why it is not, or what of it was refused.
    pub error: Option<String>,
    /// Events that wait to be sent.
    pub waiting: u64,
    /// Events that it took, since the daemon began.
    pub sent: u64,
    /// Events that it did not get: they found no room, or it refused them.
    pub lost: u64,
}

/// The thread that tells the collector. Dropped, it sends what waits, as far as that goes at once, and ends.
#[derive(Debug)]
pub struct Exporter {
    queue: Queue,
    end: Option<oneshot::Sender<()>>,
    done: Receiver<()>,
    patience: Duration,
}

impl Exporter {
    /// Begins to tell. The daemon is asked for its figures.
    pub fn begin(
        settings: Settings,
        node: &str,
        daemon: mpsc::Sender<Wanted>,
    ) -> Result<Self, OtlpError> {
        let bounds = settings.bounds;
        let (queue, waiting) = queue::queue(&settings.url, bounds.room);
        let telling = Telling::new(Collector::new(settings, node)?, waiting, daemon, bounds);
        let (end, ended) = oneshot::channel();
        let (over, done) = channel();
        let tell = move || async move {
            telling.run(ended).await;
            drop(over);
        };
        serving::begin("otlp", tell).map_err(OtlpError::Thread)?;
        Ok(Self {
            queue,
            end: Some(end),
            done,
            patience: bounds.end,
        })
    }

    /// Where events are put.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.end.take());
        // Nothing is ever said: it ends, or it takes too long.
        let _ = self.done.recv_timeout(self.patience);
    }
}

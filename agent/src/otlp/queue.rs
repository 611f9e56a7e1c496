//! Where lines of the journal wait for the collector.

use super::OtlpInfo;
use crate::events::explain;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

/// Where lines are put. Clones put them into the same queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// It has no bound of its own: `room` is it.
    lines: UnboundedSender<Line>,
    /// A permit a byte.
    room: Arc<Semaphore>,
    shown: Arc<Shown>,
}

/// The other end.
#[derive(Debug)]
pub(super) struct Waiting {
    lines: UnboundedReceiver<Line>,
    pub(super) shown: Arc<Shown>,
}

/// A line that waits.
#[derive(Debug)]
pub(super) struct Line {
    /// One JSON object.
    pub(super) text: Vec<u8>,
    /// When it came.
    pub(super) observed: SystemTime,
    /// What it takes of the room, for as long as this lives.
    pub(super) place: OwnedSemaphorePermit,
}

/// How it goes, for both ends and whoever asks.
#[derive(Debug)]
pub(super) struct Shown {
    waiting: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    said: Mutex<Said>,
}

/// The rest.
#[derive(Debug, Default)]
struct Said {
    /// Its counts are not kept up to date.
    info: OtlpInfo,
    /// What became of the last attempt to send events, and metrics: a collector may take one and not the other.
    attempts: [Option<Attempt>; 2],
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Events,
    Metrics,
}

impl Stream {
    /// What is counted of it.
    pub(super) fn parts(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Metrics => "points of metrics",
        }
    }
}

/// What became of an attempt to send something.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Whether it was taken, if not whole.
    pub(super) taken: bool,
    /// What was wrong.
    pub(super) error: Option<String>,
}

/// A queue with room for so many bytes.
pub(super) fn queue(url: &str, room: usize) -> (Queue, Waiting) {
    let (sender, lines) = unbounded_channel();
    let shown = Arc::new(Shown {
        waiting: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        lost: AtomicU64::new(0),
        said: Mutex::new(Said {
            info: OtlpInfo {
                url: url.to_owned(),
                since: explain::now(),
                ..OtlpInfo::default()
            },
            ..Said::default()
        }),
    });
    let queue = Queue {
        lines: sender,
        room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
        shown: Arc::clone(&shown),
    };
    (queue, Waiting { lines, shown })
}

impl Queue {
    /// Puts lines in, as the journal has them. It never waits: what finds no room is counted as lost.
    pub fn put(&self, text: &[u8]) {
        let observed = SystemTime::now();
        let lines = text.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            if !self.put_one(line, observed) {
                self.shown.lose(1);
            }
        }
    }

    fn put_one(&self, text: &[u8], observed: SystemTime) -> bool {
        let size = u32::try_from(text.len() + size_of::<Line>()).unwrap_or(u32::MAX);
        let Ok(place) = Arc::clone(&self.room).try_acquire_many_owned(size) else {
            return false;
        };
        // First: it may be sent before this goes on.
        self.shown.waiting.fetch_add(1, Ordering::Relaxed);
        let text = text.to_vec();
        let line = Line {
            text,
            observed,
            place,
        };
        // The thread ends with the daemon.
        self.lines.send(line).is_ok()
    }

    /// How the way to the collector is.
    pub fn info(&self) -> OtlpInfo {
        let shown = &self.shown;
        let said = shown.said.lock().unwrap_or_else(PoisonError::into_inner);
        OtlpInfo {
            waiting: shown.waiting(),
            sent: shown.sent.load(Ordering::Relaxed),
            lost: shown.lost.load(Ordering::Relaxed),
            ..said.info.clone()
        }
    }
}

impl Waiting {
    /// The next line, when there is one. Nothing where none can come any more.
    pub(super) async fn next(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// The next line, if there is one.
    pub(super) fn next_now(&mut self) -> Option<Line> {
        self.lines.try_recv().ok()
    }
}

impl Shown {
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    fn lose(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
    }

    /// Of events that waited, some were taken and the others refused: none of them waits any more.
    pub(super) fn settle(&self, sent: u64, refused: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.lose(refused);
        self.waiting.fetch_sub(sent + refused, Ordering::Relaxed);
    }

    /// What became of an attempt, which is told where it is news.
    pub(super) fn note(&self, stream: Stream, attempt: Attempt) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.attempts[stream as usize] = Some(attempt);
        let mut attempts = said.attempts.iter().flatten();
        let connected = attempts.clone().all(|attempt| attempt.taken);
        let error = attempts.find_map(|attempt| attempt.error.clone());
        let info = &mut said.info;
        if info.connected != connected {
            info.connected = connected;
            info.since = explain::now();
        } else if info.error == error {
            return;
        }
        info.error = error;
        let collector = &info.url;
        match &info.error {
            None => info!(collector, "events and metrics are taken"),
            Some(error) => warn!(collector, error, "not all events and metrics are taken"),
        }
    }
}

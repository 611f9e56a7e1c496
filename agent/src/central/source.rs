//! Records on their way to the controller.
//!
//! The seam for evidence on disk: whatever gives records after a sequence, in order, and is told how
//! far they were acknowledged can be a [`Source`]. Until then it is the lines that the daemon
//! prints, numbered from 1 in each boot of the daemon, held in memory and bounded.

use crate::events::line::Line;
use agent_proto::wire::{Position, Record};
use ring::digest::{Context, SHA256};
use serde_json::Value;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Bytes of records that wait. Those of the oldest are given up for new ones.
const ROOM: usize = 16 * 1024 * 1024;

/// Where records for the controller come from.
pub trait Source: Send {
    /// Whose sequences these are.
    fn boot(&self) -> String;
    /// Records after a sequence, at most so many and so many bytes; empty if there are none.
    fn after(&mut self, sequence: u64, most: usize, bytes: usize) -> Vec<Record>;
    /// All up to this is stored elsewhere, with the controller's signature over it.
    fn acknowledged(&mut self, sequence: u64, countersignature: &[u8]);
    /// How far records were acknowledged, to say so when enrolling.
    fn position(&self) -> Position;
    /// Resolves when there may be more.
    fn more(&self) -> impl Future<Output = ()> + Send;
}

/// Lines that wait in memory.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    boot: String,
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Record>,
    bytes: usize,
    last: u64,
    hash: Vec<u8>,
    dropped: u64,
    acknowledged: u64,
}

impl Backlog {
    /// One that is empty. The daemon's start is part of its name: it counts anew.
    pub fn new(boot: &str) -> Self {
        Self(Arc::new(Inner {
            boot: format!("{boot}.{}", crate::kernel::clock::boot_ns() / 1_000_000),
            waiting: Mutex::default(),
            more: Notify::new(),
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes lines that the daemon prints.
    pub fn push(&self, lines: &[Line]) {
        let mut waiting = self.lock();
        for line in lines {
            match serde_json::to_value(line) {
                Ok(value) => waiting.push(&value),
                Err(error) => tracing::warn!(%error, "a line is not told to the controller"),
            }
        }
        drop(waiting);
        self.0.more.notify_one();
    }

    /// Takes something of the daemon's own.
    pub fn note(&self, value: &Value) {
        self.lock().push(value);
        self.0.more.notify_one();
    }

    /// Records that wait, and those that were dropped.
    pub fn counts(&self) -> (u64, u64) {
        let waiting = self.lock();
        (waiting.records.len() as u64, waiting.dropped)
    }
}

impl Waiting {
    fn push(&mut self, value: &Value) {
        let body = value.to_string().into_bytes();
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        self.last += 1;
        let mut chain = Context::new(&SHA256);
        chain.update(&self.hash);
        chain.update(&self.last.to_be_bytes());
        chain.update(&body);
        self.hash = chain.finish().as_ref().to_vec();
        self.bytes += body.len();
        self.records.push_back(Record {
            sequence: self.last,
            time_ms: now_ms(),
            hash: self.hash.clone(),
            body,
            kind: word("kind"),
            session: word("session"),
            agent: word("agent"),
            verdict: word("verdict"),
        });
        while self.bytes > ROOM {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= oldest.body.len();
            // The controller sees from the sequences that they are missing.
            self.dropped += 1;
        }
    }
}

impl Source for Backlog {
    fn boot(&self) -> String {
        self.0.boot.clone()
    }

    fn after(&mut self, sequence: u64, most: usize, bytes: usize) -> Vec<Record> {
        let waiting = self.lock();
        let from = waiting
            .records
            .partition_point(|record| record.sequence <= sequence);
        let mut left = bytes;
        let mut fits = |record: &&Record| {
            let had = left;
            left = left.saturating_sub(record.body.len() + 256);
            had == bytes || left > 0
        };
        let later = waiting.records.iter().skip(from).take(most);
        later.take_while(|record| fits(record)).cloned().collect()
    }

    fn acknowledged(&mut self, sequence: u64, _countersignature: &[u8]) {
        let mut waiting = self.lock();
        while waiting
            .records
            .front()
            .is_some_and(|first| first.sequence <= sequence)
        {
            let first = waiting.records.pop_front();
            waiting.bytes -= first.map_or(0, |first| first.body.len());
        }
        waiting.acknowledged = waiting.acknowledged.max(sequence);
    }

    fn position(&self) -> Position {
        Position {
            boot: self.boot(),
            sequence: self.lock().acknowledged,
        }
    }

    async fn more(&self) {
        self.0.more.notified().await;
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sequences(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn records_wait_until_they_are_acknowledged() {
        let mut backlog = Backlog::new("b");
        for n in 0..5 {
            backlog.note(&json!({"kind": "denial", "agent": "a", "n": n}));
        }
        assert_eq!(sequences(&backlog.after(0, 2, 1 << 20)), [1, 2]);
        assert_eq!(sequences(&backlog.after(2, 10, 1 << 20)), [3, 4, 5]);
        assert_eq!(
            sequences(&backlog.after(0, 10, 1)),
            [1],
            "one fits whatever its size"
        );
        backlog.acknowledged(3, &[]);
        assert_eq!(sequences(&backlog.after(0, 10, 1 << 20)), [4, 5]);
        assert_eq!(backlog.position().sequence, 3);
        let first = &backlog.after(3, 1, 1 << 20)[0];
        assert_eq!((first.kind.as_str(), first.agent.as_str()), ("denial", "a"));
    }

    #[test]
    fn a_controller_that_is_away_costs_bounded_memory() {
        let mut backlog = Backlog::new("b");
        let line = json!({"kind": "denial", "text": "x".repeat(1024)});
        let count = 3 * ROOM / 1024;
        for _ in 0..count {
            backlog.note(&line);
        }
        let (waiting, dropped) = backlog.counts();
        assert!(backlog.lock().bytes <= ROOM);
        assert_eq!(waiting + dropped, count as u64);
        // The newest are there, and say where the hole is.
        let newest = backlog.after(count as u64 - 1, 10, 1 << 20);
        assert_eq!(sequences(&newest), [count as u64]);
        assert_eq!(backlog.after(0, 1, 1 << 20)[0].sequence, dropped + 1);
    }
}

//! The thread that writes the record, and the bounded queue before it.
//!
//! Whoever records never waits: a draft that finds no room is counted, by what it was, and the count
//! is recorded when there is room again. The last quarter of the queue is for what is not ordinary.
//! A disk that cannot be written changes nothing but the state: what waits stays in the queue, and
//! the thread tries again every second.

use crate::checkpoint::Countersigned;
use crate::disk::Disk;
use crate::key::Key;
use crate::mark::MarkFile;
use crate::record::{Draft, Gap, Loss, What};
use crate::store::{Settings, Store};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Drafts that wait at most. One takes 1 to 4 KiB.
pub const QUEUE: usize = 4096;

/// Of these, what is ordinary may take so many.
const ORDINARY: usize = QUEUE / 4 * 3;

/// Drafts that are written and synced in one go.
const BATCH: usize = 512;

/// How often is synced while what is not ordinary keeps coming: the first goes to the disk at once, and
/// takes with it all that came meanwhile.
const SPACING: Duration = Duration::from_millis(50);

/// How long what is ordinary may wait for company, and how long the thread waits after a fault.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the end waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where drafts are handed in. Clones hand them to the same thread.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// How the record is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing, or not everything, is recorded; nothing where all is well.
    pub degraded: Option<String>,
    /// Whether the folder could be opened.
    pub opened: bool,
    /// The newest record that is on the disk.
    pub recorded: u64,
    /// Its hash.
    pub hash: crate::chain::Hash,
    /// The newest record that the controller's signature covers; zero where there is none.
    pub countersigned: u64,
    /// Drafts that wait.
    pub waiting: usize,
    /// Drafts that found no room since this daemon began.
    pub lost: u64,
    /// What was wrong with the folder when it was opened.
    pub gaps: Vec<Gap>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Draft>,
    countersigned: VecDeque<Countersigned>,
    /// Since when the oldest waits.
    since: Option<Instant>,
    /// Something in the queue is not ordinary.
    urgent: bool,
    /// Somebody waits for all of it.
    flushing: bool,
    /// Drafts that were taken from the queue and are not on the disk yet.
    in_flight: usize,
    lost_ordinary: u64,
    lost_others: u64,
    ending: bool,
    health: Health,
}

/// The thread. Dropped, it writes what it can and ends.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Begins to write into a folder, which is opened, and repaired where that is needed, on the
    /// thread: nobody waits for that either.
    pub fn begin<D: Disk + 'static>(
        disk: D,
        key: Key,
        mark: MarkFile,
        settings: Settings,
    ) -> io::Result<(Self, Writer)> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("evidence".into())
            .spawn(move || {
                let store = Store::at(disk, key, mark, settings);
                if let Some(store) = opened(&own, store) {
                    write(&own, store);
                }
            })?;
        let recorder = Self {
            shared: Arc::clone(&shared),
        };
        let writer = Writer {
            shared,
            thread: Some(thread),
        };
        Ok((recorder, writer))
    }

    /// One that records nothing, and says why.
    pub fn none(why: String) -> Self {
        let shared = Shared::default();
        let mut state = shared.lock();
        state.health.degraded = Some(why);
        state.ending = true;
        drop(state);
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Hands a draft in. False where it found no room, and is counted.
    pub fn record(&self, draft: Draft) -> bool {
        let ordinary = draft.what.is_ordinary();
        let mut state = self.shared.lock();
        let room = if ordinary { ORDINARY } else { QUEUE };
        if state.ending || state.queue.len() >= room {
            state.health.lost += 1;
            if ordinary {
                state.lost_ordinary += 1;
            } else {
                state.lost_others += 1;
            }
            return false;
        }
        state.queue.push_back(draft);
        state.since.get_or_insert_with(Instant::now);
        let first = !ordinary && !state.urgent;
        state.urgent |= !ordinary;
        if first || state.queue.len() == BATCH {
            self.shared.changed.notify_all();
        }
        true
    }

    /// Hands in the controller's signature over a checkpoint.
    pub fn countersign(&self, countersigned: Countersigned) {
        let mut state = self.shared.lock();
        // The newest counts: it covers all before.
        if state.countersigned.len() >= 16 {
            state.countersigned.pop_front();
        }
        state.countersigned.push_back(countersigned);
    }

    /// Waits until a record after this one is on the disk, or so long: the newest that is.
    pub fn wait(&self, after: u64, patience: Duration) -> u64 {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.health.recorded <= after {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.health.recorded
    }

    /// How the record is.
    pub fn health(&self) -> Health {
        let state = self.shared.lock();
        Health {
            waiting: state.queue.len() + state.in_flight,
            ..state.health.clone()
        }
    }

    /// Waits until all that was handed in before is on the disk. False where time ran out.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        // Nobody waits for company any more.
        state.flushing = true;
        self.shared.changed.notify_all();
        while !state.queue.is_empty() || state.in_flight > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    /// Nothing panics while it holds this; if something did, the state is whole all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a moment, or until all shall end: then true.
    fn pause(&self) -> bool {
        let deadline = Instant::now() + PAUSE;
        let mut state = self.lock();
        while !state.ending {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn degrade(&self, why: &io::Error) {
        self.lock().health.degraded = Some(why.to_string());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A disk that does not answer holds nobody up for ever.
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

/// A folder that cannot be opened is tried again until it can: disks come back.
fn opened<D: Disk>(shared: &Shared, mut store: Store<D>) -> Option<Store<D>> {
    loop {
        match store.open() {
            Ok(gaps) => {
                note(shared, &store);
                let mut state = shared.lock();
                state.health.gaps = gaps;
                state.health.opened = true;
                drop(state);
                return Some(store);
            }
            Err(error) => shared.degrade(&error),
        }
        if shared.pause() {
            return None;
        }
    }
}

fn write<D: Disk>(shared: &Shared, mut store: Store<D>) {
    let mut batch: Vec<Draft> = Vec::new();
    let mut synced = None;
    loop {
        let ending = wait(shared, &mut batch, synced);
        let lost = take_losses(shared, &store, &mut batch);
        batch.extend(lost.draft());
        let written = store.commit(&batch);
        if let Err(error) = written {
            // Counted again with what is lost until the next try.
            if lost.draft().is_some() {
                batch.pop();
            }
            lost.put_back(shared);
            shared.degrade(&error);
            if ending || shared.pause() {
                return;
            }
            continue;
        }
        synced = Some(Instant::now())
            .filter(|_| !batch.is_empty())
            .or(synced);
        batch.clear();
        shared.lock().in_flight = 0;
        note(shared, &store);
        let housekeeping = store.tick().and_then(|()| countersign(shared, &mut store));
        if let Err(error) = housekeeping {
            shared.degrade(&error);
        }
        if ending {
            // What is signed now needs no daemon to sign it later.
            let _ = store.seal();
            return;
        }
    }
}

/// Waits for drafts, and adds them to what could not be written the last time. True at the end.
fn wait(shared: &Shared, batch: &mut Vec<Draft>, synced: Option<Instant>) -> bool {
    let mut state = shared.lock();
    let begun = Instant::now();
    loop {
        let is_full = state.urgent && state.queue.len() >= BATCH;
        let rest = if state.ending || state.flushing || is_full {
            Duration::ZERO
        } else if state.urgent {
            synced.map_or(Duration::ZERO, |at| SPACING.saturating_sub(at.elapsed()))
        } else {
            PAUSE.saturating_sub(begun.elapsed())
        };
        if rest.is_zero() {
            break;
        }
        let waited = shared.changed.wait_timeout(state, rest);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    let due = state.since.is_some_and(|since| since.elapsed() >= PAUSE);
    if state.urgent || state.flushing || due || state.ending {
        let room = BATCH.saturating_sub(batch.len());
        let count = room.min(state.queue.len());
        batch.extend(state.queue.drain(..count));
        state.in_flight = batch.len();
        if state.queue.is_empty() {
            state.urgent = false;
            state.flushing = false;
            state.since = None;
        }
    }
    state.ending && state.queue.is_empty()
}

/// What found no room.
struct Losses {
    place: &'static str,
    ordinary: u64,
    others: u64,
}

impl Losses {
    fn draft(&self) -> Option<Draft> {
        let events = self.ordinary + self.others;
        let lost = Loss {
            place: self.place.to_owned(),
            events,
            ordinary: Some(self.ordinary),
            detail: None,
        };
        (events > 0).then(|| Draft::now(None, What::Loss(lost)))
    }

    fn put_back(&self, shared: &Shared) {
        let mut state = shared.lock();
        state.lost_ordinary += self.ordinary;
        state.lost_others += self.others;
    }
}

/// Lets go of what there is no room for, and says how much was lost.
fn take_losses<D: Disk>(shared: &Shared, store: &Store<D>, batch: &mut Vec<Draft>) -> Losses {
    let mut state = shared.lock();
    let tight = store.is_tight();
    if tight {
        let before = batch.len();
        batch.retain(|draft| !draft.what.is_ordinary());
        let dropped = (before - batch.len()) as u64;
        state.lost_ordinary += dropped;
        state.health.lost += dropped;
    }
    let mut losses = Losses {
        place: if tight { "disk" } else { "queue" },
        ordinary: 0,
        others: 0,
    };
    // That summaries are missing is said when there is room again.
    if !tight || state.lost_others > 0 {
        losses.ordinary = std::mem::take(&mut state.lost_ordinary);
        losses.others = std::mem::take(&mut state.lost_others);
    }
    losses
}

fn countersign<D: Disk>(shared: &Shared, store: &mut Store<D>) -> io::Result<()> {
    loop {
        let Some(next) = shared.lock().countersigned.pop_front() else {
            return Ok(());
        };
        store.countersign(&next)?;
        shared.lock().health.countersigned = store.countersigned();
    }
}

fn note<D: Disk>(shared: &Shared, store: &Store<D>) {
    let mut state = shared.lock();
    state.health.recorded = store.head().sequence;
    state.health.hash = store.head().hash;
    state.health.countersigned = store.countersigned();
    state.health.degraded = if store.is_tight() {
        Some("the disk is full: only what is not ordinary is recorded".to_owned())
    } else {
        store
            .forgetful()
            .map(|why| format!("a rollback of the whole folder would not be noticed: {why}"))
    };
    drop(state);
    shared.changed.notify_all();
}

//! A disk that fails: nothing that was answered for is lost, nothing is written twice, memory stays
//! bounded, and the state says so.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod common;

use agent_evidence::disk::{Disk, Folder};
use agent_evidence::mark::MarkFile;
use agent_evidence::read;
use agent_evidence::record::{Draft, Summary, What};
use agent_evidence::recorder::{QUEUE, Recorder, Writer};
use agent_evidence::store::{Settings, Store};
use common::{Node, denial};
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Every operation that writes fails.
    Failing(io::ErrorKind),
    /// Half of what is appended arrives, and then it fails.
    Tearing,
    /// What is appended arrives, and the sync fails.
    Unsynced,
}

/// A disk whose mood others set, and whose room they count.
struct Faulty {
    folder: Folder,
    mood: Arc<Mutex<Mood>>,
    /// Bytes that still fit; negative for no end.
    room: Arc<AtomicI64>,
    /// Times that something was synced.
    syncs: Arc<AtomicI64>,
}

impl Faulty {
    fn of(node: &Node) -> (Self, Arc<Mutex<Mood>>, Arc<AtomicI64>) {
        let (mood, room) = (Arc::new(Mutex::new(Mood::Well)), Arc::new((-1).into()));
        let disk = Self {
            folder: node.disk(),
            mood: Arc::clone(&mood),
            room: Arc::clone(&room),
            syncs: Arc::default(),
        };
        (disk, mood, room)
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn writes(&self) -> io::Result<()> {
        match self.mood() {
            Mood::Failing(kind) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let room = self.room.load(Ordering::Relaxed);
        let bytes = i64::try_from(bytes).unwrap();
        if room >= 0 && room < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if room >= 0 {
            self.room.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Disk for Faulty {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.folder.read(name)
    }
    fn size(&self, name: &str) -> io::Result<u64> {
        self.folder.size(name)
    }
    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writes()?;
        self.take(bytes.len())?;
        self.folder.create(name, bytes)
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writes()?;
        self.take(bytes.len())?;
        if self.mood() == Mood::Tearing {
            self.folder.append(name, &bytes[..bytes.len() / 2])?;
            return Err(io::Error::from_raw_os_error(5));
        }
        self.folder.append(name, bytes)
    }
    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.writes()?;
        if self.mood() == Mood::Unsynced {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.folder.sync(name)
    }
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.writes()?;
        self.folder.truncate(name, length)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.writes()?;
        let size = self.folder.size(name).unwrap_or(0);
        self.folder.remove(name)?;
        if self.room.load(Ordering::Relaxed) >= 0 {
            let size = i64::try_from(size).unwrap();
            self.room.fetch_add(size, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn summary(last: bool) -> Draft {
    let summary = Summary {
        allowed: 1,
        last,
        ..Summary::default()
    };
    Draft::now(None, What::Summary(summary))
}

/// The pids of the denials that are recorded, in order.
fn denials(node: &Node) -> Vec<u32> {
    let entries = read::after(&node.disk(), 0, usize::MAX).unwrap();
    let told = entries
        .iter()
        .filter_map(|entry| match entry.record().unwrap().what {
            What::Decision(decision) => Some(decision.process.pid),
            _ => None,
        });
    told.collect()
}

#[test]
fn what_failed_is_written_once_when_the_disk_is_well_again() {
    let node = Node::new("fails");
    let (disk, mood, _) = Faulty::of(&node);
    let mark = MarkFile::at(&node.mark());
    let mut store = Store::at(disk, node.key(), mark, Node::settings());
    store.open().unwrap();
    let mut next = 1;
    for bad in [
        Mood::Failing(io::ErrorKind::ReadOnlyFilesystem),
        Mood::Tearing,
        Mood::Unsynced,
        Mood::Failing(io::ErrorKind::Other),
    ] {
        store.commit(&[denial(next)]).unwrap();
        *mood.lock().unwrap() = bad;
        for _ in 0..3 {
            let failed = store.commit(&[denial(next + 1), denial(next + 2)]);
            assert!(failed.is_err(), "{bad:?}");
        }
        *mood.lock().unwrap() = Mood::Well;
        store.commit(&[denial(next + 1), denial(next + 2)]).unwrap();
        next += 3;
    }
    store.seal().unwrap();
    let report = node.verify();
    assert!(report.whole, "{report:?}");
    assert_eq!(denials(&node), (1..next).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_has_room_for_denials_and_not_for_summaries() {
    let node = Node::new("full");
    let (disk, _, room) = Faulty::of(&node);
    let mark = MarkFile::at(&node.mark());
    let settings = Settings {
        reserve: 64 * 1024,
        ..Node::settings()
    };
    let mut store = Store::at(disk, node.key(), mark, settings);
    store.open().unwrap();
    store.commit(&[denial(1), summary(false)]).unwrap();
    assert!(!store.is_tight());
    room.store(0, Ordering::Relaxed);
    for number in 2..20 {
        store.commit(&[denial(number)]).unwrap();
    }
    assert!(store.is_tight(), "who asks now brings no summaries");
    store.tick().unwrap();
    assert!(store.is_tight());
    room.store(1 << 20, Ordering::Relaxed);
    store.tick().unwrap();
    assert!(!store.is_tight());
    drop(store);
    assert_eq!(denials(&node), (1..20).collect::<Vec<_>>());
    assert!(node.verify().whole);
}

/// A recorder that has recorded one denial, and the mood of its disk.
fn begun(node: &Node) -> (Recorder, Writer, Arc<Mutex<Mood>>) {
    let (disk, mood, _) = Faulty::of(node);
    let mark = MarkFile::at(&node.mark());
    let (recorder, writer) = Recorder::begin(disk, node.key(), mark, Node::settings()).unwrap();
    recorder.record(denial(0));
    assert!(recorder.flush(Duration::from_secs(10)));
    (recorder, writer, mood)
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn while_the_disk_fails_nobody_waits_memory_is_bounded_and_the_loss_is_recorded() {
    let node = Node::new("queue");
    let (recorder, writer, mood) = begun(&node);
    assert_eq!(recorder.health().degraded, None);
    assert_eq!(recorder.health().recorded, 1);
    *mood.lock().unwrap() = Mood::Failing(io::ErrorKind::ReadOnlyFilesystem);
    recorder.record(denial(1));
    until("the state says so", || recorder.health().degraded.is_some());
    let many = 2 * u32::try_from(QUEUE).unwrap();
    let began = Instant::now();
    let mut taken = 1;
    for number in 2..many {
        taken += u32::from(recorder.record(denial(number)));
    }
    assert!(
        !recorder.record(summary(false)),
        "no room for what is ordinary"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits");
    let health = recorder.health();
    assert!(health.waiting <= QUEUE + 512, "{health:?}");
    assert!(health.lost >= u64::from(many - 2 - taken), "{health:?}");
    assert!(!recorder.flush(Duration::from_millis(50)));
    *mood.lock().unwrap() = Mood::Well;
    assert!(recorder.flush(Duration::from_secs(20)));
    until("all is well", || recorder.health().degraded.is_none());
    drop(writer);
    let report = node.verify();
    assert!(report.whole, "{report:?}");
    let told = denials(&node);
    assert_eq!(told, (0..=taken).collect::<Vec<_>>(), "in order, each once");
    assert_eq!(report.lost, recorder.health().lost);
    assert!(!recorder.record(denial(1)), "it has ended");
}

#[test]
fn denials_that_keep_coming_are_synced_together_and_none_is_lost() {
    let node = Node::new("together");
    let (disk, ..) = Faulty::of(&node);
    let syncs = Arc::clone(&disk.syncs);
    let mark = MarkFile::at(&node.mark());
    let (recorder, writer) = Recorder::begin(disk, node.key(), mark, Node::settings()).unwrap();
    recorder.record(denial(0));
    assert_eq!(recorder.wait(0, Duration::from_secs(10)), 1);
    let (before, began) = (syncs.load(Ordering::Relaxed), Instant::now());
    for number in 1..100 {
        recorder.record(denial(number));
        std::thread::sleep(Duration::from_millis(2));
    }
    let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap();
    assert!(recorder.wait(99, Duration::from_secs(10)) == 100);
    let synced = syncs.load(Ordering::Relaxed) - before;
    assert!(synced <= took_ms / 50 + 2, "{synced} in {took_ms} ms");
    // More than fits into the time between two syncs waits for none of them.
    let began = Instant::now();
    for number in 100..2660 {
        assert!(recorder.record(denial(number)));
    }
    assert!(recorder.flush(Duration::from_secs(20)));
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(writer);
    assert_eq!(denials(&node), (0..2660).collect::<Vec<_>>());
}

#[test]
fn what_a_session_was_allowed_in_all_has_room_where_other_summaries_have_none() {
    let node = Node::new("sums");
    let (recorder, writer, mood) = begun(&node);
    *mood.lock().unwrap() = Mood::Failing(io::ErrorKind::ReadOnlyFilesystem);
    // More than summaries may take of the queue, without the batch that waits outside it.
    for number in 1..u32::try_from(QUEUE / 4 * 3 + 600).unwrap() {
        assert!(recorder.record(denial(number)));
    }
    assert!(!recorder.record(summary(false)));
    assert!(recorder.record(summary(true)));
    *mood.lock().unwrap() = Mood::Well;
    assert!(recorder.flush(Duration::from_secs(20)));
    drop(writer);
    assert_eq!(node.verify().lost, 1);
}

#[test]
fn a_folder_that_cannot_be_opened_is_tried_again() {
    let node = Node::new("late");
    let (disk, mood, _) = Faulty::of(&node);
    node.open().commit(&[denial(1)]).unwrap();
    // An unsigned end must be signed, which it cannot.
    *mood.lock().unwrap() = Mood::Failing(io::ErrorKind::ReadOnlyFilesystem);
    let mark = MarkFile::at(&node.mark());
    let (recorder, writer) = Recorder::begin(disk, node.key(), mark, Node::settings()).unwrap();
    until("the state says so", || recorder.health().degraded.is_some());
    recorder.record(denial(2));
    *mood.lock().unwrap() = Mood::Well;
    assert!(recorder.flush(Duration::from_secs(20)));
    drop(writer);
    assert_eq!(denials(&node), [1, 2]);
    assert!(node.verify().whole);
}

#[test]
fn the_oldest_segments_go_and_the_rest_verifies() {
    let node = Node::new("limits");
    let settings = Settings {
        segment: 8 * 1024,
        limit: 40 * 1024,
        ..Node::settings()
    };
    let mut store = node.open_with(settings);
    for number in 0..400 {
        store.commit(&[denial(number)]).unwrap();
    }
    store.seal().unwrap();
    let report = node.verify();
    assert!(report.whole && report.first > 100, "{report:?}");
    let disk = node.disk();
    let sizes = disk.names().unwrap().into_iter();
    let total: u64 = sizes
        .filter(|name| name != "reserve")
        .map(|name| disk.size(&name).unwrap())
        .sum();
    assert!(total <= 40 * 1024, "{total}");
    let told = denials(&node);
    let first = told[0];
    assert_eq!(told, (first..400).collect::<Vec<_>>());
    // One more than the limits asked for is found.
    std::fs::remove_file(node.segment(report.first)).unwrap();
    assert!(!node.verify().whole);
}

#[test]
fn what_the_controller_signs_lies_beside() {
    use agent_evidence::checkpoint::{Checkpoint, Countersigned};
    use ed25519_dalek::{Signer, SigningKey};
    let node = Node::new("countersign");
    let mut store = node.open();
    store.commit(&[denial(1)]).unwrap();
    store.seal().unwrap();
    let controller = SigningKey::from_bytes(&[7; 32]);
    let checkpoint = Checkpoint {
        sequence: 1,
        hash: store.head().hash,
        node: "node".into(),
        boot: "boot".into(),
        time: "2026-03-02T10:00:00Z".into(),
    };
    let public = controller.verifying_key();
    let countersigned = Countersigned::sign(checkpoint, public.as_bytes(), |message| {
        controller.sign(message).to_bytes().to_vec()
    });
    store.countersign(&countersigned).unwrap();
    store.commit(&[denial(2)]).unwrap();
    let report = node.verify();
    assert!(report.whole, "{report:?}");
    assert_eq!(report.countersigned.get(&countersigned.key), Some(&1));
    drop(store);
    assert_eq!(node.open().countersigned(), 1, "the next writer knows");
}

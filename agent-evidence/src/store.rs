//! The one writer of the record.
//!
//! What [`Store::commit`] has answered with is on the disk. What it could not write it has not
//! written: the caller keeps it and tries again, and nothing is numbered twice.

use crate::chain::link;
use crate::checkpoint::{Checkpoint, Countersigned, Signed};
use crate::disk::Disk;
use crate::frame::{Frame, Kind, MAGIC, MAX_BODY};
use crate::key::Key;
use crate::mark::{Mark, MarkFile};
use crate::record::{Draft, Gap, Loss, Retired, What};
use crate::repair;
use crate::retain;
use crate::segment::{self, Header};
use std::io;
use std::time::{Duration, Instant};

/// Records after which a checkpoint is made.
const CHECKPOINT_RECORDS: u64 = 256;

/// The longest that a record stays without one, as long as somebody calls [`Store::tick`].
const CHECKPOINT_AGE: Duration = Duration::from_secs(10);

/// The file that holds room for denials.
pub(crate) const RESERVE: &str = "reserve";

/// How the record is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// This boot.
    pub boot: String,
    /// Bytes after which a new segment begins.
    pub segment: u64,
    /// Bytes of all segments, beyond which the oldest go.
    pub limit: u64,
    /// Age beyond which segments go; nothing for none.
    pub age: Option<Duration>,
    /// Bytes that are kept free for what is not ordinary, on a disk that gets full.
    pub reserve: u64,
}

impl Settings {
    /// The limits that hold unless told otherwise.
    pub fn of(node: &str, boot: &str) -> Self {
        Self {
            node: node.to_owned(),
            boot: boot.to_owned(),
            segment: 4 * 1024 * 1024,
            limit: 256 * 1024 * 1024,
            age: None,
            reserve: 1024 * 1024,
        }
    }
}

/// The record, for its one writer.
pub struct Store<D> {
    pub(crate) disk: D,
    pub(crate) key: Key,
    pub(crate) settings: Settings,
    mark: MarkFile,
    /// The newest record that is on the disk.
    pub(crate) head: Mark,
    /// The number that the next record gets.
    pub(crate) next: u64,
    current: Option<Current>,
    /// What was found at opening and is not recorded yet.
    pub(crate) pending: Vec<Gap>,
    /// The reserve has been given up, and only what is not ordinary should be written.
    tight: bool,
    /// The newest record that the controller's signature covers.
    pub(crate) countersigned: u64,
    /// What was remembered outside could not be written, and why.
    forgetful: Option<String>,
}

/// The segment that is written.
struct Current {
    name: String,
    /// Bytes of it that are on the disk.
    length: u64,
    /// Records since the last checkpoint.
    unsigned: u64,
    since: Instant,
    /// Something may lie behind its length that does not count.
    dirty: bool,
}

impl<D: Disk> Store<D> {
    /// The record in a folder, not opened yet.
    pub fn at(disk: D, key: Key, mark: MarkFile, settings: Settings) -> Self {
        Self {
            disk,
            key,
            settings,
            mark,
            head: Mark::START,
            next: 1,
            current: None,
            pending: Vec::new(),
            tight: false,
            countersigned: 0,
            forgetful: None,
        }
    }

    /// Opens the folder, and repairs what is wrong with it. What was found is the first that is
    /// recorded, and is the answer. Where this fails it may be tried again.
    pub fn open(&mut self) -> io::Result<Vec<Gap>> {
        let known = self.mark.read();
        self.forgetful = known.as_ref().err().map(ToString::to_string);
        let known = known.unwrap_or_default();
        match repair::repair(self, known) {
            Err(error) if is_full(&error) && self.release_reserve() => {
                repair::repair(self, known)?;
            }
            repaired => repaired?,
        }
        let gaps = self.pending.iter().cloned().map(What::Gap);
        let drafts: Vec<Draft> = gaps.map(|gap| Draft::now(None, gap)).collect();
        self.commit(&drafts)?;
        self.keep_reserve();
        Ok(std::mem::take(&mut self.pending))
    }

    /// Writes records down. When this answers, they are on the disk: the number of the last.
    pub fn commit(&mut self, drafts: &[Draft]) -> io::Result<u64> {
        match self.write(drafts) {
            Err(error) if is_full(&error) && self.release_reserve() => self.write(drafts),
            written => written,
        }
    }

    fn write(&mut self, drafts: &[Draft]) -> io::Result<u64> {
        let mut bytes = Vec::new();
        let (mut head, mut next) = (self.head, self.next);
        for draft in drafts {
            head = self.encode(draft, next, &head, &mut bytes);
            next += 1;
        }
        let full = |current: &Current| current.length + bytes.len() as u64 > self.settings.segment;
        if self.current.as_ref().is_some_and(full) {
            self.seal()?;
            self.current = None;
            self.retire()?;
            if self.next != next - drafts.len() as u64 {
                // What was retired is recorded too, so all that follows is numbered anew.
                return self.write(drafts);
            }
        }
        if drafts.is_empty() {
            return Ok(self.head.sequence);
        }
        self.clear()?;
        let unsigned = self.current.as_ref().map_or(0, |current| current.unsigned);
        let unsigned = unsigned + drafts.len() as u64;
        let sign = unsigned >= CHECKPOINT_RECORDS;
        if sign {
            self.sign(head, &mut bytes);
        }
        self.put(&bytes)?;
        (self.head, self.next) = (head, next);
        let current = self.current.as_mut().expect("it was begun above");
        if current.unsigned == 0 {
            current.since = Instant::now();
        }
        current.unsigned = if sign { 0 } else { unsigned };
        self.remember(sign);
        Ok(self.head.sequence)
    }

    /// Appends a record to bytes, and says where the chain ends then.
    fn encode(&self, draft: &Draft, sequence: u64, head: &Mark, bytes: &mut Vec<u8>) -> Mark {
        let (node, boot) = (&self.settings.node, &self.settings.boot);
        let mut body = draft.encode(sequence, node, boot);
        if body.len() > MAX_BODY {
            let lost = Loss {
                place: "disk".to_owned(),
                events: 1,
                ordinary: None,
                detail: Some(format!(
                    "a record of kind {} had {} bytes, more than {MAX_BODY}",
                    draft.what.word(),
                    body.len()
                )),
            };
            let lost = Draft {
                session: None,
                what: What::Loss(lost),
                ..draft.clone()
            };
            body = lost.encode(sequence, node, boot);
        }
        let hash = link(&head.hash, sequence, &body);
        let frame = Frame {
            kind: Kind::Record,
            sequence,
            hash,
            body: &body,
        };
        frame.write(bytes);
        Mark { sequence, hash }
    }

    pub(crate) fn sign(&self, head: Mark, bytes: &mut Vec<u8>) {
        let checkpoint = Checkpoint {
            sequence: head.sequence,
            hash: head.hash,
            node: self.settings.node.clone(),
            boot: self.settings.boot.clone(),
            time: jiff::Timestamp::now().to_string(),
        };
        let signed = Signed::sign(checkpoint, &self.key);
        let body = serde_json::to_vec(&signed).expect("text is text");
        let frame = Frame {
            kind: Kind::Checkpoint,
            sequence: head.sequence,
            hash: head.hash,
            body: &body,
        };
        frame.write(bytes);
    }

    /// Makes sure that there is a segment, and nothing in it that does not count.
    fn clear(&mut self) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            if current.dirty {
                self.disk.truncate(&current.name, current.length)?;
                current.dirty = false;
            }
            return Ok(());
        }
        let header = Header {
            node: self.settings.node.clone(),
            boot: self.settings.boot.clone(),
            key: self.key.public_hex(),
            time: jiff::Timestamp::now().to_string(),
        };
        let body = serde_json::to_vec(&header).expect("text is text");
        let mut bytes = MAGIC.to_vec();
        let frame = Frame {
            kind: Kind::Header,
            sequence: self.next,
            hash: self.head.hash,
            body: &body,
        };
        frame.write(&mut bytes);
        let name = segment::name(self.next);
        // No record with this number was ever answered for.
        self.disk.remove(&name)?;
        self.disk.create(&name, &bytes)?;
        self.current = Some(Current {
            name,
            length: bytes.len() as u64,
            unsigned: 0,
            since: Instant::now(),
            dirty: false,
        });
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let current = self.current.as_mut().expect("clear came first");
        let put = self.disk.append(&current.name, bytes);
        let put = put.and_then(|()| self.disk.sync(&current.name));
        match put {
            Ok(()) => current.length += bytes.len() as u64,
            // Half of it may be there.
            Err(_) => current.dirty = true,
        }
        put
    }

    /// Signs all that is there.
    pub fn seal(&mut self) -> io::Result<()> {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.unsigned == 0)
        {
            return Ok(());
        }
        self.clear()?;
        let mut bytes = Vec::new();
        self.sign(self.head, &mut bytes);
        self.put(&bytes)?;
        if let Some(current) = &mut self.current {
            current.unsigned = 0;
        }
        self.remember(true);
        Ok(())
    }

    /// Puts the controller's signature beside ours.
    pub fn countersign(&mut self, countersigned: &Countersigned) -> io::Result<()> {
        if self.current.is_none() {
            return Ok(());
        }
        self.clear()?;
        let body = serde_json::to_vec(countersigned).expect("text is text");
        let mut bytes = Vec::new();
        let frame = Frame {
            kind: Kind::Countersignature,
            sequence: countersigned.checkpoint.sequence,
            hash: countersigned.checkpoint.hash,
            body: &body,
        };
        frame.write(&mut bytes);
        self.put(&bytes)?;
        self.countersigned = self.countersigned.max(countersigned.checkpoint.sequence);
        Ok(())
    }

    /// The newest record that the controller's signature covers; zero where there is none.
    pub fn countersigned(&self) -> u64 {
        self.countersigned
    }

    /// Does what time asks for. Somebody calls it every second.
    pub fn tick(&mut self) -> io::Result<()> {
        if self.tight {
            self.keep_reserve();
        }
        let due =
            |current: &Current| current.unsigned > 0 && current.since.elapsed() >= CHECKPOINT_AGE;
        if self.current.as_ref().is_some_and(due) {
            self.seal()?;
        }
        Ok(())
    }

    /// Whether there is only room for what is not ordinary.
    pub fn is_tight(&self) -> bool {
        self.tight
    }

    /// The newest record that is on the disk.
    pub fn head(&self) -> Mark {
        self.head
    }

    /// Why a rollback of the whole folder would not be noticed, if so.
    pub fn forgetful(&self) -> Option<&str> {
        self.forgetful.as_deref()
    }

    fn remember(&mut self, sync: bool) {
        let written = self.mark.write(self.head, sync);
        self.forgetful = written.err().map(|error| error.to_string());
    }

    /// Takes the oldest segments away where there is too much, and says so first.
    fn retire(&mut self) -> io::Result<()> {
        let Some(retired) = retain::due(&self.disk, &self.settings)? else {
            return Ok(());
        };
        let what = What::Retired(Retired {
            last: retired.last.sequence,
            hash: retired.last.hash,
            segments: retired.names.len() as u64,
            limit: retired.limit.to_owned(),
        });
        self.write(&[Draft::now(None, what)])?;
        for name in &retired.names {
            self.disk.remove(name)?;
        }
        Ok(())
    }

    fn keep_reserve(&mut self) {
        let size = self.settings.reserve;
        if size == 0 {
            self.tight = false;
            return;
        }
        if self.disk.size(RESERVE).is_ok_and(|found| found == size) {
            self.tight = false;
            return;
        }
        let zeros = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let made = self.disk.remove(RESERVE);
        let made = made.and_then(|()| self.disk.create(RESERVE, &zeros));
        self.tight = made.is_err();
    }

    /// False when there was nothing to give up.
    fn release_reserve(&mut self) -> bool {
        let is_there = self.disk.size(RESERVE).is_ok();
        self.tight = true;
        is_there && self.disk.remove(RESERVE).is_ok()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

//! Reading the record, for those who tell it or carry it elsewhere.

use crate::checkpoint::Signed;
use crate::disk::Disk;
use crate::frame::{Frame, Kind, MAGIC};
use crate::mark::Mark;
use crate::record::Record;
use crate::segment::{Header, first_of};
use crate::survey::segment_names;
use std::io;

/// A record as it is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number and its hash.
    pub mark: Mark,
    /// The record before, over whose hash the hash was made. Where records were lost, its number is
    /// not the one before.
    pub before: Mark,
    /// The node.
    pub node: String,
    /// The boot.
    pub boot: String,
    /// Its bytes, over which the hash was made.
    pub body: Vec<u8>,
}

impl Entry {
    /// What it says.
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        Record::decode(&self.body)
    }
}

/// What was read in one go.
#[derive(Debug, Default)]
pub struct Taken {
    /// Records that follow one another, oldest first.
    pub entries: Vec<Entry>,
    /// The newest checkpoint that was met, over nothing that was not read before.
    pub checkpoint: Option<Signed>,
}

/// Reads on where it stopped, also while somebody writes. Of a segment with a fault it reads what
/// comes before that.
#[derive(Debug)]
pub struct Reader {
    /// Only records after this are handed out.
    after: u64,
    /// The segment, and how much of it has been read.
    segment: Option<(String, u64)>,
    header: Option<Header>,
    /// The record that was read last, or what the header says stood before.
    head: Mark,
    /// Bytes of the segment that come next, and how many of them have been read.
    bytes: Vec<u8>,
    at: usize,
    /// The newest record that was synced when these bytes were fetched.
    synced: u64,
}

/// How a look at the next bytes ended.
enum Step {
    Read(usize),
    Full,
    NoFrame,
}

impl Reader {
    /// One that begins after a record.
    pub fn after(sequence: u64) -> Self {
        Self {
            after: sequence,
            segment: None,
            header: None,
            head: Mark::START,
            bytes: Vec::new(),
            at: 0,
            synced: 0,
        }
    }

    /// What comes next, no further than a record; at most so many records, and bytes of them unless
    /// one alone has more. Whoever carries records elsewhere stops at what is synced: see
    /// [`Recorder::health`](crate::recorder::Recorder::health).
    pub fn take(
        &mut self,
        disk: &impl Disk,
        last: u64,
        most: usize,
        bytes: usize,
    ) -> io::Result<Taken> {
        let mut taken = Taken::default();
        let mut room = bytes;
        loop {
            match self.step(&mut taken, (last, most), &mut room) {
                Step::Read(length) => self.at += length,
                Step::Full => return Ok(taken),
                Step::NoFrame => {
                    self.synced = last;
                    if !self.refill(disk)? {
                        return Ok(taken);
                    }
                }
            }
        }
    }

    fn step(&mut self, taken: &mut Taken, (last, most): (u64, usize), room: &mut usize) -> Step {
        let mut rest = &self.bytes[self.at..];
        let mut length = 0;
        if self.header.is_none() {
            match rest.strip_prefix(&MAGIC) {
                Some(behind) => rest = behind,
                None => return Step::NoFrame,
            }
            length = MAGIC.len();
        }
        let Ok((frame, of_frame)) = Frame::read(rest) else {
            return Step::NoFrame;
        };
        length += of_frame;
        match (&self.header, frame.kind) {
            (None, Kind::Header) => {
                let Ok(header) = serde_json::from_slice(frame.body) else {
                    return Step::NoFrame;
                };
                self.header = Some(header);
                if self.head.hash != frame.hash {
                    self.head = Mark {
                        sequence: frame.sequence.saturating_sub(1),
                        hash: frame.hash,
                    };
                }
            }
            (Some(header), Kind::Record) => {
                let mark = Mark {
                    sequence: frame.sequence,
                    hash: frame.hash,
                };
                if mark.sequence > self.after {
                    if mark.sequence > self.synced {
                        // It may have been written anew since.
                        self.bytes.truncate(self.at);
                        return match last > self.synced {
                            true => Step::NoFrame,
                            false => Step::Full,
                        };
                    }
                    let begun = !taken.entries.is_empty();
                    let jumps = mark.sequence != self.head.sequence + 1
                        || taken.entries.last().is_some_and(|it| it.mark != self.head);
                    let long = frame.body.len() > *room;
                    if taken.entries.len() >= most || begun && (jumps || long) {
                        return Step::Full;
                    }
                    *room = room.saturating_sub(frame.body.len());
                    taken.entries.push(Entry {
                        mark,
                        before: self.head,
                        node: header.node.clone(),
                        boot: header.boot.clone(),
                        body: frame.body.to_vec(),
                    });
                    self.after = mark.sequence;
                }
                self.head = mark;
            }
            (Some(_), Kind::Checkpoint) => {
                if let Ok(signed) = serde_json::from_slice(frame.body) {
                    taken.checkpoint = Some(signed);
                }
            }
            (Some(_), Kind::Countersignature) => {}
            _ => return Step::NoFrame,
        }
        Step::Read(length)
    }

    /// Reads more, from the next segment where this one holds no more. False where there is none.
    fn refill(&mut self, disk: &impl Disk) -> io::Result<bool> {
        // First: a segment that another follows does not grow any more.
        let names = segment_names(disk)?;
        let next = match &self.segment {
            Some((name, read)) => {
                let read = read + self.at as u64;
                let held = self.bytes.len() - self.at;
                let more = match disk.read_from(name, read) {
                    // The oldest may go while we read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    more => more?,
                };
                let news = more.len() > held;
                self.segment = Some((name.clone(), read));
                (self.bytes, self.at) = (more, 0);
                if news {
                    return Ok(true);
                }
                let name = &self.segment.as_ref().expect("it was set above").0;
                names.iter().find(|next| *next > name)
            }
            // One earlier, to know what stands before the first.
            None => {
                let begins = |name: &String| first_of(name).is_some_and(|at| at <= self.after + 1);
                names.get(
                    names
                        .iter()
                        .rposition(begins)
                        .unwrap_or(0)
                        .saturating_sub(1),
                )
            }
        };
        let Some(next) = next else {
            return Ok(false);
        };
        self.segment = Some((next.clone(), 0));
        self.header = None;
        (self.bytes, self.at) = (Vec::new(), 0);
        Ok(true)
    }
}

/// At most `limit` records after a number, oldest first.
pub fn after(disk: &impl Disk, sequence: u64, limit: usize) -> io::Result<Vec<Entry>> {
    let mut reader = Reader::after(sequence);
    let mut entries = Vec::new();
    while entries.len() < limit {
        let left = limit - entries.len();
        let mut taken = reader.take(disk, u64::MAX, left, usize::MAX)?;
        if taken.entries.is_empty() {
            break;
        }
        entries.append(&mut taken.entries);
    }
    Ok(entries)
}

//! Reading the record, for those who tell it or carry it elsewhere.

use crate::chain::Hash;
use crate::disk::Disk;
use crate::frame::{Frame, Kind, MAGIC};
use crate::record::Record;
use crate::segment::{Header, first_of};
use crate::survey::segment_names;
use std::io;

/// A record as it is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// The node.
    pub node: String,
    /// The boot.
    pub boot: String,
    /// The hash of the record before.
    pub previous: Hash,
    /// Its hash.
    pub hash: Hash,
    /// Its bytes, over which the hash was made.
    pub body: Vec<u8>,
}

impl Entry {
    /// What it says.
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        Record::decode(&self.body)
    }
}

/// At most `limit` records after a number, oldest first. Of a segment with a fault, what comes
/// before it. Whoever carries records elsewhere stops at what is synced: see
/// [`Recorder::health`](crate::recorder::Recorder::health).
pub fn after(disk: &impl Disk, sequence: u64, limit: usize) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let names = segment_names(disk)?;
    for (at, name) in names.iter().enumerate() {
        let following = names.get(at + 1).and_then(|name| first_of(name));
        if following.is_some_and(|following| following <= sequence + 1) {
            continue;
        }
        let bytes = match disk.read(name) {
            // The oldest may go while we read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        segment(&bytes, |entry| {
            if entry.sequence > sequence {
                entries.push(entry);
            }
            entries.len() < limit
        });
        if entries.len() >= limit {
            break;
        }
    }
    Ok(entries)
}

/// Hands out the records of a segment, as long as the answer is yes.
fn segment(bytes: &[u8], mut take: impl FnMut(Entry) -> bool) {
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
        return;
    };
    let mut header: Option<Header> = None;
    let mut previous = Hash::START;
    while let Ok((frame, length)) = Frame::read(rest) {
        rest = &rest[length..];
        match (&header, frame.kind) {
            (None, Kind::Header) => {
                header = serde_json::from_slice(frame.body).ok();
                previous = frame.hash;
            }
            (Some(header), Kind::Record) => {
                let entry = Entry {
                    sequence: frame.sequence,
                    node: header.node.clone(),
                    boot: header.boot.clone(),
                    previous,
                    hash: frame.hash,
                    body: frame.body.to_vec(),
                };
                previous = frame.hash;
                if !take(entry) {
                    return;
                }
            }
            (Some(_), Kind::Checkpoint | Kind::Countersignature) => {}
            _ => return,
        }
    }
}

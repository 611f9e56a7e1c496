//! One file of the record, and what can be said of it.

use crate::chain::Hash;
use crate::finding::Finding;
use crate::mark::Mark;
use crate::record::{Gap, Retired};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the names of segments end.
pub const ENDING: &str = ".seg";

/// The name of a segment that begins with a record.
pub fn name(first: u64) -> String {
    format!("{first:020}{ENDING}")
}

/// The number of the first record, from the name of a segment.
pub fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// What a segment says of itself; its first record and what stood before are in the frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The node.
    pub node: String,
    /// The boot.
    pub boot: String,
    /// The public key that its checkpoints are made with.
    pub key: String,
    /// When it was begun.
    pub time: String,
}

/// What is expected of segments.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The key that signs; without one, signatures are taken by the key that segments name.
    pub key: Option<VerifyingKey>,
    /// Records that somebody remembers.
    pub known: Vec<Mark>,
}

/// A place where the chain does not simply go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// The record before.
    pub after: Mark,
    /// The next record.
    pub at: u64,
    /// What it says stood before.
    pub previous: Hash,
    /// Where.
    pub segment: String,
    /// At which byte.
    pub offset: usize,
}

/// What a segment holds, as far as it can be believed.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Its header, if that could be read.
    pub header: Option<Header>,
    /// The last record that can be believed, or what stood before the first one.
    pub head: Option<Mark>,
    /// The number of its first record, as its header says.
    pub first: u64,
    /// What its header says stood before.
    pub previous: Hash,
    /// Records that can be believed.
    pub records: u64,
    /// The byte up to which it can be believed.
    pub keep: usize,
    /// Records at the end that no checkpoint covers.
    pub unsigned: u64,
    /// Checkpoints that hold.
    pub checkpoints: Vec<Mark>,
    /// The newest record that each countersignature is over, by its key. Whether that is the
    /// controller's, somebody else knows.
    pub countersigned: BTreeMap<String, u64>,
    /// Places where the chain does not simply go on.
    pub jumps: Vec<Jump>,
    /// What it says of records that are missing.
    pub gaps: Vec<(u64, Gap)>,
    /// What it says of segments that were taken away.
    pub retired: Vec<Retired>,
    /// Events that it says were lost.
    pub lost: u64,
    /// The highest number in it, believed or not.
    pub highest: u64,
    /// What is wrong with it.
    pub fault: Option<Finding>,
}

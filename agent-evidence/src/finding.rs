//! What can be wrong with the record.

use serde::{Serialize, Serializer};
use std::fmt;

/// What is wrong, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The newest segment ends in the middle: whoever wrote it was stopped.
    Torn,
    /// Bytes are not what they were.
    Changed,
    /// Records are missing.
    Dropped,
    /// Records stand in another order.
    Swapped,
    /// A segment ends too early.
    Truncated,
    /// The record ends earlier than it did.
    RolledBack,
    /// Somebody wrote records anew, with sums that fit, and could not sign.
    Resealed,
    /// A segment cannot be read.
    Unreadable,
}

impl Found {
    /// As people are told.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Changed => "changed",
            Self::Dropped => "dropped",
            Self::Swapped => "swapped",
            Self::Truncated => "truncated",
            Self::RolledBack => "rolled back",
            Self::Resealed => "re-sealed",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Serialize for Found {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What.
    pub found: Found,
    /// The segment; empty where it is the whole folder.
    pub segment: String,
    /// The byte in it.
    pub offset: usize,
    /// The last record before.
    pub after: u64,
    /// The first and the last record that are missing or not believed, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<(u64, u64)>,
    /// What exactly.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.word();
        if self.segment.is_empty() {
            write!(f, "{found} after record {}: {}", self.after, self.detail)?;
        } else {
            write!(
                f,
                "{found} after record {}, in {} at byte {}: {}",
                self.after, self.segment, self.offset, self.detail
            )?;
        }
        match self.missing {
            Some((first, last)) if first == last => write!(f, "; record {first} is missing"),
            Some((first, last)) if first < last => {
                write!(f, "; records {first} to {last} are missing")
            }
            _ => Ok(()),
        }
    }
}

//! What the next daemon needs to know of the sessions that are in force. Kept on a file system
//! that, like the kernel's tables, does not outlive the boot.

use super::tables::Place;
use crate::control::protocol::Start;
use crate::ids::SessionId;
use agent_evidence::record::Container;
use agent_policy::Layout;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use tracing::warn;

/// Where records lie unless told otherwise.
pub const FOLDER: &str = "/run/interlock/sessions";

/// The records, one file a session.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// How it was started.
    pub start: Start,
    /// The slot of its state.
    pub slot: u32,
    /// Where its policy lies.
    pub place: Place,
    /// Why it was revoked, in the words of who ordered it.
    #[serde(default)]
    pub reason: Option<String>,
    /// How it was recognised, if not by `interlock run`.
    #[serde(default)]
    pub recognised: Option<String>,
    /// Whether it lies ready; it may have begun since.
    #[serde(default)]
    pub ready: bool,
    /// Whether its policy is one that the daemon has loaded, and follows when it changes.
    #[serde(default)]
    pub loaded: bool,
    /// Where its policy's names lie, if not where the compiler puts them.
    #[serde(default)]
    pub layout: Option<Layout>,
    /// The container that it is.
    #[serde(default)]
    pub container: Option<Container>,
    /// The session into whose container somebody came, whose session it is.
    #[serde(default)]
    pub entered: Option<SessionId>,
    /// The task that it is for.
    #[serde(default)]
    pub task: Option<String>,
    /// The grant that it began with.
    #[serde(default)]
    pub grant: Option<String>,
    /// How long it may live by that, in nanoseconds; nothing for as long as its policy says.
    #[serde(default)]
    pub lives_ns: Option<u64>,
    /// When it began, in nanoseconds since boot.
    #[serde(default)]
    pub started_ns: u64,
}

impl Records {
    /// The records in a folder.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Writes a session's record, whole or not at all.
    pub fn write(&self, id: u64, record: &Record) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let path = self.path(id);
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(record)?)?;
        std::fs::rename(fresh, path)
    }

    /// Removes a session's record.
    pub fn remove(&self, id: u64) {
        if let Err(error) = std::fs::remove_file(self.path(id)) {
            warn!(session = %SessionId(id), %error, "its record stays");
        }
    }

    /// Reads every record. One that cannot be read is named and left where it is.
    pub fn read(&self) -> Vec<(u64, Record)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| read_one(&entry.path()))
            .collect()
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{}.json", SessionId(id)))
    }
}

fn read_one(path: &Path) -> Option<(u64, Record)> {
    if path.extension()? != "json" {
        return None;
    }
    let id: SessionId = path.file_stem()?.to_str()?.parse().ok()?;
    let read = std::fs::read(path).map_err(anyhow::Error::from);
    match read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
        Ok(record) => Some((id.0, record)),
        Err(error) => {
            warn!(record = %path.display(), %error, "cannot read the record of a session");
            None
        }
    }
}

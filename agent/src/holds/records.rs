//! Questions on disk, so that the next daemon knows what is asked. Kept, as the records of sessions, on
//! a file system that does not outlive the boot.

use super::question::Question;
use crate::ids::HoldId;
use std::io;
use std::path::{Path, PathBuf};
use tracing::warn;

/// The file that a daemon leaves which ends in order.
const HANDED_OVER: &str = "handed-over";

/// The questions, one file each.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Those beside the records of sessions.
    pub fn beside(sessions: &Path) -> Self {
        Self {
            folder: folder(sessions),
        }
    }

    /// Writes one, whole or not at all.
    pub fn write(&self, question: &Question) {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&self.folder)?;
            let path = self.path(question.hold);
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, serde_json::to_vec(question)?)?;
            std::fs::rename(fresh, path)
        };
        if let Err(error) = write() {
            warn!(hold = %question.hold, %error, "the next daemon will not know what is asked");
        }
    }

    /// Forgets one.
    pub fn remove(&self, hold: HoldId) {
        match std::fs::remove_file(self.path(hold)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%hold, %error, "the record of a question stays");
            }
            _ => {}
        }
    }

    /// Reads all.
    pub fn read(&self) -> Vec<Question> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let files = entries.flatten().map(|entry| entry.path());
        files
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok())
            .collect()
    }

    /// Says to the next daemon that this one ends in order.
    pub fn hand_over(&self) {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&self.folder)?;
            std::fs::write(self.folder.join(HANDED_OVER), "")
        };
        if let Err(error) = write() {
            warn!(%error, "the next daemon will deny what is asked");
        }
    }

    /// Whether the last daemon ended in order. Asked once, by the next.
    pub fn take_over(&self) -> bool {
        std::fs::remove_file(self.folder.join(HANDED_OVER)).is_ok()
    }

    fn path(&self, hold: HoldId) -> PathBuf {
        self.folder.join(format!("{hold}.json"))
    }
}

/// Where the records of questions lie, beside those of sessions.
pub fn folder(sessions: &Path) -> PathBuf {
    sessions.with_file_name("holds")
}

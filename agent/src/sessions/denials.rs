//! What a session may know of its own denials: a file of the newest ones for each session, which the
//! kernel lets that session read, and nobody change (`agent-ebpf/src/paths.rs`).

use crate::events::line::{Denial, Object};
use crate::ids::SessionId;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tracing::warn;

/// Where they lie unless told otherwise.
pub const FOLDER: &str = "/run/interlock/denials";

/// The variable that names a session's file to it.
pub const VARIABLE: &str = "INTERLOCK_DENIALS";

/// Denials of a session that are kept.
const LINES: usize = 64;

/// Bytes of them.
const BYTES: usize = 64 * 1024;

/// The files, and what is in them.
#[derive(Debug)]
pub struct Denials {
    folder: PathBuf,
    kept: HashMap<u64, Kept>,
}

/// The newest denials of a session, oldest first.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    /// Whether the file says less.
    dirty: bool,
}

/// What a session is told: nothing of its policy but the words that its author has for it, and
/// nothing of who lies above it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    time: &'a str,
    pid: u32,
    comm: &'a str,
    exe: Option<&'a str>,
    action: &'a str,
    object: &'a Object,
    reason: &'a str,
    verdict: &'a str,
    because: Option<&'a str>,
}

impl Denials {
    /// Makes the folder. Its names can be used by who knows them, and listed by nobody else than root:
    /// they are all that keeps other users from reading, where the files' rules do not.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
        Ok(Self {
            folder: folder.to_owned(),
            kept: HashMap::new(),
        })
    }

    /// The folder, without symbolic links, and the number of its inode.
    pub fn folder(&self) -> io::Result<(PathBuf, u64)> {
        let folder = self.folder.canonicalize()?;
        let inode = fs::metadata(&folder)?.ino();
        Ok((folder, inode))
    }

    /// The name of a session's file.
    pub fn name(id: u64) -> String {
        format!("{}.jsonl", SessionId(id))
    }

    /// A session's file.
    pub fn path(&self, id: u64) -> PathBuf {
        self.folder.join(Self::name(id))
    }

    /// Lets a session have a file, with nothing in it.
    pub fn begin(&mut self, id: u64) -> io::Result<()> {
        self.kept.insert(id, Kept::default());
        self.write(id)
    }

    /// Takes up what an earlier daemon has written.
    pub fn adopt(&mut self, id: u64) -> io::Result<()> {
        match fs::read_to_string(self.path(id)) {
            Ok(text) => {
                let kept = self.kept.entry(id).or_default();
                text.lines().for_each(|line| kept.push(line.to_owned()));
                kept.dirty = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.begin(id),
            Err(error) => Err(error),
        }
    }

    /// Takes a session's file away.
    pub fn end(&mut self, id: u64) {
        self.kept.remove(&id);
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(file = %path.display(), %error, "the file of a session's denials stays");
        }
    }

    /// Takes the files away that are no session's.
    pub fn sweep(&self) {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for file in files {
            let name = file.file_name();
            let is_kept = |id: &u64| name.to_str() == Some(&Self::name(*id));
            if !self.kept.keys().any(is_kept) {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Keeps a denial. What is no session's any more is not kept.
    pub fn keep(&mut self, id: u64, denial: &Denial) {
        let told = Told {
            time: &denial.time,
            pid: denial.process.pid,
            comm: &denial.process.comm,
            exe: denial.process.exe.as_deref(),
            action: denial.action,
            object: &denial.object,
            reason: denial.reason,
            verdict: denial.verdict,
            because: denial.because.as_deref(),
        };
        if let Some(kept) = self.kept.get_mut(&id)
            && let Ok(line) = serde_json::to_string(&told)
        {
            kept.push(line);
        }
    }

    /// Writes down what was kept since the last time. A file is replaced whole: who reads it
    /// meanwhile reads the one before.
    pub fn write_all(&mut self) {
        let dirty = self.kept.iter().filter(|(_, kept)| kept.dirty);
        let dirty: Vec<u64> = dirty.map(|(id, _)| *id).collect();
        for id in dirty {
            if let Err(error) = self.write(id) {
                let session = SessionId(id);
                warn!(%session, %error, "it cannot read its newest denials");
            }
        }
    }

    fn write(&mut self, id: u64) -> io::Result<()> {
        let path = self.path(id);
        let Some(kept) = self.kept.get_mut(&id) else {
            return Ok(());
        };
        let mut text = String::with_capacity(kept.bytes);
        for line in &kept.lines {
            text.push_str(line);
            text.push('\n');
        }
        kept.dirty = false;
        let fresh = path.with_extension("new");
        fs::write(&fresh, text)?;
        // The session may run as anybody.
        fs::set_permissions(&fresh, Permissions::from_mode(0o444))?;
        fs::rename(fresh, path)
    }
}

impl Kept {
    fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        self.dirty = true;
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len() + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("denials-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn the_newest_are_kept_and_no_more_than_there_is_room_for() {
        let mut kept = Kept::default();
        for number in 0..1000 {
            kept.push(number.to_string());
        }
        assert_eq!(kept.lines.len(), LINES);
        assert_eq!(kept.lines.back().map(String::as_str), Some("999"));
        kept.push("x".repeat(BYTES - 10));
        assert!(
            kept.bytes <= BYTES && kept.lines.len() == 3,
            "{}",
            kept.lines.len()
        );
        kept.push("y".repeat(BYTES));
        assert_eq!((kept.bytes, kept.lines.len()), (0, 0));
    }

    #[test]
    fn the_next_daemon_goes_on_with_what_is_there_and_sweeps_the_rest() {
        let folder = folder("next");
        let mut denials = Denials::open(&folder).unwrap();
        denials.begin(1).unwrap();
        denials.begin(2).unwrap();
        denials.kept.get_mut(&1).unwrap().push("one".into());
        denials.write_all();
        let mut next = Denials::open(&folder).unwrap();
        next.adopt(1).unwrap();
        next.sweep();
        next.kept.get_mut(&1).unwrap().push("two".into());
        next.write_all();
        assert_eq!(fs::read_to_string(next.path(1)).unwrap(), "one\ntwo\n");
        assert!(!next.path(2).exists());
        next.end(1);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}

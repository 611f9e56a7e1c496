//! How far the record went, remembered outside its folder: who puts an old copy of the folder back
//! is found out. Two places in one file take turns, so that one of them is always whole.

use crate::chain::{Hash, from_hex};
use crate::disk::read_small;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a place: sixteen digits of the number, 64 of the hash, eight of the checksum, a line's
/// end, and the spaces between.
const PLACE: u64 = 91;

/// The newest record that is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

/// The file that it is remembered in.
#[derive(Debug)]
pub struct MarkFile {
    path: PathBuf,
    file: Option<File>,
    odd: bool,
}

impl Mark {
    /// What stands before the first record of a node.
    pub const START: Self = Self {
        sequence: 0,
        hash: Hash::START,
    };

    fn line(self) -> String {
        let text = format!("{:016x} {}", self.sequence, self.hash);
        format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    fn parse(line: &str) -> Option<Self> {
        let (text, checksum) = line.rsplit_once(' ')?;
        if checksum != format!("{:08x}", crc32fast::hash(text.as_bytes())) {
            return None;
        }
        let (sequence, hash) = text.split_once(' ')?;
        Some(Self {
            sequence: u64::from_be_bytes(from_hex(sequence)?),
            hash: hash.parse().ok()?,
        })
    }
}

impl MarkFile {
    /// The file at a path, which is made with the first mark.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            odd: false,
        }
    }

    /// The newest mark in it; nothing where there is none that makes sense.
    pub fn read(&self) -> io::Result<Option<Mark>> {
        let bytes = match read_small(&self.path, 2 * PLACE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let marks = text.lines().filter_map(Mark::parse);
        Ok(marks.max_by_key(|mark| mark.sequence))
    }

    /// Remembers. It outlives this process at once, and the machine's power once it is synced.
    pub fn write(&mut self, mark: Mark, sync: bool) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            self.file = Some(options.open(&self.path)?);
        }
        let file = self.file.as_ref().expect("it was opened above");
        file.write_all_at(mark.line().as_bytes(), if self.odd { PLACE } else { 0 })?;
        self.odd = !self.odd;
        if sync {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// The mark as text, for whoever keeps it elsewhere: `SEQUENCE:HASH`.
impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(self.hash.0))
    }
}

/// A text that is no mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no known record, expected SEQUENCE:HASH with 64 hexadecimal digits")]
pub struct NoMark(String);

impl std::str::FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let parsed = text.split_once(':').and_then(|(sequence, hash)| {
            Some(Self {
                sequence: sequence.parse().ok()?,
                hash: hash.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| NoMark(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_mark_counts() {
        let path = std::env::temp_dir().join(format!("evidence-mark-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mark = |sequence| Mark {
            sequence,
            hash: Hash([9; 32]),
        };
        assert_eq!(mark(1).line().len() as u64, PLACE);
        let mut file = MarkFile::at(&path);
        assert_eq!(file.read().unwrap(), None);
        for sequence in 1..=3 {
            file.write(mark(sequence), sequence == 3).unwrap();
            assert_eq!(file.read().unwrap(), Some(mark(sequence)));
        }
        // The newest lies in the first place: half of it is none, and the one before counts.
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..90 {
            let mut torn = bytes.clone();
            torn[at] = b'?';
            std::fs::write(&path, torn).unwrap();
            assert_eq!(file.read().unwrap(), Some(mark(2)), "byte {at}");
        }
        assert_eq!(mark(4).to_string().parse(), Ok(mark(4)));
        std::fs::remove_file(path).unwrap();
    }
}

//! Room on the disk of the database: the last of it is for orders, and for what became of them.
//! Records lie safely on their nodes and can wait there; a revocation cannot.

use rustix::fs::statvfs;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// Bytes that records leave free, unless said otherwise.
pub const RESERVED: u64 = 64 << 20;

/// The disk on which the database lies.
#[derive(Debug)]
pub struct Room {
    folder: PathBuf,
    reserved: u64,
}

/// There is no room for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    folder: PathBuf,
    free: u64,
    reserved: u64,
}

impl Display for Short {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "no room for records: found {} MiB free in {}, expected at least {}; orders still go out",
            self.free >> 20,
            self.folder.display(),
            self.reserved >> 20
        )
    }
}

impl Room {
    /// Where the database lies, and how many bytes records leave free there.
    pub fn of(folder: PathBuf, reserved: u64) -> Self {
        Self { folder, reserved }
    }

    /// Why no records are stored, if none are. Where the disk does not say what is free, the database
    /// will say what does not fit.
    pub fn short(&self) -> Option<Short> {
        let disk = statvfs(&self.folder).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        (free < self.reserved).then(|| Short {
            folder: self.folder.clone(),
            free,
            reserved: self.reserved,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_free_is_held_against_the_disk() {
        let room = |reserved| Room::of(std::env::temp_dir(), reserved);
        assert_eq!(room(0).short(), None);
        let short = room(u64::MAX).short().unwrap().to_string();
        assert!(
            short.starts_with("no room for records: found ") && short.contains(" MiB free in /"),
            "{short}"
        );
    }
}

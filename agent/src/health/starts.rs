//! Since when counters count.

use crate::kernel::pins::Pins;
use std::path::Path;
use std::time::SystemTime;

/// With what a counter begins at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The daemon.
    Daemon,
    /// The kernel's tables, which daemons and builds of programs leave to one another.
    Tables,
    /// The kernel programs in force.
    Programs,
}

/// When each of them began, by the wall clock; nothing where that is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Starts {
    daemon: Option<SystemTime>,
    tables: Option<SystemTime>,
    programs: Option<SystemTime>,
}

impl Starts {
    /// Of a daemon that begins now, with programs of this build. A pin's time is the one at which it was made.
    pub fn read(pins: &Pins, build: &str) -> Self {
        Self {
            daemon: Some(SystemTime::now()),
            tables: made(&pins.map("COUNTS")),
            programs: made(&pins.builds().join(build)),
        }
    }

    /// When it began.
    pub fn of(self, since: Since) -> Option<SystemTime> {
        match since {
            Since::Daemon => self.daemon,
            Since::Tables => self.tables,
            Since::Programs => self.programs,
        }
    }
}

fn made(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

//! The processes of sessions that have not ended, as the kernel lists them.

use crate::kernel::object::MEMBERS;
use crate::kernel::pins::Pins;
use agent_common::event::Living;
use agent_common::wire::Wire;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Asks the kernel who there is.
#[derive(Debug, Clone)]
pub struct Census {
    link: PathBuf,
}

impl Census {
    /// The census of a set of pins.
    pub fn new(pins: &Pins) -> Self {
        Self {
            link: pins.link(MEMBERS),
        }
    }

    /// Every task of every session. The kernel walks over all tasks, from the lowest pid to the
    /// highest, while others come and go: one that is born behind the walk is not in the list.
    pub fn take(&self) -> io::Result<Vec<Living>> {
        let mut bytes = Vec::new();
        File::open(&self.link)?.read_to_end(&mut bytes)?;
        let whole = bytes.chunks_exact(Living::SIZE);
        if !whole.remainder().is_empty() {
            return Err(io::Error::other(format!(
                "found a list of {} bytes, expected a multiple of {}",
                bytes.len(),
                Living::SIZE
            )));
        }
        Ok(whole.filter_map(|bytes| Living::read(bytes, 0)).collect())
    }
}

//! Labelling processes that already run.

use crate::kernel::maps::{Maps, MapsError};
use crate::kernel::object::ADOPT;
use crate::kernel::pins::Pins;
use agent_common::counter::Counter;
use agent_common::event::Living;
use agent_common::wire::Wire;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Walks over all tasks that may find somebody new, each time. Whoever is in a session's cgroup is
/// labelled when it is born, so the second finds nobody, unless a label could not be stored.
const WALKS: u32 = 64;

/// Why adoption is not complete.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The walk failed.
    #[error("cannot walk over all tasks")]
    Walk(#[from] io::Error),
    /// A map failed.
    #[error(transparent)]
    Map(#[from] MapsError),
    /// There is always somebody left.
    #[error("after {WALKS} walks over all tasks some still could not be labelled")]
    NoEnd,
}

/// Walks over all tasks.
#[derive(Debug, Clone)]
pub struct Adopter {
    link: PathBuf,
}

impl Adopter {
    /// The one of a set of pins.
    pub fn new(pins: &Pins) -> Self {
        Self {
            link: pins.link(ADOPT),
        }
    }

    /// Labels whoever is in a session's cgroup and has no label, until a walk over all tasks finds
    /// nobody and nobody was refused meanwhile. Says how many were labelled.
    pub fn adopt(&self, maps: &Maps) -> Result<usize, AdoptError> {
        let mut labelled = 0;
        for _ in 0..WALKS {
            let refused = maps.count(Counter::LabelsRefused)?;
            let found = self.walk()?;
            labelled += found;
            if found == 0 && maps.count(Counter::LabelsRefused)? == refused {
                return Ok(labelled);
            }
        }
        Err(AdoptError::NoEnd)
    }

    /// One walk: the kernel labels, and writes down whom.
    fn walk(&self) -> io::Result<usize> {
        let mut bytes = Vec::new();
        File::open(&self.link)?.read_to_end(&mut bytes)?;
        Ok(bytes.len() / Living::SIZE)
    }
}

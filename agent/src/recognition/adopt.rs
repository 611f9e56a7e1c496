//! Labelling processes that already run: whoever is in a cgroup, or in the tree of a process that
//! runs an executable.

use crate::kernel::maps::{Maps, MapsError};
use crate::kernel::object::ADOPT;
use crate::kernel::pins::Pins;
use agent_common::counter::Counter;
use agent_common::event::{Living, Process};
use agent_common::wire::Wire;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Walks over all tasks that may find somebody new, each time. Whoever comes meanwhile is labelled
/// when it is born, so the last but one finds nobody, unless a label could not be stored.
const WALKS: u32 = 64;

/// The roots of trees that have no session yet, by when they began.
pub type Roots = BTreeMap<u64, Process>;

/// What a walk found.
#[derive(Debug, Default)]
struct Walk {
    labelled: usize,
    roots: Roots,
}

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

    /// Labels whoever belongs to a session and has no label, until a walk over all tasks finds
    /// nobody and nobody was refused meanwhile. Ends before, with the roots, when it comes upon
    /// trees that have no session.
    pub fn adopt(&self, maps: &Maps) -> Result<Roots, AdoptError> {
        for _ in 0..WALKS {
            let refused = maps.count(Counter::LabelsRefused)?;
            let found = self.walk()?;
            let is_last = found.labelled == 0 && maps.count(Counter::LabelsRefused)? == refused;
            if is_last || !found.roots.is_empty() {
                return Ok(found.roots);
            }
        }
        Err(AdoptError::NoEnd)
    }

    /// One walk: the kernel labels, and writes down whom.
    fn walk(&self) -> io::Result<Walk> {
        let mut bytes = Vec::new();
        File::open(&self.link)?.read_to_end(&mut bytes)?;
        let mut walk = Walk::default();
        for living in (0..bytes.len() / Living::SIZE)
            .filter_map(|number| Living::read(&bytes, number * Living::SIZE))
        {
            if living.session == 0 {
                walk.roots.insert(living.process.start_ns, living.process);
            } else {
                walk.labelled += 1;
            }
        }
        Ok(walk)
    }
}

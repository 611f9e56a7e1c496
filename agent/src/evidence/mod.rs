//! The record of what happened on this node: how the daemon writes it, and what `interlock evidence`
//! makes of it.

mod against;
pub mod export;
mod ocsf;
pub mod scribe;
pub(crate) mod sentence;
pub mod show;
mod story;
pub mod verify;

use crate::chain::chain;
use crate::control::protocol::EvidenceInfo;
use agent_evidence::disk::Folder;
use agent_evidence::key::{Key, KeyError, public_path};
use agent_evidence::mark::MarkFile;
use agent_evidence::recorder::{Recorder, Writer};
use agent_evidence::store::Settings;
use std::io;
use std::path::{Path, PathBuf};

/// Where the record lies unless told otherwise. The node's key and what is remembered of the record
/// lie beside the folder, so that who puts an old copy of the folder back is found out.
pub const FOLDER: &str = "/var/lib/interlock/evidence";

/// The files that belong to a record.
#[derive(Debug, Clone)]
pub struct Place {
    /// The segments.
    pub folder: PathBuf,
    /// The key that signs.
    pub key: PathBuf,
    /// How far the record went.
    pub mark: PathBuf,
}

impl Place {
    /// Those of a folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            key: folder.with_extension("key"),
            mark: folder.with_extension("mark"),
        }
    }

    /// All of them: no session reaches any.
    pub fn all(self) -> [PathBuf; 4] {
        let public = public_path(&self.key);
        [self.folder, self.key, self.mark, public]
    }
}

/// Why the record cannot even be begun. Enforcement goes on, and the state says so.
#[derive(Debug, thiserror::Error)]
enum BeginError {
    #[error("cannot make the folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot read this boot's id")]
    Boot(#[source] io::Error),
    #[error("cannot begin the thread that writes")]
    Thread(#[source] io::Error),
}

/// How the record is kept.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// The folder.
    pub folder: PathBuf,
    /// The node's name, if it is not what the controller or the host calls it.
    pub node: Option<String>,
    /// Bytes of all segments, beyond which the oldest go.
    pub limit: u64,
    /// Age beyond which segments go.
    pub age: Option<std::time::Duration>,
}

impl Keeping {
    /// What this node is called: as it is told, or as the controller has it, or the host.
    pub fn name_of_node(&self, named: Option<String>) -> String {
        self.node.clone().or(named).unwrap_or_else(host_name)
    }
}

/// Begins to record, under the name that the controller has for this node, if it has one. The writer
/// ends, and signs, when it is dropped.
pub fn begin(keeping: &Keeping, named: Option<String>) -> (Recorder, Option<Writer>) {
    let node = keeping.name_of_node(named);
    match try_begin(keeping, &node) {
        Ok((recorder, writer)) => (recorder, Some(writer)),
        Err(error) => (Recorder::none(chain(error)), None),
    }
}

fn try_begin(keeping: &Keeping, node: &str) -> Result<(Recorder, Writer), BeginError> {
    let place = Place::of(&keeping.folder);
    let failed = |source| BeginError::Folder(place.folder.clone(), source);
    let disk = Folder::make(&place.folder).map_err(failed)?;
    let key = Key::take(&place.key)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let boot = boot.map_err(BeginError::Boot)?;
    let settings = Settings {
        limit: keeping.limit,
        age: keeping.age,
        ..Settings::of(node, boot.trim())
    };
    Recorder::begin(disk, key, MarkFile::at(&place.mark), settings).map_err(BeginError::Thread)
}

/// What `status` says of the record.
pub fn info(recorder: &Recorder, folder: &Path) -> EvidenceInfo {
    let health = recorder.health();
    let repaired = health.gaps.iter().map(|gap| match gap.loses() {
        true => format!(
            "{}: records {} to {} are missing",
            gap.found, gap.first, gap.last
        ),
        false => format!("{}: no record is missing", gap.found),
    });
    EvidenceInfo {
        folder: folder.to_owned(),
        recorded: health.recorded,
        hash: health.hash.to_string(),
        waiting: health.waiting,
        lost: health.lost,
        repaired: repaired.collect(),
        degraded: health.degraded,
    }
}

/// What this host calls itself.
pub(crate) fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    let name = name.and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unnamed".to_owned())
}

//! What the node keeps of what the controller told it, for the next daemon and the next boot.

use super::CentralError;
use super::bar::Bar;
use crate::control::protocol::Start;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Kept {
    /// What this node is called there; empty as long as no certificate has said it.
    pub(crate) node: String,
    /// Which controller this is about.
    pub(crate) controller: String,
    /// The keys by which it signs.
    pub(crate) keys: Vec<Vec<u8>>,
    /// The newest directive, as it came.
    pub(crate) newest: Option<Newest>,
    /// The highest epoch of what ends sessions, and of everything else.
    pub(crate) orders: u64,
    pub(crate) policies: u64,
    /// What may not begin.
    pub(crate) bars: Vec<Bar>,
    /// The policies that it has told, by agent.
    pub(crate) told: BTreeMap<String, Told>,
    /// After how many milliseconds without a word sessions end; zero: never.
    pub(crate) lease_ms: u64,
    /// When it was heard last: by its own clock, and in this boot's nanoseconds.
    pub(crate) heard_ms: u64,
    pub(crate) heard_ns: u64,
    pub(crate) heard_boot: String,
}

/// A directive as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newest {
    pub(crate) epoch: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// Why it was not carried out, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

/// A policy that the controller has told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The directive.
    pub(crate) epoch: u64,
    /// The policy's digest, as the controller has it.
    pub(crate) digest: String,
    /// What sessions are started with.
    pub(crate) start: Start,
}

impl Kept {
    /// Notes why a directive was not carried out, to say the same when it comes again.
    pub(crate) fn note_refusal(&mut self, epoch: u64, reason: &str) {
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.epoch == epoch) {
            newest.refused = Some(reason.to_owned());
        }
    }

    /// Why a directive was not carried out, if it was not and is the newest.
    pub(crate) fn refusal(&self, epoch: u64) -> Option<String> {
        let newest = self.newest.as_ref().filter(|newest| newest.epoch == epoch);
        newest?.refused.clone()
    }

    pub(crate) fn newest_epoch(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.epoch)
    }

    /// The policies that were told.
    pub(crate) fn starts(&self) -> Vec<Start> {
        self.told.values().map(|told| told.start.clone()).collect()
    }

    /// The directives that stand.
    pub(crate) fn holds(&self) -> Vec<u64> {
        let bars = self.bars.iter().map(|bar| bar.epoch);
        bars.chain(self.told.values().map(|told| told.epoch))
            .collect()
    }
}

/// What is kept, and where.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kept: Kept,
    pub(crate) boot: String,
    folder: PathBuf,
}

/// The keys of the controller that a node obeys, as they are kept in a folder; none where nothing is.
pub fn controller_keys(folder: &Path) -> Vec<String> {
    let bytes = fs::read(folder.join("state.json")).unwrap_or_default();
    let kept: Kept = serde_json::from_slice(&bytes).unwrap_or_default();
    kept.keys.iter().map(hex::encode).collect()
}

impl State {
    /// Reads what is kept. A file that cannot be read is an error: a bar may stand in it.
    pub(crate) fn open(folder: &Path) -> Result<Self, CentralError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CentralError::State { path, source }
        };
        let file = folder.join("state.json");
        fs::create_dir_all(folder.join("grants")).map_err(failed(folder))?;
        let kept = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| failed(&file)(io::Error::other(error)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(failed(&file)(error)),
        };
        let boot = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = fs::read_to_string(boot).map_err(failed(boot))?;
        Ok(Self {
            kept,
            boot: boot.trim().to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// Writes it, whole or not at all, and on the disk when this returns.
    pub(crate) fn save(&self) -> io::Result<()> {
        let file = self.folder.join("state.json");
        let fresh = file.with_extension("new");
        let mut written = File::create(&fresh)?;
        written.write_all(&serde_json::to_vec(&self.kept)?)?;
        written.sync_all()?;
        fs::rename(&fresh, &file)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Where grants are noted that were used.
    pub(crate) fn grants(&self) -> PathBuf {
        self.folder.join("grants")
    }
}

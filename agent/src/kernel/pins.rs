//! Where maps, programs and links stay when no process holds them.
//!
//! The set is complete or absent: it is put together under another name and renamed when every
//! part is in place.
//!
//! | folder | what lies there |
//! |---|---|
//! | `maps` | the tables, which every build of one version shares |
//! | `builds/DIGEST` | the programs of a build, as loaded; more than one build only while one takes another's place |
//! | `probation` | what hooks choose from while a new build is on probation |
//! | `slots` | where each hook finds the program that it runs |
//! | `links` | what keeps a hook at its slot |
//! | `programs` | the programs that user space runs |

use super::build::Build;
use agent_common::abi;
use std::io;
use std::path::{Path, PathBuf};

/// Where bpffs is mounted.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A folder of pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// The pins in force on this host.
    pub fn in_force() -> Self {
        Self {
            root: base().join(format!("v{}", abi::VERSION)),
        }
    }

    /// The pins that are being put together. (bpffs allows no dot in a name.)
    pub fn in_preparation() -> Self {
        Self {
            root: base().join(format!("v{}-new", abi::VERSION)),
        }
    }

    /// Whether enforcement is pinned.
    pub fn exist(&self) -> bool {
        self.root.is_dir()
    }

    /// The folder of the maps.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// The pin of one map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The folder of the programs of each build.
    pub fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// The folder of the programs of one build.
    pub fn build(&self, build: &Build) -> PathBuf {
        self.builds().join(build.name())
    }

    /// The folder in which they are put together.
    pub fn build_in_preparation(&self, build: &Build) -> PathBuf {
        self.builds().join(format!("{}-new", build.name()))
    }

    /// The folder of what hooks choose from while a new build is on probation.
    pub fn probation(&self) -> PathBuf {
        self.root.join("probation")
    }

    /// The pin of what a hook runs.
    pub fn slot(&self, name: &str) -> PathBuf {
        self.root.join("slots").join(name)
    }

    /// The pin of one program that user space runs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("programs").join(name)
    }

    /// The pin of one link.
    pub fn link(&self, name: &str) -> PathBuf {
        self.root.join("links").join(name)
    }

    /// Whether a program is attached.
    pub fn is_linked(&self, name: &str) -> bool {
        self.link(name).exists()
    }

    /// Makes the empty folders, over whatever an interrupted attempt left.
    pub fn create(&self) -> io::Result<()> {
        self.remove()?;
        for folder in ["maps", "builds", "slots", "links", "programs"] {
            std::fs::create_dir_all(self.root.join(folder))?;
        }
        Ok(())
    }

    /// Gives the set its final name.
    pub fn rename_to(&self, to: &Self) -> io::Result<()> {
        std::fs::rename(&self.root, &to.root)
    }

    /// Removes every pin of the set. What was linked is detached as soon as no process holds it.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.root)
    }
}

/// Every set of pins on this host, of whatever version.
pub fn all() -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(base()) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes everything Interlock ever pinned.
pub fn remove_all() -> io::Result<()> {
    remove_tree(&base())
}

/// Whether bpffs is mounted where we want it.
pub fn is_bpffs() -> bool {
    nix::sys::statfs::statfs(BPFFS)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
}

/// The folder of all pins, whatever their version.
pub fn base() -> PathBuf {
    Path::new(BPFFS).join("interlock")
}

/// Removes a folder and what is in it, if it is there.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

//! Which files are meant by the files and folders that were named.

use super::fault::Fault;
use agent_policy::{MAX_BYTES, PROFILE_KIND, is_cases};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What every file of ours says somewhere.
const OURS: &str = "interlock.dev/";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Policies.
    Policies,
    /// Profiles that policies extend.
    Profiles,
    /// Cases.
    Cases,
}

/// A file as it was read.
#[derive(Debug)]
pub(super) struct Content {
    /// Its path.
    pub(super) path: PathBuf,
    /// How messages call it.
    pub(super) name: String,
    /// Its bytes; one more than a policy may have where it has more.
    pub(super) bytes: Vec<u8>,
    /// What it holds.
    pub(super) holds: Holds,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files of ours, each once, in the order of the names given and sorted within folders.
    pub(super) files: Vec<Content>,
    /// YAML files in folders that are not ours, by name.
    pub(super) skipped: Vec<String>,
}

/// Reads the files that are named and the YAML files in the folders that are named. Hidden ones are
/// passed over, as are links to folders: they can lead in circles.
pub(super) fn walk(paths: &[PathBuf]) -> Result<Found, Fault> {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    for path in paths {
        if metadata(path)?.is_dir() {
            folder(path, true, &mut found, &mut seen)?;
        } else if is_new(path, &mut seen)? {
            found.files.push(read(path)?);
        }
    }
    Ok(found)
}

/// Reads the YAML files of a folder without going below it; nothing where there is no such folder.
pub(super) fn beside(path: &Path) -> Result<Found, Fault> {
    let mut found = Found::default();
    if path.is_dir() {
        folder(path, false, &mut found, &mut BTreeSet::new())?;
    }
    Ok(found)
}

/// Reads one file.
pub(super) fn read(path: &Path) -> Result<Content, Fault> {
    let bytes = bytes(path)?;
    Ok(Content {
        holds: holds(&bytes),
        name: path.display().to_string(),
        path: path.to_owned(),
        bytes,
    })
}

/// No more is kept than shows that a file is too large.
fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|source| Fault::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn holds(bytes: &[u8]) -> Holds {
    let profile = format!("kind: {PROFILE_KIND}");
    if is_cases(bytes) {
        Holds::Cases
    } else if std::str::from_utf8(bytes)
        .is_ok_and(|text| text.lines().any(|line| line.trim_end() == profile))
    {
        Holds::Profiles
    } else {
        Holds::Policies
    }
}

fn folder(
    path: &Path,
    below: bool,
    found: &mut Found,
    seen: &mut BTreeSet<PathBuf>,
) -> Result<(), Fault> {
    let cannot = |source| Fault::Read {
        path: path.to_owned(),
        source,
    };
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        entries.push(entry.map_err(cannot)?.path());
    }
    entries.sort();
    for entry in entries {
        let hidden = entry
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        let kind = match metadata(&entry) {
            Ok(kind) => kind,
            // A link that leads nowhere is nobody's policy.
            Err(_) if !is_yaml(&entry) => continue,
            Err(fault) => return Err(fault),
        };
        if kind.is_dir() {
            if below && !entry.is_symlink() {
                folder(&entry, below, found, seen)?;
            }
        // A pipe would be waited for.
        } else if kind.is_file() && is_yaml(&entry) && is_new(&entry, seen)? {
            let content = read(&entry)?;
            if is_ours(&content.bytes) {
                found.files.push(content);
            } else {
                found.skipped.push(content.name);
            }
        }
    }
    Ok(())
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn is_ours(bytes: &[u8]) -> bool {
    bytes
        .windows(OURS.len())
        .any(|window| window == OURS.as_bytes())
}

fn is_new(path: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<bool, Fault> {
    let real = fs::canonicalize(path).map_err(|source| Fault::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(seen.insert(real))
}

fn metadata(path: &Path) -> Result<fs::Metadata, Fault> {
    fs::metadata(path).map_err(|source| Fault::Read {
        path: path.to_owned(),
        source,
    })
}

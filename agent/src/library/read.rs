//! Which files a library is made of.

use std::io;
use std::path::{Path, PathBuf};

/// What a path that was named leads to.
#[derive(Debug)]
pub(super) enum Root {
    /// These files, sorted.
    Files(Vec<PathBuf>),
    /// Nothing is there.
    Nothing,
}

/// The files that a path means: itself, or if it is a folder those in it whose names end in `.yaml`
/// or `.yml`. Hidden ones are passed over, and cases; what else is no policy is told by its contents.
pub(super) fn files(root: &Path) -> io::Result<Root> {
    let metadata = match root.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Root::Nothing),
        Err(error) => return Err(error),
    };
    if !metadata.is_dir() {
        return Ok(Root::Files(vec![root.to_owned()]));
    }
    let mut files = Vec::new();
    for entry in root.read_dir()? {
        let path = entry?.path();
        // What cannot be looked at is taken for a file, and reading it says why not. A pipe would
        // keep its reader waiting.
        if is_wanted(&path) && path.metadata().map_or(true, |metadata| metadata.is_file()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(Root::Files(files))
}

/// Whether a file in a folder can be one of policies, by its name.
pub(super) fn is_wanted(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let stem = name
        .strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| !name.starts_with('.') && !stem.ends_with(".cases"))
}

//! Disk images for the virtual machine, made without mounting anything.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

const MIB: u64 = 1 << 20;

/// Makes an ext4 image with the content of a folder and this much free space.
///
/// Nothing is written but what the folder holds: the rest of the image is a hole in the file.
pub(crate) fn make(folder: &Path, image: &Path, free: u64) -> Result<()> {
    let (content, files) = size(folder)?;
    // Tables of the file system take some 2 % of it, and every file an inode and a rounding up.
    let size = (content + files * 4096 + free) * 21 / 20 + 8 * MIB;
    // A half-made image must not be taken for a whole one.
    let half = image.with_extension("part");
    let _ = fs::remove_file(&half);
    process::run(
        process::as_owner_root(process::find("mke2fs").context("no mke2fs on this machine")?)
            .args(["-q", "-F", "-t", "ext4", "-m", "0"])
            // Images are thrown away with their machine: no journal, no late initialisation.
            .args([
                "-O",
                "^has_journal",
                "-E",
                "root_owner=0:0,lazy_itable_init=1",
            ])
            .args([
                "-b",
                "4096",
                "-I",
                "256",
                "-N",
                &(files + 20_000).to_string(),
            ])
            .arg("-d")
            .arg(folder)
            .arg(&half)
            .arg(format!("{}k", size.div_ceil(1024))),
    )?;
    fs::rename(&half, image).with_context(|| format!("cannot make {}", image.display()))
}

/// The bytes and the number of files below a folder.
fn size(folder: &Path) -> Result<(u64, u64)> {
    let (mut bytes, mut files) = (0, 1);
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let below = size(&entry.path())?;
            bytes += below.0;
            files += below.1;
        } else {
            bytes += metadata.len();
            files += 1;
        }
    }
    Ok((bytes, files))
}

/// Copies a file or a folder as it is.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    process::run(
        Command::new("cp")
            .args(["--archive", "--reflink=auto", "--no-target-directory"])
            .arg(from)
            .arg(to),
    )?;
    Ok(())
}

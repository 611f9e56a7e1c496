//! Another build of the product: the same program, whose kernel programs differ in what a test wants.

use super::product::{self, INTERLOCK};
use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What every ELF file begins with, if it is one of 64 bits and little-endian.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01";

/// Where the machine stands in such a file, and which the kernel programs are for.
const MACHINE: usize = 18;
const BPF: [u8; 2] = 247_u16.to_le_bytes();

/// What of the kernel programs is different.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// Nothing that matters: a number that the loader sets anyway.
    Nothing,
    /// They deny nothing: what should say EPERM says 0.
    Harmless,
    /// One of them is no program.
    Broken,
}

/// Writes such a build and gives its path. Its digest is the real one's, but for the first letters.
pub(crate) fn build(change: Change, mark: &str) -> Result<PathBuf> {
    let real = which(INTERLOCK)?;
    let mut bytes = fs::read(&real)?;
    let own = product::status()?.programs.build;
    let mut other = own.clone();
    other.replace_range(..mark.len(), mark);
    let at = kernel_programs(&bytes).context("no kernel programs in it")?;
    let (offset, value) = {
        let file = object::File::parse(&bytes[at..])?;
        let symbol = |name: &str| -> Result<usize> {
            let mut symbols = file.symbols();
            let symbol = symbols.find(|symbol| symbol.name() == Ok(name));
            let symbol = symbol.with_context(|| format!("no {name} in it"))?;
            let section = symbol.section_index().context("it is nowhere")?;
            let (begin, _) = file
                .section_by_index(section)?
                .file_range()
                .context("it has no bytes")?;
            Ok(usize::try_from(begin + symbol.address())?)
        };
        match change {
            Change::Nothing => (symbol("ASKS_EARLY")?, 1_u32),
            Change::Harmless => (symbol("DENIED")?, 0),
            Change::Broken => (symbol("task_alloc")?, u32::MAX),
        }
    };
    bytes[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
    let renamed = replace(&mut bytes, own.as_bytes(), other.as_bytes());
    ensure!(renamed > 0, "its digest {own} is not in it");
    let path = Path::new("/tmp")
        .join(format!("interlock-{mark}"))
        .join("interlock");
    fs::create_dir_all(path.parent().context("it has a folder")?)?;
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn kernel_programs(bytes: &[u8]) -> Option<usize> {
    let starts = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(ELF));
    let mut ours = starts.filter(|at| bytes.get(at + MACHINE..at + MACHINE + 2) == Some(&BPF));
    ours.next()
}

/// Replaces what is there by as many bytes, and says how often.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    let places = bytes.windows(old.len()).enumerate();
    let places = places.filter(|(_, window)| *window == old);
    let places = places.map(|(at, _)| at).collect::<Vec<_>>();
    for &at in &places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    places.len()
}

/// Where a program of the PATH lies.
pub(crate) fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let mut folders = std::env::split_paths(&path);
    let found = folders.find(|folder| folder.join(program).is_file());
    Ok(found
        .with_context(|| format!("no {program} on the PATH"))?
        .join(program))
}

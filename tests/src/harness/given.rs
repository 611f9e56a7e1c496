//! Programs that only some machines are given, in a folder of their own.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the folder of libraries is called, below `/usr/lib`.
pub(crate) fn libraries() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

/// Whether this machine was given those of a folder.
pub(crate) fn unless_there(folder: &str) -> Option<String> {
    let there = Path::new(folder).exists();
    (!there).then(|| format!("this machine was not given {folder}"))
}

/// Puts links to the programs and libraries of a folder where they are looked for.
pub(crate) fn install(folder: &str) -> Result<()> {
    let libraries = libraries();
    let places = format!("/usr/lib/{libraries}");
    for (from, to) in [
        ("usr/bin", "/usr/local/bin"),
        ("usr/sbin", "/usr/local/bin"),
        (&format!("usr/lib/{libraries}"), &places),
        (&format!("lib/{libraries}"), &places),
    ] {
        let from = Path::new(folder).join(from);
        if !from.exists() {
            continue;
        }
        for entry in fs::read_dir(&from).with_context(|| from.display().to_string())? {
            let entry = entry?;
            let link = Path::new(to).join(entry.file_name());
            if !link.exists() {
                std::os::unix::fs::symlink(entry.path(), link)?;
            }
        }
    }
    Ok(())
}

/// Starts a service that outlives the test, and says which process it is.
pub(crate) fn begin(service: &Command, log: &str) -> Result<u32> {
    let log = fs::File::create(log)?;
    let begun = Command::new("setsid")
        .arg(service.get_program())
        .args(service.get_args())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{service:?}"))?;
    Ok(begun.id())
}

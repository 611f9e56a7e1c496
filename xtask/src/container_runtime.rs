//! A container runtime for the machines that test containers: Debian's, unpacked beside the root file
//! system and given to these machines only, because it is larger than all the rest.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::archive::{self, Archive};
use crate::{os, workspace};

/// Everything that they need and the root file system does not have.
const PACKAGES: [&str; 4] = [
    "containerd",
    "containernetworking-plugins",
    "libseccomp2",
    "runc",
];

/// The folder's name, below `/with` in the machine.
const NAME: &str = "containers";

/// What the tests that need one are named after.
const TESTS: &str = "containers.";

/// The folder with the runtime, if one of the words of a machine's command asks for it; made when it is
/// not there yet.
pub(crate) fn wanted_by(command: &[String]) -> Result<Option<PathBuf>> {
    if !command.iter().any(|word| word.contains(TESTS)) {
        return Ok(None);
    }
    let Some(suite) = os::debian_suite() else {
        bail!("this needs a Debian system, from whose suite the container runtime is taken");
    };
    // Called after what is in it, so that an old one is not taken for this.
    let made_of = format!("{suite}-{}", PACKAGES.join("-"));
    let folder = workspace::cache().join("runtime").join(made_of);
    let tree = folder.join(NAME);
    if !tree.exists() {
        let suites = [
            suite.clone(),
            format!("{suite}-updates"),
            format!("{suite}-security"),
        ];
        let archive = Archive::open("root", &suites.each_ref().map(String::as_str))?;
        eprintln!("getting {} from {suite}", PACKAGES.join(", "));
        let part = folder.join(format!("{}.part", std::process::id()));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part)?;
        let packages = PACKAGES.map(str::to_owned);
        archive::unpack(&archive.download(&packages)?, &part)
            .context("cannot unpack the container runtime")?;
        archive.forget_downloads()?;
        let _ = fs::remove_dir_all(part.join("usr/share"));
        fs::rename(&part, &tree)?;
    }
    Ok(Some(tree))
}

//! A machine that is a host as people have them: systemd is its first process, and the Debian packages lie there to
//! be installed.

use std::path::PathBuf;

use anyhow::Result;

use crate::arch::Arch;
use crate::package::{self, PackageVerb};

/// What the tests that want one are named after.
const TESTS: &str = "boot.";

/// The folder with the packages, made anew, if one of the words of a machine's command asks for it.
pub(crate) fn wanted_by(command: &[String]) -> Result<Option<PathBuf>> {
    if !command.iter().any(|word| word.contains(TESTS)) {
        return Ok(None);
    }
    package::run(PackageVerb::Deb, Arch::OWN)?;
    Ok(Some(package::debian_folder()))
}

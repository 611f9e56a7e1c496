//! Takes everything out again.

use crate::control::server::{ListenError, Place};
use crate::kernel::pins;
use crate::sessions::{denials, records};
use std::io;
use std::path::Path;

/// Why something stays.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// A daemon would only put it back.
    #[error("nothing is removed while a daemon would put it back: stop it first")]
    Daemon(#[source] ListenError),
    /// The pins cannot be removed.
    #[error("cannot remove the pins under {}", pins::BPFFS)]
    Pins(#[source] io::Error),
    /// What the daemon keeps for a boot cannot be removed.
    #[error("cannot remove {0}")]
    Folder(&'static str, #[source] io::Error),
}

/// Removes pins, links and records. Nothing there is nothing to do.
pub fn run(socket: &Path) -> Result<(), UninstallError> {
    let _place = Place::take(socket).map_err(UninstallError::Daemon)?;
    pins::remove_all().map_err(UninstallError::Pins)?;
    for folder in [records::FOLDER, denials::FOLDER] {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(UninstallError::Folder(folder, error));
            }
            _ => {}
        }
    }
    Ok(())
}

//! Takes everything out again.

use crate::control::server::{ListenError, Place};
use crate::kernel::pins;
use crate::sessions::records::FOLDER;
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
    /// The records cannot be removed.
    #[error("cannot remove {FOLDER}")]
    Records(#[source] io::Error),
}

/// Removes pins, links and records. Nothing there is nothing to do.
pub fn run(socket: &Path) -> Result<(), UninstallError> {
    let _place = Place::take(socket).map_err(UninstallError::Daemon)?;
    pins::remove_all().map_err(UninstallError::Pins)?;
    match std::fs::remove_dir_all(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(UninstallError::Records(error))
        }
        _ => Ok(()),
    }
}

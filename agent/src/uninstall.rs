//! Takes everything out again.

use crate::control::server::ListenError;
use crate::kernel::pins;
use crate::sessions::records::FOLDER;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Why something stays.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// A daemon would only put it back.
    #[error("stop the daemon first")]
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
    if UnixStream::connect(socket).is_ok() {
        return Err(UninstallError::Daemon(ListenError::Taken(
            socket.to_owned(),
        )));
    }
    pins::remove_all().map_err(UninstallError::Pins)?;
    match std::fs::remove_dir_all(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(UninstallError::Records(error))
        }
        _ => Ok(()),
    }
}

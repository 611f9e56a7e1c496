//! The TCP sockets of sessions: listed, and cut.
//!
//! The kernel tells of each socket of a network namespace what is stored with it, so the owner that
//! the kernel programs wrote there comes with address, state and bytes in one answer
//! (`sock_diag`), and a socket is destroyed by the name that the answer gave it (`SOCK_DESTROY`).

pub mod diag;

use crate::kernel::pins::Pins;
use crate::netns::Namespace;
pub use diag::try_out;
use diag::{Channel, DiagError, Socket, State};

/// What became of a session's sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Connections that were destroyed.
    pub connections: usize,
    /// Sockets that are still there, each with why.
    pub left: Vec<Uncut>,
}

/// A socket that could not be destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncut {
    /// The socket.
    pub socket: Socket,
    /// Why.
    pub why: String,
}

/// Which sockets of a session are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them, those that nobody holds any more and that have yet to say so to their peers too.
    All,
    /// Those that somebody holds.
    Held,
}

/// Every socket that a session owns, of all network namespaces in which a process is.
pub fn all(pins: &Pins) -> Result<Vec<Socket>, DiagError> {
    let mut found = Vec::new();
    for_each_namespace(pins, |channel| {
        found.extend(channel.list()?);
        Ok(())
    })?;
    Ok(found)
}

/// Destroys the sockets of a session. Their peers are told by a reset.
pub fn cut(pins: &Pins, session: u64, which: Which) -> Result<Cut, DiagError> {
    let mut cut = Cut::default();
    for_each_namespace(pins, |channel| {
        for socket in channel.list()? {
            if socket.owner.session != session || (which == Which::Held && !socket.is_held()) {
                continue;
            }
            match channel.destroy(&socket) {
                Ok(true) => cut.connections += usize::from(socket.is_connection()),
                // It went by itself.
                Ok(false) => {}
                Err(error) => cut.left.push(Uncut {
                    socket,
                    why: error.to_string(),
                }),
            }
        }
        Ok(())
    })?;
    Ok(cut)
}

fn for_each_namespace(
    pins: &Pins,
    mut action: impl FnMut(&mut Channel) -> Result<(), DiagError>,
) -> Result<(), DiagError> {
    for namespace in Namespace::all().map_err(DiagError::Namespace)? {
        let socket = match namespace.run(diag::open) {
            Ok(socket) => socket?,
            // Its last process has just gone, and with it every socket.
            Err(error) if namespace.is_gone() => {
                tracing::debug!(%error, "a network namespace is gone");
                continue;
            }
            Err(error) => return Err(DiagError::Namespace(error)),
        };
        action(&mut Channel::new(socket, pins)?)?;
    }
    Ok(())
}

impl Socket {
    /// Whether it has a peer.
    pub fn is_connection(&self) -> bool {
        self.remote.port() != 0 && self.state != State::Listen && self.state != State::Close
    }
}

//! Asking the daemon.

use super::protocol::{MAX_LINE, Request, Response};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no daemon at {}: start one with `interlock daemon`", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// We may not ask.
    #[error("not allowed to ask the daemon at {}: only the user it runs as may, from outside every session", .0.display())]
    NotAllowed(PathBuf),
    /// The conversation broke off.
    #[error("the daemon did not answer")]
    Broken(#[source] io::Error),
    /// The answer makes no sense.
    #[error("the daemon's answer is not of this version")]
    Nonsense(#[source] serde_json::Error),
}

/// Asks one question and waits for the answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => AskError::NotAllowed(socket.to_owned()),
        _ => AskError::NoDaemon {
            path: socket.to_owned(),
            source,
        },
    })?;
    let line = converse(&mut stream, request).map_err(AskError::Broken)?;
    serde_json::from_str(&line).map_err(AskError::Nonsense)
}

fn converse(stream: &mut UnixStream, request: &Request) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE as u64)).read_line(&mut answer)?;
    Ok(answer)
}

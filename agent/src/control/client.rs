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
    /// It may still come.
    #[error("the daemon has not answered within {} s; what was asked may happen all the same", .0.as_secs())]
    Late(Duration),
    /// The answer makes no sense.
    #[error("the daemon's answer is not of this version")]
    Nonsense(#[source] serde_json::Error),
}

/// Asks one question and waits for the answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, AskError> {
    ask_within(PATIENCE, socket, request)
}

/// The same for what may take longer.
pub fn ask_within(
    patience: Duration,
    socket: &Path,
    request: &Request,
) -> Result<Response, AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => AskError::NotAllowed(socket.to_owned()),
        _ => AskError::NoDaemon {
            path: socket.to_owned(),
            source,
        },
    })?;
    let line = converse(patience, &mut stream, request).map_err(|error| match error.kind() {
        // What a socket with a time limit says.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Late(patience),
        _ => AskError::Broken(error),
    })?;
    serde_json::from_str(&line).map_err(AskError::Nonsense)
}

fn converse(patience: Duration, stream: &mut UnixStream, request: &Request) -> io::Result<String> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE as u64)).read_line(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_answer_that_does_not_come_in_time_is_told_apart_from_none() {
        let path = std::env::temp_dir().join(format!("interlock-late-{}", std::process::id()));
        let daemon = UnixListener::bind(&path).expect("a socket");
        let late = ask_within(Duration::from_millis(50), &path, &Request::Status);
        assert!(matches!(late, Err(AskError::Late(_))), "{late:?}");
        drop(daemon);
        let none = ask_within(Duration::from_secs(5), &path, &Request::Status);
        assert!(matches!(none, Err(AskError::NoDaemon { .. })), "{none:?}");
        std::fs::remove_file(&path).expect("removed");
    }
}

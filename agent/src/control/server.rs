//! Answering clients. Only the daemon's own user may ask, and nobody can make it wait.

use super::protocol::{MAX_LINE, Request, Response};
use crate::daemon::urgent::{Haste, Urgent};
use crate::ids::SessionId;
use crate::kernel::clock;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, Permissions};
use std::future::Future;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// How long a client may take over its question, or over taking the answer. What it asks for takes as long as it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients that are answered at once; more wait for their turn.
const CLIENTS: usize = 32;

/// Why the socket is not there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon answers on it.
    #[error("another daemon has {}", .0.display())]
    Taken(PathBuf),
    /// It could not be made.
    #[error("cannot listen on {}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The right to be the one daemon of this socket, for as long as it is held.
pub struct Place {
    path: PathBuf,
    mark: String,
    since_ns: u64,
    _lock: Flock<File>,
}

impl Place {
    /// Takes the place, if no other daemon has it.
    pub fn take(socket: &Path) -> Result<Self, ListenError> {
        let path = socket.to_owned();
        let failed = |source| ListenError::Bind {
            path: socket.to_owned(),
            source,
        };
        if let Some(folder) = socket.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = File::options();
        // Who has the place wrote into it who it is.
        options.write(true).create(true).truncate(false);
        let file = options.open(lock_of(socket)).map_err(failed)?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(ListenError::Taken(path)),
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        let since_ns = clock::boot_ns();
        let mark = format!("{} {since_ns}", std::process::id());
        lock.set_len(0).map_err(failed)?;
        lock.write_all(mark.as_bytes()).map_err(failed)?;
        Ok(Self {
            path,
            mark,
            since_ns,
            _lock: lock,
        })
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// What no other daemon writes where it takes its place.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// When it was taken, in nanoseconds since boot.
    pub fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// The mark of who took the place of this socket last.
    pub fn holder(socket: &Path) -> io::Result<String> {
        std::fs::read_to_string(lock_of(socket))
    }

    /// Makes the socket, reachable for its owner alone, and lets clients in. They make the calling
    /// thread urgent.
    pub fn open(&self, haste: Haste) -> Result<Door, ListenError> {
        let failed = |source| ListenError::Bind {
            path: self.path.clone(),
            source,
        };
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = net::UnixListener::bind(&self.path).map_err(failed)?;
        std::fs::set_permissions(&self.path, Permissions::from_mode(0o600)).map_err(failed)?;
        let (sender, clients) = mpsc::channel(CLIENTS);
        std::thread::Builder::new()
            .name("door".into())
            .spawn(move || attend(&listener, &haste, &sender))
            .map_err(failed)?;
        Ok(Door { clients })
    }
}

fn lock_of(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

impl Drop for Place {
    fn drop(&mut self) {
        // Who finds no socket need not wait for an answer. It may never have been made.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where clients come in.
pub struct Door {
    clients: mpsc::Receiver<io::Result<Client>>,
}

/// Who asks, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process.
    pub pid: Option<u32>,
}

impl Peer {
    /// In words, with the user who logged in if that was another: who answers must be found again.
    pub fn words(self) -> String {
        const NOBODY: &str = "4294967295";
        let name = |uid: u32| {
            let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            user.map_or_else(|| format!("user {uid}"), |user| user.name)
        };
        let mut words = name(self.uid);
        let Some(pid) = self.pid else {
            return words;
        };
        let login = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).unwrap_or_default();
        if let Ok(login) = login.trim().parse::<u32>()
            && login != self.uid
            && login.to_string() != NOBODY
        {
            words = format!("{words}, logged in as {}", name(login));
        }
        format!("{words}, process {pid}")
    }
}

/// A client that has come in, and for whom the daemon hurries.
struct Client {
    stream: net::UnixStream,
    urgent: Urgent,
}

/// Lets clients in, on a thread of its own that always goes first and does nothing else: an order
/// must get through on a machine that a session keeps busy. Only the daemon's own user can connect.
fn attend(listener: &net::UnixListener, haste: &Haste, clients: &mpsc::Sender<io::Result<Client>>) {
    let _urgent = Haste::of_this_thread().begin();
    loop {
        let client = listener.accept().map(|(stream, _)| Client {
            stream,
            urgent: haste.begin(),
        });
        let failed = client.is_err();
        if clients.blocking_send(client).is_err() || failed {
            return;
        }
    }
}

/// Answers clients until the socket fails.
pub async fn serve<F>(
    mut door: Door,
    session_of: impl Fn(u32) -> io::Result<Option<SessionId>> + 'static,
    answer: impl Fn(Request, Peer) -> F + 'static,
) -> io::Result<()>
where
    F: Future<Output = Response> + 'static,
{
    let answer = Rc::new((session_of, answer));
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("never closed");
        let Some(client) = door.clients.recv().await else {
            return Err(io::Error::other("nobody is at the door"));
        };
        let Client { stream, urgent } = client?;
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let answer = Rc::clone(&answer);
        clients.spawn_local(async move {
            let _kept = (place, urgent);
            match converse(stream, &answer.0, &answer.1).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    warn!("a client took too long");
                }
                Err(error) => debug!(%error, "a client went away"),
            }
        });
    }
}

/// Why a process may not ask, whatever its user. Sessions are kept from Unix sockets by the kernel
/// already; this is for what got hold of a connection in another way, and for kernels without BPF
/// LSM. It is asked before each answer: who connects may join a session afterwards.
fn refusal(
    pid: Option<u32>,
    session_of: &impl Fn(u32) -> io::Result<Option<SessionId>>,
) -> Option<String> {
    let Some(pid) = pid else {
        return Some("a process of another pid namespace may not ask this daemon".into());
    };
    match session_of(pid) {
        Ok(None) => None,
        Ok(Some(session)) => Some(format!(
            "process {pid} may not ask this daemon: it belongs to session {session}"
        )),
        Err(error) => Some(format!(
            "whether process {pid} may ask is not known: {error}"
        )),
    }
}

/// What a client does, if it does not take too long.
async fn within_patience<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await?
}

async fn converse<F>(
    stream: UnixStream,
    session_of: &impl Fn(u32) -> io::Result<Option<SessionId>>,
    answer: &impl Fn(Request, Peer) -> F,
) -> io::Result<()>
where
    F: Future<Output = Response>,
{
    let own = nix::unistd::geteuid().as_raw();
    let credentials = stream.peer_cred()?;
    let peer = credentials.uid();
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(MAX_LINE as u64));
    let mut line = String::new();
    while within_patience(reader.read_line(&mut line)).await? > 0 {
        let response = if peer != own {
            Response::Error(format!(
                "user {peer} may not ask this daemon, which runs as {own}"
            ))
        } else if let Some(refusal) = refusal(pid, session_of) {
            Response::Error(refusal)
        } else {
            match serde_json::from_str(&line) {
                Ok(request) => answer(request, Peer { uid: peer, pid }).await,
                Err(error) => Response::Error(format!("not a request: {error}")),
            }
        };
        let mut text = serde_json::to_string(&response)?;
        text.push('\n');
        within_patience(writer.write_all(text.as_bytes())).await?;
        line.clear();
        reader.get_mut().set_limit(MAX_LINE as u64);
    }
    Ok(())
}

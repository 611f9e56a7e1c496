//! Everything that can wait for a yes, each in a process of its own, so that all wait at once.

use super::way::PAYLOAD;
use super::{execute, file, local};
use crate::harness::holds::state;
use crate::sys::exec;
use crate::sys::net::{self, DGRAM, FASTOPEN, INET, STREAM};
use crate::sys::process::{self, End, Fork};
use crate::sys::sockaddr::SockAddr;
use crate::sys::stop::{self, Change};
use crate::sys::uring::{Ring, Worker};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

/// Its code: the number of the error; 0 where there is none. More than any error: it could not be tried.
type Code = i32;

/// That something was otherwise than it has to be, whatever the answer.
const WRONG: Code = 200;

/// When somebody loses patience.
const SOON: Duration = Duration::from_millis(40);

/// What each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A word of [`file`], `{}` being the folder.
    File(&'static str),
    /// Writes something into a file.
    Write,
    /// Connects to the port of its place in the table.
    Connect(Connect),
    /// Sends a datagram there.
    Send(libc::c_int),
    /// Sends where nothing is connected.
    Fastopen,
    /// Connects by io_uring.
    Ring,
    /// Listens.
    Listen,
    /// Takes an address for datagrams.
    Bind,
    /// A way of [`local`] to a socket of this name.
    Local(&'static str, &'static str),
    /// Executes in a way of [`execute`].
    Execute(&'static str),
    /// Makes a folder in a child that another loses patience with.
    Timeout,
    /// Makes a folder in a child whose parent hears of its stops.
    Job,
    /// Makes a folder in a child that is traced, and not let stop.
    Traced,
}

/// How a socket is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connect {
    Blocking,
    NonBlocking,
    /// With a timeout that is over long before the answer.
    Timeout,
    /// On a socket that the parent made.
    Inherited,
}

/// In what manner all is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Each by a process that does nothing else.
    Alone,
    /// By three threads of a process at once.
    Three,
    /// By a process to which a signal comes meanwhile, whose handler has `SA_RESTART`.
    Restart,
    /// By one whose handler has not.
    Handler,
}

impl Manner {
    /// Each with its word.
    pub(crate) const ALL: [(&str, Self); 4] = [
        ("alone", Self::Alone),
        ("three", Self::Three),
        ("restart", Self::Restart),
        ("handler", Self::Handler),
    ];

    fn from_word(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|(its, _)| *its == word);
        Ok(found.context("no such manner")?.1)
    }

    /// The flags of the handler, if a signal comes.
    fn handler(self) -> Option<libc::c_int> {
        match self {
            Self::Restart => Some(libc::SA_RESTART),
            Self::Handler => Some(0),
            Self::Alone | Self::Three => None,
        }
    }

    /// What can be done in it, by name, each with its place among all. Alone, everything. Otherwise what a process
    /// that is stopped for it does itself, in one way for each action.
    pub(crate) fn deeds(self) -> impl Iterator<Item = (usize, &'static str, Deed)> {
        let is_done = move |(_, name, deed): &(usize, &'static str, Deed)| match deed {
            _ if self == Self::Alone => true,
            Deed::File(_) => *name != "uring",
            Deed::Write | Deed::Listen | Deed::Bind | Deed::Local(..) => true,
            Deed::Connect(how) => *how == Connect::Blocking,
            Deed::Send(flags) => *flags == 0,
            Deed::Execute(way) => *way == "execve" || self == Self::Three,
            _ => false,
        };
        let all = ALL.iter().enumerate();
        all.map(|(place, (name, deed))| (place, *name, *deed))
            .filter(is_done)
    }
}

/// The signal that comes meanwhile.
pub(crate) const SIGNAL: libc::c_int = libc::SIGUSR1;

/// What three threads find that come second, where the first has done it.
const SECOND: [i32; 3] = [libc::EEXIST, libc::ENOENT, libc::EADDRINUSE];

/// All of them, by name.
const ALL: &[(&str, Deed)] = &[
    ("read", Deed::File("read {}/read")),
    ("write", Deed::Write),
    ("both", Deed::File("read-write {}/both")),
    ("create", Deed::File("create {}/new-file")),
    ("create-to-read", Deed::File("create-to-read {}/new-empty")),
    ("mkdir", Deed::File("mkdir {}/new-folder")),
    ("mkfifo", Deed::File("mkfifo {}/new-pipe")),
    ("symlink", Deed::File("symlink nowhere {}/new-symlink")),
    ("link", Deed::File("link {}/old-link {}/new-link")),
    ("unlink", Deed::File("unlink {}/old-unlink")),
    ("rmdir", Deed::File("rmdir {}/old-folder")),
    ("rename", Deed::File("rename {}/old-name {}/new-name")),
    ("rename-over", Deed::File("rename {}/old-over {}/over")),
    ("truncate", Deed::File("truncate {}/truncate")),
    ("uring", Deed::File("uring {}/uring")),
    ("connect", Deed::Connect(Connect::Blocking)),
    ("connect-nonblocking", Deed::Connect(Connect::NonBlocking)),
    ("connect-timeout", Deed::Connect(Connect::Timeout)),
    ("connect-inherited", Deed::Connect(Connect::Inherited)),
    ("connect-ring", Deed::Ring),
    ("fastopen", Deed::Fastopen),
    ("send", Deed::Send(0)),
    ("send-nonblocking", Deed::Send(libc::MSG_DONTWAIT)),
    ("listen", Deed::Listen),
    ("bind", Deed::Bind),
    ("unix", Deed::Local("path", "stream")),
    ("unix-send", Deed::Local("send", "datagram")),
    ("execve", Deed::Execute("execve")),
    ("posix_spawn", Deed::Execute("vfork")),
    ("execveat", Deed::Execute("handle")),
    ("exec-thread", Deed::Execute("thread")),
    ("timeout", Deed::Timeout),
    ("job", Deed::Job),
    ("traced", Deed::Traced),
];

/// Where all is.
struct Scene {
    root: String,
    address: IpAddr,
    /// The port of the first of the table.
    port: u16,
    socket: OwnedFd,
}

/// Those who do it, and what they are to do.
#[derive(Default)]
pub(crate) struct Deeds(Vec<(&'static str, i32)>);

impl Deeds {
    /// Begins all, and says which process does what: `NAME=PID` for each.
    pub(crate) fn begin(&mut self, root: &str, first: SocketAddr, manner: &str) -> Result<String> {
        let manner = Manner::from_word(manner)?;
        let scene = Scene {
            root: root.to_owned(),
            address: first.ip(),
            port: first.port(),
            socket: net::socket(INET, STREAM)?,
        };
        let mut line = String::new();
        for (place, name, deed) in manner.deeds() {
            let pid = match process::fork()? {
                Fork::Child => process::exit_now(scene.perform(name, deed, place, manner)),
                Fork::Parent(pid) => pid,
            };
            write!(line, "{name}={pid} ")?;
            self.0.push((name, pid));
        }
        Ok(line)
    }

    /// Waits for all, and says how each ended: `NAME=CODE` for each.
    pub(crate) fn end(&mut self) -> Result<String> {
        let mut line = String::new();
        for (name, pid) in self.0.drain(..) {
            match process::wait(pid)? {
                End::Exited(code) => write!(line, "{name}={code} ")?,
                End::Killed(signal) => write!(line, "{name}=-{signal} ")?,
            }
        }
        Ok(line)
    }
}

impl Scene {
    fn perform(&self, name: &str, deed: Deed, place: usize, manner: Manner) -> Code {
        let outcome = match manner {
            Manner::Alone => self.attempt(name, deed, place),
            Manner::Three => self.three(name, deed, place),
            Manner::Restart | Manner::Handler => self.interrupted(name, deed, place, manner),
        };
        match outcome {
            Ok(outcome) => code(&outcome),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                WRONG
            }
        }
    }

    /// Three threads at once. One at least makes it and the others make it or find it made; or all are denied.
    fn three(&self, name: &str, deed: Deed, place: usize) -> Result<io::Result<()>> {
        let together = Barrier::new(3);
        let codes = thread::scope(|scope| {
            let attempt = || {
                together.wait();
                Ok(code(&self.attempt(name, deed, place)?))
            };
            let threads = [(); 3].map(|()| scope.spawn(attempt));
            let codes = threads.map(|thread| thread.join().expect("an attempt does not panic"));
            codes.into_iter().collect::<Result<Vec<Code>>>()
        })?;
        let of = |wanted: Code| codes.contains(&wanted);
        let is_one = |code: &Code| [0, libc::EPERM].contains(code) || SECOND.contains(code);
        anyhow::ensure!(
            of(0) != of(libc::EPERM) && codes.iter().all(is_one),
            "three threads were told {codes:?}"
        );
        Ok(if of(0) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        })
    }

    /// With a signal that somebody sends while it waits.
    fn interrupted(
        &self,
        name: &str,
        deed: Deed,
        place: usize,
        manner: Manner,
    ) -> Result<io::Result<()>> {
        let flags = manner.handler().context("no handler")?;
        stop::handle(SIGNAL, flags)?;
        let outcome = match deed {
            // Who has the handler is who is stopped.
            Deed::Execute(_) => {
                let program = format!("{}/program", self.root);
                let words = [program.as_str(), &format!("{}-ran/{name}", self.root)];
                Err(exec::execve(&program, &words))
            }
            _ => self.attempt(name, deed, place)?,
        };
        anyhow::ensure!(stop::handled() == 1, "the signal's handler did not run");
        Ok(outcome)
    }

    fn attempt(&self, name: &str, deed: Deed, place: usize) -> Result<io::Result<()>> {
        let port = self.port + u16::try_from(place)?;
        let to = SockAddr::of(SocketAddr::new(self.address, port));
        let folder = |name: &str| format!("{}/new-{name}", self.root);
        Ok(match deed {
            Deed::File(words) => {
                let words = words.replace("{}", &self.root);
                let words: Vec<&str> = words.split(' ').collect();
                file::attempt(&words)?
            }
            Deed::Write => std::fs::OpenOptions::new()
                .append(true)
                .open(format!("{}/write", self.root))
                .and_then(|mut file| file.write_all(b", written")),
            Deed::Connect(how) => self.connect(how, &to)?,
            Deed::Send(flags) => {
                let socket = net::socket(INET, DGRAM)?;
                net::send(socket.as_fd(), PAYLOAD, flags, Some(&to))
            }
            Deed::Fastopen => {
                let socket = net::socket(INET, STREAM)?;
                net::send(socket.as_fd(), PAYLOAD, FASTOPEN, Some(&to))
            }
            Deed::Ring => {
                let ring = Ring::new(Worker::Inline).context("a ring")?;
                let socket = net::socket(INET, STREAM)?;
                ring.connect(socket.as_fd(), &to)
            }
            Deed::Listen => {
                let socket = net::socket(INET, STREAM)?;
                let bound = net::bind(socket.as_fd(), &to);
                bound.and_then(|()| net::listen(socket.as_fd()))
            }
            Deed::Bind => net::bind(net::socket(INET, DGRAM)?.as_fd(), &to),
            Deed::Local(way, at) => local::connect(way, &format!("{}/{at}", self.root))?,
            Deed::Execute(way) => {
                let program = format!("{}/program", self.root);
                let said =
                    execute::execute(way, &program, &[&format!("{}-ran/{name}", self.root)])?;
                match said.as_str() {
                    "ran 0" => Ok(()),
                    "EPERM" => Err(io::Error::from_raw_os_error(libc::EPERM)),
                    other => anyhow::bail!("{way}: {other}"),
                }
            }
            Deed::Timeout => {
                let child = make(&folder(name))?;
                while state(child) != Some('T') {
                    thread::sleep(Duration::from_millis(2));
                }
                // As `timeout` does it.
                process::kill(child, libc::SIGTERM)?;
                process::kill(child, libc::SIGCONT)?;
                let ended = process::wait(child)?;
                anyhow::ensure!(ended == End::Killed(libc::SIGTERM), "{ended:?}");
                Ok(())
            }
            Deed::Job => {
                let child = make(&folder(name))?;
                let stopped = stop::wait_for_change(child)?;
                anyhow::ensure!(stopped == Change::Stopped(libc::SIGSTOP), "{stopped:?}");
                ended(child)?
            }
            Deed::Traced => traced(&folder(name))?,
        })
    }

    fn connect(&self, how: Connect, to: &SockAddr) -> Result<io::Result<()>> {
        let own = net::socket(INET, STREAM)?;
        let socket = match how {
            Connect::Inherited => self.socket.as_fd(),
            _ => own.as_fd(),
        };
        match how {
            Connect::NonBlocking => stop::answer_at_once(socket)?,
            Connect::Timeout => stop::send_timeout(socket, SOON)?,
            Connect::Blocking | Connect::Inherited => {}
        }
        let mut connected = net::connect(socket, to);
        if matches!(how, Connect::NonBlocking) && code(&connected) == libc::EINPROGRESS {
            connected = stop::connected(&socket);
        }
        Ok(connected.and_then(|()| net::send(socket, PAYLOAD, 0, None)))
    }
}

fn code(outcome: &io::Result<()>) -> Code {
    match outcome {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(WRONG),
    }
}

/// A child that makes a folder.
fn make(folder: &str) -> io::Result<i32> {
    match process::fork()? {
        Fork::Child => process::exit_now(code(&crate::sys::file::mkdir(folder))),
        Fork::Parent(pid) => Ok(pid),
    }
}

fn ended(child: i32) -> Result<io::Result<()>> {
    Ok(match process::wait(child)? {
        End::Exited(0) => Ok(()),
        End::Exited(code) => Err(io::Error::from_raw_os_error(code)),
        End::Killed(signal) => anyhow::bail!("killed by {signal}"),
    })
}

/// A child that is traced: its stops are taken from it, and it stops again each time. Then it is let go,
/// stopped.
fn traced(folder: &str) -> Result<io::Result<()>> {
    let child = match process::fork()? {
        Fork::Child => {
            if stop::be_traced().is_err() {
                process::exit_now(WRONG);
            }
            process::exit_now(code(&crate::sys::file::mkdir(folder)))
        }
        Fork::Parent(pid) => pid,
    };
    for _ in 0..3 {
        let stopped = stop::wait_for_change(child)?;
        anyhow::ensure!(stopped == Change::Stopped(libc::SIGSTOP), "{stopped:?}");
        anyhow::ensure!(!std::path::Path::new(folder).exists(), "made by itself");
        stop::go_on(child, 0)?;
    }
    let stopped = stop::wait_for_change(child)?;
    anyhow::ensure!(stopped == Change::Stopped(libc::SIGSTOP), "{stopped:?}");
    stop::let_go(child, libc::SIGSTOP)?;
    ended(child)
}

//! The proof that enforcement is real: a child of our own attempts what it must be denied.
//!
//! An attached program can still be one that the kernel never calls. So before the daemon says
//! that it is ready, a process is put into a session that may do nothing, and each action it
//! attempts must fail with EPERM and must be told in the ring. The same attempts are made outside
//! first, where EPERM would mean that somebody else denies them and nothing is proven. Later it is
//! sent in again and again ([`super::proof`]).

use crate::central::Permit;
use crate::control::protocol::{Start, Started};
use crate::events::ring::Ring;
use crate::kernel::loader::{self, Mode};
use crate::kernel::probation::Probation;
use crate::run::enrol::{self, Enrol};
use crate::sessions::{CANARY, Sessions, StartError};
use agent_common::action::Action;
use agent_common::event::{Denial, Event, FileDenial};
use nix::errno::Errno;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden command of this binary that makes the attempts.
pub const COMMAND: &str = "canary";

/// The attempts that only BPF LSM denies: one for privileges, one for files, one for programs.
const SIGNAL: &str = "a signal to the daemon";
const READ: &str = "reading /proc/version";
const EXECUTE: &str = "executing a second program";
const BY_LSM: [&str; 3] = [SIGNAL, READ, EXECUTE];

/// How long the events may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the attempts may take, on a machine that sessions keep busy.
const LONGEST: Duration = Duration::from_secs(60);

/// A policy that allows nothing.
const POLICY: &str = "\
apiVersion: interlock.dev/v1alpha1
kind: AgentPolicy
metadata:
  name: interlock-canary
spec:
  owner:
    name: Interlock
    contact: the daemon itself
  egress: {}
";

/// What a dynamically linked program needs to run, where files and programs are judged, but for one
/// file, and for any program after the first.
const FILES: &str = "  files:
    allow: [{access: [read, write, map], paths: [\"/**\"]}]
    deny: [{access: [read], paths: [/proc/version]}]
  exec: {allow: [{programs: [\"/**\"], limit: {perSession: 1}}]}
";

/// Why enforcement is not proven.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The session could not be made.
    #[error("cannot make the canary's session")]
    Start(#[from] StartError),
    /// The child could not be started.
    #[error("cannot start the canary's process")]
    Spawn(#[source] io::Error),
    /// The enrolling program is not pinned.
    #[error("cannot find the program that enrols a process")]
    Enrol(#[source] aya::programs::ProgramError),
    /// The control failed: the attempts are denied outside every session.
    #[error("{0} is denied outside every session too, so nothing can be proven by it")]
    Control(String),
    /// An action was not denied.
    #[error("a session was not denied {0}: enforcement is not real on this kernel")]
    NotDenied(String),
    /// Somebody has taken programs away.
    #[error(
        "no longer at their hooks: {}; a daemon that is started puts them back",
        .0.join(", ")
    )]
    TakenAway(Vec<&'static str>),
    /// It cannot be seen which programs are there.
    #[error("cannot see what is pinned")]
    Pins(#[source] io::Error),
    /// It did not come to an end.
    #[error("the canary did not come to an end within {LONGEST:?}")]
    Slow,
    /// The kernel does not say who is on probation.
    #[error("cannot tell whom the programs on probation judge")]
    Probation(#[source] Errno),
    /// The programs on probation had nothing to judge.
    #[error("the programs on probation did not judge the canary")]
    NotJudged,
    /// A denial was not told.
    #[error("a denied {0} was not told: events do not reach the daemon")]
    NotTold(Action),
    /// The ring failed.
    #[error("cannot read the ring of decisions")]
    Ring(#[source] io::Error),
}

/// Sends the canary in. Whatever else the ring holds meanwhile is put with `others`, also where nothing is proven.
pub async fn prove(
    sessions: &mut Sessions,
    ring: &mut Ring,
    mode: &Mode,
    probation: Option<&Probation>,
    others: &mut Vec<Event>,
) -> Result<(), CanaryError> {
    if let Some(attempts) = those(&attempts(None).await?, true) {
        return Err(CanaryError::Control(attempts));
    }
    let started = sessions.start(&start(mode), Permit::default())?;
    let session = started.session;
    let outcome = match probation.map(Probation::share).transpose() {
        Ok(shared) => send_in(started, shared).await,
        Err(errno) => Err(CanaryError::Probation(errno)),
    };
    let told = expect_events(session.0, ring, actions(mode), others).await;
    // The session must not stay, whatever came of it.
    let ended = sessions.end(session.0);
    judge(outcome?, mode)?;
    ended.map_err(StartError::from)?;
    if let (Some(probation), Mode::Full) = (probation, mode) {
        match probation.judgements() {
            Ok(0) => return Err(CanaryError::NotJudged),
            Ok(_) => {}
            Err(errno) => return Err(CanaryError::Probation(errno)),
        }
    }
    told
}

/// The canary's session.
pub fn start(mode: &Mode) -> Start {
    Start {
        agent: CANARY.into(),
        file: "the canary's policy".into(),
        policy: match mode {
            Mode::Full => format!("{POLICY}{FILES}"),
            Mode::Degraded(_) => POLICY.into(),
        },
        profiles: Vec::new(),
    }
}

/// What must be told of it.
pub fn actions(mode: &Mode) -> Vec<Action> {
    let mut actions = vec![Action::Connect, Action::Send];
    if *mode == Mode::Full {
        actions.extend([Action::Privilege, Action::Read, Action::Exec]);
    }
    actions
}

/// Has a process in the session make its attempts, as the one that programs on probation judge, if there are any.
pub async fn send_in(
    started: Started,
    probation: Option<Probation>,
) -> Result<Vec<Attempt>, CanaryError> {
    let program = loader::enrol_program().map_err(CanaryError::Enrol)?;
    let attempts = attempts(Some(Enrol {
        program,
        started,
        probation,
    }));
    let outcome = tokio::time::timeout(LONGEST, attempts).await;
    outcome.map_err(|_| CanaryError::Slow)?
}

/// Whether all was denied that should be.
pub fn judge(mut outcome: Vec<Attempt>, mode: &Mode) -> Result<(), CanaryError> {
    // The cgroup programs see nothing but the network.
    outcome.retain(|(_, attempt)| *mode == Mode::Full || !BY_LSM.contains(&attempt.as_str()));
    match those(&outcome, false) {
        Some(attempts) => Err(CanaryError::NotDenied(attempts)),
        None => Ok(()),
    }
}

/// What the canary's process attempts; prints one line for each and its errno.
pub fn attempt() {
    let loopback4 = SocketAddr::from(([127, 0, 0, 1], 9));
    let loopback6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
    report(
        "connect to 127.0.0.1",
        TcpStream::connect(loopback4).map(drop),
    );
    report(
        "a datagram to 127.0.0.1",
        send(SocketAddr::from(([0; 4], 0)), loopback4),
    );
    report(SIGNAL, signal_daemon());
    report(READ, std::fs::read("/proc/version").map(drop));
    if let Ok(socket) = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))) {
        report(
            "a datagram to ::1",
            socket.send_to(b"?", loopback6).map(drop),
        );
        report("connect to ::1", TcpStream::connect(loopback6).map(drop));
    }
    // By this very process: programs on probation judge no other. Where it succeeds nothing more is said.
    report(EXECUTE, Ok(()));
    report(EXECUTE, Err(execute()));
}

/// A signal that does nothing, to the process that started this one.
fn signal_daemon() -> io::Result<()> {
    nix::sys::signal::kill(nix::unistd::getppid(), None).map_err(io::Error::from)
}

fn execute() -> io::Error {
    // Its output stays as it is: it would stay changed after a denial.
    Command::new("/proc/self/exe").arg("--version").exec()
}

fn send(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(from)?.send_to(b"?", to).map(drop)
}

fn report(attempt: &str, outcome: io::Result<()>) {
    let errno = outcome
        .err()
        .and_then(|error| error.raw_os_error())
        .unwrap_or(0);
    println!("{errno} {attempt}");
}

/// An attempt and the errno it ended with.
pub type Attempt = (i32, String);

/// Runs the attempts in a child, inside a session or outside.
async fn attempts(enrol: Option<Enrol>) -> Result<Vec<Attempt>, CanaryError> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(COMMAND)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(enrol) = enrol {
        enrol::before_exec(&mut command, enrol, None);
    }
    let child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(CanaryError::Spawn)?;
    let output = child.wait_with_output().await.map_err(CanaryError::Spawn)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut attempts: Vec<Attempt> = Vec::new();
    for (errno, attempt) in text.lines().filter_map(|line| line.split_once(' ')) {
        let Ok(errno) = errno.parse() else { continue };
        // What is said last of an attempt counts.
        attempts.retain(|(_, known)| known != attempt);
        attempts.push((errno, attempt.to_owned()));
    }
    if attempts.is_empty() {
        return Err(CanaryError::Spawn(io::Error::other(format!(
            "it ended {}",
            output.status
        ))));
    }
    Ok(attempts)
}

/// The attempts that were denied, or those that were not, in words.
fn those(attempts: &[Attempt], denied: bool) -> Option<String> {
    let words: Vec<_> = attempts
        .iter()
        .filter(|(errno, _)| (*errno == Errno::EPERM as i32) == denied)
        .map(|(errno, attempt)| match errno {
            0 => format!("{attempt} (it succeeded)"),
            errno => format!("{attempt} ({})", Errno::from_raw(*errno).desc()),
        })
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Waits until every one of these actions has been told.
async fn expect_events(
    session: u64,
    ring: &mut Ring,
    mut missing: Vec<Action>,
    others: &mut Vec<Event>,
) -> Result<(), CanaryError> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(action) = missing.first() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(events) = tokio::time::timeout(left, ring.next()).await else {
            return Err(CanaryError::NotTold(*action));
        };
        for event in events.map_err(CanaryError::Ring)?.into_iter().flatten() {
            match event {
                Event::Denial(Denial { header, action, .. })
                | Event::FileDenial(FileDenial {
                    denial: Denial { header, action, .. },
                    ..
                }) if header.session == session => {
                    missing.retain(|one| one.wire() != action);
                }
                other if other.session() == session => {}
                other => others.push(other),
            }
        }
    }
    Ok(())
}

//! The product's commands, and the daemon that tests share.

use super::events::FILE;
use super::freeze::freeze;
use super::network;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) const INTERLOCK: &str = "interlock";
/// Where the daemon's standard error goes.
pub(crate) const LOG: &str = "/run/interlock-tests.log";
/// Where the shared daemon's pid is kept between tests.
const PID: &str = "/run/interlock-tests.pid";
/// Where the daemon is asked.
pub(crate) const SOCKET: &str = "/run/interlock/control.sock";
/// How long it may take to answer.
const TO_ANSWER: Duration = Duration::from_secs(10);
/// The pins.
pub(crate) const PINS: &str = "/sys/fs/bpf/interlock";
/// How long a daemon may take to become ready, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(200);

/// What `interlock status --json` says, as far as tests care.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) programs: Programs,
    pub(crate) denied: u64,
    pub(crate) doubts: u64,
    pub(crate) labels_refused: u64,
    pub(crate) events_lost: u64,
}

/// The kernel programs in force.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Programs {
    /// The digest of their object file.
    pub(crate) build: String,
    /// `loaded`, `adopted`, `swapped` or `kept`.
    pub(crate) how: String,
    /// Why they are not the daemon's own.
    pub(crate) reason: Option<String>,
}

/// A daemon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Daemon {
    pub(crate) pid: i32,
}

impl Daemon {
    /// The daemon that tests share: the running one, or a new one. Sets the network up as well.
    pub(crate) fn shared() -> Result<Self> {
        network::set_up()?;
        match running() {
            Some(daemon) => Ok(daemon),
            None => Self::start(),
        }
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start() -> Result<Self> {
        match Self::try_start()? {
            Ok(daemon) => Ok(daemon),
            Err(log) => bail!("the daemon did not become ready:\n{log}"),
        }
    }

    /// Starts a daemon and waits until it is ready, or gives what it said instead.
    pub(crate) fn try_start() -> Result<Result<Self, String>> {
        Self::try_start_with(&[])
    }

    /// The same with more options.
    pub(crate) fn try_start_with(options: &[&str]) -> Result<Result<Self, String>> {
        Self::try_start_as(options, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn try_start_as(
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Result<Self, String>> {
        Self::try_run(Path::new(INTERLOCK), options, environment)
    }

    /// The same of another build.
    pub(crate) fn try_start_of(program: &Path) -> Result<Result<Self, String>> {
        Self::try_run(program, &[], &[])
    }

    fn try_run(
        program: &Path,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Result<Self, String>> {
        File::create(LOG).context(LOG)?;
        let append = |path: &str| OpenOptions::new().create(true).append(true).open(path);
        // A process of its own: it outlives the test that starts it, as a real daemon would.
        let child = Command::new("setsid")
            .arg(program)
            .arg("daemon")
            .args(options)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(append(FILE).context(FILE)?)
            .stderr(append(LOG).context(LOG)?)
            .spawn()
            .context("starting the daemon")?;
        let pid = i32::try_from(child.id())?;
        let deadline = Instant::now() + PATIENCE;
        let mut child = child;
        loop {
            let log = fs::read_to_string(LOG).context(LOG)?;
            if log
                .lines()
                .any(|line| line.contains("ready") && !line.contains("not ready"))
            {
                fs::write(PID, pid.to_string()).context(PID)?;
                return Ok(Ok(Self { pid }));
            }
            if let Some(status) = child.try_wait()? {
                return Ok(Err(format!("{log}it ended with {status}")));
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(Err(format!("{log}not ready after {PATIENCE:?}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(self, signal: i32) -> Result<()> {
        crate::sys::process::kill(self.pid, signal).context("signalling the daemon")
    }

    /// Stops the daemon where it is, until it is told to go on.
    pub(crate) fn freeze(self) -> Result<()> {
        freeze(self.pid).context("stopping the daemon")
    }

    /// Ends the daemon by a signal and waits until it is gone.
    pub(crate) fn end(self, signal: i32) -> Result<()> {
        self.signal(signal)?;
        let deadline = Instant::now() + PATIENCE;
        while is_alive(self.pid) {
            ensure!(
                Instant::now() < deadline,
                "the daemon does not end by signal {signal}"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

fn running() -> Option<Daemon> {
    let pid: i32 = fs::read_to_string(PID).ok()?.trim().parse().ok()?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (program.trim() == INTERLOCK && is_alive(pid)).then_some(Daemon { pid })
}

/// Whether any thread of a process still runs; one that nobody has waited for yet does not. The first may be gone
/// before those that still hold its sockets.
fn is_alive(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let runs = |stat: &str| Some(stat.rsplit_once(')')?.1.trim_start().chars().next()? != 'Z');
    let mut stats = threads
        .flatten()
        .flat_map(|thread| fs::read_to_string(thread.path().join("stat")));
    stats.any(|stat| runs(&stat) == Some(true))
}

/// Ends the daemon if there is one. What is in the kernel stays.
pub(crate) fn stop() -> Result<()> {
    match running() {
        Some(daemon) => daemon.end(libc::SIGTERM),
        None => Ok(()),
    }
}

/// Ends the daemon if there is one, and takes everything out of the kernel.
pub(crate) fn remove() -> Result<()> {
    stop()?;
    uninstall()
}

/// `interlock uninstall`, which must leave nothing.
pub(crate) fn uninstall() -> Result<()> {
    let output = call(&["uninstall"])?;
    ensure!(
        output.status.success(),
        "interlock uninstall: {}",
        said(&output)
    );
    let left = Path::new(PINS).exists() && fs::read_dir(PINS).context(PINS)?.next().is_some();
    ensure!(!left, "pins are left under {PINS}");
    Ok(())
}

/// `interlock status --json`.
pub(crate) fn status() -> Result<Status> {
    let output = call(&["status", "--json"])?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("interlock status --json: {}", said(&output)))
}

/// One session, as the daemon and `interlock sessions --json` say.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) session: String,
    pub(crate) agent: String,
    pub(crate) tasks: u64,
    pub(crate) facts: Vec<String>,
    /// The session into whose container somebody came, whose session it is.
    pub(crate) entered: Option<String>,
}

/// The session of an agent, if there is one.
pub(crate) fn session_of(agent: &str) -> Result<Option<Session>> {
    Ok(sessions_of(agent)?.into_iter().next())
}

/// An agent's session, once it has its first process: the daemon hears of it a moment later.
pub(crate) fn begun(agent: &str) -> Result<Session> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match session_of(agent)? {
            Some(session) if session.tasks > 0 => return Ok(session),
            _ => ensure!(Instant::now() < deadline, "no session of {agent}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// All of an agent's sessions. Tests ask for them again and again, so no program is run for it.
pub(crate) fn sessions_of(agent: &str) -> Result<Vec<Session>> {
    #[derive(Deserialize)]
    struct Told {
        sessions: Vec<Session>,
    }
    let said = ask("\"sessions\"")?;
    let told: Told =
        serde_json::from_str(&said).with_context(|| format!("the daemon said {said:?}"))?;
    let of_agent = |session: &Session| session.agent == agent;
    Ok(told.sessions.into_iter().filter(of_agent).collect())
}

/// The facts of an agent's session.
pub(crate) fn facts(agent: &str) -> Result<Vec<String>> {
    let session = session_of(agent)?.with_context(|| format!("no session of {agent}"))?;
    Ok(session.facts)
}

/// What `interlock revoke --json` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revoked {
    pub(crate) session: String,
    pub(crate) agent: String,
    pub(crate) cause: String,
    pub(crate) reason: Option<String>,
    pub(crate) denied_after_us: Option<u64>,
    pub(crate) killed_after_us: Option<u64>,
    pub(crate) empty_after_us: Option<u64>,
    pub(crate) killed: u64,
    pub(crate) left: Vec<serde_json::Value>,
    pub(crate) revoked_at: Option<String>,
    pub(crate) last_action: Option<String>,
    pub(crate) first_denial_after_us: Option<u64>,
    pub(crate) cut: usize,
    pub(crate) cut_after_us: Option<u64>,
    pub(crate) not_cut: Vec<serde_json::Value>,
}

/// One connection, as `interlock conns --json` says.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Connection {
    pub(crate) session: String,
    pub(crate) agent: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) diverted: bool,
    pub(crate) state: String,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) held: bool,
}

/// `interlock conns --json`: the connections of an agent.
pub(crate) fn connections_of(agent: &str) -> Result<Vec<Connection>> {
    let output = call(&["conns", "--json"])?;
    let all: Vec<Connection> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("interlock conns --json: {}", said(&output)))?;
    let of = |one: &Connection| one.agent.as_deref() == Some(agent);
    Ok(all.into_iter().filter(of).collect())
}

/// `interlock revoke SESSION --reason TEXT --json`, which must find nothing left.
pub(crate) fn revoke(session: &str, reason: &str) -> Result<Revoked> {
    let output = call(&["revoke", session, "--reason", reason, "--json"])?;
    ensure!(
        output.status.success(),
        "interlock revoke: {}",
        said(&output)
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("interlock revoke --json: {}", said(&output)))
}

/// Asks the daemon what the product's commands ask it: a line for a line.
pub(crate) fn ask(request: &str) -> Result<String> {
    let mut daemon = UnixStream::connect(SOCKET).context(SOCKET)?;
    daemon.set_read_timeout(Some(TO_ANSWER))?;
    writeln!(daemon, "{request}")?;
    let mut line = String::new();
    BufReader::new(daemon).read_line(&mut line)?;
    Ok(line)
}

/// Runs the product with some words and waits for its end.
pub(crate) fn call(words: &[&str]) -> Result<Output> {
    Command::new(INTERLOCK)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {INTERLOCK} {}", words.join(" ")))
}

/// What a command said, in one text.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}: stdout {:?}, stderr {:?}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

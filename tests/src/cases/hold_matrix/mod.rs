//! Everything that can wait, all at once, and each way in which waiting ends: what the program is told,
//! and what has happened, at the receiver and on the disk.

use super::hold::ROOT;
use crate::act::deeds::{ALL, Deed};
use crate::harness::Test;
use crate::harness::holds::{Question, answer, open_questions, state};
use crate::harness::kernel::unless_it_waits;
use crate::harness::network::ALLOWED4;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, revoke, session_of};
use crate::harness::session::{Obedient, Place};
use crate::sys::process::kill;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// The port of the first of all deeds.
const FIRST: u16 = 9100;

/// What is denied at once, and passes when it is tried again.
const CANNOT_WAIT: [&str; 3] = ["uring", "connect-ring", "fastopen"];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "hold.matrix",
            "every action that can wait: approved by a daemon that came back, denied, not answered, revoked",
            matrix,
        )
        .unless(unless_it_waits)
        .patience(240),
    ]
}

fn policy(agent: &str, wait: &str) -> Policy {
    let approval = format!("approval: {{by: [tester], once: true, wait: {wait}}}");
    let last = FIRST + 99;
    Policy::named(agent).with(&format!(
        "  files:
    allow:
      - {{access: [read, write, create, delete, rename, link, map], paths: [\"/**\"]}}
      - {{id: file, access: [read, write, create, delete, rename, link], paths: [{ROOT}/**], {approval}}}
  exec:
    allow:
      - {{programs: [/**]}}
      - {{id: program, programs: [{ROOT}/program], {approval}}}
  egress:
    allow:
      - {{id: tcp, to: [{ALLOWED4}], ports: [{FIRST}-{last}], protocol: tcp, {approval}}}
      - {{id: udp, to: [{ALLOWED4}], ports: [{FIRST}-{last}], protocol: udp, {approval}}}
      - {{id: unix, to: [\"unix:{ROOT}/stream\", \"unix:{ROOT}/datagram\"], {approval}}}
  listen:
    allow:
      - {{id: listen, on: [{ALLOWED4}], ports: [{FIRST}-{last}], protocol: tcp, {approval}}}
"
    ))
}

/// How waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Approved,
    Denied,
    Late,
    Revoked,
}

fn matrix() -> Result<()> {
    Daemon::shared()?;
    for end in [End::Denied, End::Late, End::Approved, End::Revoked] {
        round(end).with_context(|| format!("{end:?}"))?;
    }
    Ok(())
}

/// Who would notice that something has happened.
struct Receivers {
    streams: BTreeMap<&'static str, TcpListener>,
    datagrams: BTreeMap<&'static str, UdpSocket>,
    unix: UnixListener,
    unix_datagrams: UnixDatagram,
    /// What came.
    came: BTreeSet<&'static str>,
}

impl Receivers {
    fn new() -> Result<Self> {
        let (mut streams, mut datagrams) = (BTreeMap::new(), BTreeMap::new());
        for (place, (name, deed)) in ALL.iter().enumerate() {
            let at = (ALLOWED4, FIRST + u16::try_from(place)?);
            match deed {
                Deed::Connect(_) | Deed::Ring | Deed::Fastopen => {
                    let listener = TcpListener::bind(at)?;
                    listener.set_nonblocking(true)?;
                    streams.insert(*name, listener);
                }
                Deed::Send(_) => {
                    let socket = UdpSocket::bind(at)?;
                    socket.set_nonblocking(true)?;
                    datagrams.insert(*name, socket);
                }
                _ => {}
            }
        }
        let unix = UnixListener::bind(format!("{ROOT}/stream"))?;
        unix.set_nonblocking(true)?;
        let unix_datagrams = UnixDatagram::bind(format!("{ROOT}/datagram"))?;
        unix_datagrams.set_nonblocking(true)?;
        Ok(Self {
            streams,
            datagrams,
            unix,
            unix_datagrams,
            came: BTreeSet::new(),
        })
    }

    /// Notes who has come, and greets.
    fn look(&mut self) -> Result<()> {
        for (name, listener) in &self.streams {
            match listener.accept() {
                Ok(_) => drop(self.came.insert(name)),
                Err(error) => ensure!(error.kind() == ErrorKind::WouldBlock, "{name}: {error}"),
            }
        }
        let mut room = [0; 64];
        for (name, socket) in &self.datagrams {
            if socket.recv_from(&mut room).is_ok() {
                self.came.insert(name);
            }
        }
        if let Ok((mut stream, _)) = self.unix.accept() {
            stream.write_all(crate::act::local::GREETING.as_bytes())?;
            self.came.insert("unix");
        }
        if self.unix_datagrams.recv(&mut room).is_ok() {
            self.came.insert("unix-send");
        }
        Ok(())
    }

    /// Everything that has happened, by name.
    fn happened(&mut self) -> Result<BTreeSet<&'static str>> {
        self.look()?;
        let mut all = self.came.clone();
        let is = |name: &str| {
            Path::new(&format!("{ROOT}/{name}"))
                .symlink_metadata()
                .is_ok()
        };
        let holds = |name: &str| fs::read_to_string(format!("{ROOT}/{name}")).unwrap_or_default();
        for (name, deed) in ALL {
            let has = match (*name, deed) {
                ("write", _) => holds("write") != "write",
                ("create", _) => is("new-file"),
                ("create-to-read", _) => is("new-empty"),
                ("mkdir", _) => is("new-folder"),
                ("mkfifo", _) => is("new-pipe"),
                ("symlink", _) => is("new-symlink"),
                ("link", _) => is("new-link"),
                ("unlink", _) => !is("old-unlink"),
                ("rmdir", _) => !is("old-folder"),
                ("rename", _) => !is("old-name") || is("new-name"),
                ("rename-over", _) => !is("old-over") || holds("over") != "over",
                ("truncate", _) => holds("truncate") != "truncate",
                ("timeout" | "job" | "traced", _) => is(&format!("new-{name}")),
                (_, Deed::Execute(_)) => Path::new(&format!("{ROOT}-ran/{name}")).exists(),
                _ => false,
            };
            if has {
                all.insert(name);
            }
        }
        Ok(all)
    }
}

fn lay_out() -> Result<()> {
    for folder in [ROOT.to_owned(), format!("{ROOT}-ran")] {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder)?;
    }
    for name in [
        "read",
        "write",
        "both",
        "old-link",
        "old-unlink",
        "old-name",
        "old-over",
        "over",
        "truncate",
        "uring",
    ] {
        fs::write(format!("{ROOT}/{name}"), name)?;
    }
    fs::create_dir(format!("{ROOT}/old-folder"))?;
    fs::copy("/usr/bin/touch", format!("{ROOT}/program"))?;
    Ok(())
}

/// `NAME=NUMBER` for each.
fn numbers(line: &str) -> Result<BTreeMap<String, i32>> {
    let each = line.split_whitespace().map(|word| {
        let (name, number) = word.split_once('=').context("NAME=NUMBER")?;
        Ok((name.to_owned(), number.parse()?))
    });
    each.collect()
}

fn round(end: End) -> Result<()> {
    lay_out()?;
    let mut receivers = Receivers::new()?;
    let (agent, wait) = match end {
        End::Late => ("hold-matrix-late", "4s"),
        _ => ("hold-matrix", "5m"),
    };
    let mut actor = Place::Inside(&policy(agent, wait)).obey()?;
    println!("{end:?}: begins");
    let began = actor.order(&format!("deeds {ROOT} {ALLOWED4}:{FIRST}"))?;
    let pids = numbers(&began)?;
    ensure!(pids.len() == ALL.len(), "{began}");
    println!("{end:?}: {began}");
    if end != End::Late {
        let waiting = all_wait(agent, &mut receivers)?;
        if end == End::Approved {
            come_back(agent, &waiting, &mut receivers)?;
        }
    }
    if end == End::Revoked {
        return revoked(agent, &pids, &mut receivers);
    }
    let deadline = Instant::now() + PATIENCE;
    let is_over = |pid: &i32| matches!(state(*pid), None | Some('Z'));
    while !pids.values().all(is_over) {
        for question in open_questions(agent)?.iter().filter(|_| end != End::Late) {
            answer(&question.hold, end == End::Approved)?;
        }
        receivers.look()?;
        let left: Vec<_> = pids.iter().filter(|(_, pid)| !is_over(pid)).collect();
        ensure!(Instant::now() < deadline, "still waiting: {left:?}");
        thread::sleep(Duration::from_millis(10));
    }
    println!("{end:?}: over");
    compare(end, &mut actor, &mut receivers)?;
    actor.end()?;
    Ok(())
}

/// What the programs were told, and what has happened.
fn compare(end: End, actor: &mut Obedient, receivers: &mut Receivers) -> Result<()> {
    let told = numbers(&actor.order("deeds-end")?)?;
    let happened = receivers.happened()?;
    let mut wrong = Vec::new();
    for (name, deed) in ALL {
        let passes = end == End::Approved && !CANNOT_WAIT.contains(name);
        let expected = if passes || *deed == Deed::Timeout {
            0
        } else {
            libc::EPERM
        };
        // What leaves nothing that can be seen from outside.
        let is_seen = !matches!(*name, "read" | "both" | "listen" | "timeout");
        if told.get(*name) != Some(&expected) || happened.contains(name) != (passes && is_seen) {
            let happened = happened.contains(name);
            wrong.push(format!(
                "{name}: told {:?}, happened: {happened}",
                told.get(*name)
            ));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Waits until each asks, and finds those stopped who can be, and that nothing has happened.
fn all_wait(agent: &str, receivers: &mut Receivers) -> Result<Vec<Question>> {
    let deadline = Instant::now() + PATIENCE;
    let questions = loop {
        let questions = open_questions(agent)?;
        if questions.len() == ALL.len() {
            break questions;
        }
        if Instant::now() > deadline {
            let found: Vec<_> = questions
                .iter()
                .map(|it| (&it.action, &it.object))
                .collect();
            bail!(
                "{} questions, expected {}: {found:?}",
                found.len(),
                ALL.len()
            );
        }
        thread::sleep(Duration::from_millis(20));
    };
    let still = |questions: &[Question]| -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut moving = Vec::new();
            for question in questions {
                for pid in &question.waiting {
                    // The one with which `timeout` lost patience has gone.
                    let state = state(*pid).filter(|state| !matches!(state, 'Z' | 'X' | 'T'));
                    moving.extend(state.map(|state| (pid, state, &question.object)));
                }
            }
            if moving.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not stopped: {moving:?}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    still(&questions)?;
    let stopped = questions.iter().filter(|question| question.stopped).count();
    ensure!(
        stopped == ALL.len() - CANNOT_WAIT.len(),
        "{stopped} of {} stopped",
        ALL.len()
    );
    // Stray signals lead to the same questions.
    for pid in questions.iter().flat_map(|question| &question.waiting) {
        let _ = kill(*pid, libc::SIGCONT);
    }
    thread::sleep(Duration::from_millis(100));
    still(&questions)?;
    ensure!(
        open_questions(agent)?.len() == ALL.len(),
        "they asked again"
    );
    let happened = receivers.happened()?;
    ensure!(happened.is_empty(), "before any answer: {happened:?}");
    Ok(questions)
}

/// The daemon is killed while all wait, and comes back.
fn come_back(agent: &str, waiting: &[Question], receivers: &mut Receivers) -> Result<()> {
    Daemon::shared()?.end(libc::SIGKILL)?;
    for pid in waiting.iter().flat_map(|question| &question.waiting) {
        let _ = kill(*pid, libc::SIGCONT);
    }
    thread::sleep(Duration::from_millis(100));
    let happened = receivers.happened()?;
    ensure!(happened.is_empty(), "without a daemon: {happened:?}");
    Daemon::start()?;
    let numbers = |questions: &[Question]| -> BTreeSet<(String, String)> {
        let both = |question: &Question| (question.hold.clone(), question.action.clone());
        questions.iter().map(both).collect()
    };
    let found = open_questions(agent)?;
    ensure!(
        numbers(&found) == numbers(waiting),
        "after it came back: {found:?}"
    );
    Ok(())
}

/// All are killed where they stand.
fn revoked(agent: &str, pids: &BTreeMap<String, i32>, receivers: &mut Receivers) -> Result<()> {
    let session = session_of(agent)?.context("no session")?.session;
    let revoked = revoke(&session, "held")?;
    ensure!(
        revoked.empty_after_us.is_some() && revoked.left.is_empty(),
        "{revoked:?}"
    );
    let left: Vec<_> = pids
        .iter()
        .filter(|(_, pid)| !matches!(state(**pid), None | Some('Z')))
        .collect();
    ensure!(left.is_empty(), "still there: {left:?}");
    let happened = receivers.happened()?;
    ensure!(happened.is_empty(), "after it was revoked: {happened:?}");
    ensure!(open_questions(agent)?.is_empty(), "questions stay");
    Ok(())
}

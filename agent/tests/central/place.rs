//! A node and a controller, and what is found with each afterwards.

use crate::processes::{ADDRESS, FROM, HOME, LIMIT, RATE};
use agent_evidence::disk::Folder;
use agent_evidence::key::read_public;
use agent_evidence::mark::Mark;
use agent_evidence::read;
use agent_evidence::record::What;
use agent_evidence::segment::Trust;
use agent_evidence::verify::verify;
use agent_proto::wire::{AuditEntry, CheckpointsRequest, EventsRequest};
use interlock_controller::certs::{self, Wanted};
use interlock_controller::serve::database;
use interlock_controller::store::sqlite::Sqlite;
use interlock_controller::store::{Audit as _, Nodes as _, Records as _};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Numbers between one node process and the next: what it had not answered for may be there.
const GAP: u32 = 30_000;

/// A folder with certificates, and where the controller listens.
pub(crate) struct Place {
    pub(crate) home: PathBuf,
    pub(crate) listen: SocketAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }
}

pub(crate) fn wanted(days: i64) -> Wanted {
    Wanted {
        trust: "test".into(),
        hosts: vec!["127.0.0.1".into()],
        nodes: vec!["n1".into()],
        operators: vec!["root".into()],
        days,
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("interlock-central-{}-{count}", std::process::id());
        // In memory where there is room for it: each record is synced, twice.
        let memory = Path::new("/dev/shm");
        let home = match memory.is_dir() {
            true => memory.join(name),
            false => std::env::temp_dir().join(name),
        };
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        certs::make(&home.join("certs"), &wanted(1)).unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            listen: listen.local_addr().unwrap(),
            home,
        }
    }

    fn command(&self, which: &str, address: SocketAddr) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", which, "--ignored", "--nocapture"])
            .env(HOME, &self.home)
            .env(ADDRESS, address.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn controller(&self) -> Running {
        self.controller_of(None)
    }

    /// One that takes so many records a second.
    pub(crate) fn controller_of(&self, limit: Option<u32>) -> Running {
        let mut command = self.command("processes::controller_process", self.listen);
        if let Some(limit) = limit {
            command.env(LIMIT, limit.to_string());
        }
        Running(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// A node that makes so many denials a second.
    pub(crate) fn node(&self, seen: &Arc<Mutex<Seen>>, rate: u32, by: SocketAddr) -> Running {
        let from = {
            let mut seen = seen.lock().unwrap();
            seen.next += GAP;
            // What the one before has said is not so of this one.
            seen.info = Value::Null;
            seen.next
        };
        let mut command = self.command("processes::node_process", by);
        command
            .env(FROM, from.to_string())
            .env(RATE, rate.to_string())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let seen = Arc::clone(seen);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                seen.lock().unwrap().take(&line);
            }
        });
        Running(child)
    }

    pub(crate) fn store(&self) -> Sqlite {
        Sqlite::open(&database(&self.home.join("data"))).unwrap()
    }

    /// Waits until the controller has all that a node that records nothing more has recorded.
    pub(crate) fn until_delivered(&self, seen: &Mutex<Seen>, seconds: u64) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let recorded = info(seen)["recorded"].as_u64().unwrap_or(0);
            let chains = self.store().checkpoints(&CheckpointsRequest::default());
            let chain = chains.unwrap().chains.pop().unwrap_or_default();
            let stored = chain.stored.unwrap_or_default().sequence;
            if recorded > 0 && recorded == stored {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "stored up to {stored}: {}",
                info(seen)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn audit(&self) -> Vec<AuditEntry> {
        self.store().audited(u32::MAX).unwrap()
    }

    /// Both chains are whole and the same, each record is stored once and in order, and all that was
    /// answered for is there, once. So many there are.
    pub(crate) fn verify(&self, seen: &Mutex<Seen>) -> u64 {
        let folder = Folder::at(&self.home.join("node/evidence"));
        let own = read::after(&folder, 0, usize::MAX).unwrap();
        let mut store = self.store();
        let mut after = 0;
        let mut stored = Vec::new();
        loop {
            let page = store.events(&EventsRequest::default(), after).unwrap();
            let Some(last) = page.events.last() else {
                break;
            };
            after = last.id;
            stored.extend(page.events.into_iter().map(|event| event.record.unwrap()));
        }
        assert!(
            own.iter()
                .map(|entry| (entry.mark.sequence, &entry.mark.hash.0[..], &entry.body))
                .eq(stored
                    .iter()
                    .map(|it| (it.sequence, &it.hash[..], &it.body))),
            "the node has {} records and the controller {}, or they differ",
            own.len(),
            stored.len()
        );
        let theirs = stored.last().map(|last| Mark {
            sequence: last.sequence,
            hash: agent_evidence::chain::Hash(last.hash.clone().try_into().unwrap()),
        });
        let trust = Trust {
            key: Some(read_public(&self.home.join("node/evidence.pub")).unwrap()),
            known: theirs.into_iter().collect(),
        };
        let report = verify(&folder, &trust).unwrap();
        assert!(report.whole, "{report:?}");
        let node = store.nodes().unwrap().remove(0);
        assert_eq!((node.missing, node.forks), (0, 0), "{node:?}");
        let mut numbers = BTreeSet::new();
        for entry in &own {
            if let What::Decision(decision) = entry.record().unwrap().what {
                let number = decision.process.pid;
                assert!(numbers.insert(number), "{number} is recorded twice");
            }
        }
        let seen = seen.lock().unwrap();
        let lost: Vec<_> = seen.recorded.difference(&numbers).collect();
        assert!(lost.is_empty(), "answered for and lost: {lost:?}");
        own.len() as u64
    }
}

/// What a node process has said.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) recorded: BTreeSet<u32>,
    pub(crate) info: Value,
    next: u32,
}

impl Seen {
    fn take(&mut self, line: &str) {
        // The line of a process that was killed may be cut off.
        if let Some(info) = line.strip_prefix("info ") {
            self.info = serde_json::from_str(info).unwrap_or_default();
        }
        let words: Vec<&str> = line.split(' ').collect();
        if let ["recorded", first, last] = words[..]
            && let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>())
            && first <= last
            && last - first < 256
        {
            self.recorded.extend(first..=last);
            self.next = self.next.max(last);
        }
    }
}

pub(crate) fn count(seen: &Mutex<Seen>) -> usize {
    seen.lock().unwrap().recorded.len()
}

pub(crate) fn info(seen: &Mutex<Seen>) -> Value {
    seen.lock().unwrap().info.clone()
}

/// Waits until what the node says is so.
pub(crate) fn until(seen: &Mutex<Seen>, seconds: u64, what: &str, so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !so(&info(seen)) {
        assert!(Instant::now() < deadline, "not {what}: {}", info(seen));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process of ours, killed with its owner.
pub(crate) struct Running(Child);

impl Running {
    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// What it holds in memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

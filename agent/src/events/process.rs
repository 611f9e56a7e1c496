//! Which program a process runs, remembered beyond its end.
//!
//! A denied process is often gone before its event is read. So the program of every process of a
//! session is noted when it is executed; what was not noted is looked up in /proc, where the
//! start time tells a reused pid from the process that is meant.

use agent_common::event::{Exec, Process};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A process, told apart from every other that had or will have its pid.
type Key = (u32, u64);

/// Programs of processes.
#[derive(Debug, Default)]
pub struct Programs {
    known: HashMap<Key, Noted>,
    /// What /proc said of processes that are in no session, since the last [`Programs::refresh`].
    looked_up: HashMap<Key, Option<String>>,
}

#[derive(Debug)]
struct Noted {
    session: u64,
    exe: String,
}

impl Programs {
    /// Notes what a process executes, and what its parent runs: it may not outlive its child.
    pub fn note(&mut self, exec: &Exec) {
        let session = exec.header.session;
        // The resolved path is better than the one that was given, while it can be had.
        let exe = lookup(&exec.process).unwrap_or_else(|| readable(exec.path()));
        self.known
            .insert(key(&exec.process), Noted { session, exe });
        if let Entry::Vacant(entry) = self.known.entry(key(&exec.parent))
            && let Some(exe) = lookup(&exec.parent)
        {
            entry.insert(Noted { session, exe });
        }
    }

    /// Forgets the processes of a session that is over.
    pub fn forget(&mut self, session: u64) {
        self.known.retain(|_, noted| noted.session != session);
    }

    /// Forgets what may have changed: a process in no session executes without telling us.
    pub fn refresh(&mut self) {
        self.looked_up.clear();
    }

    /// The program of a process. A process that never executed anything runs its parent's.
    pub fn of(&mut self, process: &Process, ancestors: &[Process]) -> Option<String> {
        self.of_one(process)
            .or_else(|| ancestors.iter().find_map(|ancestor| self.noted(ancestor)))
    }

    /// The program of a process that certainly executed something.
    pub fn of_one(&mut self, process: &Process) -> Option<String> {
        if let Some(exe) = self.noted(process) {
            return Some(exe);
        }
        let known = self.looked_up.entry(key(process));
        known.or_insert_with(|| lookup(process)).clone()
    }

    fn noted(&self, process: &Process) -> Option<String> {
        self.known.get(&key(process)).map(|noted| noted.exe.clone())
    }
}

fn key(process: &Process) -> Key {
    (process.pid, process.start_ns)
}

/// What /proc says, if the process is still the one that is meant.
fn lookup(process: &Process) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let pid = i32::try_from(process.pid).ok()?;
    let found = procfs::process::Process::new(pid).ok()?;
    let ticks = process.start_ns / (1_000_000_000 / procfs::ticks_per_second());
    (found.stat().ok()?.starttime == ticks)
        .then(|| found.exe().ok())
        .flatten()
        .map(|path| readable(path.as_os_str().as_bytes()))
}

/// Text that a terminal and a JSON reader take without harm.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_harm_a_terminal_is_escaped() {
        assert_eq!(readable(b"caf\xc3\xa9"), "café");
        assert_eq!(readable(b"a\nb"), r"a\nb");
        assert_eq!(readable(b"\x1b[2J"), r"\x1b[2J");
        assert_eq!(readable(b"\xff"), r"\xff");
    }

    #[test]
    fn a_reused_pid_is_not_mistaken() {
        let own = procfs::process::Process::myself().unwrap();
        let ticks = own.stat().unwrap().starttime;
        let tick_ns = 1_000_000_000 / procfs::ticks_per_second();
        let process = |start_ns| Process {
            start_ns,
            pid: own.pid().unsigned_abs(),
            reserved: 0,
            comm: [0; 16],
        };
        assert!(lookup(&process(ticks * tick_ns)).is_some());
        assert_eq!(lookup(&process((ticks + 1) * tick_ns)), None);
    }
}

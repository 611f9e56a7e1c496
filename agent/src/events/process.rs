//! Which program a process runs, and with which words, remembered beyond its end.
//!
//! A denied process is often gone before its event is read. So the program of every process of a
//! session is noted when it is executed; what was not noted is looked up in /proc, where the
//! start time tells a reused pid from the process that is meant.

use crate::kernel::clock::WallClock;
use agent_common::event::{Exec, MAX_ARGUMENT_BYTES, Process};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::Read;

/// A process, told apart from every other that had or will have its pid.
type Key = (u32, u64);

/// What a process runs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its file, if that could be learned.
    pub exe: Option<String>,
    /// Its words, as many as fit.
    pub args: Vec<String>,
    /// Whether there were more.
    pub cut: bool,
}

/// Programs of processes.
#[derive(Debug, Default)]
pub struct Programs {
    known: HashMap<Key, Noted>,
    /// What /proc said of processes that are in no session, since the last [`Programs::refresh`].
    looked_up: HashMap<Key, Option<Program>>,
    /// As it was at the last refresh.
    clock: WallClock,
}

#[derive(Debug)]
struct Noted {
    session: u64,
    program: Program,
}

impl Programs {
    /// Notes what a process executes, and what its parent runs: it may not outlive its child.
    pub fn note(&mut self, exec: &Exec) {
        let session = exec.header.session;
        // The resolved path is better than the one that was given, while it can be had.
        let exe = executable(&exec.process).unwrap_or_else(|| readable(exec.path()));
        let program = Program {
            exe: Some(exe),
            args: exec.arguments().map(readable).collect(),
            cut: exec.arguments_length as usize >= MAX_ARGUMENT_BYTES,
        };
        self.known
            .insert(key(&exec.process), Noted { session, program });
        if let Entry::Vacant(entry) = self.known.entry(key(&exec.parent))
            && let Some(program) = lookup(&exec.parent)
        {
            entry.insert(Noted { session, program });
        }
    }

    /// Forgets the processes of a session that is over.
    pub fn forget(&mut self, session: u64) {
        self.known.retain(|_, noted| noted.session != session);
    }

    /// Forgets what may have changed: a process in no session executes without telling us, and the wall
    /// clock can be set.
    pub fn refresh(&mut self) {
        self.looked_up.clear();
        self.clock = WallClock::read();
    }

    /// The clock by which they are shown.
    pub fn clock(&self) -> WallClock {
        self.clock
    }

    /// The program of a process. A process that never executed anything runs its parent's.
    pub fn of(&mut self, process: &Process, ancestors: &[Process]) -> Program {
        self.found(process)
            .or_else(|| ancestors.iter().find_map(|ancestor| self.noted(ancestor)))
            .unwrap_or_default()
    }

    fn found(&mut self, process: &Process) -> Option<Program> {
        if let Some(program) = self.noted(process) {
            return Some(program);
        }
        let known = self.looked_up.entry(key(process));
        known.or_insert_with(|| lookup(process)).clone()
    }

    fn noted(&self, process: &Process) -> Option<Program> {
        let noted = self.known.get(&key(process))?;
        Some(noted.program.clone())
    }
}

fn key(process: &Process) -> Key {
    (process.pid, process.start_ns)
}

/// What /proc says, if the process is still the one that is meant.
fn lookup(process: &Process) -> Option<Program> {
    let exe = executable(process)?;
    let mut words = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{}/cmdline", process.pid)) {
        // A process can show as much as it likes.
        let _ = file
            .take(MAX_ARGUMENT_BYTES as u64 + 1)
            .read_to_end(&mut words);
    }
    // Asked again: what was read must not be another's.
    started_then(process)?;
    let cut = words.len() > MAX_ARGUMENT_BYTES;
    words.truncate(MAX_ARGUMENT_BYTES);
    let words = words.strip_suffix(&[0]).unwrap_or(&words);
    let args = match words {
        [] => Vec::new(),
        words => words.split(|byte| *byte == 0).map(readable).collect(),
    };
    Some(Program {
        exe: Some(exe),
        args,
        cut,
    })
}

/// The file that it runs.
fn executable(process: &Process) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let path = started_then(process)?.exe().ok()?;
    Some(readable(path.as_os_str().as_bytes()))
}

/// A process in /proc, if it is the one that is meant.
fn started_then(process: &Process) -> Option<procfs::process::Process> {
    let pid = i32::try_from(process.pid).ok()?;
    let found = procfs::process::Process::new(pid).ok()?;
    let ticks = process.start_ns / (1_000_000_000 / procfs::ticks_per_second());
    (found.stat().ok()?.starttime == ticks).then_some(found)
}

/// Text that a terminal and a JSON reader take without harm.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(misleads) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Whether a character moves the cursor, cannot be seen, ends a line, or turns the direction of what
/// follows it.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
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
        assert_eq!(readable("a\u{202e}b".as_bytes()), r"a\xe2\x80\xaeb");
        assert_eq!(readable("a\u{2028}b".as_bytes()), r"a\xe2\x80\xa8b");
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
        let found = lookup(&process(ticks * tick_ns)).unwrap();
        assert!(found.exe.is_some());
        assert!(!found.args.is_empty());
        assert_eq!(lookup(&process((ticks + 1) * tick_ns)), None);
    }
}

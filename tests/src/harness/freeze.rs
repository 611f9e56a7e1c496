//! Processes that stand still.

use crate::sys::process::kill;
use anyhow::{Result, ensure};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stops a process, and waits until each of its threads stands: one that runs on another processor does not at once.
pub(crate) fn freeze(pid: i32) -> Result<()> {
    kill(pid, libc::SIGSTOP)?;
    let deadline = Instant::now() + PATIENCE;
    while !stands(pid)? {
        ensure!(Instant::now() < deadline, "a thread of {pid} goes on");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn stands(pid: i32) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that is gone stands.
        let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        if state.is_some_and(|state| !state.starts_with(['T', 't', 'Z', 'X'])) {
            return Ok(false);
        }
    }
    Ok(true)
}

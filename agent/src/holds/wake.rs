//! Waking processes that were stopped for a question.

use crate::kernel::held::Held;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::time::Duration;
use tracing::debug;

/// When a process is looked at again after the answer, counted from the time before: one that had not
/// stopped yet when the answer came stops afterwards, and waits for nobody.
pub const LOOKS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_millis(1500),
];

/// Lets every stopped process go on that waits for the answer to a question.
pub fn wake(held: &Held, hold: u64) {
    for (waiter, began_ns) in held.waiting() {
        if waiter.hold == hold {
            go_on(waiter.pid, began_ns);
        }
    }
}

/// What has become of a process that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It was stopped, and goes on.
    Woken,
    /// It is not stopped.
    Awake,
    /// There is no such process any more.
    Gone,
}

/// Lets a process go on, if it is the one that began then, and is stopped.
pub fn go_on(pid: u32, began_ns: u64) -> Found {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Found::Gone;
    };
    // Held first: whoever is looked at then is who gets the signal.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Found::Gone;
    };
    let stat = procfs::process::Process::new(pid.as_raw_nonzero().get())
        .and_then(|process| process.stat());
    let Ok(stat) = stat else {
        return Found::Gone;
    };
    if stat.starttime != ticks(began_ns) {
        return Found::Gone;
    }
    if !matches!(stat.state, 'T' | 't') {
        return Found::Awake;
    }
    if let Err(error) = pidfd_send_signal(&process, Signal::CONT) {
        debug!(%error, pid = pid.as_raw_nonzero(), "cannot let a process go on");
    }
    Found::Woken
}

/// A time since boot as `/proc` tells it.
fn ticks(began_ns: u64) -> u64 {
    began_ns / (1_000_000_000 / procfs::ticks_per_second())
}

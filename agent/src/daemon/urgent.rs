//! Going before everybody else, for as long as it must be.
//!
//! Two thousand processes that all want the processor leave a daemon that must kill them a
//! two-thousandth of it, whatever its nice value: each may have a share of its own. While it
//! answers a client, kills or takes up a policy, and only then, the kernel gives it the processor
//! whenever it asks.

#![expect(
    unsafe_code,
    reason = "no safe wrapper of sched_setscheduler(2) is at hand"
)]

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, gettid};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::debug;

/// What the daemon adds to its share when nothing is urgent: about nine times that of another
/// process. Fifty that never pause must not keep it from what they are held to.
const NICE: libc::c_int = -10;

/// The daemon's share, for this thread and those it begins.
pub fn ask_for_more() {
    ask_for(NICE);
}

/// Anybody's share, for a thread of the daemon that nothing waits for.
pub fn ask_for_no_more() {
    ask_for(0);
}

fn ask_for(nice: libc::c_int) {
    // SAFETY: three integers, no memory.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if let Err(error) = Errno::result(result) {
        debug!(%error, "the nice value stays");
    }
}

/// The right to make one thread urgent.
#[derive(Debug, Clone)]
pub struct Haste(Arc<Thread>);

#[derive(Debug)]
struct Thread {
    id: Pid,
    /// How many are urgent: the last one gives the priority back.
    urgent: Mutex<u32>,
}

impl Haste {
    /// Of the calling thread.
    pub fn of_this_thread() -> Self {
        Self(Arc::new(Thread {
            id: gettid(),
            urgent: Mutex::new(0),
        }))
    }

    /// The thread goes first until the last of these is dropped. Where the host refuses, it goes
    /// on as before.
    pub fn begin(&self) -> Urgent {
        let mut urgent = self.0.urgent.lock().unwrap_or_else(PoisonError::into_inner);
        if *urgent == 0 {
            set(self.0.id, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1);
        }
        *urgent += 1;
        Urgent(self.clone())
    }
}

/// While it lives, a thread is urgent.
#[derive(Debug)]
pub struct Urgent(Haste);

impl Drop for Urgent {
    fn drop(&mut self) {
        let thread = &self.0.0;
        let mut urgent = thread.urgent.lock().unwrap_or_else(PoisonError::into_inner);
        *urgent = urgent.saturating_sub(1);
        if *urgent == 0 {
            set(thread.id, libc::SCHED_OTHER, 0);
        }
    }
}

fn set(thread: Pid, policy: libc::c_int, priority: libc::c_int) {
    let parameter = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the parameter outlives the call, which only reads it.
    let result = unsafe { libc::sched_setscheduler(thread.as_raw(), policy, &raw const parameter) };
    if let Err(error) = Errno::result(result) {
        debug!(%error, policy, "the priority stays");
    }
}

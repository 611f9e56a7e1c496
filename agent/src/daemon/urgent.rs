//! Going before everybody else, for as long as it must be.
//!
//! Two thousand processes that all want the processor leave a daemon that must kill them a
//! two-thousandth of it. While it kills, and only then, the kernel gives it the processor whenever
//! it asks.

#![expect(
    unsafe_code,
    reason = "no safe wrapper of sched_setscheduler(2) is at hand"
)]

use nix::errno::Errno;
use nix::libc;
use std::cell::Cell;
use tracing::debug;

thread_local! {
    /// How many are urgent: the last one gives the priority back.
    static URGENT: Cell<u32> = const { Cell::new(0) };
}

/// The calling thread goes first until the last of these is dropped.
pub struct Urgent(());

impl Urgent {
    /// Begins. Where the host refuses, it goes on as before.
    pub fn begin() -> Self {
        URGENT.with(|count| {
            if count.get() == 0 {
                set(libc::SCHED_FIFO, 1);
            }
            count.set(count.get() + 1);
        });
        Self(())
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        URGENT.with(|count| {
            count.set(count.get().saturating_sub(1));
            if count.get() == 0 {
                set(libc::SCHED_OTHER, 0);
            }
        });
    }
}

fn set(policy: libc::c_int, priority: libc::c_int) {
    let parameter = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the parameter outlives the call, which only reads it; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
    if let Err(error) = Errno::result(result) {
        debug!(%error, policy, "the priority stays");
    }
}

//! Waiting until no kernel program runs any more that has begun before.

#![expect(unsafe_code, reason = "no safe wrapper of membarrier(2) is at hand")]

use nix::errno::Errno;
use nix::libc;

/// `MEMBARRIER_CMD_GLOBAL`.
const GLOBAL: libc::c_int = 1;

/// Waits for a grace period of RCU (`synchronize_rcu` in `kernel/sched/membarrier.c`), under which
/// every program of ours runs from beginning to end. Takes milliseconds. Fails on a kernel that was
/// told to leave some processors alone (`nohz_full`).
pub fn wait_for_programs() -> Result<(), Errno> {
    // SAFETY: three integers, no memory.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    Errno::result(result).map(drop)
}

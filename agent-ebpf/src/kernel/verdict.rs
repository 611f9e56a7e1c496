//! What a program returns to the kernel.

use super::hold;
use aya_ebpf::Global;

/// `-EPERM`. Loaded, not computed: 6.12's verifier does not follow the arithmetic that compilers
/// make of a choice between two constants, and asks LSM programs for a range.
#[unsafe(no_mangle)]
static DENIED: Global<i32> = Global::new(-1);

/// `-ENOMEM`, for a fork that cannot be labelled.
#[unsafe(no_mangle)]
static NO_MEMORY: Global<i32> = Global::new(-12);

/// `-ESTALE`, upon which the kernel looks up a path once more, and anew.
#[unsafe(no_mangle)]
static STALE: Global<i32> = Global::new(-116);

/// `-ERESTARTNOINTR`: the call begins anew when the task goes on, by itself.
#[unsafe(no_mangle)]
static RESTART: Global<i32> = Global::new(-513);

/// The answer to the creation of a file of which the kernel does not know whether it is there.
#[inline(always)]
pub fn look_first() -> i32 {
    STALE.load()
}

/// The answer of an LSM program.
#[inline(always)]
pub fn lsm(allowed: bool) -> i32 {
    if allowed {
        0
    } else if hold::takes_stop() {
        RESTART.load()
    } else {
        DENIED.load()
    }
}

/// The answer to a task that was stopped in the middle of its call.
#[inline(always)]
pub fn once_more() -> i32 {
    RESTART.load()
}

/// The answer of `task_alloc` to a fork.
#[inline(always)]
pub fn fork(labelled: bool) -> i32 {
    if labelled { 0 } else { NO_MEMORY.load() }
}

/// The answer of a cgroup program: 1 lets the call go on, 0 fails it with EPERM.
#[inline(always)]
pub fn cgroup(allowed: bool) -> i32 {
    i32::from(allowed)
}

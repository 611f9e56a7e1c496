//! What a program returns to the kernel.

use aya_ebpf::Global;

/// `-EPERM`. Loaded, not computed: 6.12's verifier does not follow the arithmetic that compilers
/// make of a choice between two constants, and asks LSM programs for a range.
#[unsafe(no_mangle)]
static DENIED: Global<i32> = Global::new(-1);

/// `-ENOMEM`, for a fork that cannot be labelled.
#[unsafe(no_mangle)]
static NO_MEMORY: Global<i32> = Global::new(-12);

/// The answer of an LSM program.
#[inline(always)]
pub fn lsm(allowed: bool) -> i32 {
    if allowed { 0 } else { DENIED.load() }
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

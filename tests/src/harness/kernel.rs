//! What the running kernel has.

use std::fs;

/// The kernel's release.
pub(crate) fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The LSMs that the kernel calls.
pub(crate) fn lsms() -> Vec<String> {
    fs::read_to_string("/sys/kernel/security/lsm")
        .unwrap_or_default()
        .trim()
        .split(',')
        .map(str::to_owned)
        .collect()
}

/// Whether the kernel calls BPF programs on LSM hooks.
pub(crate) fn has_bpf_lsm() -> bool {
    lsms().iter().any(|lsm| lsm == "bpf")
}

/// Skips what only a kernel booted without `bpf` among its LSMs can show.
pub(crate) fn unless_without_bpf_lsm() -> Option<String> {
    has_bpf_lsm().then(|| {
        "this boot has bpf among its LSMs; boot with --lsm lockdown,capability,landlock,yama".into()
    })
}

/// Skips what needs BPF LSM.
pub(crate) fn unless_with_bpf_lsm() -> Option<String> {
    (!has_bpf_lsm()).then(|| "this boot has no bpf among its LSMs".into())
}

/// Skips what needs processes that wait for a person.
pub(crate) fn unless_it_waits() -> Option<String> {
    let too_old = before(5, 15).then(|| "nothing can wait on this kernel".into());
    unless_with_bpf_lsm().or(too_old)
}

/// Skips what only a kernel shows on which nothing can wait.
pub(crate) fn unless_nothing_waits() -> Option<String> {
    let new = (!before(5, 15)).then(|| "what needs a yes waits on this kernel".into());
    unless_with_bpf_lsm().or(new)
}

/// Whether the kernel is older than a version.
pub(crate) fn before(major: u32, minor: u32) -> bool {
    let release = release();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (major, minor)
}

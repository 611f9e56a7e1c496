//! How often the kernel did not run a program of ours because it had interrupted the same program on
//! the same processor. A kernel that preempts programs does that: 5.12 to 6.1 to any hook where the
//! whole kernel is preemptible, 7.x to tracepoints. It counts them, and so do we.

use super::object::{Kind, PROGRAMS};
use aya::programs::{ProgramFd, loaded_programs};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use tracing::warn;

/// Bytes of a program's name that the kernel keeps.
const NAME: usize = 15;

/// The programs that are loaded, open for asking.
pub struct Skipped(Vec<(&'static str, ProgramFd)>);

impl Skipped {
    /// Of the programs that are loaded now. What cannot be opened is left out, and said.
    pub fn open() -> Self {
        let mut found = Vec::new();
        for info in loaded_programs() {
            let opened = info.and_then(|info| {
                let name = info.name().to_vec();
                let known = PROGRAMS
                    .iter()
                    .find(|program| is_kernels(program.name, &name));
                known
                    .filter(|program| program.kind != Kind::Run)
                    .map(|program| Ok((program.name, info.fd()?)))
                    .transpose()
            });
            match opened {
                Ok(opened) => found.extend(opened),
                Err(error) => warn!(%error, "cannot ask how often a program was skipped"),
            }
        }
        Self(found)
    }

    /// How often each was skipped since it was loaded; those that never were are left out, and so are
    /// all on a kernel that does not count.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for (name, program) in &self.0 {
            let file = format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd());
            let text = fs::read_to_string(file).unwrap_or_default();
            let count = skipped(&text).unwrap_or(0);
            if count > 0 {
                *counts.entry(*name).or_default() += count;
            }
        }
        counts
    }
}

/// Whether a name is what the kernel keeps of a program's.
fn is_kernels(name: &str, kept: &[u8]) -> bool {
    name.as_bytes().iter().take(NAME).eq(kept)
}

fn skipped(fdinfo: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix("recursion_misses:")?.trim().parse().ok();
    fdinfo.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_program_is_read() {
        let said = "prog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t10\nverified_insns:\t470\n";
        assert_eq!(skipped(said), Some(10));
        assert_eq!(skipped("prog_type:\t26\n"), None);
    }

    #[test]
    fn the_kernel_keeps_fifteen_bytes_of_a_name() {
        assert!(is_kernels("bprm_committed_creds", b"bprm_committed_"));
        assert!(is_kernels("born", b"born"));
        assert!(!is_kernels("born", b"borne"));
        assert!(!is_kernels("borne", b"born"));
    }
}

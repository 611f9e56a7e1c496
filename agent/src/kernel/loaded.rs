//! The kernel programs that are loaded, and what the kernel says of each.

use super::bpf::NAME;
use super::object::{Kind, PROGRAMS};
use aya::programs::{ProgramFd, loaded_programs};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use tracing::warn;

/// A program of ours that is loaded, open for asking.
pub(super) struct Loaded {
    /// What we call it.
    pub(super) name: &'static str,
    program: ProgramFd,
}

impl Loaded {
    /// Those that are loaded now, without those that the daemon runs itself. What cannot be opened is left
    /// out, and said.
    pub(super) fn all() -> Vec<Self> {
        let mut found = Vec::new();
        for info in loaded_programs() {
            let opened = info.and_then(|info| {
                let name = info.name().to_vec();
                let known = PROGRAMS
                    .iter()
                    .find(|program| is_kernels(program.name, &name));
                let attached = known.filter(|program| program.kind != Kind::Run);
                let open = |program: &super::object::Program| {
                    let (name, program) = (program.name, info.fd()?);
                    Ok(Self { name, program })
                };
                attached.map(open).transpose()
            });
            match opened {
                Ok(opened) => found.extend(opened),
                Err(error) => warn!(%error, "cannot ask the kernel about a program"),
            }
        }
        found
    }

    /// What the kernel says of it now.
    pub(super) fn said(&self) -> String {
        let file = format!("/proc/self/fdinfo/{}", self.program.as_fd().as_raw_fd());
        fs::read_to_string(file).unwrap_or_default()
    }
}

/// A number of what the kernel says, by its name.
pub(super) fn number(said: &str, name: &str) -> Option<u64> {
    let mut pairs = said.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    value.trim().parse().ok()
}

/// Whether a name is what the kernel keeps of a program's.
fn is_kernels(name: &str, kept: &[u8]) -> bool {
    name.as_bytes().iter().take(NAME).eq(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_program_is_read() {
        let said = "prog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t10\nverified_insns:\t470\n";
        assert_eq!(number(said, "recursion_misses"), Some(10));
        assert_eq!(number(said, "run_cnt"), Some(0));
        assert_eq!(number(said, "run_time_ns"), None);
    }

    #[test]
    fn the_kernel_keeps_fifteen_bytes_of_a_name() {
        assert!(is_kernels("bprm_committed_creds", b"bprm_committed_"));
        assert!(is_kernels("born", b"born"));
        assert!(!is_kernels("born", b"borne"));
        assert!(!is_kernels("borne", b"born"));
    }
}

//! How often the kernel did not run a program of ours because it had interrupted the same program on
//! the same processor. A kernel that preempts programs does that: 5.12 to 6.1 to any hook where the
//! whole kernel is preemptible, 7.x to tracepoints. It counts them, and so do we.

use super::loaded::{Loaded, number};
use std::collections::BTreeMap;

/// The programs that are loaded, open for asking.
pub struct Skipped(Vec<Loaded>);

impl Skipped {
    /// Of the programs that are loaded now.
    pub fn open() -> Self {
        Self(Loaded::all())
    }

    /// How often each was skipped since it was loaded; those that never were are left out, and so are
    /// all on a kernel that does not count.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for program in &self.0 {
            let count = number(&program.said(), "recursion_misses").unwrap_or(0);
            if count > 0 {
                *counts.entry(program.name).or_default() += count;
            }
        }
        counts
    }
}

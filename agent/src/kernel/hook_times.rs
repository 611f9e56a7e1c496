//! How long each program runs, measured by the kernel for as long as somebody wants to know.

use super::loaded::{Loaded, number};
use aya::sys::{Stats, SyscallError, enable_stats};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// While it lives, the kernel measures every BPF program of the host: two looks at the clock for each run.
pub struct HookTimes {
    _measuring: OwnedFd,
    programs: Vec<Loaded>,
}

impl HookTimes {
    /// Begins to measure the programs that are loaded now.
    pub fn begin() -> Result<Self, SyscallError> {
        Ok(Self {
            _measuring: enable_stats(Stats::RunTime)?,
            programs: Loaded::all(),
        })
    }

    /// How often each ran while that was measured, and how long together.
    pub fn read(&self) -> BTreeMap<&'static str, (u64, Duration)> {
        let mut times: BTreeMap<_, (u64, Duration)> = BTreeMap::new();
        for program in &self.programs {
            let said = program.said();
            let of = |name| number(&said, name).unwrap_or(0);
            let (runs, time) = times.entry(program.name).or_default();
            *runs += of("run_cnt");
            *time += Duration::from_nanos(of("run_time_ns"));
        }
        times
    }
}

//! What the daemon may do as root, and for what. The unit and the chart give it these and no other; a test holds
//! them against this list.

use procfs::process::Process;
use procfs::sys::kernel::Version;

/// A capability that the daemon cannot do without, or not well.
struct Capability {
    name: &'static str,
    bit: u32,
    purpose: &'static str,
    needed: Needed,
}

/// Where a capability is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Always,
    /// In a container, for `--enter-host`.
    ToEnter,
    /// Before 5.11, where the kernel's tables count as locked memory.
    ForOldKernels,
    /// Nowhere: without it the daemon does the same, and sessions are slower.
    ForSpeed,
}

/// `CAP_SYS_ADMIN` includes `CAP_BPF` and `CAP_PERFMON`, and these two are not enough in its place.
const ALL: [Capability; 9] = [
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: 21,
        purpose: "load kernel programs, find them by number, and enter network namespaces",
        needed: Needed::Always,
    },
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        purpose: "attach to the root cgroup, and destroy the connections of sessions that are over",
        needed: Needed::Always,
    },
    Capability {
        name: "CAP_KILL",
        bit: 5,
        purpose: "end the processes of sessions",
        needed: Needed::Always,
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        purpose: "read who a process is, whoever it runs as",
        needed: Needed::Always,
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        bit: 2,
        purpose: "read programs that others hide",
        needed: Needed::Always,
    },
    Capability {
        name: "CAP_SYS_NICE",
        bit: 23,
        purpose: "go first while it kills or answers",
        needed: Needed::Always,
    },
    Capability {
        name: "CAP_SYS_CHROOT",
        bit: 18,
        purpose: "enter the host's mounts",
        needed: Needed::ToEnter,
    },
    Capability {
        name: "CAP_SYS_RESOURCE",
        bit: 24,
        purpose: "lift the limit on locked memory, which the kernel's tables count as before 5.11",
        needed: Needed::ForOldKernels,
    },
    Capability {
        name: "CAP_SYSLOG",
        bit: 34,
        purpose: "learn where the kernel counts changes of names",
        needed: Needed::ForSpeed,
    },
];

/// What the daemon may not do and must.
#[derive(Debug, thiserror::Error)]
#[error("cannot {purpose}: found no {name} among this process's capabilities")]
pub struct Missing {
    name: &'static str,
    purpose: &'static str,
}

/// Whether this process has all that it needs; the first that it has not. What cannot be learned is found
/// out later, by what fails.
pub(super) fn check(enters: bool) -> Result<(), Missing> {
    let Ok(status) = Process::myself().and_then(|process| process.status()) else {
        return Ok(());
    };
    let is_old = Version::current().is_ok_and(|kernel| (kernel.major, kernel.minor) < (5, 11));
    missing(status.capeff, enters, is_old).map_or(Ok(()), Err)
}

fn missing(held: u64, enters: bool, is_old: bool) -> Option<Missing> {
    let is_needed = |capability: &&Capability| match capability.needed {
        Needed::Always => true,
        Needed::ToEnter => enters,
        Needed::ForOldKernels => is_old,
        Needed::ForSpeed => false,
    };
    let mut needed = ALL.iter().filter(is_needed);
    let one = needed.find(|capability| held & (1 << capability.bit) == 0)?;
    Some(Missing {
        name: one.name,
        purpose: one.purpose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_that_is_missing_is_named() {
        let all = ALL.iter().fold(0, |held, one| held | 1 << one.bit);
        assert!(missing(all, true, true).is_none());
        let found = missing(all & !(1 << 5), false, false).expect("one is missing");
        assert_eq!(
            found.to_string(),
            "cannot end the processes of sessions: found no CAP_KILL among this process's capabilities"
        );
        let found = |enters, is_old| missing(all & !(1 << 18) & !(1 << 24), enters, is_old);
        assert!(found(false, false).is_none());
        assert!(found(true, false).is_some());
        assert!(found(false, true).is_some());
        assert!(missing(all & !(1 << 34), true, true).is_none());
    }

    #[test]
    fn the_unit_and_the_chart_give_these_and_no_other() {
        let names = |enters: bool| -> BTreeSet<String> {
            let of = |one: &&Capability| enters || one.needed != Needed::ToEnter;
            ALL.iter().filter(of).map(|it| it.name.to_owned()).collect()
        };
        let unit = include_str!("../../../deploy/systemd/interlock.service");
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let words = line.expect("a bounding set").split(' ');
        assert_eq!(
            words.map(str::to_owned).collect::<BTreeSet<_>>(),
            names(false)
        );
        let chart = include_str!("../../../deploy/helm/interlock/templates/daemonset.yaml");
        let (_, added) = chart
            .split_once("              add:\n")
            .expect("what is added");
        let lines = added.lines().map(str::trim);
        let lines = lines.take_while(|line| line.starts_with("- ") || line.starts_with('#'));
        let added = lines.filter_map(|line| line.strip_prefix("- "));
        let added = added.map(|name| format!("CAP_{name}"));
        assert_eq!(added.collect::<BTreeSet<_>>(), names(true));
    }
}

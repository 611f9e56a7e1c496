//! What follows from the checks.

use super::check::{Check, State, Weight};
use serde::Serialize;

/// What this version lets every session do, on every kernel.
const NOT_ENFORCED: &[&str] = &[
    "code in a heap that grows after personality(READ_IMPLIES_EXEC), or written by tracing",
    "what goes through raw and packet sockets where a policy gives cap_net_raw",
    "what is said on an allowed connection",
];

/// How much can be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All that this version does.
    Full,
    /// Less.
    Degraded,
    /// Nothing.
    None,
}

/// What `interlock doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Grows when a field changes its meaning.
    pub schema: u32,
    /// Our version.
    pub interlock: &'static str,
    /// The kernel's release.
    pub kernel: String,
    /// How much can be enforced.
    pub outcome: Outcome,
    /// The process's exit code.
    pub exit_code: u8,
    /// The outcome in one sentence.
    pub summary: String,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// What this version does not enforce on any kernel.
    pub not_enforced: &'static [&'static str],
}

impl Report {
    /// Draws the conclusion.
    pub fn of(kernel: String, checks: Vec<Check>) -> Report {
        let failed = |weight| {
            checks
                .iter()
                .filter(move |check| check.weight == weight && check.state == State::Missing)
                .map(|check| check.id.as_str())
        };
        let has_lsm = failed(Weight::Degrading).next().is_none();
        let mut blocking: Vec<&str> = failed(Weight::Required).collect();
        if !has_lsm {
            blocking.extend(failed(Weight::InPlaceOfLsm));
        }
        let (outcome, exit_code, summary) = if blocking.contains(&"root") {
            (
                Outcome::None,
                2,
                "Not run as root, so nothing could be tried and nothing can be enforced: run \
                 `sudo interlock doctor`."
                    .to_owned(),
            )
        } else if !blocking.is_empty() {
            (
                Outcome::None,
                2,
                format!(
                    "Interlock cannot enforce anything here: {} missing.",
                    list(&blocking)
                ),
            )
        } else if !has_lsm {
            (
                Outcome::Degraded,
                1,
                "Interlock can enforce egress to IPv4 and IPv6 here, by cgroup programs alone: it has \
                 to do without BPF LSM."
                    .to_owned(),
            )
        } else {
            (
                Outcome::Full,
                0,
                "Interlock can enforce here all that this version does: egress, files, programs \
                 and privileges, by BPF LSM and cgroup programs."
                    .to_owned(),
            )
        };
        Report {
            schema: 1,
            interlock: env!("CARGO_PKG_VERSION"),
            kernel,
            outcome,
            exit_code,
            summary,
            checks,
            not_enforced: NOT_ENFORCED,
        }
    }
}

fn list(ids: &[&str]) -> String {
    match ids {
        [one] => format!("{one} is"),
        more => format!("{} are", more.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Group;

    fn outcome(checks: &[(&str, Weight, State)]) -> (Outcome, u8, String) {
        let checks = checks
            .iter()
            .map(|(id, weight, state)| Check {
                state: *state,
                ..Check::ok(Group::Host, id, "", "").weighing(*weight)
            })
            .collect();
        let report = Report::of("6.1".to_owned(), checks);
        (report.outcome, report.exit_code, report.summary)
    }

    #[test]
    fn a_missing_lsm_degrades_as_long_as_something_takes_its_place() {
        use State::{Missing, Ok};
        use Weight::{Degrading, InPlaceOfLsm, Informing, Required};
        let (full, code, _) = outcome(&[
            ("cgroup", Required, Ok),
            ("lsm", Degrading, Ok),
            ("newtask", InPlaceOfLsm, Missing),
            ("storage", Informing, Missing),
        ]);
        assert_eq!((full, code), (Outcome::Full, 0));
        let (less, code, _) =
            outcome(&[("lsm", Degrading, Missing), ("newtask", InPlaceOfLsm, Ok)]);
        assert_eq!((less, code), (Outcome::Degraded, 1));
        let (none, code, why) = outcome(&[
            ("lsm", Degrading, Missing),
            ("newtask", InPlaceOfLsm, Missing),
        ]);
        assert_eq!((none, code), (Outcome::None, 2));
        assert!(why.contains("newtask is missing"), "{why}");
    }

    #[test]
    fn what_is_required_is_named_when_missing() {
        let (none, code, why) = outcome(&[
            ("bpffs", Weight::Required, State::Missing),
            ("hash", Weight::Required, State::Missing),
        ]);
        assert_eq!((none, code), (Outcome::None, 2));
        assert!(why.contains("bpffs, hash are missing"), "{why}");
    }
}

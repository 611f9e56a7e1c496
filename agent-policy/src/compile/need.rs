//! What a policy asks of the kernel side.

use std::collections::BTreeSet;

use agent_common::decide::{NO_LIST, Rule, Verdict};
use agent_common::terms::{Limit, Terms};

use crate::policy::{Mode, Recognised, RevokeOn};

use super::Compiled;

/// What a policy asks of the kernel side besides egress by address and facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// Several rules for one object.
    Alternatives,
    /// Facts that expire.
    Timers,
    /// Rates, and budgets of how many.
    Limits,
    /// Budgets of how many bytes go over a network.
    Bytes,
    /// Budgets of how many bytes go elsewhere.
    OtherBytes,
    /// Hours.
    Hours,
    /// Approvals.
    Approvals,
    /// Bind and listen.
    Listen,
    /// Unix sockets.
    UnixSockets,
    /// Host names, which nothing enforces yet.
    HostNames,
    /// Other agents.
    Handoffs,
    /// Programs.
    Exec,
    /// Programs by their contents.
    Digests,
    /// Files.
    Files,
    /// Tools.
    Tools,
    /// Killing a session's processes.
    Kill,
    /// Ending a session's permission over a deviation.
    Revoke,
    /// Recording what would be denied, and letting it happen.
    Audit,
    /// A permission that ends after a time.
    Ttl,
    /// One that ends when the chain is complete.
    Completion,
    /// One that ends when the chain has failed.
    Failure,
    /// One that ends when a step comes too late.
    Timeout,
    /// One that ends when the controller is out of reach.
    ControllerLost,
    /// Sessions that are recognised by their cgroup or systemd unit.
    Cgroups,
    /// Sessions that begin with an executable.
    Executables,
    /// Sessions that are containers of pods.
    Pods,
    /// Sessions that are containers of Docker or podman.
    Engines,
    /// The same, selected by what the Kubernetes API tells, and no runtime.
    ServiceAccounts,
}

impl Need {
    /// What is needed, in words.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alternatives => "several rules for one object",
            Self::Timers => "facts that expire",
            Self::Limits => "rates and budgets",
            Self::Bytes => "budgets of bytes",
            Self::OtherBytes => "budgets of bytes for what is no egress to a network",
            Self::Hours => "hours",
            Self::Approvals => "approvals",
            Self::Listen => "rules for bind and listen",
            Self::UnixSockets => "rules for Unix sockets",
            Self::HostNames => "host names",
            Self::Handoffs => "handoffs to other agents",
            Self::Exec => "rules for programs",
            Self::Digests => "programs by digest",
            Self::Files => "rules for files",
            Self::Tools => "tools",
            Self::Kill => "killing a session's processes",
            Self::Revoke => "revocation on deviation",
            Self::Audit => "mode: audit",
            Self::Ttl => "ttl",
            Self::Completion => "revokeOn: completion",
            Self::Failure => "revokeOn: failure",
            Self::Timeout => "timeout under revokeOn or failedBy",
            Self::ControllerLost => "revokeOn: controllerLost",
            Self::Cgroups => "recognition by cgroup or systemd unit",
            Self::Executables => "recognition by executable",
            Self::Pods => "recognition by pod",
            Self::Engines => "recognition by container of Docker or podman",
            Self::ServiceAccounts => "recognition by service account",
        }
    }
}

impl Recognised {
    /// What the way asks of the kernel side.
    pub const fn need(&self) -> Option<Need> {
        match self {
            Self::Run => None,
            Self::Executable(_) => Some(Need::Executables),
            Self::SystemdUnit(_) | Self::Cgroup(_) => Some(Need::Cgroups),
            Self::Kubernetes(pod) if pod.service_account.is_some() => Some(Need::ServiceAccounts),
            Self::Kubernetes(_) => Some(Need::Pods),
            Self::Container(_) => Some(Need::Engines),
        }
    }
}

impl Compiled {
    /// What the policy asks of the kernel side. A loader that cannot give all of it refuses the
    /// policy: a rule that looks enforced and is not is worse than none.
    pub fn needs(&self) -> Vec<Need> {
        let any = |test: fn(&Rule) -> bool| self.rules.iter().any(test);
        let path = |accesses: std::ops::Range<usize>| {
            self.scopes().flat_map(|scope| &scope.paths).any(|entry| {
                let lists = [&entry.lists, &entry.fallback];
                lists
                    .iter()
                    .any(|lists| lists[accesses.clone()].iter().any(|list| *list != NO_LIST))
            })
        };
        let by = |need| self.recognised.iter().any(|way| way.need() == Some(need));
        let ends = |test: fn(&RevokeOn) -> bool| self.end.revoke_on.iter().any(test);
        let needs = [
            (Need::Alternatives, any(|rule| rule.flags & Rule::MORE != 0)),
            (
                Need::Timers,
                self.terms.timers.iter().any(|timer| timer.fact != 0),
            ),
            (Need::Limits, any(|rule| rule.limits != [0; 2])),
            (
                Need::Bytes,
                self.terms
                    .limits
                    .iter()
                    .any(|limit| limit.kind == Limit::BYTES),
            ),
            (Need::OtherBytes, self.counts_other_bytes()),
            (Need::Hours, any(|rule| rule.window != 0)),
            (Need::Approvals, !self.approvals.is_empty()),
            (
                Need::Listen,
                self.scopes().any(|scope| !scope.listen.is_empty()),
            ),
            (Need::UnixSockets, path(8..9)),
            (
                Need::HostNames,
                self.scopes().any(|scope| !scope.hosts.is_empty()),
            ),
            (
                Need::Handoffs,
                self.scopes().any(|scope| !scope.agents.is_empty()),
            ),
            (Need::Exec, path(7..8)),
            (Need::Digests, self.has_digests()),
            (Need::Files, path(0..7)),
            (Need::Tools, !self.tools.is_empty()),
            (
                Need::Kill,
                any(|rule| rule.verdict == Verdict::Kill.wire())
                    || self.terms.flags & Terms::DEVIATION_KILL != 0,
            ),
            (
                Need::Revoke,
                self.terms.flags & Terms::DEVIATION_REVOKE != 0,
            ),
            (Need::Audit, self.mode == Mode::Audit),
            (Need::Ttl, self.end.ttl_s.is_some()),
            (Need::Completion, ends(|on| *on == RevokeOn::Completion)),
            (Need::Failure, ends(|on| *on == RevokeOn::Failure)),
            (
                Need::Timeout,
                ends(|on| *on == RevokeOn::Timeout)
                    || self.failed_by_timeout && ends(|on| *on == RevokeOn::Failure),
            ),
            (
                Need::ControllerLost,
                ends(|on| matches!(on, RevokeOn::ControllerLost(_))),
            ),
            (Need::Cgroups, by(Need::Cgroups)),
            (Need::Executables, by(Need::Executables)),
            (Need::Pods, by(Need::Pods)),
            (Need::Engines, by(Need::Engines)),
            (Need::ServiceAccounts, by(Need::ServiceAccounts)),
        ];
        needs
            .into_iter()
            .filter(|(_, needed)| *needed)
            .map(|(need, _)| need)
            .collect()
    }

    /// Whether a rule has a budget of bytes that speaks of anything but egress to a network.
    fn counts_other_bytes(&self) -> bool {
        let counts = |rule: &Rule| {
            rule.limits.iter().any(|limit| {
                let limit = usize::from(*limit).checked_sub(1);
                let limit = limit.and_then(|at| self.terms.limits.get(at));
                limit.is_some_and(|limit| limit.kind == Limit::BYTES)
            })
        };
        let listed = |list: u32| {
            let mut more = list != NO_LIST;
            let mut rules = (0..).map_while(|i| {
                let rule = self.rule_at(list, i).filter(|_| more)?;
                more = rule.flags & Rule::MORE != 0;
                Some(rule)
            });
            rules.any(|rule| counts(&rule))
        };
        let sets: BTreeSet<u32> = self
            .scopes()
            .flat_map(|scope| scope.listen.iter().map(|network| network.set))
            .collect();
        let ports = self.ports.iter().filter(|port| sets.contains(&port.set));
        let others = self.scopes().flat_map(|scope| {
            let paths = scope.paths.iter();
            let paths = paths.flat_map(|entry| entry.lists.iter().chain(&entry.fallback));
            let digests = scope.digests.iter().map(|entry| &entry.list);
            paths
                .chain(digests)
                .chain(scope.agents.iter().map(|entry| &entry.list))
        });
        others
            .copied()
            .chain(ports.map(|port| port.rule))
            .any(listed)
    }
}

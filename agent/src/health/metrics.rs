//! Every figure that the daemon shows, by its name. `docs/metrics.md` has the same table, and a test holds one
//! against the other.

use super::starts::Since;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, since then. Its samples end in `_total`.
    Counter(Since),
    /// What is so now.
    Gauge,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its samples differ by.
    pub labels: &'static [&'static str],
    /// What it says, as one sentence without its full stop.
    pub help: &'static str,
}

impl Metric {
    /// What its samples are called.
    pub fn sample_name(&self) -> String {
        let end = match self.kind {
            Kind::Counter(_) => "_total",
            Kind::Gauge => "",
        };
        format!("{}{end}", self.name)
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $(($since:ident))? $name:literal [$($label:literal),*]: $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind $((Since::$since))?,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// Every metric, in the order in which they are shown.
        pub const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    INFO = Gauge "interlock_version" ["version"]: "One, by the daemon's version";
    PROVEN = Gauge "interlock_proven" []: "Whether enforcement is proven: the canary was denied when it was sent in last";
    CANARY_AGE = Gauge "interlock_canary_age_seconds" []: "How long ago the canary was last denied all that it should be";
    PROGRAMS_KEPT = Gauge "interlock_programs_kept" []: "Whether the kernel programs in force are another build's, because the daemon's own are no good here";
    DEGRADED = Gauge "interlock_degraded" []: "Whether this kernel lets less be enforced, because BPF LSM is missing";
    PROGRAMS_MISSING = Gauge "interlock_programs_missing" []: "Kernel programs that should be attached and are not, without those that not every kernel has a hook for";
    LOOP_AGE = Gauge "interlock_loop_age_seconds" ["loop"]: "How long ago each loop of the daemon turned last";
    SESSIONS = Gauge "interlock_sessions" ["agent"]: "Sessions in force";
    SESSIONS_STARTED = Counter(Daemon) "interlock_sessions_started" ["agent"]: "Sessions that had their first process, since the daemon began";
    SESSIONS_ENDED = Counter(Daemon) "interlock_sessions_ended" ["agent", "outcome"]: "Sessions that are over, since the daemon began";
    REVOCATIONS = Counter(Daemon) "interlock_revocations" ["agent", "cause"]: "Sessions of which something was killed or cut, since the daemon began";
    SESSIONS_NOT_READY = Counter(Tables) "interlock_sessions_not_ready" []: "Sessions that should have begun when none lay ready";
    WAYS_BROKEN = Gauge "interlock_ways_broken" []: "Ways by which sessions should be recognised and are not";
    ACTIONS = Counter(Tables) "interlock_actions" ["verdict"]: "Actions of sessions, by what the kernel decided";
    DENIALS = Counter(Daemon) "interlock_denials" ["agent", "action", "verdict"]: "Actions that were not allowed and that the daemon told of, since it began";
    DOUBTS = Counter(Tables) "interlock_doubts" []: "Actions denied because something could not be read or told apart";
    FORKS_REFUSED = Counter(Tables) "interlock_forks_refused" []: "Forks of sessions that failed because the child could not be labelled";
    PROBES = Counter(Tables) "interlock_probes" []: "Times the kernel looked whether a session has a capability, and it has not";
    PACKETS_DROPPED = Counter(Tables) "interlock_packets_dropped" ["reason"]: "Packets of sessions that were dropped: revoked, without budget, or with a route of their own";
    EVENTS_LOST = Counter(Tables) "interlock_events_lost" []: "Events that found the ring full; their verdicts were enforced";
    PROGRAMS_SKIPPED = Counter(Programs) "interlock_programs_skipped" ["program"]: "Times the kernel did not run a program that it had interrupted";
    HOLDS_OPEN = Gauge "interlock_holds_open" []: "Questions to people that are open";
    HOLDS_OLDEST = Gauge "interlock_holds_oldest_age_seconds" []: "How long the oldest open question has waited";
    HOLDS_ASKED = Counter(Tables) "interlock_holds_asked" []: "Questions that were put to people";
    HOLDS_ANSWERED = Counter(Daemon) "interlock_holds_answered" ["answer"]: "Questions that are closed, since the daemon began";
    LOOKUPS = Counter(Daemon) "interlock_lookups" ["outcome"]: "Names that sessions looked up, since the daemon began";
    POLICIES = Gauge "interlock_policies" []: "Policies that are loaded";
    POLICY_GENERATION = Gauge "interlock_policy_generation" ["agent"]: "Which version of an agent's policy is loaded, counted since the daemon began";
    POLICIES_REJECTED = Gauge "interlock_policies_rejected" []: "Files and folders of which what is there now was not taken";
    TABLE_ENTRIES = Gauge "interlock_table_entries" ["table"]: "Entries of the kernel's tables that are taken";
    TABLE_CAPACITY = Gauge "interlock_table_capacity" ["table"]: "Entries that there is room for";
    EVIDENCE_RECORDED = Gauge "interlock_evidence_recorded" []: "Number of the newest record that is on the disk";
    EVIDENCE_WAITING = Gauge "interlock_evidence_waiting" []: "Records that wait to be written";
    EVIDENCE_LOST = Counter(Daemon) "interlock_evidence_lost" []: "Records that found no room, since the daemon began";
    EVIDENCE_REPAIRED = Gauge "interlock_evidence_repaired" []: "Faults of the record that the daemon found when it began";
    EVIDENCE_DEGRADED = Gauge "interlock_evidence_degraded" []: "Whether not everything is recorded";
    CONTROLLER_CONNECTED = Gauge "interlock_controller_connected" []: "Whether the controller is connected";
    CONTROLLER_WAITING = Gauge "interlock_controller_waiting" []: "Records that the controller has not acknowledged";
    CONTROLLER_COUNTERSIGNED = Gauge "interlock_controller_countersigned" []: "Number of the newest record under the controller's signature";
    CONTROLLER_FORKED = Gauge "interlock_controller_forked" []: "Whether the controller takes no records because they are not what it has";
    CONTROLLER_HELD_UP = Gauge "interlock_controller_held_up" []: "Whether the controller takes no records for now";
    CONTROLLER_EPOCH = Gauge "interlock_controller_epoch" []: "The newest directive's epoch";
    KUBERNETES_FAILING = Gauge "interlock_kubernetes_failing" []: "Things that the Kubernetes API does not tell, or take";
    OTLP_CONNECTED = Gauge "interlock_otlp_connected" []: "Whether the collector took what was sent to it last";
    OTLP_WAITING = Gauge "interlock_otlp_waiting" []: "Events that wait to be sent to the collector";
    OTLP_SENT = Counter(Daemon) "interlock_otlp_sent" []: "Events that the collector took, since the daemon began";
    OTLP_LOST = Counter(Daemon) "interlock_otlp_lost" []: "Events that the collector did not get, since the daemon began: they found no room, or it refused them";
    HOOK_RUNS = Counter(Programs) "interlock_hook_runs" ["program"]: "Runs of a kernel program, while `--hook-times` measures them";
    HOOK_SECONDS = Counter(Programs) "interlock_hook_seconds" ["program"]: "Time that a kernel program ran, while `--hook-times` measures it";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table in the documentation: name, kind, labels, sentence.
    fn documented() -> Vec<[String; 4]> {
        let text = include_str!("../../../docs/metrics.md");
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| `interlock_"));
        let cells = |row: &str| {
            let mut cells = row.trim_matches('|').split('|');
            std::array::from_fn(|_| {
                let cell = cells.next().expect("four cells");
                cell.trim().to_owned()
            })
        };
        rows.map(cells).collect()
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let said = ALL.iter().map(|metric| {
            let kind = match metric.kind {
                Kind::Counter(_) => "counter",
                Kind::Gauge => "gauge",
            };
            let labels: Vec<_> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
            [
                format!("`{}`", metric.sample_name()),
                kind.to_owned(),
                labels.join(", "),
                metric.help.to_owned(),
            ]
        });
        let said: Vec<_> = said.collect();
        let table: Vec<_> = said
            .iter()
            .map(|row| format!("| {} |", row.join(" | ").replace("|  |", "| |")))
            .collect();
        assert_eq!(
            said,
            documented(),
            "docs/metrics.md should say:\n{}",
            table.join("\n")
        );
    }

    #[test]
    fn alerts_and_panels_speak_of_metrics_that_there_are() {
        let files = [
            include_str!("../../../deploy/helm/interlock/files/alerts.yaml"),
            include_str!("../../../deploy/helm/interlock/files/dashboard.json"),
        ];
        let is_of_a_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let mut spoken_of = 0;
        for text in files {
            for (at, _) in text.match_indices("interlock_") {
                let rest = text.get(at..).unwrap_or_default();
                let end = rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len());
                let name = rest.get(..end).unwrap_or_default();
                let is_there = ALL.iter().any(|metric| metric.sample_name() == name);
                assert!(is_there, "no metric is called `{name}`");
                spoken_of += 1;
            }
        }
        assert!(spoken_of > 20, "only {spoken_of}");
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for metric in ALL {
            assert!(metric.name.starts_with("interlock_"), "{}", metric.name);
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.ends_with('.'), "{}", metric.name);
            let twice = ALL.iter().filter(|other| other.name == metric.name);
            assert_eq!(twice.count(), 1, "{}", metric.name);
        }
    }
}

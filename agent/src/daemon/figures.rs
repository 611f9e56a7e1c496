//! What the daemon says of itself in figures, for metrics.

use super::clerk::Clerk;
use crate::chain::chain;
use crate::control::protocol::{EvidenceInfo, Status};
use crate::health::metrics::{
    ACTIONS, CANARY_AGE, CONTROLLER_CONNECTED, CONTROLLER_COUNTERSIGNED, CONTROLLER_EPOCH,
    CONTROLLER_FORKED, CONTROLLER_HELD_UP, CONTROLLER_WAITING, DEGRADED, DOUBTS, EVENTS_LOST,
    EVIDENCE_DEGRADED, EVIDENCE_LOST, EVIDENCE_RECORDED, EVIDENCE_REPAIRED, EVIDENCE_WAITING,
    FORKS_REFUSED, HOLDS_ASKED, HOLDS_OLDEST, HOLDS_OPEN, HOOK_RUNS, HOOK_SECONDS, INFO,
    KUBERNETES_FAILING, LOOKUPS, LOOP_AGE, OTLP_CONNECTED, OTLP_LOST, OTLP_SENT, OTLP_WAITING,
    PACKETS_DROPPED, POLICIES, POLICIES_REJECTED, POLICY_GENERATION, PROBES, PROGRAMS_KEPT,
    PROGRAMS_MISSING, PROGRAMS_SKIPPED, PROVEN, SESSIONS, SESSIONS_NOT_READY, TABLE_CAPACITY,
    TABLE_ENTRIES, WAYS_BROKEN,
};
use crate::health::tally::{OTHER, Tally};
use crate::health::{Health, Reading, Starts, Wanted};
use crate::kernel::hook_times::HookTimes;
use crate::kernel::loader::Mode;
use crate::kernel::maps::MapsError;
use agent_common::counter::Counter;
use agent_common::hold::MAX_HOLDS;
use std::io;
use std::rc::Rc;
use tokio::sync::mpsc::Receiver;
use tracing::warn;

/// Who reads figures whenever somebody wants them.
pub(super) struct Figures {
    pub(super) clerk: Rc<Clerk>,
    pub(super) health: Health,
    pub(super) tally: Rc<Tally>,
    pub(super) hook_times: Option<HookTimes>,
    pub(super) starts: Starts,
}

impl Figures {
    /// Answers until nobody can ask any more.
    pub(super) async fn answer(&self, mut wishes: Receiver<Wanted>) -> io::Result<()> {
        while let Some(wanted) = wishes.recv().await {
            match self.read() {
                // Who is gone hears nothing.
                Ok(reading) => drop(wanted.send(reading)),
                Err(error) => warn!(error = chain(error), "no metrics are told"),
            }
        }
        // There is no server: nobody will ever ask.
        std::future::pending().await
    }

    fn read(&self) -> Result<Reading, MapsError> {
        let clerk = &self.clerk;
        let status = clerk.status()?;
        let mut reading = Reading::since(self.starts);
        self.add_health(&mut reading, &status);
        add_sessions(&mut reading, &status);
        add_evidence(&mut reading, &status.evidence);
        add_controller(&mut reading, &status);
        if let Some(kubernetes) = &status.kubernetes {
            reading.add(&KUBERNETES_FAILING, &[], kubernetes.errors.len());
        }
        add_otlp(&mut reading, &status);
        let sessions = clerk.sessions.borrow();
        for (table, taken, room) in sessions.fill()? {
            reading.add(&TABLE_ENTRIES, &[table], taken);
            reading.add(&TABLE_CAPACITY, &[table], room);
        }
        let count = |counter| sessions.maps().count(counter);
        for (reason, counter) in [
            ("revoked", Counter::Silenced),
            ("budget", Counter::Overdrawn),
            ("route", Counter::Rerouted),
        ] {
            reading.add(&PACKETS_DROPPED, &[reason], count(counter)?);
        }
        reading.add(&HOLDS_ASKED, &[], count(Counter::Asked)?);
        let questions = clerk.holds.borrow().figures();
        reading.add(&TABLE_ENTRIES, &["questions"], questions.taken);
        reading.add(&TABLE_CAPACITY, &["questions"], u64::from(MAX_HOLDS));
        reading.add(&HOLDS_OPEN, &[], questions.open);
        reading.add(&HOLDS_OLDEST, &[], questions.oldest);
        for (outcome, count) in sessions.names().outcomes().counts() {
            reading.add(&LOOKUPS, &[outcome], count);
        }
        self.tally.read(&mut reading);
        for (program, (runs, time)) in self.hook_times.iter().flat_map(HookTimes::read) {
            reading.add(&HOOK_RUNS, &[program], runs);
            reading.add(&HOOK_SECONDS, &[program], time);
        }
        Ok(reading)
    }

    fn add_health(&self, reading: &mut Reading, status: &Status) {
        reading.add(&INFO, &[&status.version], 1_u64);
        reading.add(&PROVEN, &[], status.not_proven.is_none());
        if let Some(age) = self.health.condition.age() {
            reading.add(&CANARY_AGE, &[], age);
        }
        reading.add(&DEGRADED, &[], status.enforcement != Mode::Full);
        reading.add(&PROGRAMS_KEPT, &[], status.programs.reason().is_some());
        let missing = status.missing.len();
        // A hook that this kernel never had is no fault of the node: doctor tells of it.
        let missing = missing.saturating_sub(status.hooks_missing.len());
        reading.add(&PROGRAMS_MISSING, &[], missing);
        for (one, age) in self.health.pulses.ages() {
            reading.add(&LOOP_AGE, &[one.word()], age);
        }
        for (program, count) in &status.skipped {
            reading.add(&PROGRAMS_SKIPPED, &[program], *count);
        }
    }
}

fn add_sessions(reading: &mut Reading, status: &Status) {
    reading.add(&ACTIONS, &["allow"], status.allowed);
    reading.add(&ACTIONS, &["deny"], status.denied);
    reading.add(&DOUBTS, &[], status.doubts);
    reading.add(&FORKS_REFUSED, &[], status.labels_refused);
    reading.add(&PROBES, &[], status.probes);
    reading.add(&EVENTS_LOST, &[], status.events_lost);
    reading.add(&SESSIONS_NOT_READY, &[], status.not_ready);
    let broken = status.ways.iter().filter(|way| way.error.is_some());
    reading.add(&WAYS_BROKEN, &[], broken.count());
    reading.add(&POLICIES, &[], status.policies.len());
    reading.add(&POLICIES_REJECTED, &[], status.rejected.len());
    let mut others = status.sessions;
    for policy in &status.policies {
        let agent = [policy.agent.as_str()];
        let own = policy.sessions + policy.sessions_before;
        others = others.saturating_sub(own);
        reading.add(&SESSIONS, &agent, own);
        reading.add(&POLICY_GENERATION, &agent, policy.generation);
    }
    reading.add(&SESSIONS, &[OTHER], others);
}

fn add_evidence(reading: &mut Reading, evidence: &EvidenceInfo) {
    reading.add(&EVIDENCE_RECORDED, &[], evidence.recorded);
    reading.add(&EVIDENCE_WAITING, &[], evidence.waiting);
    reading.add(&EVIDENCE_LOST, &[], evidence.lost);
    reading.add(&EVIDENCE_REPAIRED, &[], evidence.repaired.len());
    reading.add(&EVIDENCE_DEGRADED, &[], evidence.degraded.is_some());
}

fn add_controller(reading: &mut Reading, status: &Status) {
    let Some(controller) = &status.controller else {
        return;
    };
    reading.add(&CONTROLLER_CONNECTED, &[], controller.connected);
    reading.add(&CONTROLLER_WAITING, &[], controller.waiting);
    reading.add(&CONTROLLER_COUNTERSIGNED, &[], controller.countersigned);
    reading.add(&CONTROLLER_FORKED, &[], controller.forked.is_some());
    reading.add(&CONTROLLER_HELD_UP, &[], controller.held_up.is_some());
    reading.add(&CONTROLLER_EPOCH, &[], controller.epoch);
}

fn add_otlp(reading: &mut Reading, status: &Status) {
    let Some(otlp) = &status.otlp else {
        return;
    };
    reading.add(&OTLP_CONNECTED, &[], otlp.connected);
    reading.add(&OTLP_WAITING, &[], otlp.waiting);
    reading.add(&OTLP_SENT, &[], otlp.sent);
    reading.add(&OTLP_LOST, &[], otlp.lost);
}

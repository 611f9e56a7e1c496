//! One session, and how it is told.

use super::Session;
use super::records::Record;
use super::uses::Uses;
use crate::events::line::Exit;
use crate::events::{explain, line};
use crate::ids::SessionId;
use crate::names::Names;
use agent_common::session::{ALLOWED, Cause, Session as State, Share};
use agent_policy::{Compiled, Mode};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

/// The agent that the canary plays.
pub const CANARY: &str = "interlock-canary";

impl Session {
    /// Whether it is one that people ask for.
    pub(super) fn is_listed(&self) -> bool {
        !self.ready && self.agent != CANARY
    }

    /// The names of facts, as cases have them: steps as `step:NAME`.
    pub fn facts(&self, facts: u64) -> Vec<String> {
        agent_policy::told_facts(&self.compiled, facts)
    }

    /// The policy that it is held to.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Why it was revoked, in the words of who ordered it.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The task that it is for.
    pub fn task(&self) -> Option<&str> {
        self.record.task.as_deref()
    }

    /// The grant that it began with.
    pub fn grant(&self) -> Option<&str> {
        self.record.grant.as_deref()
    }

    pub(super) fn new(record: Record, compiled: Compiled) -> Self {
        Self {
            agent: record.start.agent.clone(),
            digest: compiled.digest_hex(),
            slot: record.slot,
            file: record.start.file.clone(),
            compiled: Rc::new(compiled),
            place: record.place,
            earlier: Vec::new(),
            since: Instant::now(),
            read: 0,
            lost: 0,
            adopted: false,
            allowed: [0; ALLOWED],
            asked: Instant::now(),
            uses: HashMap::new(),
            had_tasks: false,
            over: false,
            told: false,
            exit: None,
            reason: record.reason.clone(),
            dying: false,
            ready: record.ready,
            forsaken: false,
            record,
        }
    }

    pub(super) fn ended(
        &mut self,
        id: u64,
        state: &State,
        facts: u64,
        allowed: Option<line::Allowed>,
    ) -> line::Ended {
        line::Ended {
            session: self.line(id, explain::now()),
            outcome: self.outcome(state, facts),
            cause: state.cause().map(Cause::word),
            exit: self.exit,
            allowed,
        }
    }

    /// What it was allowed since it was asked last; nothing where that is nothing.
    pub(super) fn allowed(
        &mut self,
        id: u64,
        share: &Share,
        uses: Uses,
        names: &Names,
    ) -> Option<line::Allowed> {
        let used = self.used(uses, names);
        let counts = std::array::from_fn(|kind| {
            let total = share.allowed[kind];
            (total.saturating_sub(self.allowed[kind]), total)
        });
        self.allowed = share.allowed;
        let since = std::mem::replace(&mut self.asked, Instant::now());
        let line = self.line(id, explain::now());
        // What a task had kept comes into the parts later than into the sums.
        let is_news = counts.iter().any(|(count, _)| *count > 0) || !used.is_empty();
        is_news.then(|| line::Allowed {
            time: line.time,
            session: line.session,
            agent: line.agent,
            policy: line.policy,
            counts,
            used,
            seconds: since.elapsed().as_secs(),
        })
    }

    /// Takes it over from an earlier daemon. What that one was told of what was allowed, or has
    /// lost, is told in the sum alone. One that has acted and has no task any more is over, whoever saw its end.
    pub(super) fn take_over(&mut self, share: &Share, has_tasks: bool) {
        self.allowed = share.allowed;
        self.had_tasks = has_tasks || share.has_acted();
        self.adopted = has_tasks;
    }

    /// What the policy calls such an end.
    pub(super) fn outcome(&self, state: &State, facts: u64) -> &'static str {
        let completion = self.compiled.terms.completion;
        let has_chain = completion != 0;
        let is_complete = !has_chain || facts & completion != 0;
        match (state.cause(), self.exit) {
            (Some(Cause::Completion), _) => "completed",
            (Some(Cause::RootExit), Some(Exit::Code(0))) if is_complete => "completed",
            (Some(Cause::RootExit), Some(Exit::Code(0)) | None) => "ended",
            (Some(Cause::RootExit), Some(_)) if !has_chain || self.compiled.failed_by_exit => {
                "failed"
            }
            (Some(Cause::Failure | Cause::Timeout), _) => "failed",
            (Some(Cause::RootExit) | None, _) => "ended",
            (Some(_), _) => "revoked",
        }
    }

    pub(super) fn loss(&mut self, id: u64, total: u64) -> Option<line::Loss> {
        let events = total.checked_sub(self.lost).filter(|events| *events > 0)?;
        self.lost = total;
        Some(line::Loss {
            time: explain::now(),
            session: Some(SessionId(id)),
            agent: Some(self.agent.clone()),
            events,
            total,
        })
    }

    pub(super) fn line(&self, id: u64, time: String) -> line::Session {
        line::Session {
            time,
            session: SessionId(id),
            agent: self.agent.clone(),
            policy: self.digest.clone(),
            recognised: self.record.recognised.clone(),
            container: self.record.container.clone(),
            entered: self.record.entered,
            adopted: self.adopted,
            first: None,
        }
    }
}

/// How long the permission of a session lasts; 0 for no end.
pub fn ttl_ns(compiled: &Compiled) -> u64 {
    match compiled.end.ttl_s {
        // A policy that is only watched ends nothing.
        Some(ttl_s) if compiled.mode == Mode::Enforce => ttl_s.saturating_mul(1_000_000_000),
        _ => 0,
    }
}

/// When the permission of a session that begins now ends by itself; 0 where it does not.
/// What its grant says ends it as well, and sooner if that is less.
pub(super) fn expiry(compiled: &Compiled, lives_ns: Option<u64>, now_ns: u64) -> u64 {
    let ttl_ns = Some(ttl_ns(compiled)).filter(|ttl_ns| *ttl_ns > 0);
    let shortest = ttl_ns.into_iter().chain(lives_ns).min();
    shortest.map_or(0, |lives_ns| now_ns.saturating_add(lives_ns))
}

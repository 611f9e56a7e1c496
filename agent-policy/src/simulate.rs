//! Recorded events held against a policy: what would have been denied.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use agent_common::decide::Verdict;
use serde::Deserialize;

use crate::compile::Compiled;
use crate::explain::{Explanation, explain};
use crate::policy::{Policy, program_digest};
use crate::trial::{Action, Instant, Trial};

/// One line of a recording, in the form that `interlock` writes events in and people can write too.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Recorded {
    /// Seconds since 1970, or a time such as 2026-03-02T10:00:00Z.
    #[serde(default)]
    pub time: Option<Time>,
    /// What was done, in the notation of cases.
    pub action: String,
    /// The session; each is a trial of its own.
    #[serde(default)]
    pub session: Option<String>,
    /// The tool inside which it was done.
    #[serde(default)]
    pub tool: Option<String>,
    /// Bytes that it moved.
    #[serde(default)]
    pub bytes: u64,
    /// Whether the session could write the program.
    #[serde(default)]
    pub writable: bool,
    /// The program's digest, as policies write it.
    #[serde(default)]
    pub digest: Option<String>,
}

/// A time in either form.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Time {
    /// Seconds since 1970.
    Seconds(u64),
    /// RFC 3339.
    Text(String),
}

impl Recorded {
    fn wall_s(&self) -> Result<Option<u64>, SimulateError> {
        match &self.time {
            None => Ok(None),
            Some(Time::Seconds(seconds)) => Ok(Some(*seconds)),
            Some(Time::Text(text)) => crate::zone::parse(text)
                .map(Some)
                .ok_or_else(|| SimulateError::Time(text.clone())),
        }
    }
}

/// Why an event cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// The action is none.
    #[error(transparent)]
    Action(#[from] crate::notation::ActionError),
    /// The time is none.
    #[error(
        "found time \"{0}\", expected seconds since 1970 or a time such as 2026-03-02T10:00:00Z"
    )]
    Time(String),
    /// The digest is none.
    #[error("found digest \"{0}\", expected sha256: and 64 hexadecimal digits in lower case")]
    Digest(String),
    /// More sessions at once than one host can have.
    #[error(
        "found more than {MAX_SESSIONS} sessions that have not ended, expected at most as many"
    )]
    Sessions,
    /// The policy has no such tool.
    #[error("found tool \"{0}\", expected a tool of the policy")]
    Tool(String),
}

/// Sessions that are kept at once.
const MAX_SESSIONS: usize = agent_common::abi::MAX_SESSIONS as usize;

/// Holds events against a policy, session by session, in their order. What it keeps grows with the
/// sessions that have not ended, not with the events.
#[derive(Debug)]
pub struct Simulation<'p> {
    policy: &'p Policy,
    compiled: &'p Compiled,
    sessions: BTreeMap<Option<String>, (Trial<'p>, u64)>,
}

impl<'p> Simulation<'p> {
    /// Before any event.
    pub fn new(policy: &'p Policy, compiled: &'p Compiled) -> Self {
        Self {
            policy,
            compiled,
            sessions: BTreeMap::new(),
        }
    }

    /// Tries an event, and explains it where it would not have been allowed.
    pub fn hold(&mut self, event: &Recorded) -> Result<Option<Explanation>, SimulateError> {
        let (action, tool, wall_s) = prepare(self.policy, event)?;
        let full = self.sessions.len() >= MAX_SESSIONS;
        let (trial, began) = match self.sessions.entry(event.session.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => return Err(SimulateError::Sessions),
            Entry::Vacant(free) => {
                let began = wall_s.unwrap_or(0);
                let trial = Trial::start(self.compiled, instant(began, began));
                free.insert((trial, began))
            }
        };
        let at = instant(*began, wall_s.unwrap_or(*began));
        let before = trial.clone();
        if trial
            .attempt(&action, tool, at, event.bytes)
            .decision
            .verdict
            == Verdict::Allow
        {
            return Ok(None);
        }
        Ok(Some(explain(self.compiled, &before, &action, tool, at)))
    }

    /// Forgets a session that has ended.
    pub fn end(&mut self, session: Option<&str>) {
        self.sessions.remove(&session.map(str::to_owned));
    }
}

/// Boot time is counted from the session's first event.
fn instant(began: u64, wall_s: u64) -> Instant {
    Instant {
        now_ns: wall_s
            .saturating_sub(began)
            .saturating_add(1)
            .saturating_mul(1_000_000_000),
        wall_s,
    }
}

fn prepare(
    policy: &Policy,
    event: &Recorded,
) -> Result<(Action, Option<usize>, Option<u64>), SimulateError> {
    let mut action: Action = event.action.parse()?;
    if let Action::Exec {
        writable, digest, ..
    } = &mut action
    {
        *writable = event.writable;
        if let Some(text) = &event.digest {
            let read = program_digest(text);
            *digest = Some(read.ok_or_else(|| SimulateError::Digest(text.clone()))?);
        }
    }
    let tool = match &event.tool {
        None => None,
        Some(name) => Some(
            policy
                .tools
                .iter()
                .position(|tool| tool.name == *name)
                .ok_or_else(|| SimulateError::Tool(name.clone()))?,
        ),
    };
    Ok((action, tool, event.wall_s()?))
}

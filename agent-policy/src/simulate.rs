//! Recorded events held against a policy: what would have been denied.

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::explain::{Explanation, explain};
use crate::policy::Policy;
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
    /// The policy has no such tool.
    #[error("found tool \"{0}\", expected a tool of the policy")]
    Tool(String),
}

/// What became of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// Events that would have been allowed.
    pub allowed: usize,
    /// Those that would not, with the number of the event, counted from 1.
    pub refused: Vec<(usize, Explanation)>,
    /// Events that could not be tried, and why.
    pub skipped: Vec<(usize, String)>,
}

/// Holds events against a policy, session by session, in their order.
pub fn simulate(policy: &Policy, compiled: &Compiled, events: &[Recorded]) -> Simulation {
    let mut sessions: std::collections::BTreeMap<Option<&str>, (Trial<'_>, u64)> =
        Default::default();
    let mut simulation = Simulation::default();
    for (i, event) in events.iter().enumerate() {
        match prepare(policy, event) {
            Err(error) => simulation.skipped.push((i + 1, error.to_string())),
            Ok((action, tool, wall_s)) => {
                let session = event.session.as_deref();
                let (trial, began) = sessions.entry(session).or_insert_with(|| {
                    let began = wall_s.unwrap_or(0);
                    (Trial::start(compiled, instant(began, began)), began)
                });
                let at = instant(*began, wall_s.unwrap_or(*began));
                let explanation = explain(compiled, trial, &action, tool, at);
                let outcome = trial.attempt(&action, tool, at, event.bytes);
                if outcome.decision.verdict == agent_common::decide::Verdict::Allow {
                    simulation.allowed += 1;
                } else {
                    simulation.refused.push((i + 1, explanation));
                }
            }
        }
    }
    simulation
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
    if let Action::Exec { writable, .. } = &mut action {
        *writable = event.writable;
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

impl std::fmt::Display for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, explanation) in &self.refused {
            writeln!(f, "event {number}: {explanation}")?;
        }
        for (number, why) in &self.skipped {
            writeln!(f, "event {number} not tried: {why}")?;
        }
        write!(
            f,
            "{} allowed, {} not allowed, {} not tried",
            self.allowed,
            self.refused.len(),
            self.skipped.len()
        )
    }
}

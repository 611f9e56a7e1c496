//! What people say to a question, and what became of it.

use crate::ids::{HoldId, SessionId};
use serde::{Deserialize, Serialize};

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// To which question.
    pub hold: HoldId,
    /// Yes or no.
    pub approve: bool,
    /// The yes is good for one action, whatever the policy says.
    #[serde(default)]
    pub once: bool,
    /// Seconds that it is good for, if not as long as the policy says. Never longer.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// Why, in the words of who answers.
    #[serde(default)]
    pub because: Option<String>,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answered {
    /// Which.
    pub hold: HoldId,
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: Option<String>,
    /// What was asked for: a rule's id, `step:NAME`, or where the rule stands.
    pub of: String,
    /// `given`, `refused`, `expired` or `withdrawn`.
    pub answer: String,
    /// Who answered.
    pub by: Option<String>,
    /// Why, in their words.
    pub because: Option<String>,
    /// Whether it is good for one action only.
    pub once: bool,
    /// Seconds that it is good for; nothing for as long as the session.
    pub for_s: Option<u64>,
    /// Processes that waited for it.
    pub waiting: usize,
}

/// Why an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is no such question.
    #[error("no question {0} is open: `interlock holds` lists them")]
    NoQuestion(HoldId),
    /// It has an answer.
    #[error("question {0} is answered already: {1}")]
    Answered(HoldId, String),
    /// Nobody knows what is asked.
    #[error(
        "what question {0} asks is not known, because its record was lost: it can only be denied"
    )]
    Unknown(HoldId),
    /// One person is not enough.
    #[error(
        "question {0} needs {1} people: they say yes at the controller, `interlock ctl approve`"
    )]
    People(HoldId, u32),
    /// The program is another one by now.
    #[error("the program's file is not what question {0} asked about: it was changed meanwhile")]
    Changed(HoldId),
    /// A map failed.
    #[error("the answer cannot be written: {0}")]
    Map(String),
}

/// What a session was answered so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions.
    pub asked: u64,
    /// Answered with yes.
    pub approved: u64,
    /// Answered with no, or not in time.
    pub denied: u64,
}

//! What a verb has to say, and how a script hears it.

use super::fault::Fault;
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Nothing to act on.
    Fine,
    /// Something to read.
    Findings,
    /// What was given cannot be used.
    Bad,
}

impl Outcome {
    /// Findings, if there are any.
    pub(super) fn findings(any: bool) -> Self {
        if any { Self::Findings } else { Self::Fine }
    }

    fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Findings => 1,
            Self::Bad => 2,
        }
    }
}

/// A text for standard output and an exit code.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    outcome: Outcome,
}

impl Answer {
    /// A text for people.
    pub(super) fn text(text: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            text: text.into(),
            outcome,
        }
    }

    /// A value for programs.
    pub(super) fn json(value: &impl Serialize, outcome: Outcome) -> Result<Self, Fault> {
        Ok(Self::text(serde_json::to_string_pretty(value)?, outcome))
    }

    /// Prints it. A reader that has seen enough, such as `head`, is no fault.
    pub(super) fn print(&self) -> Result<ExitCode, Fault> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", self.text.trim_end()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Fault::Print(error)),
            _ => Ok(ExitCode::from(self.outcome.code())),
        }
    }
}

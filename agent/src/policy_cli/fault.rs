//! What can be wrong with what a verb was given.

use agent_policy::{ActionError, Diagnostics};
use std::io;
use std::path::PathBuf;

/// Why a verb has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file or folder cannot be read.
    #[error("{}: expected a file or folder that can be read", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
    /// A value cannot be written as JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// A file is no policy, no profile or no cases.
    #[error("{0}")]
    Wrong(Box<Diagnostics>),
    /// Something that was named is not there.
    #[error("{place}: found no {what} `{name}`, expected {}", listed(.known))]
    Unknown {
        /// Where it was looked for.
        place: String,
        /// What kind of thing it is.
        what: &'static str,
        /// Its name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A file or folder holds something else.
    #[error("{place}: found {found}, expected {expected}")]
    Unexpected {
        /// Where.
        place: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// An option holds no action.
    #[error("--{option}")]
    Action {
        /// Which.
        option: &'static str,
        /// Why.
        source: ActionError,
    },
}

impl Fault {
    /// Something other than expected.
    pub(super) fn unexpected(
        place: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Unexpected {
            place: place.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

impl From<Diagnostics> for Fault {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Wrong(Box::new(diagnostics))
    }
}

fn listed(known: &[String]) -> String {
    if known.is_empty() {
        return "none: there are none".to_owned();
    }
    known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

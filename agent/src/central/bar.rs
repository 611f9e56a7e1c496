//! What may not begin: what a revocation of more than one session leaves behind until it is lifted.

use crate::ids::SessionId;
use crate::sessions::Session;
use agent_proto::wire::revocation::Scope;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whom a revocation is about, on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Whom {
    /// One session.
    Session(String),
    /// Every session of a task.
    Task(String),
    /// Every session of an agent.
    Agent(String),
    /// Every session here.
    All,
}

impl Whom {
    /// From the wire; nothing where it says nothing that is known.
    pub(crate) fn of(scope: Option<Scope>) -> Option<Self> {
        match scope? {
            Scope::Session(id) => Some(Self::Session(id)),
            Scope::Task(task) => Some(Self::Task(task)),
            Scope::Agent(agent) => Some(Self::Agent(agent)),
            Scope::Node(true) | Scope::Everything(true) => Some(Self::All),
            Scope::Node(false) | Scope::Everything(false) => None,
        }
    }

    /// Whether a session is meant.
    pub(crate) fn means(&self, id: u64, session: &Session) -> bool {
        match self {
            Self::Session(text) => text.parse() == Ok(SessionId(id)),
            Self::Task(task) => session.task() == Some(task),
            Self::Agent(agent) => session.agent == *agent,
            Self::All => true,
        }
    }

    /// Whether a session that would begin is meant.
    fn keeps_out(&self, agent: &str, task: Option<&str>) -> bool {
        match self {
            Self::Session(_) => false,
            Self::Task(barred) => task == Some(barred),
            Self::Agent(barred) => agent == barred,
            Self::All => true,
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "session {id}"),
            Self::Task(task) => write!(f, "task {task}"),
            Self::Agent(agent) => write!(f, "agent {agent}"),
            Self::All => f.write_str("everything on this node"),
        }
    }
}

/// A revocation that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bar {
    /// The directive.
    pub(crate) epoch: u64,
    /// Whom it keeps out.
    pub(crate) whom: Whom,
    /// Who ordered it.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            whom,
            by,
            reason,
        } = self;
        write!(f, "{whom} was revoked by {by} (directive {epoch})")?;
        if reason.is_empty() {
            Ok(())
        } else {
            write!(f, ": {reason}")
        }
    }
}

/// The bar that keeps a session from beginning, if one does.
pub(crate) fn against<'a>(bars: &'a [Bar], agent: &str, task: Option<&str>) -> Option<&'a Bar> {
    bars.iter().find(|bar| bar.whom.keeps_out(agent, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_keep_out_whom_they_name() {
        let bar = |whom| {
            vec![Bar {
                epoch: 1,
                whom,
                by: "operator/a".into(),
                reason: "r".into(),
            }]
        };
        let agent = bar(Whom::Agent("a".into()));
        assert!(against(&agent, "a", None).is_some());
        assert!(against(&agent, "b", Some("a")).is_none());
        let task = bar(Whom::Task("t".into()));
        assert!(against(&task, "a", Some("t")).is_some());
        assert!(against(&task, "t", None).is_none());
        assert!(against(&bar(Whom::All), "a", None).is_some());
        assert!(against(&bar(Whom::Session("s".into())), "a", None).is_none());
    }

    #[test]
    fn what_is_not_known_means_nobody() {
        assert_eq!(Whom::of(None), None);
        assert_eq!(Whom::of(Some(Scope::Everything(false))), None);
        assert_eq!(Whom::of(Some(Scope::Node(true))), Some(Whom::All));
    }
}

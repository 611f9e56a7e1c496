//! What was refused to a session by the daemon itself, and goes to be told.

use super::Origin;
use crate::names::Names;
use agent_common::egress::Endpoint;
use agent_common::event::Process;
use tokio::sync::mpsc;
use tracing::warn;

/// Something that was not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The session.
    pub session: u64,
    /// The innermost tool, counted from 1, or 0.
    pub tool: u8,
    /// Who did it.
    pub process: Process,
    /// What it was.
    pub what: Refused,
    /// Why.
    pub reason: &'static str,
    /// Whether it went on all the same: the policy is only watched.
    pub audited: bool,
    /// Refusals before this one that were not told.
    pub untold: u64,
}

/// What can be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The lookup of a name.
    Lookup {
        /// The name.
        name: String,
        /// The type of records.
        records: String,
    },
    /// A connection that was to be relayed.
    Connection {
        /// Where to.
        server: Endpoint,
        /// The name that it said first.
        said: Option<String>,
    },
}

/// Where refusals go: to the daemon, by a bounded channel.
#[derive(Debug, Clone)]
pub struct Refusals {
    to: mpsc::Sender<Refusal>,
}

impl Refusals {
    /// To there.
    pub fn to(to: mpsc::Sender<Refusal>) -> Self {
        Self { to }
    }

    /// Tells of one, as far as the session has not told too many. Says whether the policy is only watched.
    pub fn tell(
        &self,
        names: &Names,
        origin: &Origin,
        what: Refused,
        reason: &'static str,
    ) -> bool {
        let (audited, told) = names.tells(origin.session);
        if let Some(untold) = told {
            let refusal = Refusal {
                session: origin.session,
                tool: u8::try_from(origin.tool).unwrap_or(0),
                process: origin.process,
                what,
                reason,
                audited,
                untold,
            };
            if self.to.try_send(refusal).is_err() {
                warn!("the daemon does not take what was refused as fast as it is");
            }
        }
        audited
    }
}

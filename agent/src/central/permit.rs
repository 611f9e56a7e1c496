//! Whether a session may begin.

use super::grants::{self, Latch, RefusedError};
use super::obey::Central;
use super::{bar, now_ms};
use crate::chain::chain;
use crate::events::explain;
use crate::events::line::{GrantUse, Line};
use agent_proto::wire::Budget;

/// A session may begin.
#[derive(Debug, Clone, Default)]
pub struct Permit {
    /// The task that it is for.
    pub task: Option<String>,
    /// The grant that it begins with.
    pub grant: Option<String>,
    /// How long it may live at most, in milliseconds.
    pub lives_ms: Option<u64>,
    /// What it may use of budgets that the policy gives.
    pub budgets: Vec<Budget>,
}

impl Central {
    /// Whether a session may begin. A grant is used up by this.
    pub fn permit(
        &self,
        (agent, digest): (&str, &[u8]),
        task: Option<&str>,
        text: Option<&str>,
    ) -> Result<(Permit, Latch), String> {
        let state = self.state.borrow();
        let session = grants::Session {
            node: &state.kept.node,
            labels: &self.settings.labels,
            agent,
            task,
            policy: digest,
        };
        let checked = match text {
            Some(text) => grants::check(text, session, &state.kept, &state.boot).map(Some),
            None if self.settings.require_grant => Err(RefusedError::Missing),
            None => Ok(None),
        };
        // The task of a grant is the session's.
        let granted = checked.as_ref().ok().and_then(|grant| grant.as_ref());
        let of_grant = granted
            .map(|grant| grant.task.clone())
            .filter(|task| !task.is_empty());
        let task = task.map(str::to_owned).or(of_grant);
        if let Some(bar) = bar::against(&state.kept.bars, agent, task.as_deref()) {
            return Err(format!("{bar}; a responder can lift it"));
        }
        let used = checked.and_then(|grant| {
            let latch = grant
                .as_ref()
                .map(|grant| grants::latch(&state.grants(), grant));
            Ok((grant, latch.transpose()?))
        });
        let told = |outcome: &str, reason: Option<String>, id: Option<String>| {
            let line = Line::Grant(GrantUse {
                time: explain::now(),
                agent: agent.to_owned(),
                task: task.clone(),
                grant: id,
                outcome: outcome.to_owned(),
                reason,
            });
            // Only a daemon that is ending hears no more.
            let _ = self.parts.lines.send(line);
        };
        match used {
            Ok((None, _)) => Ok((
                Permit {
                    task,
                    ..Permit::default()
                },
                Latch::default(),
            )),
            Ok((Some(grant), latch)) => {
                told("accepted", None, Some(grant.id.clone()));
                let left_ms = grant.expires_ms.saturating_sub(now_ms());
                let lives_ms = if grant.session_ms == 0 {
                    left_ms
                } else {
                    grant.session_ms
                };
                let permit = Permit {
                    task,
                    grant: Some(grant.id),
                    lives_ms: Some(lives_ms),
                    budgets: grant.budgets,
                };
                Ok((permit, latch.unwrap_or_default()))
            }
            Err(error) => {
                let why = chain(error);
                told("refused", Some(why.clone()), None);
                Err(why)
            }
        }
    }
}

//! Steps that come too late.

use super::Compiled;
use crate::policy::{Mode, RevokeOn};
use agent_common::terms::Progress;

/// A step, or the last of several of which any will do, that must come in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The fact that there is still time.
    pub in_time: u64,
    /// The fact that the step before it was performed; 0 where none must have been.
    pub after: u64,
    /// The fact that it was performed itself.
    pub done: u64,
}

impl Compiled {
    /// Whether a session's permission ends when a step comes too late. One that is watched ends by no policy.
    pub fn ends_when_late(&self) -> bool {
        let ends = |on: &RevokeOn| self.end.revoke_on.contains(on);
        let named = ends(&RevokeOn::Timeout) || self.failed_by_timeout && ends(&RevokeOn::Failure);
        named && self.mode != Mode::Audit
    }

    /// Whether a session's permission ends by a step that is due, whose time has passed, and that was not performed.
    pub fn is_late(&self, progress: &Progress, now_ns: u64) -> bool {
        if !self.ends_when_late() {
            return false;
        }
        let facts = progress.facts;
        let passed = |fact: u64| {
            let timers = self.terms.timers.iter().zip(progress.deadlines);
            let mut own = timers.filter(|(timer, _)| timer.fact == fact);
            own.any(|(_, deadline)| now_ns >= deadline)
        };
        self.due.iter().any(|due| {
            facts & due.in_time != 0
                && (due.after == 0 || facts & due.after != 0)
                && facts & due.done == 0
                && passed(due.in_time)
        })
    }
}

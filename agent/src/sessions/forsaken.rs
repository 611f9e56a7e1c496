//! Sessions that the kernel holds, and of which nobody knows by what policy: their record is gone, or makes no sense to
//! this build, as after a way back to an earlier one. What their policies have taken of the tables is not known either,
//! and others would be given it. So everything is denied to them, and the house ends them.

use super::records::Record;
use super::tables::Place;
use super::{Session, Sessions};
use crate::chain::chain;
use crate::control::protocol::Start;
use crate::ids::SessionId;
use crate::kernel::maps::MapsError;
use crate::policy;
use agent_common::session::{Cause, Session as State};
use std::collections::HashSet;
use tracing::error;

/// The agent that they are shown as.
const AGENT: &str = "interlock-unknown";

/// A policy that allows nothing.
const POLICY: &str = "\
apiVersion: interlock.dev/v1alpha1
kind: AgentPolicy
metadata:
  name: interlock-unknown
spec:
  owner:
    name: Interlock
    contact: the daemon itself
  egress: {}
";

/// Why they are ended.
const REASON: &str = "this daemon cannot tell what it was held to";

impl Sessions {
    /// Finds them once all others are taken over, and denies them everything.
    pub(super) fn forsake_unknown(&mut self) -> Result<(), MapsError> {
        let known: HashSet<u32> = self.by_id.values().map(|session| session.slot).collect();
        for slot in (0..self.maps.slots()).filter(|slot| !known.contains(slot)) {
            let state = self.maps.session(slot)?;
            if state.id != State::FREE.id {
                self.forsake(slot, &state)?;
            }
        }
        Ok(())
    }

    fn forsake(&mut self, slot: u32, state: &State) -> Result<(), MapsError> {
        let session = SessionId(state.id);
        let record = record(slot, state.policy);
        let compiled = match policy::compile(&record.start) {
            Ok(compiled) => compiled,
            Err(error) => unreachable!("the policy is this file's own: {error}"),
        };
        // Nobody is given its number while this daemon lives; the next one takes out what lies there.
        self.tables.keep(state.policy);
        self.denials.adopt(state.id).map_err(MapsError::Denials)?;
        let mut unknown = Session {
            forsaken: true,
            ..Session::new(record, compiled)
        };
        unknown.take_over(&self.maps.share(slot)?, state.tasks > 0);
        self.by_id.insert(state.id, unknown);
        match self.revoke(state.id, Cause::Order) {
            Ok(_) => error!(%session, "{REASON}: everything is denied to it, and it is ended"),
            Err(error) => {
                error!(%session, error = %chain(error), "{REASON}, and it is NOT revoked");
            }
        }
        Ok(())
    }
}

/// What stands for the record that there is not. It is never written.
fn record(slot: u32, policy: u32) -> Record {
    Record {
        start: Start {
            agent: AGENT.to_owned(),
            file: AGENT.to_owned(),
            policy: POLICY.to_owned(),
            profiles: Vec::new(),
        },
        slot,
        place: Place {
            policy,
            sets: 0,
            rules: 0,
        },
        reason: Some(REASON.to_owned()),
        recognised: None,
        ready: false,
        loaded: false,
        layout: None,
        container: None,
        entered: None,
        task: None,
        grant: None,
        lives_ns: None,
        started_ns: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_compiles() {
        policy::compile(&record(0, 0).start).expect("a policy that compiles");
    }
}

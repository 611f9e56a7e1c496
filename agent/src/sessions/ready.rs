//! Sessions that lie ready for whoever the kernel programs recognise, and their beginning.

use super::{PATIENCE, Session, Sessions, StartError};
use crate::control::protocol::Start;
use crate::ids::SessionId;
use crate::kernel::clock;
use crate::kernel::maps::MapsError;
use crate::kernel::recognised::Recognised;
use agent_common::session::Label;
use agent_evidence::record::Container;
use agent_policy::Compiled;
use std::time::Instant;
use tracing::warn;

/// A session that is to lie ready.
#[derive(Debug, Clone, Copy)]
pub struct Prepared<'a> {
    /// What it would be started with.
    pub start: &'a Start,
    /// The same, compiled.
    pub compiled: &'a Compiled,
    /// How it will be recognised, for people.
    pub recognised: &'a str,
}

impl Sessions {
    /// Makes a session that waits for the kernel programs to begin it.
    pub fn prepare(&mut self, prepared: &Prepared<'_>) -> Result<Label, StartError> {
        let begin = super::Begin {
            loaded: true,
            ready: true,
            recognised: Some(prepared.recognised.to_owned()),
            ..super::Begin::default()
        };
        let compiled = self.lay_out(prepared.compiled.clone());
        self.make(prepared.start, compiled, &begin)
    }

    /// Makes a session that begins at once, for processes that already run: all of a cgroup, or of a
    /// tree.
    pub fn prepare_running(
        &mut self,
        prepared: &Prepared<'_>,
        door: u64,
    ) -> Result<Label, StartError> {
        let compiled = self.lay_out(prepared.compiled.clone());
        let begin = super::Begin {
            recognised: Some(prepared.recognised.to_owned()),
            facts: compiled.unknown_history(),
            door,
            ready: false,
            loaded: true,
            permit: crate::central::Permit::default(),
        };
        self.make(prepared.start, compiled, &begin)
    }

    /// The maps by which sessions are recognised.
    pub fn recognised(&mut self) -> &mut Recognised {
        &mut self.maps.recognised
    }

    /// Notes that a session that lay ready has begun, at a time if that is known. False when it is
    /// not one of those.
    pub fn begin(&mut self, id: u64, boot_ns: Option<u64>) -> bool {
        let Some(session) = self.by_id.get_mut(&id) else {
            return false;
        };
        session.since = Instant::now();
        if !std::mem::replace(&mut session.ready, false) {
            return false;
        }
        // Its ttl counts from there under every version that it is moved to.
        session.record.started_ns = boot_ns.unwrap_or_else(clock::boot_ns);
        session.record.ready = false;
        session.record.entered = self.maps.recognised.entered(id).unwrap_or_else(|error| {
            let session = SessionId(id);
            warn!(%session, %error, "whether it is one's who came from outside cannot be said");
            None
        });
        if let Err(error) = self.records.write(id, &session.record) {
            let session = SessionId(id);
            warn!(%session, %error, "its beginning is not recorded");
        }
        true
    }

    /// The cgroup that a session is open for, if it is for one.
    pub fn door(&self, id: u64) -> Result<Option<u64>, MapsError> {
        let Some(session) = self.by_id.get(&id) else {
            return Ok(None);
        };
        let state = self.maps.session(session.slot)?;
        Ok((state.id == id && state.door != 0).then_some(state.door))
    }

    /// Notes which container a session is, or is in.
    pub fn set_container(&mut self, id: u64, container: &Container) {
        let Some(session) = self.by_id.get_mut(&id) else {
            return;
        };
        session.record.container = Some(container.clone());
        if let Err(error) = self.records.write(id, &session.record) {
            let session = SessionId(id);
            warn!(%session, %error, "its container is not recorded");
        }
    }

    /// Takes a session away that lies ready, unless it has begun.
    pub fn withdraw(&mut self, id: u64) -> Result<(), MapsError> {
        if self.maps.recognised.claim(id)? {
            self.end(id)?;
        } else {
            self.begin(id, None);
        }
        Ok(())
    }

    /// The sessions that lie ready and have been taken, and whose beginning no event told: they have
    /// tasks, or had time to get some.
    pub fn begun_unheard(&mut self) -> Result<Vec<u64>, MapsError> {
        let mut found = Vec::new();
        for (id, session) in self.by_id.iter_mut().filter(|(_, session)| session.ready) {
            if !self.maps.recognised.is_claimed(*id)? {
                session.since = Instant::now();
            } else if self.maps.session(session.slot)?.tasks > 0
                || session.since.elapsed() > PATIENCE
            {
                found.push(*id);
            }
        }
        Ok(found)
    }

    /// The sessions that lay ready for an earlier daemon.
    pub fn ready(&self) -> Vec<u64> {
        let ready = |(id, session): (&u64, &Session)| session.ready.then_some(*id);
        self.by_id.iter().filter_map(ready).collect()
    }

    /// Tasks of a session, counted by the kernel.
    pub fn tasks(&self, label: Label) -> Result<u64, MapsError> {
        let session = self.maps.session(label.slot)?;
        Ok(if session.id == label.session {
            session.tasks
        } else {
            0
        })
    }
}

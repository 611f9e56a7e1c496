//! How a session's permission ends, and the session.

use super::records::Record;
use super::start::StartError;
use super::uses::Uses;
use super::{PATIENCE, Session, Sessions};
use crate::chain::chain;
use crate::events::line;
use crate::events::line::Exit;
use crate::ids::SessionId;
use crate::kernel::maps::MapsError;
use crate::kernel::{clock, loader};
use agent_common::event::RootExit;
use agent_common::session::{Cause, Revocation, Session as State};
use aya::programs::{RawTracePointRunOptions, TestRun};
use tracing::warn;

/// Why a session's permission does not end.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is no such session.
    #[error("no session {0} on this host: `interlock sessions` lists them")]
    NoSession(SessionId),
    /// The kernel program cannot be reached or run.
    #[error("cannot run the program that ends a session's permission")]
    Program(#[source] aya::programs::ProgramError),
    /// The kernel program says no.
    #[error("the kernel says of session {session}: {answer}")]
    Refused {
        /// The session.
        session: SessionId,
        /// What it said.
        answer: &'static str,
    },
    /// A map failed.
    #[error(transparent)]
    Map(#[from] MapsError),
}

/// Why a session is to be killed.
enum Ending {
    /// Its permission has ended.
    Revoked(Cause),
    /// Its time is over, and nobody has said so to the kernel.
    Over(Cause),
}

impl Sessions {
    /// Takes a session away whose last event has been told.
    pub fn end_if_empty(&mut self, id: u64) -> Result<Option<line::Ended>, MapsError> {
        let Some(session) = self.by_id.get(&id) else {
            return Ok(None);
        };
        // Who kills it tells that first.
        if session.dying || self.maps.session(session.slot)?.tasks > 0 {
            return Ok(None);
        }
        self.end(id)
    }

    /// Takes away the sessions whose end no event told. One that has just been found without a
    /// task stays until the ring has been drained after that: its denials still need its name.
    pub fn reap(&mut self, ring_drained: bool) -> Result<Vec<line::Ended>, MapsError> {
        let mut over = Vec::new();
        for (id, session) in &mut self.by_id {
            let tasks = self.maps.session(session.slot)?.tasks;
            session.had_tasks |= tasks > 0;
            if session.dying || session.ready {
                continue;
            }
            if tasks == 0 && (session.had_tasks || session.since.elapsed() > PATIENCE) {
                if session.over && ring_drained {
                    over.push(*id);
                }
                session.over = true;
            }
        }
        if over.is_empty() {
            return Ok(Vec::new());
        }
        // One walk for all that are over.
        let mut uses = self.uses()?;
        over.into_iter()
            .map(|id| self.take_away(id, uses.remove(&id).unwrap_or_default()))
            .filter_map(Result::transpose)
            .collect()
    }

    /// Notes that a session had a process at a time, and tells it if that is news.
    pub fn seen(&mut self, id: u64, boot_ns: u64) -> Option<line::Session> {
        let session = self.by_id.get_mut(&id)?;
        if std::mem::replace(&mut session.told, true) {
            return None;
        }
        session.had_tasks = true;
        Some(session.line(id, clock::WallClock::read().at(boot_ns)))
    }

    /// Takes a session away.
    pub fn end(&mut self, id: u64) -> Result<Option<line::Ended>, MapsError> {
        let uses = self.uses()?.remove(&id).unwrap_or_default();
        self.take_away(id, uses)
    }

    fn take_away(&mut self, id: u64, uses: Uses) -> Result<Option<line::Ended>, MapsError> {
        let Some(mut session) = self.by_id.remove(&id) else {
            self.names.end(id);
            return Ok(None);
        };
        let share = self.maps.share(session.slot)?;
        for key in uses.keys() {
            self.maps.forget_use(*key)?;
        }
        let allowed = session.allowed(id, &share, uses, &self.names);
        self.names.end(id);
        let state = self.maps.session(session.slot)?;
        let progress = self.maps.progress(session.slot)?;
        let facts = session
            .compiled
            .terms
            .live_facts(&progress, clock::boot_ns());
        if !state.is_silent() {
            self.maps.let_drain(id)?;
        }
        self.maps.set_session(session.slot, State::FREE)?;
        self.maps.recognised.unclaim(id)?;
        self.records.remove(id);
        self.denials.end(id);
        // What a forsaken one's number stands for in the tables is not known.
        if !session.forsaken {
            self.release(&session.compiled, session.place);
        }
        Ok(Some(session.ended(id, &state, facts, allowed)))
    }

    /// Ends a session's permission. False when it had ended before.
    pub fn revoke(&mut self, id: u64, cause: Cause) -> Result<bool, RevokeError> {
        let session = SessionId(id);
        let Some(found) = self.by_id.get(&id) else {
            return Err(RevokeError::NoSession(session));
        };
        let program = loader::revoke_program().map_err(RevokeError::Program)?;
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = id;
        options.args[1] = u64::from(found.slot);
        options.args[2] = u64::from(cause.wire());
        let answer = program.test_run(options).map_err(RevokeError::Program)?;
        match Revocation::from_wire(answer.return_value) {
            Some(Revocation::Done) => Ok(true),
            Some(Revocation::Already) => Ok(false),
            other => Err(RevokeError::Refused {
                session,
                answer: other.map_or("nothing that makes sense", Revocation::word),
            }),
        }
    }

    /// Notes why, for the next daemon too.
    pub fn note_reason(&mut self, id: u64, reason: Option<String>) -> Result<(), StartError> {
        let Some(session) = self.by_id.get_mut(&id) else {
            return Ok(());
        };
        session.reason.clone_from(&reason);
        let record = Record {
            reason,
            ..session.record.clone()
        };
        Ok(self.records.write(id, &record)?)
    }

    /// Notes how the first process of a session ended.
    pub fn note_exit(&mut self, exit: &RootExit) {
        if let Some(session) = self.by_id.get_mut(&exit.header.session) {
            session.exit = Some(Exit::from_status(exit.status));
        }
    }

    /// The sessions whose permission has ended and of which something may still run, with the
    /// cause. Those whose time has passed are revoked here: the kernel denies them already. So are those of which a step is too
    /// late: that step the kernel denies. One that cannot be looked at or revoked is told, and keeps no other from its end.
    pub fn revoked(&mut self) -> Vec<(u64, Cause)> {
        let now_ns = clock::boot_ns();
        let alive = self.by_id.iter().filter(|(_, session)| !session.dying);
        let looks: Vec<_> = alive
            .map(|(id, session)| (*id, self.ending(session, now_ns)))
            .collect();
        let mut found = Vec::new();
        for (id, look) in looks {
            let ended = match look {
                Ok(Some(Ending::Over(cause))) => self.revoke(id, cause).map(|_| Some(cause)),
                Ok(Some(Ending::Revoked(cause))) => Ok(Some(cause)),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            };
            match ended {
                Ok(cause) => found.extend(cause.map(|cause| (id, cause))),
                Err(error) => {
                    warn!(session = %SessionId(id), error = %chain(&error), "whether it is to end is looked at again");
                }
            }
        }
        found
    }

    /// Whether a session is to be killed.
    fn ending(&self, session: &Session, now_ns: u64) -> Result<Option<Ending>, MapsError> {
        let state = self.maps.session(session.slot)?;
        Ok(match state.cause() {
            Some(cause) if state.tasks > 0 => Some(Ending::Revoked(cause)),
            Some(_) => None,
            None if state.has_expired(now_ns) => Some(Ending::Over(Cause::Ttl)),
            None if session.compiled.ends_when_late() => {
                let progress = self.maps.progress(session.slot)?;
                let is_late = session.compiled.is_late(&progress, now_ns);
                is_late.then_some(Ending::Over(Cause::Timeout))
            }
            None => None,
        })
    }

    /// Says that a session is being killed, or no longer. False when that was so already.
    pub fn set_dying(&mut self, id: u64, dying: bool) -> bool {
        self.by_id
            .get_mut(&id)
            .is_some_and(|session| std::mem::replace(&mut session.dying, dying) != dying)
    }
}

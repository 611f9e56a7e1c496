//! Moving running sessions from one version of a policy to the next, and what is left of the earlier
//! one.
//!
//! The new version is in the tables before any session is moved, with its facts, limits and tools in
//! the places where the sessions remember them. The move itself is one store in the kernel. Judgements
//! that have begun end by the earlier version, so its tables stay until none can be left.

use super::tables::{InstallError, Place};
use super::{Record, Session, Sessions, expiry};
use crate::ids::SessionId;
use crate::kernel::barrier;
use crate::kernel::loader;
use crate::kernel::maps::MapsError;
use crate::library::Loaded;
use agent_common::session::Moving;
use agent_policy::{Compiled, Layout, OnChange};
use aya::programs::{ProgramError, RawTracePointRunOptions, TestRun};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long the tables of a policy stay after the last session was moved to another: a program may
/// wait for its arguments, which takes as long as an execve does.
const LINGER: Duration = Duration::from_secs(5);

/// The same where the kernel cannot say when no program runs any more.
const LINGER_UNPROVEN: Duration = Duration::from_secs(60);

/// A policy that no session is under any more, and by which something may still be judged or told.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) compiled: Rc<Compiled>,
    pub(super) place: Place,
    since: Instant,
    /// Whether the ring has been empty since.
    told: bool,
    /// Whether the kernel was asked for an end of the programs that had begun by then.
    asked: bool,
}

impl Leaving {
    pub(super) fn new(compiled: Rc<Compiled>, place: Place) -> Self {
        Self {
            compiled,
            place,
            since: Instant::now(),
            told: false,
            asked: false,
        }
    }
}

/// What became of an agent's running sessions when another version of its policy came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Held to the new version.
    pub moved: usize,
    /// Held to the one that they were held to before.
    pub kept: usize,
}

/// Why a session is not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The new version does not go into the tables.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// What the session remembers and what the new version names are too much together.
    #[error(
        "no room: of this and the versions since the session began, facts, limits, timers or tools \
         are more together than one policy can have"
    )]
    Layout,
    /// The record for the next daemon could not be written.
    #[error("cannot record the session")]
    Record(#[from] io::Error),
    /// The kernel program cannot be reached or run.
    #[error("cannot run the program that moves a session")]
    Program(#[from] ProgramError),
    /// The kernel program says no.
    #[error("the kernel knows no such session")]
    Refused,
}

impl Sessions {
    /// The places that a new session's policy must keep to, so that all running sessions of the agent
    /// can be moved with it.
    pub(super) fn lay_out(&self, compiled: Compiled) -> Compiled {
        let running = self.by_id.values();
        let newest = running
            .filter(|session| session.record.loaded && session.agent == compiled.name)
            .max_by_key(|session| session.record.started_ns);
        newest
            .and_then(|session| session.compiled.layout.with(&compiled.layout))
            .and_then(|layout| compiled.laid_out(&layout))
            .unwrap_or(compiled)
    }

    /// Running sessions of a loaded policy's agent that are held to it, and that are held to another
    /// version.
    pub fn under(&self, loaded: &Loaded) -> (usize, usize) {
        let digest = loaded.compiled.digest;
        let of_agent = self
            .by_id
            .values()
            .filter(|session| session.record.loaded && !session.ready)
            .filter(|session| session.agent == loaded.start.agent);
        let (under, before): (Vec<_>, Vec<_>) =
            of_agent.partition(|session| session.compiled.digest == digest);
        (under.len(), before.len())
    }

    /// Holds running sessions to a version that has just been loaded, if it says so.
    pub fn follow(&mut self, loaded: &Loaded) -> Moved {
        let mut outcome = Moved::default();
        let digest = loaded.compiled.digest_hex();
        let running = self.by_id.iter();
        let mut others: Vec<(u64, u64)> = running
            .filter(|(_, session)| {
                // Others are put in the place of those that lie ready.
                session.record.loaded
                    && !session.ready
                    && session.agent == loaded.start.agent
                    && session.digest != digest
            })
            .map(|(id, session)| (session.record.started_ns, *id))
            .collect();
        others.sort_unstable();
        if loaded.compiled.on_change == OnChange::Keep {
            outcome.kept = others.len();
            return outcome;
        }
        let compiled = Rc::new(self.lay_out((*loaded.compiled).clone()));
        for (_, id) in others {
            match self.move_one(id, loaded, &compiled) {
                Ok(()) => outcome.moved += 1,
                Err(error) => {
                    outcome.kept += 1;
                    let (session, agent) = (SessionId(id), &loaded.start.agent);
                    let error = anyhow::Error::from(error);
                    warn!(%session, agent, "it keeps its earlier policy: {error:#}");
                }
            }
        }
        outcome
    }

    fn move_one(
        &mut self,
        id: u64,
        loaded: &Loaded,
        compiled: &Rc<Compiled>,
    ) -> Result<(), MoveError> {
        let Some(session) = self.by_id.get(&id) else {
            return Ok(());
        };
        if !begins_with(&compiled.layout, &session.compiled.layout) {
            return Err(MoveError::Layout);
        }
        let place = self.place_of(compiled)?;
        let Some(session) = self.by_id.get_mut(&id) else {
            return Ok(());
        };
        let record = Record {
            start: loaded.start.clone(),
            place,
            layout: Some(compiled.layout.clone()),
            ..session.record.clone()
        };
        // First: a daemon that finds the kernel not as the record says completes the move.
        self.records.write(id, &record)?;
        // What it was answered is there before it is judged by the new version.
        let names = self.names.moving(id, place, compiled);
        if let Err(error) = run(id, &record, compiled) {
            self.names.not_moved(names);
            return Err(error);
        }
        self.names.moved(record.slot, names);
        let left = std::mem::replace(&mut session.compiled, Rc::clone(compiled));
        let left_place = std::mem::replace(&mut session.place, place);
        session.earlier.push((left_place, Rc::clone(&left)));
        session.digest = compiled.digest_hex();
        session.file.clone_from(&record.start.file);
        session.record = record;
        self.release(&left, left_place);
        Ok(())
    }

    /// Notes that all has been told that was in the ring.
    pub fn note_told(&mut self) {
        for leaving in &mut self.leaving {
            leaving.told = true;
        }
    }

    /// Whether tables wait to be taken out. Who hears so waits for the kernel's programs, and then
    /// calls [`Sessions::take_out`].
    pub fn begin_take_out(&mut self) -> bool {
        for leaving in &mut self.leaving {
            leaving.asked = leaving.is_due();
        }
        self.leaving.iter().any(|leaving| leaving.asked)
    }

    /// Takes the tables out by which nothing can be judged any more. `proven` when the kernel has
    /// said so of all programs that had begun at [`Sessions::begin_take_out`].
    pub fn take_out(&mut self, proven: bool) {
        let (over, stay): (Vec<Leaving>, Vec<Leaving>) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|leaving| {
                leaving.asked && (proven || leaving.since.elapsed() > LINGER_UNPROVEN)
            });
        self.leaving = stay;
        for leaving in over {
            self.remove(&leaving.compiled, leaving.place);
        }
    }

    /// Finishes what an earlier daemon had begun, and takes out what it left behind.
    pub(super) fn tidy(&mut self) -> Result<(), MapsError> {
        let ids: Vec<u64> = self.by_id.keys().copied().collect();
        for id in ids {
            let Some(session) = self.by_id.get(&id) else {
                continue;
            };
            if self.maps.session(session.slot)?.policy == session.place.policy {
                continue;
            }
            if let Err(error) = run(id, &session.record, &session.compiled) {
                let session = SessionId(id);
                warn!(%session, %error, "cannot be moved as its record says: it is denied everything");
            }
        }
        // Before numbers are given again, nothing may be judged by what they stood for.
        if let Err(error) = barrier::wait_for_programs() {
            warn!(%error, "cannot wait for the kernel's programs");
        }
        self.tables.sweep(&mut self.maps)?;
        self.paths
            .keep_only(&mut self.maps, |policy| self.tables.has(policy))
    }
}

impl Leaving {
    fn is_due(&self) -> bool {
        self.told && self.since.elapsed() >= LINGER
    }
}

impl Session {
    /// The policy of a number by which something of this session was judged.
    pub fn version(&self, policy: u32) -> &Compiled {
        self.version_at(policy).unwrap_or(&self.compiled)
    }

    /// The policy of a number, if it is still known.
    pub fn version_at(&self, policy: u32) -> Option<&Compiled> {
        if policy == self.place.policy {
            return Some(&self.compiled);
        }
        let mut earlier = self.earlier.iter().rev();
        let found = earlier.find(|(place, _)| place.policy == policy);
        found.map(|(_, compiled)| &**compiled)
    }
}

/// Whether the names of an earlier layout have the same places in another.
fn begins_with(layout: &Layout, earlier: &Layout) -> bool {
    layout.facts.starts_with(&earlier.facts)
        && layout.timers.starts_with(&earlier.timers)
        && layout.limits.starts_with(&earlier.limits)
        && layout.tools.starts_with(&earlier.tools)
}

fn run(id: u64, record: &Record, compiled: &Compiled) -> Result<(), MoveError> {
    let program = loader::move_program()?;
    let mut options = RawTracePointRunOptions::new();
    options.args[0] = id;
    options.args[1] = u64::from(record.slot);
    options.args[2] = u64::from(record.place.policy);
    options.args[3] = expiry(compiled, record.lives_ns, record.started_ns);
    let answer = program.test_run(options)?;
    match Moving::from_wire(answer.return_value) {
        Some(Moving::Done) => Ok(()),
        _ => Err(MoveError::Refused),
    }
}

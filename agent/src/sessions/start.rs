//! How a session begins.

use super::budgets::{NoBudgetError, spent};
use super::denials::Denials;
use super::records::Record;
use super::session::expiry;
use super::tables::InstallError;
use super::{Session, Sessions};
use crate::central::Permit;
use crate::control::protocol::{Start, Started};
use crate::ids::SessionId;
use crate::kernel::clock;
use crate::kernel::maps::{Maps, MapsError};
use crate::library::Loaded;
use crate::policy::{self, PolicyError};
use agent_common::session::{Label, Session as State};
use agent_common::terms::{LIMITS, Progress, TIMERS};
use agent_policy::{Compiled, Grant};
use std::collections::HashSet;
use std::rc::Rc;

/// How a session begins, if not by `interlock run`.
#[derive(Debug, Default)]
pub(super) struct Begin {
    /// Under a policy that the daemon has loaded, and may move it from.
    pub(super) loaded: bool,
    /// It lies ready.
    pub(super) ready: bool,
    /// How it is recognised, for people.
    pub(super) recognised: Option<String>,
    /// Facts that hold from its beginning, besides the policy's.
    pub(super) facts: u64,
    /// The cgroup that it is for, or zero.
    pub(super) door: u64,
    /// By what it may begin.
    pub(super) permit: Permit,
}

/// Why a session cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy cannot be put in force.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Files and programs are not judged here.
    #[error(
        "the policy of `{0}` has {1}, and no BPF LSM programs are in force here: `interlock status` \
         and `interlock doctor` say why"
    )]
    NoLsm(String, &'static str),
    /// There is nobody to lose.
    #[error(
        "the policy of `{0}` has revokeOn: controllerLost, and this daemon has no controller: \
         `interlock daemon --controller`"
    )]
    NoController(String),
    /// Nobody tells service accounts.
    #[error(
        "the policy of `{0}` selects pods by serviceAccount, which the Kubernetes API tells, and this daemon \
         does not ask it: `interlock daemon --kubernetes`"
    )]
    NoKubernetes(String),
    /// Nobody would look names up, or relay connections.
    #[error(
        "the policy of `{0}` names hosts or a gateway, and this daemon has no resolver and no relay: its \
         log says why"
    )]
    NoDiversion(String),
    /// Somebody else must say yes first.
    #[error(
        "the policy of `{0}` requires a grant, and none was given: ask the controller for one, then \
         `interlock run --grant FILE`"
    )]
    NoGrant(String),
    /// The grant speaks of a budget that there is not.
    #[error("the grant does not fit the policy")]
    Budget(#[from] NoBudgetError),
    /// Every slot is taken.
    #[error("no room for another session: all {0} slots are taken")]
    Full(u32),
    /// The tables are full.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A map failed.
    #[error("cannot write the session into the kernel's tables")]
    Map(#[from] MapsError),
    /// The record for the next daemon could not be written.
    #[error("cannot record the session")]
    Record(#[from] std::io::Error),
    /// The machine has no random numbers.
    #[error("cannot draw a session number")]
    Random(#[from] rand::rand_core::OsError),
}

impl Sessions {
    /// Makes room for a session, whose first process must then come by itself.
    pub fn start(&mut self, start: &Start, permit: Permit) -> Result<Started, StartError> {
        let compiled = policy::compile(start)?;
        self.host.accepts(&compiled)?;
        let begin = Begin {
            permit,
            ..Begin::default()
        };
        self.started(start, compiled, &begin)
    }

    /// The same under a policy that the daemon has loaded, and may move the session from.
    pub fn start_loaded(&mut self, loaded: &Loaded, permit: Permit) -> Result<Started, StartError> {
        let compiled = self.lay_out((*loaded.compiled).clone());
        let begin = Begin {
            loaded: true,
            permit,
            ..Begin::default()
        };
        self.started(&loaded.start, compiled, &begin)
    }

    pub(super) fn started(
        &mut self,
        start: &Start,
        compiled: Compiled,
        begin: &Begin,
    ) -> Result<Started, StartError> {
        let label = self.make(start, compiled, begin)?;
        Ok(Started {
            session: SessionId(label.session),
            slot: label.slot,
            denials: self.denials.path(label.session),
        })
    }

    /// Makes a session under a policy that this kernel can hold.
    pub(super) fn make(
        &mut self,
        start: &Start,
        compiled: Compiled,
        begin: &Begin,
    ) -> Result<Label, StartError> {
        if compiled.grant == Grant::Required && begin.permit.grant.is_none() {
            return Err(StartError::NoGrant(start.agent.clone()));
        }
        let spent = spent(&compiled, &begin.permit.budgets)?;
        let slot = self.free_slot()?;
        let id = self.draw_id()?;
        let place = self.place_of(&compiled)?;
        let record = Record {
            start: start.clone(),
            slot,
            place,
            reason: None,
            recognised: begin.recognised.clone(),
            container: None,
            entered: None,
            ready: begin.ready,
            loaded: begin.loaded,
            layout: begin.loaded.then(|| compiled.layout.clone()),
            task: begin.permit.task.clone(),
            grant: begin.permit.grant.clone(),
            lives_ns: begin.permit.lives_ms.map(|ms| ms.saturating_mul(1_000_000)),
            started_ns: clock::boot_ns(),
        };
        let done = self.records.write(id, &record).map_err(StartError::from);
        let done = done.and_then(|()| Ok(self.denials.begin(id)?));
        let denials = self.paths.hash(&Denials::name(id));
        let open = |maps: &mut Maps| open(maps, id, &record, &compiled, (begin, denials, spent));
        if let Err(error) = done.and_then(|()| open(&mut self.maps).map_err(StartError::from)) {
            self.denials.end(id);
            self.release(&Rc::new(compiled), place);
            return Err(error);
        }
        self.names.begin(id, slot, place, &compiled);
        self.by_id.insert(id, Session::new(record, compiled));
        Ok(Label {
            session: id,
            slot,
            reserved: 0,
        })
    }

    pub(super) fn free_slot(&self) -> Result<u32, StartError> {
        // Whose they are the daemon knows of nearly all: the kernel is asked about the first of the others.
        let taken: HashSet<u32> = self.by_id.values().map(|session| session.slot).collect();
        for slot in (0..self.maps.slots()).filter(|slot| !taken.contains(slot)) {
            if self.maps.session(slot)?.id == State::FREE.id {
                return Ok(slot);
            }
        }
        Err(StartError::Full(self.maps.slots()))
    }

    pub(super) fn draw_id(&self) -> Result<u64, StartError> {
        use rand::TryRngCore;
        loop {
            let id = rand::rngs::OsRng.try_next_u64()?;
            if id != State::FREE.id && !self.by_id.contains_key(&id) {
                return Ok(id);
            }
        }
    }
}

/// Makes a slot a session's. Its progress comes first: once the slot is taken, processes may come.
fn open(
    maps: &mut Maps,
    id: u64,
    record: &Record,
    compiled: &Compiled,
    (begin, denials, spent): (&Begin, u64, [u64; LIMITS]),
) -> Result<(), MapsError> {
    let (slot, now_ns) = (record.slot, record.started_ns);
    // What has no lifetime does not get one by being moved to a version that gives it one.
    let mut progress = Progress {
        deadlines: [u64::MAX; TIMERS],
        limits: spent,
        ..Progress::START
    };
    progress.set_facts(
        compiled.initial_facts | begin.facts,
        &compiled.terms,
        now_ns,
    );
    maps.set_progress(slot, progress)?;
    maps.clear_share(slot)?;
    // Those of the session that had the slot before are not counted as its own.
    maps.held.set_open(slot, 0)?;
    let state = State {
        id,
        policy: record.place.policy,
        // The time of one that lies ready begins when it does.
        expires_ns: if begin.ready {
            0
        } else {
            expiry(compiled, record.lives_ns, now_ns)
        },
        door: begin.door,
        denials,
        ..State::FREE
    };
    maps.set_session(slot, state)
}

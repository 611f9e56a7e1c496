//! The sessions of this host, in the kernel's tables, in memory, and on disk for the next daemon.

mod budgets;
pub mod census;
pub mod denials;
mod end;
mod forsaken;
pub mod guarded;
mod in_force;
pub mod kill;
pub mod mounts;
pub mod moving;
pub mod paths;
pub mod ready;
pub mod records;
mod session;
mod start;
pub mod tables;
mod uses;
mod views;

use crate::control::protocol::SessionInfo;
use crate::divert::Stations;
use crate::events::line;
use crate::events::line::Exit;
use crate::ids::SessionId;
use crate::kernel::clock;
use crate::kernel::maps::{Maps, MapsError};
use crate::names::Names;
use crate::policy::{self};
use agent_common::abi::{MAX_PATHS, MAX_POLICIES, MAX_RULES, MAX_TASKS};
use agent_common::event::Living;
use agent_common::session::{ALLOWED, Session as State};
use agent_common::uses::MAX_USES;
use agent_policy::{Compiled, Need};
pub use budgets::{NoBudgetError, spent};
use denials::Denials;
pub use end::RevokeError;
use guarded::Guarded;
use in_force::policies;
use mounts::Mounts;
use moving::Leaving;
use paths::Paths;
use records::{Record, Records};
use session::expiry;
pub use session::{CANARY, ttl_ns};
use start::Begin;
pub use start::StartError;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tables::{Place, Tables};
use tracing::warn;
use uses::Uses;

/// How long a session may wait for its first process.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every session.
pub struct Sessions {
    maps: Maps,
    tables: Tables,
    paths: Paths,
    records: Records,
    denials: Denials,
    by_id: HashMap<u64, Session>,
    /// Policies that sessions were moved from.
    leaving: Vec<Leaving>,
    /// What they may look up, and were answered.
    names: Arc<Names>,
    stations: Option<Stations>,
    host: Host,
}

/// What a host can hold sessions to.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Whether BPF LSM is there, without which no file and no Unix socket is judged.
    judges_files: bool,
    /// Whether the daemon has a controller, which it may lose.
    has_controller: bool,
    /// Whether the Kubernetes API is asked, without which nobody tells service accounts.
    has_kubernetes: bool,
    /// Whether there are a resolver, without which no name leads anywhere, and a relay.
    diverts: bool,
}

impl Host {
    /// Whether sessions can be held to a policy here.
    pub fn accepts(self, compiled: &Compiled) -> Result<(), StartError> {
        if !self.has_controller && compiled.needs().contains(&Need::ControllerLost) {
            return Err(StartError::NoController(compiled.name.clone()));
        }
        if !self.has_kubernetes && compiled.needs().contains(&Need::ServiceAccounts) {
            return Err(StartError::NoKubernetes(compiled.name.clone()));
        }
        if !self.diverts && compiled.is_diverted() {
            return Err(StartError::NoDiversion(compiled.name.clone()));
        }
        let by_lsm = [
            Need::Files,
            Need::Exec,
            Need::Tools,
            Need::Executables,
            Need::Pods,
            Need::ServiceAccounts,
            Need::Engines,
            Need::UnixSockets,
            Need::Handoffs,
            Need::Approvals,
        ];
        let mut needs = compiled.needs().into_iter();
        match needs.find(|need| by_lsm.contains(need)) {
            Some(need) if !self.judges_files => {
                Err(StartError::NoLsm(compiled.name.clone(), need.word()))
            }
            _ => Ok(()),
        }
    }
}

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its agent.
    pub agent: String,
    /// The policy's digest.
    pub digest: String,
    slot: u32,
    file: String,
    compiled: Rc<Compiled>,
    place: Place,
    /// The policies that it was moved from, while something may still be told of them.
    earlier: Vec<(Place, Rc<Compiled>)>,
    record: Record,
    since: Instant,
    /// Records of it that were read from the ring.
    read: u64,
    /// Records of it that were lost, and told to be.
    lost: u64,
    /// It had begun before this daemon.
    adopted: bool,
    /// What it had been allowed when that was asked last, and when.
    allowed: [u64; ALLOWED],
    asked: Instant,
    /// The same by rule and place.
    uses: Uses,
    had_tasks: bool,
    /// It was found without a task, and what it did may still be in the ring.
    over: bool,
    told: bool,
    exit: Option<Exit>,
    reason: Option<String>,
    /// Somebody is killing it.
    dying: bool,
    /// It waits for the kernel programs to begin it, and is nobody's business until then.
    ready: bool,
    /// Nobody knows what it was held to.
    forsaken: bool,
}

impl Sessions {
    /// Takes over what is in force.
    pub fn adopt(
        mut maps: Maps,
        records: Records,
        denials: Denials,
        judges_files: bool,
        guarded: Guarded,
        names: Arc<Names>,
    ) -> Result<Self, MapsError> {
        let mut paths = Paths::open(&mut maps)?;
        paths.protect(&mut maps, guarded)?;
        let (folder, inode) = denials.folder().map_err(MapsError::Denials)?;
        let device = paths.mounts().resolve(folder.as_os_str().as_bytes());
        let device = device.map_or(0, |place| place.device);
        paths.set_denials(&mut maps, (device, inode))?;
        let mut sessions = Self {
            paths,
            maps,
            tables: Tables::default(),
            records,
            denials,
            by_id: HashMap::new(),
            leaving: Vec::new(),
            names,
            stations: None,
            host: Host {
                judges_files,
                has_controller: false,
                has_kubernetes: false,
                diverts: false,
            },
        };
        for (id, record) in sessions.records.read() {
            sessions.adopt_one(id, &record)?;
        }
        sessions.forsake_unknown()?;
        for (id, uses) in sessions.uses()? {
            if let Some(session) = sessions.by_id.get_mut(&id) {
                session.uses = uses;
            }
        }
        sessions.denials.sweep();
        sessions.names.adopt()?;
        sessions.tidy()?;
        // Mounts may have come and gone while there was no daemon.
        let policies = policies(&sessions.by_id);
        sessions.paths.rewrite(&mut sessions.maps, &policies)?;
        Ok(sessions)
    }

    /// Makes the path rules follow what is mounted and unmounted.
    pub fn follow_mounts(&mut self) -> Result<(), MapsError> {
        let policies = policies(&self.by_id);
        self.paths.follow(&mut self.maps, &policies)
    }

    /// Makes the path rules of an agent's policies hold for what a process of its container sees, and its lookups
    /// reach the resolver. Before this its files there have no rules, and are denied.
    pub fn show_container(&mut self, cgroup: u64, agent: &str, pid: u32) -> Result<(), MapsError> {
        let is_diverted =
            |session: &Session| session.agent == agent && session.compiled.is_diverted();
        if self.by_id.values().any(is_diverted)
            && let Some(stations) = &mut self.stations
        {
            stations.listen(pid);
        }
        let mounts = Mounts::of(pid).map_err(MapsError::Mounts)?;
        if !self.paths.views().add(cgroup, agent, mounts) {
            return Ok(());
        }
        let mut policies = policies(&self.by_id);
        policies.retain(|(compiled, _)| compiled.name == agent);
        self.paths.rewrite(&mut self.maps, &policies)
    }

    /// Forgets what was seen in a container that is gone.
    pub fn hide_container(&mut self, cgroup: u64) {
        self.paths.views().remove(cgroup);
    }

    /// What is mounted where.
    pub fn mounts(&self) -> &Mounts {
        self.paths.mounts()
    }

    fn adopt_one(&mut self, id: u64, record: &Record) -> Result<(), MapsError> {
        if self.maps.session(record.slot)?.id != id {
            self.records.remove(id);
            return Ok(());
        }
        // The same text compiles to the same tables, so this is what the kernel enforces.
        match policy::compile(&record.start) {
            Ok(compiled) => {
                let layout = record.layout.as_ref();
                let compiled = layout
                    .and_then(|layout| compiled.laid_out(layout))
                    .unwrap_or(compiled);
                self.tables.adopt(record.place, &compiled);
                self.denials.adopt(id).map_err(MapsError::Denials)?;
                let mut session = Session::new(record.clone(), compiled);
                let has_tasks = self.maps.session(record.slot)?.tasks > 0;
                session.take_over(&self.maps.share(record.slot)?, has_tasks);
                self.names
                    .begin(id, record.slot, record.place, &session.compiled);
                self.by_id.insert(id, session);
            }
            Err(error) => {
                let session = SessionId(id);
                warn!(%session, %error, "the policy of its record makes no sense to this build");
            }
        }
        Ok(())
    }

    /// What this host can hold sessions to.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Says where resolver and relay listen.
    pub fn set_stations(&mut self, stations: Stations) {
        self.host.diverts = true;
        self.stations = Some(stations);
    }

    /// Makes resolver and relay listen where a process of a session is, if it may need them.
    pub fn listen_where(&mut self, id: u64, pid: u32) {
        let session = self.by_id.get(&id);
        if session.is_some_and(|session| session.compiled.is_diverted())
            && let Some(stations) = &mut self.stations
        {
            stations.listen(pid);
        }
    }

    /// The same where the sessions' processes were found when a daemon begins, and only there.
    pub fn listen_only_where(&mut self, there: &[Living]) {
        for living in there {
            self.listen_where(living.session, living.process.pid);
        }
        if let Some(stations) = &mut self.stations {
            stations.forget_earlier();
        }
    }

    /// Stops listening where no process of a session is any more.
    pub fn leave(&mut self, there: &[Living]) {
        if let Some(stations) = &mut self.stations {
            stations.leave(there.iter().map(|living| living.process.pid));
        }
    }

    /// Whether resolver and relay listen anywhere but on the host.
    pub fn listens_elsewhere(&self) -> bool {
        self.stations.as_ref().is_some_and(Stations::has_others)
    }

    /// What sessions may look up, and were answered.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Says that the daemon asks the Kubernetes API.
    pub fn set_kubernetes(&mut self) {
        self.host.has_kubernetes = true;
    }

    /// Says that the daemon has a controller.
    pub fn set_controller(&mut self) {
        self.host.has_controller = true;
    }

    /// The sessions that are meant, but for those that lie ready and nobody has begun, and the
    /// canary's.
    pub fn matching(&self, means: impl Fn(u64, &Session) -> bool) -> Vec<u64> {
        let begun = self.by_id.iter().filter(|(_, session)| session.is_listed());
        let meant = begun.filter(|(id, session)| means(**id, session));
        meant.map(|(id, _)| *id).collect()
    }

    /// The state of a session in the kernel.
    pub fn state(&self, id: u64) -> Result<Option<State>, MapsError> {
        self.by_id
            .get(&id)
            .map(|session| self.maps.session(session.slot))
            .transpose()
    }

    /// Notes that a record of a session was read, which gives it room in the ring again.
    pub fn note_read(&mut self, id: u64) -> Result<(), MapsError> {
        match self.by_id.get_mut(&id) {
            Some(session) => {
                session.read += 1;
                self.maps.set_read(session.slot, session.read)
            }
            None => Ok(()),
        }
    }

    /// How much each session has written into the ring by now.
    pub fn written(&self) -> Result<Vec<(u64, u64)>, MapsError> {
        let written =
            |(id, session): (&u64, &Session)| Ok((*id, self.maps.share(session.slot)?.written));
        self.by_id.iter().map(written).collect()
    }

    /// Notes that all of this was read: the ring has been empty since. What an earlier daemon took
    /// from the ring and did not note is made good here.
    pub fn all_read(&mut self, written: &[(u64, u64)]) -> Result<(), MapsError> {
        for (id, written) in written {
            if let Some(session) = self.by_id.get_mut(id)
                && session.read < *written
            {
                session.read = *written;
                self.maps.set_read(session.slot, session.read)?;
            }
        }
        Ok(())
    }

    /// What was lost of each session since it was asked last.
    pub fn losses(&mut self) -> Result<Vec<line::Loss>, MapsError> {
        let mut losses = Vec::new();
        for (id, session) in &mut self.by_id {
            let total = self.maps.share(session.slot)?.lost;
            losses.extend(session.loss(*id, total));
        }
        Ok(losses)
    }

    /// What each session was allowed since it was asked last.
    pub fn allowed(&mut self) -> Result<Vec<line::Allowed>, MapsError> {
        let (mut allowed, mut uses) = (Vec::new(), self.uses()?);
        for (id, session) in &mut self.by_id {
            let share = self.maps.share(session.slot)?;
            let uses = uses.remove(id).unwrap_or_default();
            allowed.extend(session.allowed(*id, &share, uses, &self.names));
        }
        Ok(allowed)
    }

    /// The session of a number.
    pub fn get(&self, id: u64) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// What sessions are told of their denials.
    pub fn denials(&mut self) -> &mut Denials {
        &mut self.denials
    }

    /// The maps, to look into.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_id
            .values()
            .filter(|session| session.is_listed())
            .count()
    }

    /// How full the kernel's tables are: their names, the entries that are taken, and what there is room for.
    pub fn fill(&self) -> Result<[(&'static str, u64, u64); 6], MapsError> {
        let mut tasks = 0;
        for session in self.by_id.values() {
            tasks += self.maps.session(session.slot)?.tasks;
        }
        // As they were when they were told last.
        let uses: usize = self.by_id.values().map(|session| session.uses.len()).sum();
        let (policies, rules) = self.tables.taken();
        let (slots, paths) = (self.by_id.len() as u64, self.paths.taken() as u64);
        Ok([
            ("sessions", slots, self.maps.slots().into()),
            ("tasks", tasks, MAX_TASKS.into()),
            ("policies", policies, MAX_POLICIES.into()),
            ("rules", rules, MAX_RULES.into()),
            ("paths", paths, MAX_PATHS.into()),
            ("uses", uses as u64, MAX_USES.into()),
        ])
    }

    /// Every session, for people.
    pub fn list(&self) -> Result<Vec<SessionInfo>, MapsError> {
        let mut list = Vec::with_capacity(self.by_id.len());
        let now_ns = clock::boot_ns();
        for (id, session) in self.by_id.iter().filter(|(_, session)| session.is_listed()) {
            let progress = self.maps.progress(session.slot)?;
            let facts = session.compiled.terms.live_facts(&progress, now_ns);
            list.push(SessionInfo {
                session: SessionId(*id),
                agent: session.agent.clone(),
                file: session.file.clone(),
                policy: session.digest.clone(),
                facts: session.facts(facts),
                tasks: self.maps.session(session.slot)?.tasks,
                recognised: session.record.recognised.clone(),
                container: session.record.container.clone(),
                entered: session.record.entered,
                denials: self.denials.path(*id),
            });
        }
        list.sort_by(|a, b| (&a.agent, a.session).cmp(&(&b.agent, b.session)));
        Ok(list)
    }

    /// Tells the kernel programs what time it is, for policies with hours.
    pub fn set_clocks(&mut self) -> Result<(), MapsError> {
        self.maps.set_booted(clock::booted_s())?;
        for session in self.by_id.values() {
            tables::refresh_hours(&mut self.maps, &session.compiled, session.place)?;
        }
        Ok(())
    }
}

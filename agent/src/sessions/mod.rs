//! The sessions of this host, in the kernel's tables, in memory, and on disk for the next daemon.

pub mod census;
pub mod denials;
pub mod kill;
pub mod mounts;
pub mod moving;
pub mod paths;
pub mod ready;
pub mod records;
pub mod tables;

use crate::control::protocol::{SessionId, SessionInfo, Start, Started};
use crate::events::line::Exit;
use crate::events::{explain, line};
use crate::kernel::maps::{Maps, MapsError};
use crate::kernel::{clock, loader};
use crate::library::Loaded;
use crate::policy::{self, PolicyError};
use agent_common::event::RootExit;
use agent_common::session::{Cause, Label, Revocation, Session as State};
use agent_common::terms::{Progress, TIMERS};
use agent_policy::{Compiled, Mode, Need};
use aya::programs::{RawTracePointRunOptions, TestRun};
use denials::Denials;
use mounts::Mounts;
use moving::Leaving;
use paths::Paths;
use records::{Record, Records};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tables::{InstallError, Place, Tables};
use tracing::warn;

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
    host: Host,
}

/// What a host can hold sessions to.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Whether BPF LSM is there, without which no file is judged.
    judges_files: bool,
}

impl Host {
    /// Whether sessions can be held to a policy here.
    pub fn accepts(self, compiled: &Compiled) -> Result<(), StartError> {
        let by_lsm = [Need::Files, Need::Exec, Need::Tools, Need::Executables];
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
}

/// How a session begins, if not by `interlock run`.
#[derive(Debug, Default)]
struct Begin {
    /// Under a policy that the daemon has loaded, and may move it from.
    loaded: bool,
    /// It lies ready.
    ready: bool,
    /// How it is recognised, for people.
    recognised: Option<String>,
    /// Facts that hold from its beginning, besides the policy's.
    facts: u64,
    /// The cgroup that it is for, or zero.
    door: u64,
}

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

impl Session {
    /// The names of facts, as cases have them: steps as `step:NAME`.
    pub fn facts(&self, facts: u64) -> Vec<String> {
        agent_policy::told_facts(&self.compiled, facts)
    }

    /// The policy that it is held to.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Why it was revoked, in the words of who ordered it.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl Sessions {
    /// Takes over what is in force.
    pub fn adopt(
        mut maps: Maps,
        records: Records,
        denials: Denials,
        judges_files: bool,
    ) -> Result<Self, MapsError> {
        let mut paths = Paths::open(&mut maps)?;
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
            host: Host { judges_files },
        };
        let mut all = true;
        for (id, record) in sessions.records.read() {
            all &= sessions.adopt_one(id, &record)?;
        }
        sessions.denials.sweep();
        if all {
            sessions.tidy()?;
        }
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

    /// What is mounted where.
    pub fn mounts(&self) -> &Mounts {
        self.paths.mounts()
    }

    /// False where it is not known what is in the tables for a session.
    fn adopt_one(&mut self, id: u64, record: &Record) -> Result<bool, MapsError> {
        if self.maps.session(record.slot)?.id != id {
            self.records.remove(id);
            return Ok(true);
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
                self.by_id
                    .insert(id, Session::new(record.clone(), compiled));
                Ok(true)
            }
            Err(error) => {
                let session = SessionId(id);
                warn!(%session, %error, "enforced, but its events cannot be explained");
                Ok(false)
            }
        }
    }

    /// What this host can hold sessions to.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Makes room for a session, whose first process must then come by itself.
    pub fn start(&mut self, start: &Start) -> Result<Started, StartError> {
        let compiled = policy::compile(start)?;
        self.host.accepts(&compiled)?;
        self.started(start, compiled, &Begin::default())
    }

    /// The same under a policy that the daemon has loaded, and may move the session from.
    pub fn start_loaded(&mut self, loaded: &Loaded) -> Result<Started, StartError> {
        let compiled = self.lay_out((*loaded.compiled).clone());
        let begin = Begin {
            loaded: true,
            ..Begin::default()
        };
        self.started(&loaded.start, compiled, &begin)
    }

    fn started(
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
    fn make(
        &mut self,
        start: &Start,
        compiled: Compiled,
        begin: &Begin,
    ) -> Result<Label, StartError> {
        let slot = self.free_slot()?;
        let id = self.draw_id()?;
        let place = self.place_of(&compiled)?;
        let record = Record {
            start: start.clone(),
            slot,
            place,
            reason: None,
            recognised: begin.recognised.clone(),
            ready: begin.ready,
            loaded: begin.loaded,
            layout: begin.loaded.then(|| compiled.layout.clone()),
            started_ns: clock::boot_ns(),
        };
        let done = self.records.write(id, &record).map_err(StartError::from);
        let done = done.and_then(|()| Ok(self.denials.begin(id)?));
        let denials = self.paths.hash(&Denials::name(id));
        let open = |maps: &mut Maps| open(maps, id, &record, &compiled, (begin, denials));
        if let Err(error) = done.and_then(|()| open(&mut self.maps).map_err(StartError::from)) {
            self.denials.end(id);
            self.release(&Rc::new(compiled), place);
            return Err(error);
        }
        self.by_id.insert(id, Session::new(record, compiled));
        Ok(Label {
            session: id,
            slot,
            reserved: 0,
        })
    }

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
        over.into_iter()
            .map(|id| self.end(id))
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
        Some(session.line(id, explain::wall_clock(boot_ns)))
    }

    /// Takes a session away.
    pub fn end(&mut self, id: u64) -> Result<Option<line::Ended>, MapsError> {
        let Some(session) = self.by_id.remove(&id) else {
            return Ok(None);
        };
        let state = self.maps.session(session.slot)?;
        let progress = self.maps.progress(session.slot)?;
        let facts = session
            .compiled
            .terms
            .live_facts(&progress, clock::boot_ns());
        self.maps.set_session(session.slot, State::FREE)?;
        self.maps.recognised.unclaim(id)?;
        self.records.remove(id);
        self.denials.end(id);
        self.release(&session.compiled, session.place);
        Ok(Some(session.ended(id, &state, facts)))
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
    /// cause. Those whose time has passed are revoked here: the kernel denies them already.
    pub fn revoked(&mut self) -> Result<Vec<(u64, Cause)>, RevokeError> {
        let now_ns = clock::boot_ns();
        let mut found = Vec::new();
        let mut expired = Vec::new();
        for (id, session) in &self.by_id {
            if session.dying {
                continue;
            }
            let state = self.maps.session(session.slot)?;
            match state.cause() {
                Some(cause) if state.tasks > 0 => found.push((*id, cause)),
                None if state.has_expired(now_ns) => expired.push(*id),
                _ => {}
            }
        }
        for id in expired {
            self.revoke(id, Cause::Ttl)?;
            found.push((id, Cause::Ttl));
        }
        Ok(found)
    }

    /// Says that a session is being killed, or no longer. False when that was so already.
    pub fn set_dying(&mut self, id: u64, dying: bool) -> bool {
        self.by_id
            .get_mut(&id)
            .is_some_and(|session| std::mem::replace(&mut session.dying, dying) != dying)
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
        self.by_id.values().filter(|session| !session.ready).count()
    }

    /// Every session, for people.
    pub fn list(&self) -> Result<Vec<SessionInfo>, MapsError> {
        let mut list = Vec::with_capacity(self.by_id.len());
        let now_ns = clock::boot_ns();
        for (id, session) in self.by_id.iter().filter(|(_, session)| !session.ready) {
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

    /// Where a policy lies in the tables: where it lies already, or where it is written now.
    fn place_of(&mut self, compiled: &Compiled) -> Result<Place, InstallError> {
        let same =
            |other: &Compiled| other.digest == compiled.digest && other.layout == compiled.layout;
        let mut sessions = self.by_id.values();
        if let Some(session) = sessions.find(|session| same(&session.compiled)) {
            return Ok(session.place);
        }
        if let Some(at) = self.leaving.iter().position(|left| same(&left.compiled)) {
            let place = self.leaving.remove(at).place;
            // Its paths were not followed while nobody was under it.
            self.paths.rewrite(&mut self.maps, &[(compiled, place)])?;
            return Ok(place);
        }
        self.install(compiled)
    }

    /// Writes a policy into the tables.
    fn install(&mut self, compiled: &Compiled) -> Result<Place, InstallError> {
        // Its paths must be what they are now, not at the last look.
        self.follow_mounts()?;
        let place = self.tables.install(&mut self.maps, compiled)?;
        if let Err(error) = self.paths.install(&mut self.maps, compiled, place) {
            let _ = self.paths.remove(&mut self.maps, place.policy);
            self.tables.remove(&mut self.maps, compiled, place);
            return Err(error);
        }
        Ok(place)
    }

    /// Takes a policy out of the tables when no session is left under it.
    fn release(&mut self, compiled: &Rc<Compiled>, place: Place) {
        if self.by_id.values().any(|session| session.place == place) {
            return;
        }
        // Of who was moved from it, something may still be judged by it, or told.
        let is_earlier = |session: &Session| session.earlier.iter().any(|(was, _)| *was == place);
        if self.by_id.values().any(is_earlier) {
            self.leaving.push(Leaving::new(Rc::clone(compiled), place));
        } else {
            self.remove(compiled, place);
        }
    }

    /// Takes a policy out of the tables.
    fn remove(&mut self, compiled: &Compiled, place: Place) {
        for session in self.by_id.values_mut() {
            session.earlier.retain(|(was, _)| *was != place);
        }
        if let Err(error) = self.paths.remove(&mut self.maps, place.policy) {
            warn!(agent = compiled.name, %error, "its path rules stay in the tables");
        }
        self.tables.remove(&mut self.maps, compiled, place);
    }

    fn free_slot(&self) -> Result<u32, StartError> {
        for slot in 0..self.maps.slots() {
            if self.maps.session(slot)?.id == State::FREE.id {
                return Ok(slot);
            }
        }
        Err(StartError::Full(self.maps.slots()))
    }

    fn draw_id(&self) -> Result<u64, StartError> {
        use rand::TryRngCore;
        loop {
            let id = rand::rngs::OsRng.try_next_u64()?;
            if id != State::FREE.id && !self.by_id.contains_key(&id) {
                return Ok(id);
            }
        }
    }
}

impl Session {
    fn new(record: Record, compiled: Compiled) -> Self {
        Self {
            agent: record.start.agent.clone(),
            digest: compiled.digest_hex(),
            slot: record.slot,
            file: record.start.file.clone(),
            compiled: Rc::new(compiled),
            place: record.place,
            earlier: Vec::new(),
            since: Instant::now(),
            read: 0,
            lost: 0,
            had_tasks: false,
            over: false,
            told: false,
            exit: None,
            reason: record.reason.clone(),
            dying: false,
            ready: record.ready,
            record,
        }
    }

    fn ended(&self, id: u64, state: &State, facts: u64) -> line::Ended {
        line::Ended {
            session: self.line(id, explain::now()),
            outcome: self.outcome(state, facts),
            cause: state.cause().map(Cause::word),
            exit: self.exit,
        }
    }

    /// What the policy calls such an end.
    fn outcome(&self, state: &State, facts: u64) -> &'static str {
        let completion = self.compiled.terms.completion;
        let has_chain = completion != 0;
        let is_complete = !has_chain || facts & completion != 0;
        match (state.cause(), self.exit) {
            (Some(Cause::Completion), _) => "completed",
            (Some(Cause::RootExit), Some(Exit::Code(0))) if is_complete => "completed",
            (Some(Cause::RootExit), Some(Exit::Code(0)) | None) => "ended",
            (Some(Cause::RootExit), Some(_)) if !has_chain || self.compiled.failed_by_exit => {
                "failed"
            }
            (Some(Cause::Failure | Cause::Timeout), _) => "failed",
            (Some(Cause::RootExit) | None, _) => "ended",
            (Some(_), _) => "revoked",
        }
    }

    fn loss(&mut self, id: u64, total: u64) -> Option<line::Loss> {
        let events = total.checked_sub(self.lost).filter(|events| *events > 0)?;
        self.lost = total;
        Some(line::Loss {
            time: explain::now(),
            session: Some(SessionId(id)),
            agent: Some(self.agent.clone()),
            events,
            total,
        })
    }

    fn line(&self, id: u64, time: String) -> line::Session {
        line::Session {
            time,
            session: SessionId(id),
            agent: self.agent.clone(),
            policy: self.digest.clone(),
            recognised: self.record.recognised.clone(),
        }
    }
}

/// Each policy in force, once.
fn policies(sessions: &HashMap<u64, Session>) -> Vec<(&Compiled, Place)> {
    let mut policies: Vec<(&Compiled, Place)> = Vec::new();
    for session in sessions.values() {
        if !policies.iter().any(|(_, place)| *place == session.place) {
            policies.push((&session.compiled, session.place));
        }
    }
    policies
}

/// How long the permission of a session lasts; 0 for no end.
pub fn ttl_ns(compiled: &Compiled) -> u64 {
    match compiled.end.ttl_s {
        // A policy that is only watched ends nothing.
        Some(ttl_s) if compiled.mode == Mode::Enforce => ttl_s.saturating_mul(1_000_000_000),
        _ => 0,
    }
}

/// When the permission of a session that begins now ends by itself; 0 where it does not.
fn expiry(compiled: &Compiled, now_ns: u64) -> u64 {
    match ttl_ns(compiled) {
        0 => 0,
        ttl_ns => now_ns.saturating_add(ttl_ns),
    }
}

/// Makes a slot a session's. Its progress comes first: once the slot is taken, processes may come.
fn open(
    maps: &mut Maps,
    id: u64,
    record: &Record,
    compiled: &Compiled,
    (begin, denials): (&Begin, u64),
) -> Result<(), MapsError> {
    let (slot, now_ns) = (record.slot, record.started_ns);
    // What has no lifetime does not get one by being moved to a version that gives it one.
    let mut progress = Progress {
        deadlines: [u64::MAX; TIMERS],
        ..Progress::START
    };
    progress.set_facts(
        compiled.initial_facts | begin.facts,
        &compiled.terms,
        now_ns,
    );
    maps.set_progress(slot, progress)?;
    maps.clear_share(slot)?;
    let state = State {
        id,
        policy: record.place.policy,
        // The time of one that lies ready begins when it does.
        expires_ns: if begin.ready {
            0
        } else {
            expiry(compiled, now_ns)
        },
        door: begin.door,
        denials,
        ..State::FREE
    };
    maps.set_session(slot, state)
}

//! The daemon: puts enforcement in force, proves it, and then only explains and keeps house. The
//! kernel decides without it.
//!
//! | task | owns | ends when |
//! |---|---|---|
//! | events | the ring, the programs of processes | the ring or a map fails |
//! | clients | the control socket | the socket fails |
//! | policies | the watch on files of policies | the watch fails |
//! | canary | nothing | never |
//! | tables | nothing | a runtime that ends |
//! | signals | nothing | SIGTERM or SIGINT |
//!
//! All share the sessions, and run on one thread. Beside it, `door` lets clients in, and `evidence` writes
//! the record, from a bounded queue. The first task to end ends the daemon: with its
//! error, unless it was a signal. Enforcement stays.

pub mod canary;
mod here;
pub mod killer;
pub mod proof;
mod scissors;
pub mod teller;
pub mod urgent;

use crate::control::protocol::{
    ConnectionInfo, PolicyInfo, ProcessInfo, RejectedInfo, Request, Response, SessionId,
    StartedLoaded, Status,
};
use crate::control::server::{self, ListenError, Peer, Place};
use crate::events::explain;
use crate::events::journal::{self, Journal};
use crate::events::line::{Closed, Line};
use crate::events::process::readable;
use crate::events::ring::{Ring, RingError};
use crate::evidence::scribe::{Scribe, note_change, note_life};
use crate::evidence::{self, Keeping};
use crate::holds::answer::{Answer, NotTaken};
use crate::holds::{self, Holds};
use crate::kernel::barrier;
use crate::kernel::loader::{self, LoadError, Mode};
use crate::kernel::maps::MapsError;
use crate::kernel::pins::{self, Pins};
use crate::kernel::skipped::Skipped;
use crate::library::watch::Watch;
use crate::library::{Change, Library, Look};
use crate::recognition::Recognition;
use crate::sessions::Sessions;
use crate::sessions::census::Census;
use crate::sessions::denials::Denials;
use crate::sessions::guarded::Guarded;
use crate::sessions::moving::Moved;
use crate::sessions::records::Records;
use crate::sockets;
use agent_common::counter::Counter;
use agent_evidence::recorder::Recorder;
use killer::Killer;
use proof::Proof;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use teller::Teller;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};
use urgent::Haste;

/// How often the daemon looks for what no event told it.
const HOUSE: Duration = Duration::from_secs(1);

/// How the daemon is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub socket: PathBuf,
    /// The files and folders of the policies that it loads.
    pub policies: Vec<PathBuf>,
    /// Where it keeps what the next daemon needs.
    pub records: PathBuf,
    /// Where sessions can read their own denials.
    pub denials: PathBuf,
    /// Where it keeps the newest events.
    pub events: PathBuf,
    /// How it keeps the record.
    pub evidence: Keeping,
}

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Enforcement could not be put in force.
    #[error("enforcement is not in force")]
    Load(#[from] LoadError),
    /// It is not proven.
    #[error("not ready")]
    Canary(#[from] canary::CanaryError),
    /// The ring does not open.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The socket is not there.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A map failed.
    #[error("a table in the kernel cannot be read")]
    Maps(#[from] MapsError),
    /// A task ended.
    #[error("task `{task}` ended")]
    Task {
        /// The task.
        task: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Runs until a signal, or until something fails.
pub fn run(settings: &Settings) -> Result<(), DaemonError> {
    let started = |source| DaemonError::Task {
        task: "runtime",
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(started)?;
    LocalSet::new().block_on(&runtime, supervise(settings))
}

async fn supervise(settings: &Settings) -> Result<(), DaemonError> {
    let failed = |task| move |source| DaemonError::Task { task, source };
    killer::lift_descriptor_limit();
    urgent::ask_for_more();
    // Two daemons must not both read the ring.
    let place = Place::take(&settings.socket)?;
    let journal = Journal::open(&settings.events).unwrap_or_else(|error| {
        let folder = settings.events.display();
        warn!(%error, %folder, "events are printed, and kept nowhere");
        Journal::nowhere(&settings.events)
    });
    // Ends last: what the others have handed in by then is recorded and signed.
    let (recorder, _writer) = evidence::begin(&settings.evidence);
    let enforcement = loader::ensure()?;
    let (mode, adopted) = (enforcement.mode, enforcement.adopted);
    debug!(?mode, adopted, "in force, not yet proven");
    let mut sessions = Sessions::adopt(
        enforcement.maps,
        Records::new(&settings.records),
        Denials::open(&settings.denials).map_err(MapsError::Denials)?,
        mode == Mode::Full,
        guarded(settings),
    )?;
    sessions.set_clocks()?;
    let mut ring = Ring::open(&Pins::in_force())?;
    let earlier = match canary::prove(&mut sessions, &mut ring, &mode).await {
        Ok(earlier) => earlier,
        Err(error) => {
            if !adopted {
                // What is not proven must not look as if it were in force.
                Pins::in_force().remove().map_err(LoadError::Pins)?;
            }
            return Err(error.into());
        }
    };
    // Who can connect can rely on enforcement: the socket is not there before the proof.
    let mut library = Library::of(settings.policies.clone());
    // Before the first look: what changes from now on is heard.
    let watch = Watch::begin(library.roots()).map_err(failed("policies"))?;
    let host = sessions.host();
    let look = Look::into(library.roots(), |compiled| {
        host.accepts(compiled).map_err(chain)
    });
    for change in library.take(look) {
        announce_change(&change, &mut sessions, &recorder);
    }
    let mut recognition = Recognition::new(&Pins::in_force());
    let adoptions = recognition.take_over(&mut sessions, &library)?;
    let haste = Haste::of_this_thread();
    let door = place.open(haste.clone())?;
    announce(&mode, adopted, sessions.count());
    note_life(&recorder, "started", Some((&mode, adopted)));
    let library = Rc::new(RefCell::new(library));
    let sessions = Rc::new(RefCell::new(sessions));
    let house_sessions = Rc::clone(&sessions);
    let house_library = Rc::clone(&library);
    let leaving = Rc::clone(&sessions);
    let (lines, mut told) = tokio::sync::mpsc::unbounded_channel();
    let killer = Killer::new(
        Rc::clone(&sessions),
        Census::new(&Pins::in_force()),
        haste.clone(),
        lines.clone(),
    );
    let recognition = Rc::new(RefCell::new(recognition));
    let proof = Proof::new(mode.clone());
    let (proving, prover, proven) = (Rc::clone(&sessions), Rc::clone(&proof), lines.clone());
    let follower = Follower {
        proof: Rc::clone(&proof),
        haste: haste.clone(),
        library: Rc::clone(&library),
        sessions: Rc::clone(&sessions),
        recognition: Rc::clone(&recognition),
        lines,
        recorder: recorder.clone(),
    };
    let holds = Holds::adopt(&Pins::in_force(), &settings.records)?;
    let holds = Rc::new(RefCell::new(holds));
    let mut teller = Teller::new(
        Rc::clone(&sessions),
        Rc::clone(&holds),
        Rc::clone(&killer),
        Rc::clone(&recognition),
        Rc::clone(&proof),
        journal,
        Scribe::new(recorder.clone()),
    );
    let leaving_note = recorder.clone();
    let ending = Rc::clone(&killer);
    let ways = Rc::clone(&recognition);
    let events = settings.events.clone();
    let evidence_folder = settings.evidence.folder.clone();
    let answers = follower.lines.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn_local(async move {
        teller
            .tell(earlier.into_iter().map(Ok).collect())
            .await
            .map_err(failed("events"))?;
        teller.print(&adoptions).await.map_err(failed("events"))?;
        // What an earlier daemon had begun to kill must not wait for the house.
        ending.begin_all();
        let mut house = tokio::time::interval(HOUSE);
        house.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                events = ring.next() => teller.tell(events.map_err(failed("events"))?).await,
                Some(line) = told.recv() => teller.print(&[line]).await,
                _ = house.tick() => {
                    let written = house_sessions.borrow().written().map_err(io::Error::other)
                        .map_err(failed("events"))?;
                    let rest = ring.take();
                    let drained = rest.is_empty();
                    if drained {
                        let mut sessions = house_sessions.borrow_mut();
                        sessions.all_read(&written).map_err(io::Error::other)
                            .map_err(failed("events"))?;
                        sessions.note_told();
                    }
                    teller.tell(rest).await.map_err(failed("events"))?;
                    let lines = recognition
                        .borrow_mut()
                        .keep_house(&mut house_sessions.borrow_mut(), &house_library.borrow())
                        .map_err(io::Error::other)
                        .map_err(failed("events"))?;
                    teller.print(&lines).await.map_err(failed("events"))?;
                    teller.keep_house(drained).await
                }
            }
            .map_err(failed("events"))?;
        }
    });
    tasks.spawn_local(async move {
        let clerk = Rc::new(Clerk {
            sessions,
            library,
            killer,
            ways,
            census: Census::new(&Pins::in_force()),
            events,
            mode,
            adopted,
            recorder,
            evidence: evidence_folder,
            proof,
            holds,
            lines: answers,
        });
        let guard = Rc::clone(&clerk);
        let session_of = move |pid| guard.session_of(pid);
        let answer = move |request, peer| {
            let clerk = Rc::clone(&clerk);
            async move { clerk.answer(request, peer).await }
        };
        server::serve(door, session_of, answer)
            .await
            .map_err(failed("clients"))
    });
    tasks.spawn_local(async move { follower.follow(&watch).await.map_err(failed("policies")) });
    tasks.spawn_local(async move {
        let proving = prover.keep(&proving, &proven);
        proving.await.map_err(failed("canary"))
    });
    tasks.spawn_local(async move { take_out(&leaving).await.map_err(failed("tables")) });
    tasks.spawn_local(async move { end_signal().await.map_err(failed("signals")) });
    let ended = match tasks.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Err(failed("a task")(io::Error::other(error))),
        None => Ok(()),
    };
    note_life(&leaving_note, "ended", None);
    ended
}

/// What no session reaches, or changes.
fn guarded(settings: &Settings) -> Guarded {
    let lock = settings.socket.with_extension("lock");
    let questions = holds::records::folder(&settings.records);
    let closed = [
        &settings.socket,
        &lock,
        &settings.records,
        &questions,
        &settings.events,
    ];
    let evidence = evidence::Place::of(&settings.evidence.folder).all();
    let guarded = closed
        .into_iter()
        .chain(&evidence)
        .fold(Guarded::default(), |guarded, path| guarded.closed(path));
    let guarded = guarded.closed(&pins::base());
    let guarded = settings
        .policies
        .iter()
        .fold(guarded, |guarded, path| guarded.unchanged(path));
    match std::env::current_exe() {
        Ok(program) => guarded.unchanged(&program),
        Err(_) => guarded,
    }
}

fn announce(mode: &Mode, adopted: bool, sessions: usize) {
    let how = if adopted { "adopted" } else { "loaded" };
    match mode {
        Mode::Full => info!(how, sessions, "ready: the canary was denied"),
        Mode::Degraded(reason) => {
            warn!(
                reason,
                "degraded: egress is blocked by cgroup programs alone"
            );
            info!(how, sessions, "ready, degraded: the canary was denied");
        }
    }
}

fn announce_change(change: &Change, sessions: &mut Sessions, recorder: &Recorder) {
    let mut followed = Moved::default();
    match change {
        Change::Loaded(loaded) => {
            followed = sessions.follow(loaded);
            let Moved { moved, kept } = followed;
            let (agent, generation) = (&loaded.start.agent, loaded.generation);
            info!(agent, generation, moved, kept, file = %loaded.path.display(), "policy loaded");
        }
        Change::Gone(loaded) => {
            let (agent, file) = (&loaded.start.agent, loaded.path.display());
            info!(agent, %file, "policy gone: no new sessions, running ones keep it");
        }
        Change::Rejected(path, error) => {
            warn!(file = %path.display(), "rejected, what was loaded before stays:\n{error}");
        }
    }
    note_change(recorder, change, followed);
}

/// Follows the policies in files and folders.
struct Follower {
    proof: Rc<Proof>,
    haste: Haste,
    library: Rc<RefCell<Library>>,
    sessions: Rc<RefCell<Sessions>>,
    recognition: Rc<RefCell<Recognition>>,
    /// Where what is to be told goes.
    lines: UnboundedSender<Line>,
    recorder: Recorder,
}

impl Follower {
    /// They are read and compiled beside: others go on being answered meanwhile. Sessions that want
    /// every processor must not hold up what they are held to.
    async fn follow(&self, watch: &Watch) -> io::Result<()> {
        loop {
            watch.changed().await?;
            let _urgent = self.haste.begin();
            let roots = self.library.borrow().roots().to_vec();
            let host = self.sessions.borrow().host();
            let look = tokio::task::spawn_blocking(move || {
                let _urgent = Haste::of_this_thread().begin();
                Look::into(&roots, |compiled| host.accepts(compiled).map_err(chain))
            });
            self.take_up(look.await?).map_err(io::Error::other)?;
            self.proof.want();
        }
    }

    /// Who is told of a new version finds everything under it, what lies ready for others included.
    fn take_up(&self, look: Look) -> Result<(), MapsError> {
        let mut library = self.library.borrow_mut();
        let mut sessions = self.sessions.borrow_mut();
        for change in library.take(look) {
            announce_change(&change, &mut sessions, &self.recorder);
        }
        let begun = self
            .recognition
            .borrow_mut()
            .follow(&mut sessions, &library)?;
        for line in begun {
            // Only a daemon that is ending hears no more.
            let _ = self.lines.send(line);
        }
        Ok(())
    }
}

/// Takes tables out by which nothing can be judged any more. A task of its own: on a busy machine
/// the kernel takes its time to say so, and nothing else must wait for it.
async fn take_out(sessions: &Rc<RefCell<Sessions>>) -> io::Result<()> {
    let mut house = tokio::time::interval(HOUSE);
    house.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        house.tick().await;
        if sessions.borrow_mut().begin_take_out() {
            let waited = tokio::task::spawn_blocking(barrier::wait_for_programs).await?;
            sessions.borrow_mut().take_out(waited.is_ok());
        }
    }
}

async fn end_signal() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("ending; enforcement stays in force");
    Ok(())
}

/// Who answers clients.
struct Clerk {
    sessions: Rc<RefCell<Sessions>>,
    library: Rc<RefCell<Library>>,
    killer: Rc<Killer>,
    ways: Rc<RefCell<Recognition>>,
    census: Census,
    events: PathBuf,
    mode: Mode,
    adopted: bool,
    recorder: Recorder,
    evidence: PathBuf,
    proof: Rc<Proof>,
    holds: Rc<RefCell<Holds>>,
    /// Where what is to be told goes.
    lines: UnboundedSender<Line>,
}

impl Clerk {
    async fn answer(&self, request: Request, peer: Peer) -> Response {
        let answered: Result<Response, String> = match request {
            Request::Status => self
                .status()
                .map(Box::new)
                .map(Response::Status)
                .map_err(chain),
            Request::Sessions => {
                let list = self.sessions.borrow().list();
                list.map(Response::Sessions).map_err(chain)
            }
            Request::Start(_) | Request::StartLoaded(_) if self.proof.failure().is_some() => {
                let failure = self.proof.failure().unwrap_or_default();
                Err(format!(
                    "no session is started: enforcement is not proven: {failure}"
                ))
            }
            Request::Start(start) => {
                let started = self.sessions.borrow_mut().start(&start);
                started.map(Response::Started).map_err(chain)
            }
            Request::StartLoaded(agent) => self.start_loaded(&agent),
            Request::Events(filter) => journal::select(&self.events, &filter)
                .map(Response::Events)
                .map_err(chain),
            Request::Processes => self.processes().map(Response::Processes).map_err(chain),
            Request::Connections => self.connections().await.map(Response::Connections),
            Request::RevokeAll { reason } => {
                let revoking = self.killer.revoke_all(reason.as_deref());
                revoking.map(Response::Revoking).map_err(chain)
            }
            Request::Holds => {
                let list = self.holds.borrow().list(&self.sessions.borrow());
                Ok(Response::Holds(list))
            }
            Request::Answer(answer) => self.close(&answer, peer).map_err(chain),
            Request::Revoke(order) => {
                let revoked = self.killer.revoke(order).await;
                revoked.map(Response::Revoked).map_err(chain)
            }
        };
        answered.unwrap_or_else(Response::Error)
    }

    /// Takes a person's answer, and lets those go on that wait for it.
    fn close(&self, answer: &Answer, peer: Peer) -> Result<Response, NotTaken> {
        let answered = self.holds.borrow_mut().answer(answer, &peer.words())?;
        holds::wake_all(&self.holds, answer.hold);
        let closed = Closed {
            time: explain::now(),
            answered: answered.clone(),
        };
        // The events task ends only with the daemon.
        let _ = self.lines.send(Line::Answered(closed));
        Ok(Response::Answered(answered))
    }

    /// Makes room for a session under a policy that is loaded.
    fn start_loaded(&self, agent: &str) -> Result<Response, String> {
        let loaded = self.library.borrow().get(agent).cloned();
        let Some(loaded) = loaded else {
            return Err(self.library.borrow().why_not(agent));
        };
        let started = self.sessions.borrow_mut().start_loaded(&loaded);
        let answer = |started| StartedLoaded {
            started,
            start: loaded.start.clone(),
        };
        started
            .map(|started| Response::StartedLoaded(answer(started)))
            .map_err(chain)
    }

    fn status(&self) -> Result<Status, MapsError> {
        let ways = self.ways.borrow().list(&mut self.sessions.borrow_mut())?;
        let (sessions, mode) = (self.sessions.borrow(), &self.mode);
        let library = self.library.borrow();
        let policies = library.iter().map(|loaded| {
            let (under, before) = sessions.under(loaded);
            PolicyInfo {
                agent: loaded.start.agent.clone(),
                file: loaded.start.file.clone(),
                policy: loaded.compiled.digest_hex(),
                generation: loaded.generation,
                since: loaded.since.clone(),
                on_change: loaded.compiled.on_change.word().to_owned(),
                sessions: under,
                sessions_before: before,
                rejected: library.is_rejected(&loaded.path),
            }
        });
        let rejected = library.rejected().map(|(path, rejected)| RejectedInfo {
            file: path.display().to_string(),
            since: rejected.since.clone(),
            error: rejected.error.clone(),
        });
        let count = |counter| sessions.maps().count(counter);
        // What the canary was denied since is nothing that a session has done.
        let denied = count(Counter::Denied)?.saturating_sub(self.proof.denials());
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            enforcement: mode.clone(),
            adopted: self.adopted,
            missing: loader::missing(mode),
            sessions: sessions.count(),
            allowed: count(Counter::Allowed)?,
            denied,
            doubts: count(Counter::Doubts)?,
            labels_refused: count(Counter::LabelsRefused)?,
            events_lost: count(Counter::EventsLost)?,
            skipped: self.skipped(),
            probes: count(Counter::Probes)?,
            hooks_missing: loader::hooks_missing(&Pins::in_force(), mode)
                .iter()
                .map(|program| program.hook_and_since())
                .collect(),
            policies: policies.collect(),
            rejected: rejected.collect(),
            not_ready: count(Counter::NotReady)?,
            ways,
            evidence: evidence::info(&self.recorder, &self.evidence),
            not_proven: self.proof.failure(),
        })
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        let counts = Skipped::open().counts().into_iter();
        counts
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }

    /// The processes of all sessions.
    fn processes(&self) -> io::Result<Vec<ProcessInfo>> {
        let sessions = self.sessions.borrow();
        let mut list: Vec<ProcessInfo> = Vec::new();
        for living in self.census.take()? {
            let (pid, session) = (living.process.pid, SessionId(living.session));
            if let Some(known) = list.iter_mut().rev().find(|known| known.pid == pid) {
                known.threads += 1;
                continue;
            }
            let agent = sessions
                .get(living.session)
                .map(|found| found.agent.clone());
            list.push(ProcessInfo {
                session,
                agent,
                pid,
                parent: living.parent.pid,
                started: explain::wall_clock(living.process.start_ns),
                start_ns: living.process.start_ns,
                comm: readable(living.process.comm()),
                threads: 1,
            });
        }
        Ok(list)
    }

    /// The connections of all sessions.
    async fn connections(&self) -> Result<Vec<ConnectionInfo>, String> {
        let listed = tokio::task::spawn_blocking(|| sockets::all(&Pins::in_force())).await;
        let found = listed.map_err(chain)?.map_err(chain)?;
        let sessions = self.sessions.borrow();
        let connections = found.iter().filter(|socket| socket.is_connection());
        let shown = connections.map(|socket| {
            let owner = &socket.owner;
            let session = sessions.get(owner.session);
            let policy = session.map(|session| session.version(owner.policy));
            let rule = policy.and_then(|policy| policy.sources.get(owner.rule as usize));
            let tool = usize::from(owner.tool).checked_sub(1);
            let tools = policy.map_or(&[][..], |policy| &policy.tools);
            ConnectionInfo {
                session: SessionId(owner.session),
                agent: session.map(|session| session.agent.clone()),
                tool: tool.and_then(|tool| Some(tools.get(tool)?.name.clone())),
                step: rule.and_then(|rule| rule.step.clone()),
                local: socket.local,
                remote: socket.remote,
                state: socket.state.word().to_owned(),
                sent: socket.sent,
                received: socket.received,
                held: socket.is_held(),
            }
        });
        Ok(shown.collect())
    }

    /// The session of the process that asks, if it is in one.
    fn session_of(&self, pid: u32) -> io::Result<Option<SessionId>> {
        let census = self.census.take()?;
        let found = census.iter().find(|living| living.process.pid == pid);
        Ok(found.map(|living| SessionId(living.session)))
    }
}

/// An error with all that caused it, in one line.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

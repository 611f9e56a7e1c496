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
//! | central | what the controller wants, if there is one | its thread ends |
//! | signals | nothing | SIGTERM or SIGINT |
//!
//! All share the sessions, and run on one thread. Beside it, `door` lets clients in, `evidence` writes
//! the record, from a bounded queue, and `resolver` looks names up. The first task to end ends the daemon: with its
//! error, unless it was a signal. Enforcement stays.

pub mod canary;
mod clerk;
mod here;
pub mod killer;
pub mod proof;
mod scissors;
pub mod teller;
pub mod urgent;

use crate::central::report::Own;
use crate::central::{self, Central, CentralError, Parts};
use crate::control::server::{self, ListenError, Place};
use crate::events::journal::Journal;
use crate::events::line::Line;
use crate::events::ring::{Ring, RingError};
use crate::evidence::scribe::{Scribe, note_change, note_life};
use crate::evidence::{self, Keeping};
use crate::holds::bell::{Bell, BellError};
use crate::holds::{self, Holds};
use crate::kernel::barrier;
use crate::kernel::loader::{self, LoadError, Mode};
use crate::kernel::maps::MapsError;
use crate::kernel::pins::{self, Pins};
use crate::library::given::Given;
use crate::library::watch::Watch;
use crate::library::{Change, Library, Look};
use crate::names::{self, Names};
use crate::recognition::Recognition;
use crate::sessions::Sessions;
use crate::sessions::census::Census;
use crate::sessions::denials::Denials;
use crate::sessions::guarded::Guarded;
use crate::sessions::moving::Moved;
use crate::sessions::records::Records;
use agent_evidence::recorder::Recorder;
use clerk::Clerk;
use killer::Killer;
use proof::Proof;
use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use teller::Teller;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};
use urgent::Haste;

/// How often the daemon looks for what no event told it.
const HOUSE: Duration = Duration::from_secs(1);

/// Refused lookups that wait to be told.
const REFUSALS: usize = 1_024;

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
    /// How it reaches the controller, if it has one.
    pub central: Option<central::Settings>,
    /// How it keeps the record.
    pub evidence: Keeping,
    /// How it looks names up.
    pub names: names::Settings,
    /// Whom it tells of questions to people, if anybody.
    pub bell: Option<holds::bell::Settings>,
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
    /// The controller cannot be had.
    #[error(transparent)]
    Central(#[from] CentralError),
    /// There is no bell.
    #[error("people cannot be told of questions")]
    Bell(#[from] BellError),
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
    // What the controller said before must be known before anything begins.
    let begun = settings.central.as_ref().map(central::begin).transpose()?;
    // Ends last: what the others have handed in by then is recorded and signed.
    let named = begun.as_ref().map(|begun| begun.node().to_owned());
    let bell = bell(settings, named.clone())?;
    let (recorder, _writer) = evidence::begin(&settings.evidence, named);
    let own = Own::new(
        recorder.clone(),
        &evidence::Place::of(&settings.evidence.folder),
    );
    let begun = begun.map(|begun| begun.connect(own)).transpose()?;
    let enforcement = loader::ensure()?;
    let (mode, adopted) = (enforcement.mode, enforcement.adopted);
    debug!(?mode, adopted, "in force, not yet proven");
    let names = Arc::new(Names::open(&Pins::in_force())?);
    let mut sessions = Sessions::adopt(
        enforcement.maps,
        Records::new(&settings.records),
        Denials::open(&settings.denials).map_err(MapsError::Denials)?,
        mode == Mode::Full,
        guarded(settings),
        Arc::clone(&names),
    )?;
    let (refused, mut refusals) = tokio::sync::mpsc::channel(REFUSALS);
    match names::begin(&settings.names, names, refused) {
        Ok(()) => sessions.set_resolver(),
        // Policies without names are held all the same.
        Err(error) => warn!("no session looks up names: {}", chain(error)),
    }
    sessions.set_clocks()?;
    if begun.is_some() {
        sessions.set_controller();
    }
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
    let given = Rc::new(Given::default());
    let accept = |compiled: &_| host.accepts(compiled).map_err(chain);
    let kept = begun
        .as_ref()
        .map(central::Connecting::policies)
        .unwrap_or_default();
    let look = Look::into(library.roots(), accept).and_given(kept, accept);
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
    let lines_of_central = lines.clone();
    let proof = Proof::new(mode.clone());
    let (proving, prover, proven) = (Rc::clone(&sessions), Rc::clone(&proof), lines.clone());
    let follower = Follower {
        proof: Rc::clone(&proof),
        haste: haste.clone(),
        given: Rc::clone(&given),
        library: Rc::clone(&library),
        sessions: Rc::clone(&sessions),
        recognition: Rc::clone(&recognition),
        lines,
        recorder: recorder.clone(),
    };
    let holds = Holds::adopt(&Pins::in_force(), &settings.records, bell)?;
    let holds = Rc::new(RefCell::new(holds));
    let mut teller = Teller::new(
        Rc::clone(&sessions),
        (Rc::clone(&holds), follower.lines.clone()),
        Rc::clone(&killer),
        Rc::clone(&recognition),
        Rc::clone(&proof),
        journal,
        Scribe::new(recorder.clone()),
    );
    let leaving_note = recorder.clone();
    let holds_of_central = Rc::clone(&holds);
    let clerk = Rc::new(Clerk {
        sessions: Rc::clone(&sessions),
        library: Rc::clone(&library),
        killer: Rc::clone(&killer),
        ways: Rc::clone(&recognition),
        census: Census::new(&Pins::in_force()),
        events: settings.events.clone(),
        mode,
        adopted,
        recorder: recorder.clone(),
        evidence: settings.evidence.folder.clone(),
        proof,
        central: RefCell::new(None),
        holds,
        lines: follower.lines.clone(),
    });
    let central = begun.map(|begun| {
        let status = Rc::clone(&clerk);
        let parts = Parts {
            sessions: Rc::clone(&sessions),
            library: Rc::clone(&library),
            given,
            killer: Rc::clone(&killer),
            status: Box::new(move || status.status_json()),
            holds: holds_of_central,
            lines: lines_of_central,
        };
        Central::new(begun, parts)
    });
    let (central, heard) = central.unzip();
    clerk.central.borrow_mut().clone_from(&central);
    let barring = central.clone();
    let ending = Rc::clone(&killer);
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
                Some(refusal) = refusals.recv() => teller.tell_refusal(&refusal).await,
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
                    if let Some(central) = &barring {
                        central.keep_house();
                    }
                    teller.keep_house(drained).await
                }
            }
            .map_err(failed("events"))?;
            if let Some(central) = &barring {
                central.hold_bars();
            }
            // While a flood is told there is always more of it. Clocks, files and clients are only looked
            // at when this task gives way, and it may have 61 turns before the runtime looks by itself.
            yield_now().await;
        }
    });
    tasks.spawn_local(async move {
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
    if let Some((central, heard)) = central.zip(heard) {
        tasks.spawn_local(async move { central.obey(heard).await.map_err(failed("central")) });
    }
    tasks.spawn_local(async move { end_signal().await.map_err(failed("signals")) });
    let ended = match tasks.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Err(failed("a task")(io::Error::other(error))),
        None => Ok(()),
    };
    note_life(&leaving_note, "ended", None);
    ended
}

/// Who tells people of questions. A host without a controller is named as the kernel names it.
fn bell(settings: &Settings, node: Option<String>) -> Result<Option<Bell>, BellError> {
    let host = || {
        let names = nix::sys::utsname::uname().ok();
        names.map(|names| names.nodename().to_string_lossy().into_owned())
    };
    let begin = |to| Bell::begin(to, node.or_else(host).unwrap_or_default());
    settings.bell.as_ref().map(begin).transpose()
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
    let guarded = settings.central.iter().fold(guarded, |guarded, central| {
        let guarded = guarded.closed(&central.folder);
        guarded.closed(&central.files.key)
    });
    let guarded = settings
        .bell
        .iter()
        .fold(guarded, |guarded, bell| guarded.closed(&bell.key));
    let guarded = settings
        .policies
        .iter()
        .fold(guarded, |guarded, path| guarded.unchanged(path));
    // Who writes them says where names lead.
    let guarded = guarded
        .unchanged(&settings.names.servers)
        .unchanged(&settings.names.hosts);
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
    given: Rc<Given>,
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
            tokio::select! {
                changed = watch.changed() => changed?,
                () = self.given.changed() => {}
            }
            let _urgent = self.haste.begin();
            let roots = self.library.borrow().roots().to_vec();
            let host = self.sessions.borrow().host();
            let (given, count) = self.given.now();
            let look = tokio::task::spawn_blocking(move || {
                let _urgent = Haste::of_this_thread().begin();
                let accept = |compiled: &_| host.accepts(compiled).map_err(chain);
                Look::into(&roots, accept).and_given(given, accept)
            });
            self.take_up(look.await?).map_err(io::Error::other)?;
            self.given.take(count);
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

/// An error with all that caused it, in one line.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

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
//! | figures | what the kernel measures | never |
//! | deputy | the process that answers when the daemon is gone | never |
//! | watchdog | nothing | never |
//! | central | what the controller wants, if there is one | its thread ends |
//! | signals | nothing | SIGTERM or SIGINT |
//!
//! All share the sessions, and run on one thread. Beside it, `door` lets clients in, `evidence` writes
//! the record, from a bounded queue, `resolver` looks names up, `relay` carries connections, and `health` tells others how all this is. The first task to end ends the daemon: with its
//! error, unless it was a signal. Enforcement stays.

pub mod canary;
mod capabilities;
mod clerk;
mod enter;
mod events;
mod figures;
mod follower;
mod here;
pub mod killer;
mod programs;
pub mod proof;
mod scissors;
mod settings;
pub mod teller;
pub mod urgent;

use crate::central::report::Own;
use crate::central::{self, Central, CentralError, Parts};
use crate::chain::chain;
use crate::control::protocol::ProgramsInfo;
use crate::control::server::{self, ListenError, Place};
use crate::divert;
use crate::events::journal::Journal;
use crate::events::ring::{Ring, RingError};
use crate::evidence;
use crate::evidence::scribe::{Scribe, note_life};
use crate::health::server as health_server;
use crate::health::tally::Tally;
use crate::health::watchdog::Systemd;
use crate::health::{self, Health, Loop, Starts};
use crate::holds::Holds;
use crate::holds::bell::BellError;
use crate::holds::deputy::Deputy;
use crate::kernel::barrier;
use crate::kernel::hook_times::HookTimes;
use crate::kernel::loader::{self, Enforcement, LoadError, Mode};
use crate::kernel::maps::MapsError;
use crate::kernel::pins::Pins;
use crate::kubernetes::{Kubernetes, KubernetesError};
use crate::library::given::Given;
use crate::library::watch::Watch;
use crate::library::{Library, Look};
use crate::names::Names;
use crate::otlp::{Exporter, OtlpError};
use crate::recognition::Recognition;
use crate::sessions::Sessions;
use crate::sessions::census::Census;
use crate::sessions::denials::Denials;
use crate::sessions::records::Records;
use clerk::Clerk;
use events::{Events, HOUSE};
use figures::Figures;
use follower::{Follower, announce_change};
use killer::Killer;
use proof::Proof;
pub use settings::Settings;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use teller::{Outlets, Teller};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};
use urgent::Haste;

/// Refused lookups that wait to be told.
const REFUSALS: usize = 1_024;

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
    /// The Kubernetes API cannot be had.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// There is no bell.
    #[error("people cannot be told of questions")]
    Bell(#[from] BellError),
    /// There is no way to the collector.
    #[error("events and metrics cannot be sent to a collector")]
    Otlp(#[from] OtlpError),
    /// Nobody can ask how it is.
    #[error(transparent)]
    Health(#[from] health_server::BeginError),
    /// The kernel does not measure its programs.
    #[error("the kernel does not measure how long programs run, which `--hook-times` asks for")]
    HookTimes(#[source] aya::sys::SyscallError),
    /// It may not do what it must.
    #[error(transparent)]
    Capability(#[from] capabilities::Missing),
    /// It is in a container that is not let out.
    #[error(transparent)]
    Enter(#[from] enter::EnterError),
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
pub fn run(mut settings: Settings) -> Result<(), DaemonError> {
    capabilities::check(settings.enter_host)?;
    if settings.enter_host {
        // A kubelet tells the pod, and not the node, who knows the names of the cluster.
        settings.names.servers = enter::kept(&settings.names.servers);
        settings.find_by_servers();
        enter::host()?;
    }
    let started = |source| DaemonError::Task {
        task: "runtime",
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(started)?;
    LocalSet::new().block_on(&runtime, supervise(&settings))
}

async fn supervise(settings: &Settings) -> Result<(), DaemonError> {
    let failed = |task| move |source| DaemonError::Task { task, source };
    killer::lift_descriptor_limit();
    urgent::ask_for_more();
    // Two daemons must not both read the ring.
    let place = Place::take(&settings.socket)?;
    let health = Health::default();
    let (wish, wishes) = health::wishes();
    if let Some(address) = settings.health.address {
        let address = health_server::begin(address, health.clone(), wish.clone())?;
        info!(%address, "metrics, liveness and readiness");
    }
    let journal = Journal::open(&settings.events).unwrap_or_else(|error| {
        let folder = settings.events.display();
        warn!(%error, %folder, "events are printed, and kept nowhere");
        Journal::nowhere(&settings.events)
    });
    // What the controller said before must be known before anything begins.
    let begun = settings.central.as_ref().map(central::begin).transpose()?;
    // Ends last: what the others have handed in by then is recorded and signed.
    let named = begun
        .as_ref()
        .and_then(|begun| begun.node().map(str::to_owned));
    let bell = settings.bell(named.clone())?;
    let exporter = settings.exporter(named.clone(), wish)?;
    let queue = exporter.as_ref().map(Exporter::queue);
    let (recorder, _writer) = evidence::begin(&settings.evidence, named);
    let own = Own::new(
        recorder.clone(),
        &evidence::Place::of(&settings.evidence.folder),
    );
    let begun = begun.map(|begun| begun.connect(own)).transpose()?;
    let kubernetes = settings.kubernetes.clone().map(Kubernetes::begin);
    let mut kubernetes = kubernetes.transpose()?;
    let Enforcement {
        maps,
        mode,
        build,
        how,
    } = loader::ensure()?;
    debug!(?mode, %build, ?how, "in force, not yet proven");
    let names = Arc::new(Names::open(&Pins::in_force())?);
    let mut sessions = Sessions::adopt(
        maps,
        Records::new(&settings.records),
        Denials::open(&settings.denials).map_err(MapsError::Denials)?,
        mode == Mode::Full,
        settings.guarded(),
        Arc::clone(&names),
    )?;
    let (refused, refusals) = tokio::sync::mpsc::channel(REFUSALS);
    match divert::begin(&settings.names, &names, refused, &health.pulses) {
        Ok(stations) => sessions.set_stations(stations),
        // Policies without names and gateways are held all the same.
        Err(error) => warn!("no resolver and no relay: {}", chain(error)),
    }
    let census = Census::new(&Pins::in_force());
    sessions.listen_only_where(&census.take().map_err(failed("census"))?);
    sessions.set_clocks()?;
    if begun.is_some() {
        sessions.set_controller();
    }
    if let Some(kubernetes) = &mut kubernetes {
        sessions.set_kubernetes();
        kubernetes.set_mode(&mode);
    }
    let kubernetes = kubernetes.map(Rc::new);
    let measured = settings
        .health
        .hook_times
        .then(HookTimes::begin)
        .transpose();
    let hook_times = measured.map_err(DaemonError::HookTimes)?;
    let mut ring = Ring::open(&Pins::in_force())?;
    let mut earlier = Vec::new();
    let proving = programs::prove((build, how), &mut sessions, &mut ring, &mode, &mut earlier);
    let programs = proving.await?;
    let starts = Starts::read(&Pins::in_force(), &programs.build);
    // Who can connect can rely on enforcement: the socket is not there before the proof.
    let mut library = Library::of(settings.policies());
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
    if let Some(kubernetes) = &kubernetes {
        kubernetes.tell(&library);
    }
    let pods = kubernetes
        .as_ref()
        .map(|kubernetes| kubernetes.pods.clone());
    let mut recognition = Recognition::new(&Pins::in_force(), &settings.containers, pods);
    let adoptions = recognition.take_over(&mut sessions, &library)?;
    let haste = Haste::of_this_thread();
    let door = place.open(haste.clone())?;
    announce(&mode, &programs, sessions.count());
    if let Some(reason) = programs.reason() {
        health.condition.add_degraded(reason);
    }
    note_life(&recorder, "started", Some((&mode, &programs)));
    let library = Rc::new(RefCell::new(library));
    let sessions = Rc::new(RefCell::new(sessions));
    let house_sessions = Rc::clone(&sessions);
    let house_library = Rc::clone(&library);
    let leaving = Rc::clone(&sessions);
    let (lines, told) = tokio::sync::mpsc::unbounded_channel();
    let killer = Killer::new(
        Rc::clone(&sessions),
        census.clone(),
        haste.clone(),
        lines.clone(),
    );
    let recognition = Rc::new(RefCell::new(recognition));
    let lines_of_central = lines.clone();
    let proof = Proof::new(
        mode.clone(),
        health.condition.clone(),
        health.pulses.of(Loop::Canary).clone(),
    );
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
        kubernetes: kubernetes.clone(),
    };
    let (pins, began_ns) = (Pins::in_force(), place.since_ns());
    let holds = Holds::adopt(&pins, &settings.records, bell, began_ns)?;
    let holds = Rc::new(RefCell::new(holds));
    let deputy = Rc::new(Deputy::new(&place));
    let tally = Tally::new(Rc::clone(&library));
    let teller = Teller::new(
        Rc::clone(&sessions),
        (Rc::clone(&holds), follower.lines.clone()),
        Rc::clone(&killer),
        Rc::clone(&recognition),
        Rc::clone(&proof),
        Outlets {
            journal,
            scribe: Scribe::new(recorder.clone()),
            tally: Rc::clone(&tally),
            otlp: queue.clone(),
        },
    );
    let leaving_note = recorder.clone();
    let (leaving_holds, leaving_deputy) = (Rc::clone(&holds), Rc::clone(&deputy));
    let holds_of_central = Rc::clone(&holds);
    let clerk = Rc::new(Clerk {
        sessions: Rc::clone(&sessions),
        library: Rc::clone(&library),
        killer: Rc::clone(&killer),
        ways: Rc::clone(&recognition),
        census: census.clone(),
        events: settings.events.clone(),
        mode,
        programs,
        recorder: recorder.clone(),
        evidence: settings.evidence.folder.clone(),
        proof,
        central: RefCell::new(None),
        kubernetes,
        otlp: queue,
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
    let events = Events {
        ring,
        told,
        lines: follower.lines.clone(),
        refusals,
        teller,
        killer: ending,
        sessions: house_sessions,
        library: house_library,
        recognition,
        central: barring,
        census,
        looked: Instant::now(),
        pulse: health.pulses.of(Loop::Events).clone(),
    };
    let figures = Figures {
        clerk: Rc::clone(&clerk),
        health: health.clone(),
        tally,
        hook_times,
        starts,
    };
    let systemd = Systemd::begin().map_err(failed("watchdog"))?;
    let mut tasks = JoinSet::new();
    tasks.spawn_local(async move {
        let telling = events.tell_all(earlier, adoptions);
        telling.await.map_err(failed("events"))
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
    tasks.spawn_local(async move {
        let answering = figures.answer(wishes);
        answering.await.map_err(failed("figures"))
    });
    tasks.spawn_local(async move { match deputy.keep().await {} });
    tasks.spawn_local(async move { systemd.keep(&health).await.map_err(failed("watchdog")) });
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
    if ended.is_ok() {
        leaving_holds.borrow().hand_over();
        leaving_deputy.hand_over();
    }
    note_life(&leaving_note, "ended", None);
    ended
}

fn announce(mode: &Mode, programs: &ProgramsInfo, sessions: usize) {
    let how = programs.how.word();
    if let Some(reason) = programs.reason() {
        warn!(reason, "degraded: the kernel programs are another build's");
    }
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

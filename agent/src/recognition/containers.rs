//! Sessions that are containers: whose one is, its runtime is asked while its first program waits.
//!
//! | a container's cgroup is | it came by |
//! |---|---|
//! | *unknown* | the kernel programs, when it was made; or a policy that is gone |
//! | a session's | an answer that a policy selects |
//! | nobody's | any other answer; nobody asks again, until the policies change |
//! | not there | it was made before anybody looked, or released while no daemon was there |

use super::sought::Sought;
use super::{Recognition, RecognitionError, running};
use crate::chain::chain;
use crate::containers::{self, Cgroup, Kind, Known, RuntimeError, Runtimes, Settings, Told};
use crate::events::explain;
use crate::events::line::{Line, NotReady, Released};
use crate::events::process::Programs;
use crate::holds::wake::{self, Found, LOOKS};
use crate::kernel::maps::MapsError;
use crate::kubernetes::Pods;
use crate::sessions::Sessions;
use agent_common::event::{Begun, Process};
use agent_common::recognise::{Inside, LATEST_NS, UNKNOWN_WAY, Watch, WhenAway};
use agent_common::session::Label;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

/// The pause before a runtime is asked again that did not know, which grows up to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// What is known of containers.
pub(super) struct Containers {
    runtimes: Rc<Runtimes>,
    pub(super) when_away: WhenAway,
    /// Those of which somebody asks.
    asked: BTreeSet<u64>,
    /// Those that are sessions'.
    told: BTreeMap<u64, Rc<Known>>,
    /// The policies have changed since all were looked at.
    pub(super) unsettled: bool,
    /// All are being looked at, which takes long where a runtime does not answer.
    settling: bool,
    /// Why the last that was asked of a runtime had no answer.
    pub(super) failure: Option<String>,
    /// Why there are containers that nobody sees.
    pub(super) unseen: Option<String>,
}

impl Containers {
    pub(super) fn new(settings: &Settings, pods: Option<Pods>) -> Self {
        Self {
            runtimes: Rc::new(Runtimes::new(settings, pods)),
            when_away: settings.when_away,
            asked: BTreeSet::new(),
            told: BTreeMap::new(),
            unsettled: false,
            settling: false,
            failure: None,
            unseen: None,
        }
    }

    /// What the kernel programs are told, by what is sought.
    pub(super) fn watch<'a>(&self, sought: impl Iterator<Item = &'a Sought>) -> u32 {
        let what = self.when_away.bit();
        let theirs = sought.filter(|sought| sought.is_container());
        theirs.fold(0, |watch, sought| match sought {
            Sought::Pod(_) => watch | what << Watch::PODS,
            Sought::Engine(_) => watch | what << Watch::ENGINES,
            _ => watch,
        })
    }

    /// Whether all are to be looked at: policies have changed, or what selects pods has. One look at a time.
    fn begin_to_settle(&mut self) -> bool {
        if self.settling {
            return false;
        }
        // Both: what is looked at now is looked at for both reasons.
        self.settling = std::mem::take(&mut self.unsettled) | self.runtimes.have_changed();
        self.settling
    }

    /// Finds out whether there is a container that the kernel programs do not see.
    pub(super) fn look_for_unseen(&mut self) {
        let unseen = containers::unseen().map(|path| {
            let path = path.display();
            format!("a container has {path} and no cgroup of version 2: let its runtime use systemd's driver")
        });
        if let Some(unseen) = unseen.as_ref().filter(|_| self.unseen.is_none()) {
            warn!(reason = unseen, "a container is NOT recognised");
        }
        self.unseen = unseen;
    }

    /// What is known of a session's container.
    pub(super) fn of(&self, cgroup: u64) -> Option<&Rc<Known>> {
        self.told.get(&cgroup)
    }
}

/// Whether a record asks whose a container is.
pub fn is_question(begun: &Begun) -> bool {
    begun.header.session == Label::HOMELESS.session
        && begun.way == UNKNOWN_WAY
        && begun.threads == Begun::WAITS
}

/// Asks whose the container is in which a process waits, and lets it go on.
pub fn ask(
    recognition: &Rc<RefCell<Recognition>>,
    sessions: &Rc<RefCell<Sessions>>,
    process: &Process,
) {
    let Some(cgroup) = Cgroup::of(process.pid) else {
        return;
    };
    let (runtimes, is_sought) = {
        let mut recognition = recognition.borrow_mut();
        if !recognition.containers.asked.insert(cgroup.number) {
            return;
        }
        let runtimes = Rc::clone(&recognition.containers.runtimes);
        (runtimes, recognition.looks_at(cgroup.kind))
    };
    let (recognition, sessions) = (Rc::clone(recognition), Rc::clone(sessions));
    let (pid, began_ns) = (process.pid, process.start_ns);
    tokio::task::spawn_local(async move {
        let is_enough = |told: &Known| recognition.borrow().untold(told).is_none();
        let told = match is_sought {
            true => ask_until_known(&runtimes, &cgroup, is_enough).await,
            false => Ok(Told::Unasked),
        };
        let noted = {
            let mut recognition = recognition.borrow_mut();
            recognition.containers.asked.remove(&cgroup.number);
            recognition.note(&mut sessions.borrow_mut(), &cgroup, told, pid)
        };
        if let Err(error) = noted {
            let error = chain(error);
            warn!(container = cgroup.id, error, "whose it is cannot be said");
        }
        go_on(pid, began_ns).await;
    });
}

/// Asks until a runtime knows, and all that policies ask is told, for as long as the kernel lets anybody wait.
async fn ask_until_known(
    runtimes: &Runtimes,
    cgroup: &Cgroup,
    is_enough: impl Fn(&Known) -> bool,
) -> Result<Told, RuntimeError> {
    let [mut pause, longest] = PAUSES;
    let end = Instant::now() + Duration::from_nanos(LATEST_NS);
    loop {
        let told = runtimes.ask(cgroup).await;
        let is_told = match &told {
            Ok(Told::Container(known)) => is_enough(known),
            Ok(Told::Sandbox(_) | Told::Unasked) => true,
            Ok(Told::Unknown) | Err(_) => false,
        };
        if is_told || Instant::now() >= end {
            return told;
        }
        tokio::time::sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

/// Lets one process go on. It may have yet to stop.
async fn go_on(pid: u32, began_ns: u64) {
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        if wake::go_on(pid, began_ns) != Found::Awake {
            return;
        }
    }
}

/// Asks for those of whom no event told, and looks at all containers where the policies have changed.
pub fn keep_house(
    recognition: &Rc<RefCell<Recognition>>,
    sessions: &Rc<RefCell<Sessions>>,
    lines: &UnboundedSender<Line>,
) {
    let late = sessions.borrow_mut().recognised().latecomers();
    for (_, late) in late.iter().filter(|(_, late)| late.way == UNKNOWN_WAY) {
        let process = Process {
            pid: late.pid,
            start_ns: late.began_ns,
            ..Process::UNKNOWN
        };
        ask(recognition, sessions, &process);
    }
    if recognition.borrow_mut().containers.begin_to_settle() {
        let recognition = Rc::clone(recognition);
        let (sessions, lines) = (Rc::clone(sessions), lines.clone());
        tokio::task::spawn_local(async move {
            settle(&recognition, &sessions, &lines).await;
            recognition.borrow_mut().containers.settling = false;
        });
    }
}

/// Says of every container that there is whose it is, by the policies that are loaded now.
async fn settle(
    recognition: &Rc<RefCell<Recognition>>,
    sessions: &Rc<RefCell<Sessions>>,
    lines: &UnboundedSender<Line>,
) {
    let runtimes = Rc::clone(&recognition.borrow().containers.runtimes);
    for cgroup in containers::all() {
        let is_sought = recognition.borrow().looks_at(cgroup.kind);
        let told = match is_sought {
            true => runtimes.ask(&cgroup).await,
            false => Ok(Told::Unasked),
        };
        let mut recognition = recognition.borrow_mut();
        if told.is_err() {
            // Another look, at the next second.
            recognition.containers.unsettled = true;
        }
        let settled = recognition.settle_one(&mut sessions.borrow_mut(), &cgroup, told);
        match settled {
            Ok(Some(line)) => {
                // Only a daemon that is ending hears no more.
                let _ = lines.send(line);
            }
            Ok(None) => {}
            Err(error) => {
                let error = chain(error);
                warn!(container = cgroup.id, error, "it is not adopted");
            }
        }
    }
}

impl Recognition {
    /// Writes down whose a container is that was asked about.
    fn note(
        &mut self,
        sessions: &mut Sessions,
        cgroup: &Cgroup,
        told: Result<Told, RuntimeError>,
        pid: u32,
    ) -> Result<(), MapsError> {
        self.forget_gone(sessions)?;
        self.note_pod(sessions.recognised(), cgroup, &told);
        let Some(known) = self.heard(cgroup, told) else {
            return Ok(());
        };
        let whose = known.as_ref().and_then(|known| self.whose(known));
        let maps = sessions.recognised();
        let inside = maps.cgroup(cgroup.number)?;
        if inside.is_none_or(|inside| inside.kind != Inside::UNKNOWN) {
            // It is gone, or somebody else was told.
            return Ok(());
        }
        if let Some(whose) = whose {
            self.show(sessions, cgroup, whose, pid)?;
        }
        let maps = sessions.recognised();
        maps.set_cgroup(cgroup.number, inside_of(cgroup, whose))?;
        if let Some(known) = known.filter(|_| whose.is_some()) {
            self.containers.told.insert(cgroup.number, known);
        }
        Ok(())
    }

    /// The same for one that may run already.
    fn settle_one(
        &mut self,
        sessions: &mut Sessions,
        cgroup: &Cgroup,
        told: Result<Told, RuntimeError>,
    ) -> Result<Option<Line>, RecognitionError> {
        self.note_pod(sessions.recognised(), cgroup, &told);
        let Some(known) = self.heard(cgroup, told) else {
            return Ok(None);
        };
        let whose = known.as_ref().and_then(|known| self.whose(known));
        let inside = sessions.recognised().cgroup(cgroup.number)?;
        let is_open = sessions.recognised().door(cgroup.number)?.is_some();
        let is_new = inside.is_some_and(|inside| inside.kind == Inside::UNKNOWN) && !is_open;
        let Some((whose, known)) = whose.zip(known) else {
            let is_ones =
                |it: Inside| it.kind == Inside::CONTAINER && self.ways.contains_key(&it.way);
            if is_open && inside.is_some_and(is_ones) {
                // Whose labels change does not leave its session by that.
                return Ok(None);
            }
            sessions
                .recognised()
                .set_cgroup(cgroup.number, inside_of(cgroup, None))?;
            return Ok(None);
        };
        self.containers
            .told
            .insert(cgroup.number, Rc::clone(&known));
        // Nobody is in one that has yet to begin.
        if let Some(pid) = cgroup.somebody() {
            self.show(sessions, cgroup, whose, pid)?;
        }
        let now = inside_of(cgroup, Some(whose));
        if inside == Some(now) {
            return Ok(None);
        }
        if is_new {
            // Nothing of it runs yet.
            sessions.recognised().set_cgroup(cgroup.number, now)?;
            return Ok(None);
        }
        let Some(way) = self.ways.get(&whose.way) else {
            return Ok(None);
        };
        if inside.is_some_and(|it| it.kind == now.kind && it.way == now.way) {
            // It is other people's to come into it.
            running::set_all(sessions, way, &cgroup.path, now)?;
            return Ok(None);
        }
        let adopted = running::adopt_container(sessions, &self.adopter, way, &cgroup.path, now)?;
        if let Some(label) = sessions.recognised().door(cgroup.number)? {
            sessions.set_container(label.session, &known.container);
        }
        Ok(adopted
            .and_then(|(id, boot_ns)| sessions.seen(id, boot_ns))
            .map(Line::Started))
    }

    /// Makes the policies' paths hold for what somebody in a container sees.
    fn show(
        &self,
        sessions: &mut Sessions,
        cgroup: &Cgroup,
        whose: Whose,
        pid: u32,
    ) -> Result<(), MapsError> {
        for way in BTreeSet::from([whose.way, whose.entered]) {
            if let Some(way) = self.ways.get(&way) {
                sessions.show_container(cgroup.number, &way.loaded.start.agent, pid)?;
            }
        }
        Ok(())
    }

    /// Whether a policy could select a container of a kind.
    fn looks_at(&self, kind: Kind) -> bool {
        self.ways.values().any(|way| way.sought.looks_at(kind))
    }

    /// What was answered: nothing, or a container, or none that a policy could select.
    fn heard(
        &mut self,
        cgroup: &Cgroup,
        told: Result<Told, RuntimeError>,
    ) -> Option<Option<Rc<Known>>> {
        self.containers.failure = None;
        let mut failure = match told {
            Ok(Told::Container(known)) => match self.untold(&known) {
                None => return Some(Some(Rc::new(*known))),
                Some(untold) => untold,
            },
            Ok(Told::Sandbox(_) | Told::Unasked) => return Some(None),
            Ok(Told::Unknown) => "no container runtime knows it".to_owned(),
            Err(error) => chain(error),
        };
        if cgroup.kind == Kind::Podman {
            failure.push_str(" (`systemctl enable --now podman.socket` has podman answer)");
        }
        self.containers.failure = Some(failure);
        None
    }

    /// What nobody has told of a container and policies ask, in words.
    fn untold(&self, known: &Known) -> Option<String> {
        let mut ways = self.ways.values();
        let hangs = ways.any(|way| way.sought.hangs_on_account(&known.selected));
        hangs.then(|| {
            let pod = &known.container;
            let (namespace, pod) = (&pod.namespace, &pod.pod);
            format!("the Kubernetes API did not tell the service account of {namespace}/{pod}")
        })
    }

    /// A container that nobody told of did not get in, or was let be.
    pub(super) fn unknown(&self, begun: &Begun, programs: &mut Programs) -> Line {
        let time = programs.clock().at(begun.header.time_ns);
        let process = explain::process(&begun.process, &[], programs);
        if begun.threads == Begun::RELEASED {
            return Line::Released(Released { time, process });
        }
        let why = self.containers.failure.as_deref();
        let why = why.unwrap_or("nobody could be asked");
        Line::NotReady(NotReady {
            time,
            agent: None,
            recognised: Some(format!("a container that nobody knows: {why}")),
            process,
        })
    }

    /// Whose a container is, and whose are those who come into it: as the agent itself comes, where no
    /// policy is for them.
    fn whose(&self, known: &Rc<Known>) -> Option<Whose> {
        let way = self.way_of(known, false)?;
        let entered = self.way_of(known, true).unwrap_or(way);
        Some(Whose { way, entered })
    }

    /// The way that selects a container, or who comes into it later: of several agents, the first.
    fn way_of(&self, known: &Rc<Known>, entered: bool) -> Option<u32> {
        let selects = |(number, way): (&u32, &super::Way)| {
            let is_meant = way.sought.is_for_entered() == entered;
            let selects = is_meant && way.sought.selects(&known.selected);
            selects.then(|| (way.loaded.start.agent.clone(), *number))
        };
        let mut found: Vec<_> = self.ways.iter().filter_map(selects).collect();
        found.sort();
        let (agent, number) = found.first()?;
        if let Some((other, _)) = found.iter().find(|(other, _)| other != agent) {
            let container = known.container.to_string();
            warn!(
                agent,
                other, container, "two agents select it: the first one has it"
            );
        }
        Some(*number)
    }

    /// Forgets containers whose cgroup is gone.
    pub(super) fn forget_gone(&mut self, sessions: &mut Sessions) -> Result<(), MapsError> {
        let maps = sessions.recognised();
        let mut gone = Vec::new();
        for cgroup in self.containers.told.keys() {
            if maps.cgroup(*cgroup)?.is_none() {
                gone.push(*cgroup);
            }
        }
        for cgroup in gone {
            self.containers.told.remove(&cgroup);
            sessions.hide_container(cgroup);
        }
        Ok(())
    }
}

/// The ways of a container that is a session's.
#[derive(Clone, Copy)]
struct Whose {
    /// The container's own.
    way: u32,
    /// That of who comes into it when its session has begun.
    entered: u32,
}

/// What the kernel programs are to know of a container: a session's, or nobody's.
fn inside_of(cgroup: &Cgroup, whose: Option<Whose>) -> Inside {
    let door = cgroup.number;
    match whose {
        Some(Whose { way, entered }) => Inside::container(door, way, entered),
        None => Inside::nobodys(door),
    }
}

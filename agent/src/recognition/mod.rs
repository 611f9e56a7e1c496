//! Sessions that nobody starts: tells the kernel programs what to recognise by the policies that
//! are loaded, keeps sessions ready for whoever is recognised, and adopts what already runs.
//!
//! A policy that comes is complete before the first process is recognised by it: sessions lie ready,
//! then places are named, then what is there already is looked for. One that goes away lets running
//! sessions be.

pub mod adopt;
pub mod containers;
pub mod late;
mod pods;
mod running;
pub mod sought;

use crate::chain::chain;
use crate::containers::Settings;
use crate::control::protocol::WayInfo;
use crate::events::explain;
use crate::events::line::{Line, NotReady};
use crate::events::process::Programs;
use crate::kernel::maps::MapsError;
use crate::kernel::pins::Pins;
use crate::kernel::skipped::Skipped;
use crate::kubernetes::Pods;
use crate::library::{Library, Loaded};
use crate::sessions::ready::Prepared;
use crate::sessions::{Sessions, StartError, ttl_ns};
use adopt::{AdoptError, Adopter};
use agent_common::counter::Counter;
use agent_common::event::Begun;
use agent_common::recognise::{Executable, Inside, MAX_WAYS, POOL, Pool, UNKNOWN_WAY, Watch};
use agent_common::session::Label;
use containers::Containers;
use sought::Sought;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tracing::{info, warn};

/// Why sessions are not recognised.
#[derive(Debug, thiserror::Error)]
pub enum RecognitionError {
    /// No session can be made ready.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A map failed.
    #[error(transparent)]
    Map(#[from] MapsError),
    /// What already runs could not be labelled.
    #[error("cannot adopt what already runs")]
    Adopt(#[from] AdoptError),
    /// The cgroups cannot be read.
    #[error("cannot read the cgroups of {0}")]
    Cgroups(Sought, #[source] std::io::Error),
    /// The daemon or the machine's first process would be in the session.
    #[error("{0} holds the daemon itself or process 1, which must be in no session")]
    Host(Sought),
    /// Every number is taken.
    #[error("no room for {0}: sessions are recognised in {MAX_WAYS} ways")]
    Ways(Sought),
}

/// One way, in force.
struct Way {
    loaded: Rc<Loaded>,
    sought: Sought,
    pool: [Label; POOL],
    /// How often none lay ready, and when last.
    not_ready: (u64, Option<String>),
}

/// Everything by which sessions are recognised.
pub struct Recognition {
    ways: BTreeMap<u32, Way>,
    /// What was asked for last, whether or not it is in force.
    followed: BTreeSet<(Sought, String, u64)>,
    adopter: Adopter,
    /// Labels that were refused until the last look.
    refused: u64,
    /// How often programs were skipped, and how often they had been at the last look.
    skipped: (Skipped, BTreeMap<&'static str, u64>),
    /// The ways that are not in force, and why.
    failed: BTreeMap<Sought, (String, String)>,
    containers: Containers,
}

impl Recognition {
    /// Nothing is recognised, but by what an earlier daemon has left in force.
    pub fn new(pins: &Pins, containers: &Settings, pods: Option<Pods>) -> Self {
        Self {
            ways: BTreeMap::new(),
            followed: BTreeSet::new(),
            adopter: Adopter::new(pins),
            refused: 0,
            skipped: (Skipped::open(), BTreeMap::new()),
            failed: BTreeMap::new(),
            containers: Containers::new(containers, pods),
        }
    }

    /// Takes over from an earlier daemon: what it has laid ready goes, once that of the policies
    /// that are loaded now is in its place.
    pub fn take_over(
        &mut self,
        sessions: &mut Sessions,
        library: &Library,
    ) -> Result<Vec<Line>, MapsError> {
        let earlier = sessions.ready();
        let lines = self.follow(sessions, library)?;
        self.forget_others(sessions)?;
        for way in (0..MAX_WAYS).filter(|way| !self.ways.contains_key(way)) {
            sessions.recognised().set_pool(way, Pool::EMPTY)?;
        }
        for id in earlier {
            sessions.withdraw(id)?;
        }
        move_begun(sessions, library);
        // Who has waited for this daemon comes in by what lies ready now.
        Self::see_to_latecomers(sessions)?;
        Ok(lines)
    }

    /// Makes the policies that are loaded the ones by which sessions are recognised.
    pub fn follow(
        &mut self,
        sessions: &mut Sessions,
        library: &Library,
    ) -> Result<Vec<Line>, MapsError> {
        let mut wanted = BTreeMap::new();
        for loaded in library.iter() {
            for sought in loaded.compiled.recognised.iter().filter_map(Sought::of) {
                let first = wanted.entry(sought).or_insert_with(|| Rc::clone(loaded));
                if !Rc::ptr_eq(first, loaded) {
                    warn!(
                        agent = loaded.start.agent,
                        first = first.start.agent,
                        "two agents are recognised by the same: the first one has it"
                    );
                }
            }
        }
        let asked = |(sought, loaded): (&Sought, &Rc<Loaded>)| {
            (
                sought.clone(),
                loaded.start.agent.clone(),
                loaded.generation,
            )
        };
        let followed: BTreeSet<_> = wanted.iter().map(asked).collect();
        let mut lines = Vec::new();
        if followed == self.followed {
            return Ok(lines);
        }
        self.followed = followed;
        let mut old = Vec::new();
        self.ways.retain(|_, way| {
            let same = wanted
                .get(&way.sought)
                .is_some_and(|loaded| Rc::ptr_eq(loaded, &way.loaded));
            if same {
                wanted.remove(&way.sought);
            } else {
                old.extend(way.pool);
            }
            same
        });
        let cgroups = |sought: &Sought| !matches!(sought, Sought::Executable(_));
        let all = || {
            wanted
                .keys()
                .chain(self.ways.values().map(|way| &way.sought))
        };
        let watched = self.containers.watch(all());
        sessions.recognised().set_watch(Watch {
            cgroups: u32::from(all().any(cgroups)),
            executables: u32::from(!all().all(cgroups)),
            containers: watched,
            ..Watch::default()
        })?;
        self.containers.unsettled = watched != 0;
        let ways = &self.ways;
        self.failed
            .retain(|sought, _| ways.values().any(|way| way.sought == *sought));
        for (sought, loaded) in wanted {
            let agent = loaded.start.agent.clone();
            let (way, shown) = (sought.clone(), sought.to_string());
            match self.begin(sessions, sought, loaded) {
                Ok(begun) => {
                    info!(agent, by = shown, "sessions are recognised");
                    lines.extend(begun);
                }
                Err(error) => {
                    let error = chain(error);
                    warn!(agent, by = shown, error, "sessions are NOT recognised");
                    self.failed.insert(way, (agent, error));
                }
            }
        }
        self.forget_others(sessions)?;
        for label in old.iter().filter(|label| **label != Label::NOBODY) {
            sessions.withdraw(label.session)?;
        }
        move_begun(sessions, library);
        Ok(lines)
    }

    /// Puts one way in force.
    fn begin(
        &mut self,
        sessions: &mut Sessions,
        sought: Sought,
        loaded: Rc<Loaded>,
    ) -> Result<Vec<Line>, RecognitionError> {
        let roots = sought.cgroups();
        if roots.iter().any(|root| sought::holds_the_host(root)) {
            return Err(RecognitionError::Host(sought));
        }
        let taken: BTreeSet<u32> = {
            let maps = sessions.recognised();
            let cgroups = maps.cgroups()?;
            let numbers = cgroups
                .values()
                .flat_map(|inside| [inside.way, inside.entered]);
            let numbers = numbers.chain(maps.places()?.into_values());
            numbers.chain(maps.executables()?.into_values()).collect()
        };
        let free = |way: &u32| !taken.contains(way) && !self.ways.contains_key(way);
        let number = (0..MAX_WAYS)
            .find(free)
            .ok_or_else(|| RecognitionError::Ways(sought.clone()))?;
        let way = self.ways.entry(number).or_insert(Way {
            loaded,
            sought,
            pool: [Label::NOBODY; POOL],
            not_ready: (0, None),
        });
        way.fill(sessions, number)?;
        if let Some(place) = way.sought.place() {
            sessions.recognised().set_place(place, number)?;
        }
        for executable in way.sought.executables(sessions.mounts()) {
            sessions.recognised().set_executable(executable, number)?;
        }
        if matches!(way.sought, Sought::Executable(_)) {
            return running::adopt_trees(sessions, &self.adopter, number, way);
        }
        let mut lines = Vec::new();
        for root in roots {
            let found = running::adopt_cgroup(sessions, &self.adopter, number, way, &root)?;
            let seen = found.and_then(|(id, boot_ns)| sessions.seen(id, boot_ns));
            lines.extend(seen.map(Line::Started));
        }
        Ok(lines)
    }

    /// Takes out of the tables what belongs to no way that is in force.
    fn forget_others(&self, sessions: &mut Sessions) -> Result<(), MapsError> {
        let maps = sessions.recognised();
        for (place, way) in maps.places()? {
            if !self.ways.contains_key(&way) {
                maps.remove_place(place)?;
            }
        }
        for (executable, way) in maps.executables()? {
            if !self.ways.contains_key(&way) {
                maps.remove_executable(executable)?;
            }
        }
        let ways = || self.ways.values();
        let selects_containers = ways().any(|way| way.sought.is_container());
        for (cgroup, inside) in maps.cgroups()? {
            match inside.kind {
                _ if self.ways.contains_key(&inside.way) => {
                    // Until the containers have been looked at, who comes in comes as the agent would.
                    if !self.ways.contains_key(&inside.entered) {
                        let entered = inside.way;
                        maps.set_cgroup(cgroup, Inside { entered, ..inside })?;
                    }
                }
                Inside::CONTAINER if selects_containers => {
                    maps.set_cgroup(cgroup, Inside::unknown(inside.door, inside.away))?;
                }
                Inside::UNKNOWN | Inside::NOBODYS if selects_containers => {}
                // A pod's, too, until its containers have been looked at: other policies may be for it.
                _ => maps.remove_cgroup(cgroup)?,
            }
        }
        Ok(())
    }

    /// A session that lay ready has begun: another takes its place.
    pub fn begun(
        &mut self,
        sessions: &mut Sessions,
        begun: &Begun,
        programs: &mut Programs,
    ) -> Result<Option<Line>, MapsError> {
        let id = begun.header.session;
        if id == Label::HOMELESS.session && begun.threads == Begun::WAITS {
            // What is missing is laid ready, and then they are woken.
            self.fill(sessions, begun.way);
            return Ok(None);
        }
        if id == Label::HOMELESS.session && begun.way == UNKNOWN_WAY {
            return Ok(Some(self.unknown(begun, programs)));
        }
        if id == Label::HOMELESS.session {
            let time = programs.clock().at(begun.header.time_ns);
            let way = self.ways.get_mut(&begun.way).map(|way| {
                way.not_ready = (way.not_ready.0 + 1, Some(time.clone()));
                &*way
            });
            return Ok(Some(Line::NotReady(NotReady {
                time,
                agent: way.map(|way| way.loaded.start.agent.clone()),
                recognised: way.map(|way| way.sought.to_string()),
                process: explain::process(&begun.process, &[], programs),
            })));
        }
        if sessions.begin(id, Some(begun.header.time_ns)) {
            self.refill(sessions, id);
            let known = sessions.door(id)?.and_then(|door| self.containers.of(door));
            if let Some(known) = known {
                sessions.set_container(id, &known.container);
            }
        }
        if begun.threads > 0 {
            self.adopt(sessions);
        }
        Ok(None)
    }

    /// The ways, for people.
    pub fn list(&self, sessions: &mut Sessions) -> Result<Vec<WayInfo>, MapsError> {
        let mut list = Vec::new();
        let in_force = self
            .ways
            .values()
            .filter(|way| !self.failed.contains_key(&way.sought));
        for way in in_force {
            let mut ready = 0;
            for label in way.pool.iter().filter(|label| **label != Label::NOBODY) {
                ready += usize::from(!sessions.recognised().is_claimed(label.session)?);
            }
            let (not_ready, last_not_ready) = way.not_ready.clone();
            list.push(WayInfo {
                agent: way.loaded.start.agent.clone(),
                recognised: way.sought.to_string(),
                ready,
                not_ready,
                last_not_ready,
                error: self
                    .containers
                    .unseen
                    .clone()
                    .filter(|_| way.sought.is_container()),
            });
        }
        list.extend(self.failed.iter().map(|(sought, (agent, error))| WayInfo {
            agent: agent.clone(),
            recognised: sought.to_string(),
            ready: 0,
            not_ready: 0,
            last_not_ready: None,
            error: Some(error.clone()),
        }));
        Ok(list)
    }

    /// Looks for what no event told, and follows files that were replaced.
    pub fn keep_house(
        &mut self,
        sessions: &mut Sessions,
        library: &Library,
    ) -> Result<Vec<Line>, MapsError> {
        let lines = self.follow(sessions, library)?;
        for id in sessions.begun_unheard()? {
            sessions.begin(id, None);
            self.refill(sessions, id);
        }
        let short: Vec<u32> = self.short().collect();
        for number in short {
            self.fill(sessions, number);
        }
        self.follow_executables(sessions)?;
        if self.ways.values().any(|way| way.sought.is_container()) {
            self.containers.look_for_unseen();
        }
        self.forget_gone(sessions)?;
        let refused = sessions.maps().count(Counter::LabelsRefused)?;
        if !self.ways.is_empty() && (refused != self.refused || self.has_skipped()) {
            self.adopt(sessions);
        }
        self.refused = sessions.maps().count(Counter::LabelsRefused)?;
        Self::see_to_latecomers(sessions)?;
        Ok(lines)
    }

    /// Whether the kernel has skipped a program since the last look: somebody may have come into a
    /// session's cgroup and not have been seen.
    fn has_skipped(&mut self) -> bool {
        let (skipped, before) = &mut self.skipped;
        let now = skipped.counts();
        let more = now != *before;
        *before = now;
        more
    }

    /// Ways of which less lies ready than should.
    fn short(&self) -> impl Iterator<Item = u32> {
        let short =
            |(number, way): (&u32, &Way)| way.pool.contains(&Label::NOBODY).then_some(*number);
        self.ways.iter().filter_map(short)
    }

    fn refill(&mut self, sessions: &mut Sessions, id: u64) {
        let taken = |label: &&mut Label| label.session == id;
        let found = self
            .ways
            .iter_mut()
            .find_map(|(number, way)| Some((*number, way.pool.iter_mut().find(taken)?)));
        if let Some((number, label)) = found {
            *label = Label::NOBODY;
            self.fill(sessions, number);
        }
    }

    fn fill(&mut self, sessions: &mut Sessions, number: u32) {
        let Some(way) = self.ways.get_mut(&number) else {
            return;
        };
        if let Err(error) = way.fill(sessions, number) {
            let error = chain(error);
            warn!(by = %way.sought, error, "not enough sessions lie ready");
        }
    }

    fn adopt(&self, sessions: &Sessions) {
        if let Err(error) = self.adopter.adopt(sessions.maps()) {
            let error = chain(error);
            warn!(
                error,
                "not everybody in the cgroups of sessions is labelled"
            );
        }
    }

    /// Makes the tables follow executables that were replaced.
    fn follow_executables(&self, sessions: &mut Sessions) -> Result<(), MapsError> {
        let mut wanted: BTreeMap<Executable, u32> = BTreeMap::new();
        for (number, way) in &self.ways {
            let found = way.sought.executables(sessions.mounts());
            wanted.extend(found.into_iter().map(|executable| (executable, *number)));
        }
        let maps = sessions.recognised();
        let known = if wanted.is_empty() && self.ways.is_empty() {
            return Ok(());
        } else {
            maps.executables()?
        };
        for (executable, number) in &wanted {
            if known.get(executable) != Some(number) {
                maps.set_executable(*executable, *number)?;
            }
        }
        for executable in known.keys().filter(|known| !wanted.contains_key(known)) {
            maps.remove_executable(*executable)?;
        }
        Ok(())
    }
}

impl Way {
    fn prepared<'a>(&'a self, recognised: &'a str) -> Prepared<'a> {
        Prepared {
            start: &self.loaded.start,
            compiled: &self.loaded.compiled,
            recognised,
        }
    }

    /// Lays as many sessions ready as there should be.
    fn fill(&mut self, sessions: &mut Sessions, number: u32) -> Result<(), StartError> {
        let recognised = self.sought.to_string();
        let mut filled = Ok(());
        for place in 0..POOL {
            if self.pool.get(place) != Some(&Label::NOBODY) {
                continue;
            }
            match sessions.prepare(&self.prepared(&recognised)) {
                Ok(label) => {
                    if let Some(place) = self.pool.get_mut(place) {
                        *place = label;
                    }
                }
                Err(error) => {
                    filled = Err(error);
                    break;
                }
            }
        }
        let pool = Pool {
            ttl_ns: ttl_ns(&self.loaded.compiled),
            labels: self.pool,
        };
        sessions.recognised().set_pool(number, pool)?;
        filled
    }
}

/// Holds those to the policies that are loaded who began, under earlier versions, after the others had
/// been moved.
fn move_begun(sessions: &mut Sessions, library: &Library) {
    for loaded in library.iter() {
        sessions.follow(loaded);
    }
}

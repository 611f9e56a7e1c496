//! What the daemon knows of sessions whose policies speak of names, or of a gateway: what each may look up,
//! what it was answered, where its connections go.

use super::book::{self, Answers, Book, EnterError, expiry};
use super::bounds::{Asked, Bucket, is_kind, is_short};
use super::cache::Key;
use super::hosts;
use super::outcomes::Outcomes;
use super::wall::{folded, is_walled};
use crate::kernel::clock;
use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::kernel::plain::Plain;
use crate::sessions::tables::Place;
use agent_common::divert::Origin;
use agent_common::names::AnswerKey;
use agent_common::session::Session as State;
use agent_policy::{Compiled, Lookups, Mode, Speech};
use aya::maps::{Array, Map, MapData};
use hickory_proto::rr::RecordType;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Refusals of a session that are told: how many a second, and how many at once. The rest is counted.
const TOLD: (f64, f64) = (10.0, 100.0);

/// Whether a name may be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Yes.
    Given,
    /// An allowed name with a domain behind it, as programs try when they search: there is no such.
    Searched,
    /// No, and why.
    Refused(&'static str),
    /// Nobody's question: the session is over, or has no such policy.
    Nobodys,
}

/// Shared between the daemon, the resolver and the relay.
pub struct Names {
    inner: Mutex<Inner>,
    outcomes: Outcomes,
}

struct Inner {
    table: Answers,
    slots: Array<MapData, Plain<State>>,
    sessions: HashMap<u64, Known>,
    hosts: HashMap<String, Vec<IpAddr>>,
}

struct Known {
    slot: u32,
    place: Place,
    speech: Speech,
    lookups: Lookups,
    gateway: Option<SocketAddr>,
    audited: bool,
    book: Book,
    asked: Asked,
    told: Bucket,
    untold: u64,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Opens the tables, and takes over what an earlier daemon has written for sessions that go on.
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        Ok(Self {
            inner: Mutex::new(Inner {
                table: book::answers(pins)?,
                slots: typed("SESSIONS", Map::Array(open(pins, "SESSIONS")?))?,
                sessions: HashMap::new(),
                hosts: HashMap::new(),
            }),
            outcomes: Outcomes::default(),
        })
    }

    /// How lookups went.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// What is known is whole after each change, whoever panicked in between.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins, or an earlier daemon's goes on. Before any process is in it.
    pub fn begin(&self, id: u64, slot: u32, place: Place, compiled: &Compiled) {
        if !compiled.is_diverted() {
            return;
        }
        let known = Known {
            slot,
            place,
            speech: compiled.speech(),
            lookups: compiled.lookups.clone(),
            gateway: gateway(compiled),
            audited: compiled.mode == Mode::Audit,
            book: Book::default(),
            asked: Asked::nothing(&compiled.lookups),
            told: Bucket::full(TOLD),
            untold: 0,
        };
        let mut inner = self.lock();
        inner.sessions.insert(id, known);
        inner.enter_own(id);
    }

    /// Finds again what an earlier daemon has written for the sessions that have begun, and takes out the
    /// rest.
    pub fn adopt(&self) -> Result<(), MapsError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let found: Vec<_> = inner.table.iter().collect::<Result<_, _>>()?;
        for (Plain(key), Plain(answer)) in found {
            let known = inner.sessions.get_mut(&key.session);
            match known.filter(|known| State::policy_of(key.scope) == known.place.policy) {
                Some(known) => known.book.adopt(key, answer),
                None => book::Table::take(&mut inner.table, key),
            }
        }
        Ok(())
    }

    /// A session is about to be moved to another version of its policy: what it was answered holds there,
    /// too, as far as that allows the names. What held under the earlier one is taken out by what is answered.
    #[must_use]
    pub fn moving(&self, id: u64, place: Place, compiled: &Compiled) -> Moved {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let speech = compiled.is_diverted().then(|| compiled.speech());
        let book = match (inner.sessions.get(&id), &speech) {
            (Some(known), Some(speech)) => known.book.under(&mut inner.table, |tool, name| {
                let set = speech.set(tool.into(), name)?;
                Some((scope(place, tool), place.sets + set))
            }),
            _ => Book::default(),
        };
        Moved {
            id,
            place,
            speech,
            lookups: compiled.lookups.clone(),
            gateway: gateway(compiled),
            book,
            audited: compiled.mode == Mode::Audit,
        }
    }

    /// It was moved.
    pub fn moved(&self, slot: u32, moved: Moved) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let (table, id) = (&mut inner.table, moved.id);
        let before = inner.sessions.remove(&id);
        let (asked, mut left) = match before {
            Some(known) => (known.asked.under(&moved.lookups), known.book),
            None => (Asked::nothing(&moved.lookups), Book::default()),
        };
        left.clear(table, Some(&moved.book));
        if let Some(speech) = moved.speech {
            let known = Known {
                slot,
                place: moved.place,
                speech,
                lookups: moved.lookups,
                gateway: moved.gateway,
                audited: moved.audited,
                book: moved.book,
                asked,
                told: Bucket::full(TOLD),
                untold: 0,
            };
            inner.sessions.insert(id, known);
            inner.enter_own(id);
        }
    }

    /// It could not be moved: what was written for that is taken out.
    pub fn not_moved(&self, mut moved: Moved) {
        moved.book.clear(&mut self.lock().table, None);
    }

    /// A session is over.
    pub fn end(&self, id: u64) {
        let mut inner = self.lock();
        if let Some(mut known) = inner.sessions.remove(&id) {
            known.book.clear(&mut inner.table, None);
        }
    }

    /// The name that led a session to an address last.
    pub fn name_of(&self, session: u64, address: [u8; 16]) -> Option<String> {
        let inner = self.lock();
        let name = inner.sessions.get(&session)?.book.name_of(address)?;
        Some(name.to_owned())
    }

    /// How many addresses of names are kept, of all sessions.
    pub fn count(&self) -> usize {
        self.lock()
            .sessions
            .values()
            .map(|known| known.book.len())
            .sum()
    }

    /// The names that the host knows by itself have changed.
    pub(super) fn set_hosts(&self, text: &str) {
        let mut inner = self.lock();
        inner.hosts = hosts::read(text);
        let ids: Vec<u64> = inner.sessions.keys().copied().collect();
        for id in ids {
            inner.enter_own(id);
        }
    }

    /// What the host itself knows of a name.
    pub(super) fn own(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.lock().hosts.get(name).cloned()
    }

    /// Whether who asks may look up anything.
    pub(super) fn standing(&self, origin: &Origin) -> Leave {
        let inner = self.lock();
        match inner.sessions.get(&origin.session) {
            None => Leave::Nobodys,
            Some(known) if inner.is_permitted(known, origin.session) => Leave::Given,
            Some(_) => Leave::Refused("revoked"),
        }
    }

    /// Whether who may look up something may look up that.
    pub(super) fn may_ask(&self, origin: &Origin, (name, kind): &Key, now: Instant) -> Leave {
        let mut inner = self.lock();
        let known = inner.sessions.get_mut(&origin.session);
        let leave = known.and_then(|known| known.judge(origin, (name, *kind), now));
        leave.unwrap_or(Leave::Nobodys)
    }

    /// Whether a session's policy is only watched, and whether a refusal is to be told, and then how many
    /// before it were not.
    pub(crate) fn tells(&self, session: u64) -> (bool, Option<u64>) {
        let mut inner = self.lock();
        let Some(known) = inner.sessions.get_mut(&session) else {
            return (false, None);
        };
        if known.told.take(Instant::now()) {
            return (known.audited, Some(std::mem::take(&mut known.untold)));
        }
        known.untold += 1;
        (known.audited, None)
    }

    /// Where what a session has connected goes; nothing where its permission has ended.
    pub(crate) fn route(&self, origin: &Origin) -> Option<Route> {
        let inner = self.lock();
        let known = inner.sessions.get(&origin.session)?;
        inner.is_permitted(known, origin.session).then_some(Route {
            gateway: known.gateway,
        })
    }

    /// Whether a connection that is relayed may say that it is for a name. The rules that have allowed it must be
    /// those of the name, unless these demand nothing: of several names that share an address the kernel cannot know
    /// which one is meant.
    pub(crate) fn may_say(&self, origin: &Origin, name: &str) -> Result<(), &'static str> {
        let inner = self.lock();
        let Some(known) = inner.sessions.get(&origin.session) else {
            return Err("revoked");
        };
        let port = origin.server.port;
        let tool = usize::try_from(origin.tool).unwrap_or(usize::MAX);
        for (scope, list) in [(0, origin.list), (tool, origin.tools_list)] {
            match known.speech.spoken(scope, name, port) {
                None => return Err("no rule for the name that it says"),
                Some(spoken) if spoken.is_free || known.place.rules + spoken.list == list => {}
                Some(_) => return Err("other rules for the name that it says"),
            }
        }
        Ok(())
    }

    /// Enters the addresses of an answer that a session is about to get. Only then may it leave.
    pub(super) fn enter(
        &self,
        session: u64,
        name: &str,
        addresses: impl Iterator<Item = IpAddr>,
        (now_ns, ttl_s): (u64, u32),
    ) -> Result<(), EnterError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(known) = inner.sessions.get_mut(&session) else {
            return Ok(());
        };
        let times = (now_ns, expiry(now_ns, ttl_s));
        for address in addresses {
            known.enter(&mut inner.table, session, (name, address), times)?;
        }
        Ok(())
    }
}

/// A session between two versions of its policy.
#[derive(Debug)]
pub struct Moved {
    id: u64,
    place: Place,
    speech: Option<Speech>,
    lookups: Lookups,
    gateway: Option<SocketAddr>,
    book: Book,
    audited: bool,
}

/// Where what a session has connected goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    /// To there instead, where there is such.
    pub(crate) gateway: Option<SocketAddr>,
}

fn gateway(compiled: &Compiled) -> Option<SocketAddr> {
    let gateway = compiled.gateway.as_ref()?;
    Some((gateway.address, gateway.port).into())
}

impl Inner {
    /// Whether a session's permission lasts, as the kernel has it.
    fn is_permitted(&self, known: &Known, session: u64) -> bool {
        let state = self.slots.get(&known.slot, 0);
        state.is_ok_and(|Plain(state)| state.id == session && state.flags & State::REVOKED == 0)
    }

    /// Enters what the host itself knows of a session's names, which programs read in files.
    fn enter_own(&mut self, id: u64) {
        let Some(known) = self.sessions.get_mut(&id) else {
            return;
        };
        for (name, addresses) in &self.hosts {
            for address in addresses {
                let entered = known.enter(
                    &mut self.table,
                    id,
                    (name, *address),
                    (clock::boot_ns(), u64::MAX),
                );
                if let Err(error) = entered {
                    tracing::warn!(name, %error, "a name of /etc/hosts leads nowhere");
                }
            }
        }
    }
}

impl Known {
    /// Whether the policy allows a lookup.
    fn judge(
        &mut self,
        origin: &Origin,
        (name, kind): (&str, RecordType),
        now: Instant,
    ) -> Option<Leave> {
        let tool = usize::try_from(origin.tool).ok()?;
        let (agent, own) = (self.speech.set(0, name), self.speech.set(tool, name));
        if agent.is_none() || own.is_none() {
            let searched = name.match_indices('.').any(|(at, _)| {
                let tried = name.get(..at).unwrap_or_default();
                self.speech.set(0, tried).is_some() && self.speech.set(tool, tried).is_some()
            });
            return Some(if searched {
                Leave::Searched
            } else {
                Leave::Refused("no rule")
            });
        }
        if !is_kind(&self.lookups, kind) {
            return Some(Leave::Refused("type of record not allowed"));
        }
        let below = self.speech.below(tool, name).or(self.speech.below(0, name));
        if below.is_some_and(|below| !is_short(&self.lookups, below)) {
            return Some(Leave::Refused("name too long"));
        }
        if !self.asked.has_room(name, below.is_some(), now) {
            return Some(Leave::Refused("too many lookups"));
        }
        Some(Leave::Given)
    }

    fn enter(
        &mut self,
        table: &mut Answers,
        session: u64,
        (name, address): (&str, IpAddr),
        times: (u64, u64),
    ) -> Result<(), EnterError> {
        let address = folded(address);
        if is_walled(address) {
            return Ok(());
        }
        for tool in 0..self.speech.scopes() {
            let Some(set) = self.speech.set(tool, name) else {
                continue;
            };
            let Ok(tool) = u8::try_from(tool) else { break };
            let key = AnswerKey {
                session,
                scope: scope(self.place, tool),
                number: 0,
                address,
            };
            let of_name = (self.place.sets + set, name);
            self.book.enter(table, key, of_name, times)?;
        }
        Ok(())
    }
}

/// The number of a scope of a policy.
fn scope(place: Place, tool: u8) -> u32 {
    State::scope_of(place.policy, tool)
}

//! What the resolver knows of sessions: what each may look up, what it was answered.

use super::book::{self, Answers, Book, EnterError, expiry};
use super::bounds::{Asked, Bucket, is_kind, is_short};
use super::hosts;
use super::lookups::Lookups;
use crate::kernel::clock;
use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::kernel::plain::Plain;
use crate::sessions::tables::Place;
use agent_common::egress::{Endpoint, TCP};
use agent_common::event::Process;
use agent_common::names::{AnswerKey, Asker};
use agent_common::session::Session as State;
use agent_policy::{Compiled, Mode, Speech};
use aya::maps::{Array, Map, MapData};
use hickory_proto::rr::RecordType;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Refusals of a session that are told: how many a second, and how many at once. The rest is counted.
const TOLD: (f64, f64) = (10.0, 100.0);

/// A lookup that was not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The session.
    pub session: u64,
    /// The innermost tool, counted from 1, or 0.
    pub tool: u8,
    /// Who asked.
    pub process: Process,
    /// The name.
    pub name: String,
    /// The type of record.
    pub kind: String,
    /// Why.
    pub reason: &'static str,
    /// Whether it was answered all the same: the policy is only watched.
    pub audited: bool,
    /// Refusals before this one that were not told.
    pub untold: u64,
}

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

/// Shared between the daemon and the resolver.
pub struct Names {
    inner: Mutex<Inner>,
    lookups: Lookups,
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
            lookups: Lookups::default(),
        })
    }

    /// How lookups went.
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// What is known is whole after each change, whoever panicked in between.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins, or an earlier daemon's goes on. Before any process is in it.
    pub fn begin(&self, id: u64, slot: u32, place: Place, compiled: &Compiled) {
        let Some(speech) = compiled.speech() else {
            return;
        };
        let known = Known {
            slot,
            place,
            speech,
            audited: compiled.mode == Mode::Audit,
            book: Book::default(),
            asked: Asked::nothing(),
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
        let speech = compiled.speech();
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
            Some(known) => (known.asked, known.book),
            None => (Asked::nothing(), Book::default()),
        };
        left.clear(table, Some(&moved.book));
        if let Some(speech) = moved.speech {
            let known = Known {
                slot,
                place: moved.place,
                speech,
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

    /// Whether who asks may look a name up.
    pub(super) fn may_ask(&self, asker: &Asker, name: &str, kind: RecordType) -> Leave {
        let mut inner = self.lock();
        let Some(leave) = inner.judge(asker, name, kind) else {
            return Leave::Nobodys;
        };
        leave
    }

    /// Whether a session's policy is only watched.
    pub(super) fn is_audited(&self, session: u64) -> bool {
        let inner = self.lock();
        inner
            .sessions
            .get(&session)
            .is_some_and(|known| known.audited)
    }

    /// Whether a refusal is to be told, and how many before it were not.
    pub(super) fn tells(&self, session: u64) -> Option<u64> {
        let mut inner = self.lock();
        let known = inner.sessions.get_mut(&session)?;
        if known.told.take() {
            return Some(std::mem::take(&mut known.untold));
        }
        known.untold += 1;
        None
    }

    /// Enters the addresses of an answer that a session is about to get. Only then may it leave.
    pub(super) fn enter(
        &self,
        session: u64,
        name: &str,
        addresses: impl Iterator<Item = IpAddr>,
        ttl_s: u32,
    ) -> Result<(), EnterError> {
        let now_ns = clock::boot_ns();
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
    book: Book,
    audited: bool,
}

impl Inner {
    fn judge(&mut self, asker: &Asker, name: &str, kind: RecordType) -> Option<Leave> {
        let known = self.sessions.get_mut(&asker.session)?;
        let state = self.slots.get(&known.slot, 0).ok()?.0;
        if state.id != asker.session || state.flags & State::REVOKED != 0 {
            return Some(Leave::Refused("revoked"));
        }
        let tool = usize::try_from(asker.tool).ok()?;
        let (agent, own) = (known.speech.set(0, name), known.speech.set(tool, name));
        if agent.is_none() || own.is_none() {
            let searched = name.match_indices('.').any(|(at, _)| {
                let tried = name.get(..at).unwrap_or_default();
                known.speech.set(0, tried).is_some() && known.speech.set(tool, tried).is_some()
            });
            return Some(if searched {
                Leave::Searched
            } else {
                Leave::Refused("no rule")
            });
        }
        if !is_kind(kind) {
            return Some(Leave::Refused("type of record not allowed"));
        }
        let below = known
            .speech
            .below(tool, name)
            .or(known.speech.below(0, name));
        if below.is_some_and(|below| !is_short(below)) {
            return Some(Leave::Refused("name too long"));
        }
        if !known.asked.has_room(name, below.is_some()) {
            return Some(Leave::Refused("too many lookups"));
        }
        Some(Leave::Given)
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

/// An address as the kernel programs compare it.
fn folded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => Endpoint::v4(address.octets(), 0, TCP).address,
        IpAddr::V6(address) => Endpoint::v6(address.octets(), 0, TCP).address,
    }
}

/// Whether an address is one that only a rule for addresses can give: this host's own, a cloud's
/// metadata service, multicast, broadcast. Who answers for a name could say anything.
fn is_walled(folded: [u8; 16]) -> bool {
    const METADATA4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
    const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let address = Ipv6Addr::from(folded);
    match address.to_ipv4_mapped() {
        Some(v4) => v4.is_loopback() || v4.is_multicast() || v4.is_broadcast() || v4 == METADATA4,
        None => address.is_loopback() || address.is_multicast() || address == METADATA6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_behind_a_wall() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "169.254.169.254",
            "fd00:ec2::254",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(is_walled(folded(text.parse().unwrap())), "{text}");
        }
        for text in ["192.0.2.7", "10.0.0.1", "2001:db8::7", "169.254.1.1"] {
            assert!(!is_walled(folded(text.parse().unwrap())), "{text}");
        }
    }
}

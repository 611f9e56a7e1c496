//! Sessions that lie ready for whoever is recognised.

use super::progress::Shared;
use super::task::Task;
use super::{counts, record, state};
use crate::maps::{CLAIMS, DOORS, POOLS, SESSIONS, TERMS};
use crate::tell;
use agent_common::counter::Counter;
use agent_common::recognise::{Inside, POOL};
use agent_common::session::Label;
use agent_common::terms::TIMERS;
use aya_ebpf::bindings::BPF_NOEXIST;

const ONLY_NEW: u64 = BPF_NOEXIST as u64;

/// Somebody for whom a session lies ready.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// The way by which it comes.
    pub way: u32,
    /// The cgroup that the session is for, or zero.
    door: u64,
    /// The session into whose container it comes, or zero.
    entered: u64,
}

impl Arrival {
    /// Who executes the program of a way.
    #[inline(always)]
    pub fn by(way: u32) -> Self {
        Self {
            way,
            door: 0,
            entered: 0,
        }
    }

    /// Who comes into a cgroup. Into a container whose session has begun comes somebody else than that
    /// session's agent, unless its permission has ended: then nobody comes in.
    #[inline(always)]
    pub fn into(inside: Inside) -> Self {
        if inside.kind == Inside::CONTAINER
            && let Some(begun) = door(inside.door)
            && state::is_permitted(begun)
        {
            return Self {
                way: inside.entered,
                door: inside.door,
                entered: begun.session,
            };
        }
        Self::home(inside)
    }

    /// Who is in a cgroup already: it belongs to the session there, whichever of its processes finds one first.
    #[inline(always)]
    pub fn home(inside: Inside) -> Self {
        Self {
            way: inside.way,
            door: inside.door,
            entered: 0,
        }
    }

    /// The session into whose container it comes, where the same policy is for both: what is left for whom
    /// no other lies ready.
    #[inline(always)]
    pub fn host(self, inside: Inside) -> Option<Label> {
        let is_same = self.entered != 0 && self.way == inside.way;
        is_same.then(|| door(inside.door)).flatten()
    }
}

/// Takes a session that lies ready.
#[inline(always)]
pub fn take(arrival: Arrival) -> Option<Label> {
    let Arrival { way, door, entered } = arrival;
    let slot = (take_ready(u64::from(way), door, entered) as u32).wrapping_sub(1);
    // A slot that was not found is beyond the map.
    let session = SESSIONS.get(slot)?;
    Some(Label {
        session: session.id,
        slot,
        reserved: 0,
    })
}

/// Gives it back: somebody else was first.
#[inline(always)]
pub fn give_back(label: Label) {
    let _ = CLAIMS.remove(label.session);
}

/// The slot of the session, counted from 1, or 0. A global function of numbers: the verifier looks
/// at it once. Each session is claimed once: its number goes into a map, and who is second fails.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_ready(way: u64, door: u64, entered: u64) -> u64 {
    let Some(pool) = POOLS.get_ptr(way as u32) else {
        return 0;
    };
    let mut i = 0;
    while i < POOL {
        // SAFETY: the pointer came from a successful lookup in an array. Volatile, because the
        // daemon writes; of a label that is half written no session is known.
        let label = unsafe { core::ptr::read_volatile(&raw const (*pool).labels[i]) };
        i += 1;
        if label.session == 0 || state::recorded(label).is_none() {
            continue;
        }
        if CLAIMS.insert(label.session, entered, ONLY_NEW).is_err() {
            continue;
        }
        // SAFETY: as above.
        let ttl_ns = unsafe { core::ptr::read_volatile(&raw const (*pool).ttl_ns) };
        begin(label, ttl_ns, door);
        return u64::from(label.slot) + 1;
    }
    0
}

/// Lets its times begin. Nobody else knows the session yet.
#[inline(always)]
fn begin(label: Label, ttl_ns: u64, door: u64) {
    let now = record::now();
    if let Some(session) = SESSIONS.get_ptr_mut(label.slot) {
        // SAFETY: the pointer is to a slot of an array, which is never freed.
        unsafe {
            if ttl_ns != 0 {
                core::ptr::write_volatile(
                    &raw mut (*session).expires_ns,
                    now.saturating_add(ttl_ns),
                );
            }
            core::ptr::write_volatile(&raw mut (*session).door, door);
        }
    }
    let terms = state::recorded(label).and_then(|session| TERMS.get(session.policy));
    if let (Some(shared), Some(terms)) = (Shared::of(label.slot), terms) {
        let mut i = 0;
        while i < TIMERS {
            let timer = &terms.timers[i];
            if timer.fact & shared.look().facts != 0 {
                shared.set_deadline(i, now.saturating_add(timer.lifetime_ns));
            }
            i += 1;
        }
    }
}

/// The session of a cgroup: the one that its processes are in, or a new one. Where none lies ready, that is
/// told, and it is nobody's.
#[inline(always)]
pub fn of_cgroup(inside: Inside, task: Task) -> Label {
    let arrival = Arrival::into(inside);
    if let Some(label) = find(arrival, task) {
        return label;
    }
    counts::add(Counter::NotReady);
    tell::begun(Label::HOMELESS, arrival.way, task, 0);
    Label::HOMELESS
}

/// The same, if there is one.
#[inline(always)]
pub fn find(arrival: Arrival, task: Task) -> Option<Label> {
    if arrival.entered == 0
        && let Some(open) = door(arrival.door)
    {
        return Some(open);
    }
    let label = take(arrival)?;
    if arrival.entered != 0 || DOORS.insert(arrival.door, label, ONLY_NEW).is_ok() {
        tell::begun(label, arrival.way, task, 0);
        return Some(label);
    }
    give_back(label);
    door(arrival.door)
}

/// The session that is open for a cgroup, if it is one that is known.
#[inline(always)]
pub fn door(cgroup: u64) -> Option<Label> {
    let label = DOORS.get_ptr(cgroup)?;
    // SAFETY: the pointer came from a successful lookup; entries are not changed, only removed.
    let label = unsafe { *label };
    if state::recorded(label).is_some() {
        return Some(label);
    }
    let _ = DOORS.remove(cgroup);
    None
}

/// Who comes into the cgroup of a session that has just become empty begins another.
#[inline(always)]
pub fn close(label: Label) {
    let Some(session) = state::recorded(label) else {
        return;
    };
    if session.door != 0 && door(session.door) == Some(label) {
        let _ = DOORS.remove(session.door);
    }
}

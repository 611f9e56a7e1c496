//! How far sessions have got: facts, timers and limits, changed as a whole or not at all.

use super::btf_map::BtfMap;
use super::offsets::TASK_BPF_STORAGE;
use super::record::now;
use super::state;
use super::task::Task;
use crate::maps::TURNS;
use agent_common::abi::MAX_SESSIONS;
use agent_common::decide::Weighing;
use agent_common::terms::{LIMITS, Progress, TIMERS, Terms};
use aya_ebpf::bindings::{BPF_NOEXIST, bpf_map_type};
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_spin_lock, bpf_spin_unlock};
use aya_ebpf::macros::btf_map;
use core::ptr;

const ARRAY: usize = bpf_map_type::BPF_MAP_TYPE_ARRAY as usize;

/// By the session's slot. Described by BTF, in which the kernel finds the lock.
#[btf_map]
static PROGRESS: BtfMap<u32, Progress, ARRAY, { MAX_SESSIONS as usize }, 0> = BtfMap::pinned();

/// The progress of one session. Others may change it meanwhile: what is read here counts only if
/// its version is still the same afterwards.
#[derive(Clone, Copy)]
pub struct Shared {
    slot: u32,
    at: *mut Progress,
}

impl Shared {
    /// The progress of the session in a slot.
    #[inline(always)]
    pub fn of(slot: u32) -> Option<Self> {
        // SAFETY: the verifier checks map and key.
        let at = unsafe { bpf_map_lookup_elem(PROGRESS.raw(), ptr::from_ref(&slot).cast()) };
        let at: *mut Progress = at.cast();
        (!at.is_null()).then_some(Self { slot, at })
    }

    /// To look at.
    #[inline(always)]
    pub fn look(self) -> &'static Progress {
        // SAFETY: the pointer came from a successful lookup in an array, which is never freed.
        unsafe { &*self.at }
    }

    /// The version that is there now.
    #[inline(always)]
    pub fn version(self) -> u32 {
        // SAFETY: as in `look`; volatile, because others write.
        unsafe { ptr::read_volatile(&raw const (*self.at).version) }
    }

    /// Lets a timer of a session begin that nobody knows yet.
    #[inline(always)]
    pub fn set_deadline(self, timer: usize, deadline_ns: u64) {
        // SAFETY: as in `look`.
        unsafe { (*self.at).deadlines[timer & (TIMERS - 1)] = deadline_ns }
    }

    /// What was used of a limit.
    #[inline(always)]
    pub fn used(self, limit: usize) -> u64 {
        // SAFETY: as in `version`.
        unsafe { ptr::read_volatile(&raw const (*self.at).limits[limit & (LIMITS - 1)]) }
    }

    /// Uses some more of a budget of bytes, which nobody else writes: neither lock nor version.
    #[inline(always)]
    pub fn draw(self, limit: usize, bytes: u64) {
        // SAFETY: as in `look`, for the address of a number in the map's value.
        unsafe {
            let used = &raw mut (*self.at).limits[limit & (LIMITS - 1)];
            state::add(used, bytes.cast_signed());
        }
    }

    /// Writes what was decided, unless somebody has changed the progress since it had `version`.
    #[inline(always)]
    pub fn commit(self, version: u32, weighing: &Weighing, terms: &Terms) -> bool {
        if has_locks() {
            self.commit_locked(version, weighing, terms)
        } else {
            self.commit_by_turns(version, weighing, terms)
        }
    }

    #[inline(always)]
    fn commit_locked(self, version: u32, weighing: &Weighing, terms: &Terms) -> bool {
        // SAFETY: the verifier sees to it that the lock is taken and given back on every way, and
        // that nothing is called in between. The pointer is as in `look`.
        unsafe {
            let lock = (&raw mut (*self.at).lock).cast();
            bpf_spin_lock(lock);
            let same = self.version() == version;
            if same {
                weighing.apply(&mut *self.at, terms);
            }
            bpf_spin_unlock(lock);
            same
        }
    }

    /// For kernels before 5.11, whose LSM programs have no locks: whoever puts the slot into a map
    /// has the turn. Nobody waits for a turn; who does not get it decides anew.
    #[inline(always)]
    fn commit_by_turns(self, version: u32, weighing: &Weighing, terms: &Terms) -> bool {
        if TURNS.insert(self.slot, 1, u64::from(BPF_NOEXIST)).is_err() {
            return false;
        }
        let same = self.version() == version;
        if same {
            // SAFETY: as in `look`; nobody else has the turn.
            weighing.apply(unsafe { &mut *self.at }, terms);
        }
        let _ = TURNS.remove(self.slot);
        same
    }
}

/// The facts of the running task's session that hold now, by the policy by which it is judged; none
/// where they cannot be read.
#[inline(always)]
pub fn facts() -> u64 {
    live_facts()
}

/// A global function, which the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn live_facts() -> u64 {
    let Some(member) = Task::current().member() else {
        return 0;
    };
    match (state::terms(member), Shared::of(member.label().slot)) {
        (Some(terms), Some(shared)) => terms.live_facts(shared.look(), now()),
        _ => 0,
    }
}

/// Whether LSM programs of this kernel may take locks: since 5.11, as task storage. A constant to
/// the verifier, which drops the other branch.
#[inline(always)]
fn has_locks() -> bool {
    TASK_BPF_STORAGE.load() != 0
}

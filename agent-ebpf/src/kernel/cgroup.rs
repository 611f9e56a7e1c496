//! Cgroups of the unified hierarchy, and whose processes they hold.

use super::memory::Address;
use super::offsets::{
    CGROUP_NODE, CGROUP_PARENT, CGROUP_ROOT, CGROUPS_UNIFIED, NODE_ID, NODE_NAME, ROOT_HIERARCHY,
    SIGNAL_THREADS, STATE_PARENT, TASK_CGROUPS, TASK_SIGNAL,
};
use super::record::copy_string;
use super::task::Task;
use crate::maps::{CGROUPS, KEY, PLACES};
use agent_common::recognise::{Inside, PLACE, PlaceKey};
use core::ffi::c_void;

/// Slices that may lie above a systemd unit.
const SLICES: u32 = 8;

/// A cgroup of the kernel, known by its address.
#[derive(Clone, Copy)]
pub struct Cgroup(Address);

impl Cgroup {
    /// A cgroup that a tracepoint was given.
    #[inline(always)]
    pub fn given(cgroup: *const c_void) -> Self {
        Self(Address(cgroup as u64))
    }

    /// The one that holds a task.
    #[inline(always)]
    pub fn of(task: Task) -> Option<Self> {
        let sets: u64 = task.at().read(&TASK_CGROUPS)?;
        let unified: u64 = Address(sets).read(&CGROUPS_UNIFIED)?;
        Some(Self(Address(unified)))
    }

    /// Whether it is of the unified hierarchy: numbers of others mean something else.
    #[inline(always)]
    pub fn is_unified(self) -> bool {
        let root: u64 = self.0.read(&CGROUP_ROOT).unwrap_or(0);
        Address(root).read::<u32>(&ROOT_HIERARCHY) == Some(0)
    }

    /// Its number, never used twice.
    #[inline(always)]
    pub fn id(self) -> Option<u64> {
        self.node()?.read(&NODE_ID)
    }

    #[inline(always)]
    fn node(self) -> Option<Address> {
        self.0.read(&CGROUP_NODE).map(Address)
    }

    /// The address of its name.
    #[inline(always)]
    pub fn name(self) -> u64 {
        let node = self.node().unwrap_or(Address(0));
        node.read(&NODE_NAME).unwrap_or(0)
    }

    /// The one above it; nothing above the root.
    #[inline(always)]
    pub fn parent(self) -> Option<Self> {
        let state: u64 = self.0.read(&CGROUP_PARENT)?;
        (state != 0).then(|| Self(Address(state).around(&STATE_PARENT, &CGROUP_PARENT)))
    }

    /// What is known of it, or of one that it lies below.
    #[inline(always)]
    pub fn inside(self) -> Option<Inside> {
        let id = self.id()?;
        let inside = known(id)?;
        if inside.kind == Inside::UNKNOWN && inside.door != id {
            // It was made before somebody told whose the container is, which is said of that alone.
            return known(inside.door);
        }
        Some(inside)
    }

    /// The way by which a new cgroup is recognised, given its path. Only for the tracepoint that
    /// tells of new ones, which the kernel runs under a lock of its own: there is one key for all.
    #[inline(always)]
    pub fn recognised(self, path: u64) -> Option<u32> {
        if let Some(way) = place(path) {
            return Some(way);
        }
        let way = place(self.name())?;
        (is_slice(self.parent().map_or(0, |parent| parent.0.0)) != 0).then_some(way)
    }
}

#[inline(always)]
fn known(cgroup: u64) -> Option<Inside> {
    CGROUPS.get_ptr(cgroup).map(|inside| {
        // SAFETY: the pointer came from a successful lookup.
        unsafe { *inside }
    })
}

/// The way of a path, or of a unit's name.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "given by value, the key would be copied to the stack, which has no room for it"
)]
fn place(text: u64) -> Option<u32> {
    let key = KEY.get_ptr_mut(0)?;
    // SAFETY: the pointer came from a successful lookup, and nobody else uses the key now.
    let way = unsafe {
        let words = key.cast::<u64>();
        let mut i = 0;
        while i < PLACE / 8 {
            core::ptr::write_volatile(words.add(i), 0);
            i += 1;
        }
        let length = copy_string(text, &mut (*key).0);
        if length == 0 {
            return None;
        }
        PLACES.get_ptr(&*key.cast::<PlaceKey>())?
    };
    // SAFETY: as above.
    Some(unsafe { *way })
}

/// Whether a cgroup, given by its address, and all above it are slices of systemd, below which it
/// puts its units and nobody else's. A global function of numbers: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_slice(cgroup: u64) -> u64 {
    const SUFFIX: [u8; 6] = *b".slice";
    let mut at = Cgroup(Address(cgroup));
    let mut i = 0;
    while i < SLICES {
        let Some(above) = at.parent() else {
            // The root.
            return 1;
        };
        let Some(key) = KEY.get_ptr_mut(0) else {
            return 0;
        };
        // SAFETY: as in `place`.
        let name = unsafe { &mut (*key).0 };
        let length = copy_string(at.name(), name) as usize;
        if length < SUFFIX.len() || length >= PLACE {
            return 0;
        }
        let begin = length - SUFFIX.len();
        let mut k = 0;
        while k < SUFFIX.len() {
            if name[(begin + k) & (PLACE - 1)] != SUFFIX[k] {
                return 0;
            }
            k += 1;
        }
        at = above;
        i += 1;
    }
    0
}

/// How many threads a task's process has beside it.
#[inline(always)]
pub fn other_threads(task: Task) -> u32 {
    let signal: u64 = task.at().read(&TASK_SIGNAL).unwrap_or(0);
    let threads: u32 = Address(signal).read(&SIGNAL_THREADS).unwrap_or(1);
    threads.saturating_sub(1)
}

//! Counting without locks.

use crate::maps::COUNTS;
use agent_common::counter::Counter;

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn add(counter: Counter) {
    if let Some(count) = COUNTS.get_ptr_mut(counter.wire()) {
        // SAFETY: the slot belongs to this CPU, and the pointer came from a successful lookup.
        unsafe { *count = (*count).wrapping_add(1) }
    }
}

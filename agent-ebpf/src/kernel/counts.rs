//! Counting without locks.

use super::member::Member;
use super::{share, uses};
use crate::maps::COUNTS;
use agent_common::counter::Counter;
use agent_common::session::Allowed;

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn add(counter: Counter) {
    if let Some(count) = COUNTS.get_ptr_mut(counter.wire()) {
        // SAFETY: the slot belongs to this CPU, and the pointer came from a successful lookup.
        unsafe { *count = (*count).wrapping_add(1) }
    }
}

/// Counts an action of the running task that was allowed by a rule.
#[inline(always)]
pub fn allowed(member: Member, kind: Allowed, rule: u32) {
    add(Counter::Allowed);
    share::count_allowed(member.label(), kind);
    uses::keep(member, kind, rule);
}

/// The same by what it was about.
#[inline(always)]
pub fn allowed_at(member: Member, kind: Allowed, rule: u32, object: [u64; 3]) {
    add(Counter::Allowed);
    share::count_allowed(member.label(), kind);
    uses::count_at(member, kind, rule, object);
}

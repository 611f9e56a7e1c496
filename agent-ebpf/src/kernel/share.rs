//! Each session's share of the ring.

use super::state::add;
use crate::maps::{DECISIONS, READ, SHARES};
use agent_common::abi::DECISION_RING_BYTES;
use agent_common::session::{Allowed, Label, Share};

/// `BPF_RB_AVAIL_DATA`: bytes in the ring that nobody has read.
const UNREAD_BYTES: u64 = 0;

/// Whether a session may write another record.
#[inline(always)]
pub fn has_room(label: Label) -> bool {
    if DECISIONS.query(UNREAD_BYTES) < u64::from(DECISION_RING_BYTES) / 2 {
        return true;
    }
    let written = SHARES.get(label.slot).map_or(0, |share| share.written);
    let read = READ.get(label.slot).map_or(0, |read| *read);
    written.wrapping_sub(read) < Share::OWN
}

/// Counts an action that was allowed.
#[inline(always)]
pub fn count_allowed(label: Label, kind: Allowed) {
    if let Some(share) = SHARES.get_ptr_mut(label.slot) {
        // SAFETY: the pointer is to a slot of an array, which is never freed.
        unsafe { add(&raw mut (*share).allowed[kind as usize], 1) }
    }
}

/// Counts a record that was written, or was not.
#[inline(always)]
pub fn count(label: Label, is_written: bool) {
    let Some(share) = SHARES.get_ptr_mut(label.slot) else {
        return;
    };
    // SAFETY: the pointer is to a slot of an array, which is never freed.
    unsafe {
        if is_written {
            add(&raw mut (*share).written, 1);
        } else {
            add(&raw mut (*share).lost, 1);
        }
    }
}

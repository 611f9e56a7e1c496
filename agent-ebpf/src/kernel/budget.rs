//! Budgets of bytes, counted at the packet.

use super::progress::Shared;
use super::state;
use crate::maps::TERMS;
use agent_common::session::Owner;
use agent_common::terms::{LIMITS, Limit, Terms};

/// Whether every budget has room for a message, headers included, of which nothing has left yet. Whoever
/// sends hears of it here; what is dropped later, a packet of TCP's, stays in the socket's queue.
#[inline(always)]
pub fn has_room(owner: &Owner, bytes: u64) -> bool {
    let bytes = bytes.saturating_add(bytes / 16 + 128);
    let Some(session) = state::of(owner.label()) else {
        return false;
    };
    let (Some(terms), Some(shared)) = (TERMS.get(session.policy), Shared::of(owner.slot)) else {
        return false;
    };
    all_have_room(owner, terms, shared, bytes)
}

/// Draws a packet on every budget that its socket's packets count to; or on none, if one has no room.
/// Others draw at the same time, so that a budget may be overdrawn by one packet for each processor.
#[inline(always)]
pub fn draw(owner: &Owner, bytes: u32) -> bool {
    let Some(session) = state::of(owner.label()) else {
        return true;
    };
    // Budgets have the same places in every policy that the session has seen.
    let (Some(terms), Some(shared)) = (TERMS.get(session.policy), Shared::of(owner.slot)) else {
        return false;
    };
    let bytes = u64::from(bytes);
    if !all_have_room(owner, terms, shared, bytes) {
        return false;
    }
    let mut i = 0;
    while i < LIMITS {
        if owner.budgets & (1 << i) != 0 && terms.limits[i].kind == Limit::BYTES {
            shared.draw(i, bytes);
        }
        i += 1;
    }
    true
}

#[inline(always)]
fn all_have_room(owner: &Owner, terms: &Terms, shared: Shared, bytes: u64) -> bool {
    let mut room = true;
    let mut i = 0;
    while i < LIMITS {
        if owner.budgets & (1 << i) != 0 && terms.limits[i].kind == Limit::BYTES {
            room &= shared.used(i).saturating_add(bytes) <= terms.limits[i].amount;
        }
        i += 1;
    }
    room
}

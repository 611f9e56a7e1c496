//! What sessions were allowed, counted by rule and place.

use super::member::Member;
use super::state::add;
use crate::maps::{SHARES, USES};
use agent_common::session::Allowed;
use agent_common::uses::{APART, EACH, UseKey};
use aya_ebpf::bindings::BPF_NOEXIST;

/// Counts an action of a member that was allowed by a rule.
#[inline(always)]
pub fn count(member: Member, kind: Allowed, rule: u32, [high, low, rest]: [u64; 3]) {
    let label = member.label();
    // Ports, protocols and families need 32 bits, and slots 16.
    let rest = rest | u64::from(label.slot) << 32 | u64::from(kind.wire()) << 48;
    let by = u64::from(member.policy()) << 32 | u64::from(rule);
    uses_count(label.session, by, high, low, rest);
}

/// A global function, which the verifier looks at once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn uses_count(session: u64, by: u64, high: u64, low: u64, rest: u64) -> u64 {
    let mut key = UseKey {
        session,
        object: [high, low, rest & 0xffff_ffff],
        policy: (by >> 32) as u32,
        rule: by as u32,
        kind: (rest >> 48) as u32,
        reserved: 0,
    };
    if count_again(&key) {
        return 1;
    }
    let Some(share) = SHARES.get_ptr_mut((rest >> 32 & 0xffff) as u32) else {
        return 0;
    };
    // SAFETY: the pointer is to a slot of an array, which is never freed.
    let known = unsafe { core::ptr::read_volatile(&raw const (*share).uses) };
    if known >= APART {
        key.object = [0; 3];
        if count_again(&key) {
            return 1;
        }
    }
    if known >= EACH {
        return 0;
    }
    if USES.insert(key, 1, u64::from(BPF_NOEXIST)).is_err() {
        // Somebody was faster, or there is no room: the sums have it.
        return u64::from(count_again(&key));
    }
    // SAFETY: as above.
    unsafe { add(&raw mut (*share).uses, 1) };
    1
}

#[inline(always)]
fn count_again(key: &UseKey) -> bool {
    let Some(count) = USES.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the pointer came from a successful lookup; an entry that is taken away is not used again
    // before this program has ended.
    unsafe { add(count, 1) };
    true
}

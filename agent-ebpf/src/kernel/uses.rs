//! What sessions were allowed, counted by rule and place.

use super::member::Member;
use super::state::add;
use crate::maps::{SHARES, USES};
use agent_common::session::Allowed;
use agent_common::uses::{APART, EACH, KEPT, Kept, UseKey};
use aya_ebpf::bindings::BPF_NOEXIST;

/// Counts an action of the running task that was allowed by a rule, where it has no place. Most follow another
/// by the same rule, so they are kept with the task for a while.
#[inline(always)]
pub fn keep(member: Member, kind: Allowed, rule: u32) {
    let kept = member.kept();
    let (policy, kind) = (member.policy(), kind.wire());
    let is_same = kept.rule == rule && kept.policy == policy && kept.kind == kind;
    if is_same && kept.count < KEPT {
        kept.count += 1;
        return;
    }
    count_kept(member);
    *kept = Kept {
        policy,
        rule,
        kind,
        count: 1,
    };
}

/// Counts what is kept with a task.
#[inline(always)]
pub fn count_kept(member: Member) {
    let kept = member.kept();
    if kept.count > 0 {
        count(member, *kept, [0; 3]);
        kept.count = 0;
    }
}

/// Counts an action of a member that was allowed by a rule, by what it was about.
#[inline(always)]
pub fn count_at(member: Member, kind: Allowed, rule: u32, object: [u64; 3]) {
    let once = Kept {
        policy: member.policy(),
        rule,
        kind: kind.wire(),
        count: 1,
    };
    count(member, once, object);
}

#[inline(always)]
fn count(member: Member, kept: Kept, [high, low, rest]: [u64; 3]) {
    let label = member.label();
    // Ports, protocols and families need 32 bits, slots 16, and the others 8 each.
    let rest = rest
        | u64::from(label.slot) << 32
        | u64::from(kept.kind) << 48
        | u64::from(kept.count) << 56;
    let by = u64::from(kept.policy) << 32 | u64::from(kept.rule);
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
        kind: (rest >> 48 & 0xff) as u32,
        reserved: 0,
    };
    let count = rest >> 56;
    if count_again(&key, count) {
        return 1;
    }
    let Some(share) = SHARES.get_ptr_mut((rest >> 32 & 0xffff) as u32) else {
        return 0;
    };
    // SAFETY: the pointer is to a slot of an array, which is never freed.
    let known = unsafe { core::ptr::read_volatile(&raw const (*share).uses) };
    if known >= APART {
        key.object = [0; 3];
        if count_again(&key, count) {
            return 1;
        }
    }
    if known >= EACH {
        return 0;
    }
    if USES.insert(key, count, u64::from(BPF_NOEXIST)).is_err() {
        // Somebody was faster, or there is no room: the sums have it.
        return u64::from(count_again(&key, count));
    }
    // SAFETY: as above.
    unsafe { add(&raw mut (*share).uses, 1) };
    1
}

#[inline(always)]
fn count_again(key: &UseKey, count: u64) -> bool {
    let Some(known) = USES.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the pointer came from a successful lookup; an entry that is taken away is not used again
    // before this program has ended.
    unsafe { add(known, count as i64) };
    true
}

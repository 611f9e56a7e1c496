//! The shared state of a session.

use super::member::Member;
use super::record;
use crate::maps::{SESSIONS, TERMS};
use agent_common::session::{Cause, Label, Session};
use agent_common::terms::Terms;
use core::arch::asm;

/// A copy of the state of a label's session; nothing when the slot belongs to another. A session
/// whose time has passed is revoked, whether or not anybody was there to write it down.
#[inline(always)]
pub fn of(label: Label) -> Option<Session> {
    let session = SESSIONS.get(label.slot)?;
    if session.id != label.session {
        return None;
    }
    let mut copy = *session;
    if copy.expires_ns != 0 && copy.has_expired(record::now()) {
        copy.flags |= Session::REVOKED;
    }
    Some(copy)
}

/// Begins a judgement of what a member attempts: the policy that the session has now is the one by
/// which it is judged, whatever the session is moved to meanwhile.
#[inline(always)]
pub fn begin(member: Member) -> Option<Session> {
    let session = of(member.label())?;
    member.set_policy(session.policy);
    Some(session)
}

/// The state of a member's session, with the policy with which the judgement began.
#[inline(always)]
pub fn during(member: Member) -> Option<Session> {
    let session = of(member.label())?;
    Some(Session {
        policy: member.policy(),
        ..session
    })
}

/// The same, as it is written down.
#[inline(always)]
pub fn recorded(label: Label) -> Option<Session> {
    let session = SESSIONS.get(label.slot)?;
    (session.id == label.session).then_some(*session)
}

/// What the policy by which a member is judged demands besides facts.
#[inline(always)]
pub fn terms(member: Member) -> Option<&'static Terms> {
    recorded(member.label())?;
    TERMS.get(member.policy())
}

/// Whether the session's permission lasts. A session that is not the label's has none.
#[inline(always)]
pub fn is_permitted(label: Label) -> bool {
    of(label).is_some_and(|session| session.flags & Session::REVOKED == 0)
}

/// Whether the policy by which a member is judged is watched and not held.
#[inline(always)]
pub fn is_watched(member: Member) -> bool {
    terms(member).is_some_and(|terms| terms.flags & Terms::AUDIT != 0)
}

/// Whether the policy by which a member is judged has rules that need an approval, and is held.
#[inline(always)]
pub fn has_approvals(member: Member) -> bool {
    const BOTH: u32 = Terms::APPROVALS | Terms::AUDIT;
    terms(member).is_some_and(|terms| terms.flags & BOTH == Terms::APPROVALS)
}

/// Moves a session to another policy: what is judged from now on is judged by that. Facts and limits
/// lie in the same places under both, so a judgement that has begun can end as it began. The end of
/// the permission comes first: nobody is under the new policy with the old one's.
#[inline(always)]
pub fn move_to(label: Label, policy: u32, expires_ns: u64) {
    if let Some(session) = SESSIONS.get_ptr_mut(label.slot) {
        // SAFETY: the pointer is to a slot of an array, which is never freed. Nobody else writes
        // these while the slot is taken, and each is stored whole.
        unsafe {
            core::ptr::write_volatile(&raw mut (*session).expires_ns, expires_ns);
            core::ptr::write_volatile(&raw mut (*session).policy, policy);
        }
    }
}

/// Counts one more task of the session.
#[inline(always)]
pub fn task_added(label: Label) {
    if let Some(session) = SESSIONS.get_ptr_mut(label.slot) {
        // SAFETY: the pointer is to a slot of an array, which is never freed.
        unsafe { add(&raw mut (*session).tasks, 1) }
    }
}

/// Counts one task less, and says whether it was the last. Two tasks that leave at once may both
/// be told so: 5.10 has no atomic that returns what it found.
///
/// A session that was killed is over when nothing of it runs, and its slot may be another's by the time its
/// last task is freed.
#[inline(always)]
pub fn task_removed(label: Label) -> bool {
    let Some(session) = SESSIONS.get_ptr_mut(label.slot) else {
        return false;
    };
    // SAFETY: the pointer is to a slot of an array, which is never freed.
    unsafe {
        if core::ptr::read_volatile(&raw const (*session).id) != label.session {
            return false;
        }
        add(&raw mut (*session).tasks, -1);
        core::ptr::read_volatile(&raw const (*session).tasks) == 0
    }
}

/// Ends the session's permission. The first cause stays.
#[inline(always)]
pub fn revoke(label: Label, cause: Cause) {
    if let Some(session) = SESSIONS.get_ptr_mut(label.slot) {
        // SAFETY: the pointer is to a slot of an array, which is never freed. `REVOKED` is the
        // only flag and is never cleared while the slot is taken, so a store is enough: of two
        // at once either may name the cause.
        unsafe {
            let flags = &raw mut (*session).flags;
            if core::ptr::read_volatile(flags) & Session::REVOKED == 0 {
                core::ptr::write_volatile(&raw mut (*session).revoked_ns, record::now());
                core::ptr::write_volatile(flags, Session::revoked_by(cause));
            }
        }
    }
}

/// Notes when a session was first denied something because its permission has ended.
#[inline(always)]
pub fn note_denied(label: Label) {
    let Some(session) = SESSIONS.get_ptr_mut(label.slot) else {
        return;
    };
    // SAFETY: as in `revoke`. Of two at once either may be the first.
    unsafe {
        let denied = &raw mut (*session).denied_ns;
        if (*session).id == label.session && core::ptr::read_volatile(denied) == 0 {
            core::ptr::write_volatile(denied, record::now());
        }
    }
}

/// Adds to a number that other CPUs change too. The compiler's BPF target has no atomics of its
/// own for this.
///
/// # Safety
/// `number` must point into a map.
#[inline(always)]
pub(super) unsafe fn add(number: *mut u64, by: i64) {
    // SAFETY: the verifier checks the address; the instruction changes nothing else.
    unsafe { asm!("lock *(u64 *)({number} + 0) += {by}", number = in(reg) number, by = in(reg) by) }
}

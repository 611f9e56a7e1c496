//! The shared state of a session.

use crate::maps::{SESSIONS, TERMS};
use agent_common::session::{Label, Session};
use agent_common::terms::Terms;
use core::arch::asm;

/// A copy of the state of a label's session; nothing when the slot belongs to another.
#[inline(always)]
pub fn of(label: Label) -> Option<Session> {
    let session = SESSIONS.get(label.slot)?;
    (session.id == label.session).then_some(*session)
}

/// What the policy of a label's session demands besides facts.
#[inline(always)]
pub fn terms(label: Label) -> Option<&'static Terms> {
    TERMS.get(of(label)?.policy)
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
#[inline(always)]
pub fn task_removed(label: Label) -> bool {
    let Some(session) = SESSIONS.get_ptr_mut(label.slot) else {
        return false;
    };
    // SAFETY: the pointer is to a slot of an array, which is never freed.
    unsafe {
        add(&raw mut (*session).tasks, -1);
        core::ptr::read_volatile(&raw const (*session).tasks) == 0
    }
}

/// Ends the session's permission.
#[inline(always)]
pub fn revoke(label: Label) {
    end(label, Session::REVOKED);
}

/// Ends the session's permission because its chain is complete.
#[inline(always)]
pub fn complete(label: Label) {
    end(label, Session::COMPLETED);
}

#[inline(always)]
fn end(label: Label, flag: u32) {
    if let Some(session) = SESSIONS.get_ptr_mut(label.slot) {
        // SAFETY: the pointer is to a slot of an array, which is never freed. Each flag ends the
        // permission by itself and none is cleared while the slot is taken, so that nothing is
        // lost but a second cause when two are stored at once.
        unsafe {
            let flags = &raw mut (*session).flags;
            core::ptr::write_volatile(flags, core::ptr::read_volatile(flags) | flag);
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

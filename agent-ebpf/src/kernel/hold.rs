//! Actions that wait for a person: what is asked, what was answered, and the task that stops.
//!
//! Global functions of numbers, as in [`weigh`](super::weigh): they work on the task's own entries.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys and values lie in a map; without the borrow they would be copied to the stack"
)]

use super::asking::Asking;
use super::call;
use super::counts;
use super::record::{self, now};
use super::state;
use super::task::Task;
use super::weigh::{AGAIN, CLAIM, DECIDED, QUIET, TRY, weigh_once};
use crate::maps::{ASKING, CLOSED, HOLDS, OPENED, WAITING};
use agent_common::action::Action;
use agent_common::counter::Counter;
use agent_common::decide::{Reason, SCOPES, Verdict, Weighing};
use agent_common::hold::{DEFAULT_WAIT_S, Hold, HoldState, MAX_OPEN, PROCESSORS, Waiter};
use aya_ebpf::bindings::BPF_NOEXIST;
use core::ptr;

const NS: u64 = 1_000_000_000;

/// Nothing is decided: other tasks came first, or more is to be asked.
const ONCE_MORE: u32 = 0;
/// What was missing was given, and the action is allowed.
const ALLOWED: u32 = 1;
/// It is denied all the same, as the task's entry says.
const DENIED: u32 = 2;
/// Somebody is asked just now.
const ASKED_NOW: u32 = 3;
/// Somebody has been asked before, and has yet to answer.
const ASKED_BEFORE: u32 = 4;
/// The answer is no.
const REFUSED: u32 = 5;
/// Nobody answered in time.
const LATE: u32 = 6;
/// There is no room for another question.
const FULL: u32 = 7;

/// How often a round is made anew.
const ROUNDS: u32 = 32;

/// If somebody must answer first, stops the running process until then; its call begins anew. Where
/// that cannot be, the action stays denied. Not for programs of cgroups, which may not send signals.
#[inline(always)]
pub fn wait(action: Action, how: u32) {
    if how & QUIET == 0 {
        hold_stop(u32::from(action.wire()));
    }
}

/// Gets an answer to what the running task asks, and puts what follows into its entry.
#[inline(always)]
pub fn answer(traits: u32, how: u32) {
    hold_answer(traits, how);
}

/// The number of the question that the running task asked last.
#[inline(always)]
pub fn last_question() -> u64 {
    // SAFETY: as in `Asking::begin`.
    Asking::of_current().map_or(0, |asking| unsafe { (*asking.0).id })
}

/// Whether the running task stops, so that its call must begin anew. Says so once.
#[inline(always)]
pub fn takes_stop() -> bool {
    let Some(asking) = Asking::of_current() else {
        return false;
    };
    // SAFETY: as in `Asking::begin`.
    unsafe {
        let stops = ptr::read_volatile(&raw const (*asking.0).stops);
        ptr::write_volatile(&raw mut (*asking.0).stops, 0);
        stops != 0
    }
}

/// The hash of the path whose creation was approved in this very call, or 0.
#[inline(always)]
pub fn granted() -> u64 {
    // SAFETY: as in `Asking::begin`.
    Asking::of_current().map_or(0, |asking| unsafe { (*asking.0).granted })
}

/// Another creation begins.
#[inline(always)]
pub fn forget_grant() {
    if let Some(asking) = Asking::of_current() {
        // SAFETY: as in `Asking::begin`.
        unsafe { (*asking.0).granted = 0 }
    }
}

/// Forgets what was kept for a task.
#[inline(always)]
pub fn forget(task: Task) {
    let _ = ASKING.remove(task.address());
}

/// Gets an answer to what the running task asks, and puts what follows into its entry.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_answer(traits: u32, how: u32) -> u32 {
    let mut answer = ONCE_MORE;
    let mut round = 0;
    while round < ROUNDS {
        answer = hold_round(traits, how);
        if answer != ONCE_MORE {
            break;
        }
        round += 1;
    }
    hold_decide(answer)
}

/// Puts into the task's entry what follows from an answer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_decide(answer: u32) -> u32 {
    let Some(member) = Task::current().member() else {
        return 0;
    };
    if answer == ALLOWED || answer == DENIED {
        return 0;
    }
    let (mut reason, mut hold) = (Reason::ApprovalPending, Weighing::ASKS);
    if answer == ASKED_BEFORE {
        hold = Weighing::ASKED_BEFORE;
    } else if answer == REFUSED {
        reason = Reason::ApprovalRefused;
    } else if answer == LATE {
        reason = Reason::ApprovalLate;
    } else if answer != ASKED_NOW {
        reason = if answer == FULL {
            Reason::Questions
        } else {
            Reason::Busy
        };
        hold = Weighing::NOBODY_ASKED;
        counts::add(Counter::Doubts);
    }
    let weighing = member.weighing();
    weighing.verdict = Verdict::Deny.wire();
    weighing.reason = reason.wire();
    weighing.hold = hold;
    0
}

/// Weighs what the running task attempts with the approvals that it was found to have, and asks for
/// the next one that is missing. Only when none is, those are used up that are good for one action.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_round(traits: u32, how: u32) -> u32 {
    let (Some(member), Some(asking)) = (Task::current().member(), Asking::of_current()) else {
        return FULL;
    };
    match weigh_once(traits, 0, how | TRY) {
        DECIDED => {}
        AGAIN => return ONCE_MORE,
        _ => return FULL,
    }
    let weighing = member.weighing();
    if weighing.verdict == Verdict::Hold.wire() {
        let answer = hold_ask(how);
        if answer != ALLOWED {
            return answer;
        }
        weighing.approve();
        return ONCE_MORE;
    }
    if !weighing.allows() {
        return DENIED;
    }
    if how & (TRY | CLAIM) == TRY {
        return ALLOWED;
    }
    // SAFETY: as in `Asking::begin`.
    if unsafe { (*asking.0).claimed } == 0 {
        if hold_claim() == 0 {
            // Somebody else has used it up.
            weighing.approved = [0; SCOPES];
            return ONCE_MORE;
        }
        // SAFETY: as in `Asking::begin`.
        unsafe { (*asking.0).claimed = 1 }
    }
    if how & CLAIM != 0 {
        // SAFETY: as in `Asking::begin`.
        unsafe { (*asking.0).carried = member.weighing().approved }
        return ALLOWED;
    }
    match weigh_once(traits, 0, how) {
        DECIDED if member.weighing().allows() => ALLOWED,
        DECIDED => DENIED,
        AGAIN => ONCE_MORE,
        _ => FULL,
    }
}

/// Looks for the answer to what the task's entry asks, by the rule that spoke last, and asks where
/// nobody has.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_ask(how: u32) -> u32 {
    let (Some(member), Some(asking)) = (Task::current().member(), Asking::of_current()) else {
        return FULL;
    };
    let now_ns = now();
    // SAFETY: as in `Asking::begin`.
    let asked = unsafe { &mut *asking.0 };
    asked.key.rule = member.weighing().number();
    if asking.carries(asked.key.rule) {
        return ALLOWED;
    }
    // SAFETY: an entry that is removed meanwhile stays readable until the program ends.
    if let Some(hold) = unsafe { HOLDS.get(&asked.key) } {
        let (state, over) = (hold.state, now_ns >= hold.until_ns);
        asked.id = hold.id;
        if state == HoldState::Asked.wire() {
            return if over { LATE } else { ASKED_BEFORE };
        }
        if !over {
            return if state == HoldState::Approved.wire() {
                ALLOWED
            } else if state == HoldState::Late.wire() {
                LATE
            } else {
                REFUSED
            };
        }
        let _ = HOLDS.remove(&asked.key);
    }
    if how & QUIET != 0 {
        return ASKED_BEFORE;
    }
    let slot = member.label().slot;
    if !has_room(slot) {
        return FULL;
    }
    let wait_s = match member.weighing().wait_s {
        0 => DEFAULT_WAIT_S,
        wait_s => wait_s,
    };
    asked.hold.id = question(now_ns);
    asked.hold.asked_ns = now_ns;
    asked.hold.until_ns = now_ns.saturating_add(u64::from(wait_s) * NS);
    asked.hold.state = HoldState::Asked.wire();
    asked.hold.flags = 0;
    asked.hold.slot = slot;
    asked.hold.pid = Task::current().tgid();
    asked.id = asked.hold.id;
    if HOLDS
        .insert(&asked.key, &asked.hold, u64::from(BPF_NOEXIST))
        .is_err()
    {
        // SAFETY: as above.
        return match unsafe { HOLDS.get(&asked.key) } {
            Some(hold) => {
                asked.id = hold.id;
                ASKED_BEFORE
            }
            None => FULL,
        };
    }
    if let Some(opened) = OPENED.get_ptr_mut(slot) {
        // SAFETY: the pointer is to an entry of an array.
        unsafe { state::add(opened, 1) };
    }
    counts::add(Counter::Asked);
    ASKED_NOW
}

/// The number of a question that is asked now: the time, with the processor in its lowest bits, so that two
/// processors never give the same. That one gives it twice within a microsecond is left to the daemon, which
/// says yes to neither.
#[inline(always)]
fn question(now_ns: u64) -> u64 {
    now_ns & !PROCESSORS | u64::from(record::processor()) & PROCESSORS
}

/// Whether a session may have another open question.
#[inline(always)]
fn has_room(slot: u32) -> bool {
    match (OPENED.get(slot), CLOSED.get(slot)) {
        (Some(opened), Some(closed)) => opened.saturating_sub(*closed) < MAX_OPEN,
        _ => false,
    }
}

/// Uses up what is good for one action. 0 where an approval is not there any more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_claim() -> u32 {
    let (Some(member), Some(asking)) = (Task::current().member(), Asking::of_current()) else {
        return 0;
    };
    // SAFETY: as in `Asking::begin`.
    let asked = unsafe { &mut *asking.0 };
    let now_ns = now();
    let mut scope = 0;
    while scope < SCOPES {
        let rule = member.weighing().approved[scope];
        scope += 1;
        if rule == 0 || asking.carries(rule - 1) {
            continue;
        }
        asked.key.rule = rule - 1;
        // SAFETY: as in `hold_ask`.
        let Some(hold) = (unsafe { HOLDS.get(&asked.key) }) else {
            return 0;
        };
        if hold.state != HoldState::Approved.wire() || now_ns >= hold.until_ns {
            return 0;
        }
        // Of several tasks one alone takes the entry away.
        if hold.flags & Hold::ONCE != 0 && HOLDS.remove(&asked.key).is_err() {
            return 0;
        }
    }
    asked.granted = if asked.key.action == u32::from(Action::Create.wire()) {
        asked.key.object[0]
    } else {
        0
    };
    1
}

/// Stops the running process. Whoever looks for it finds it in the table before it stops.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_stop(action: u32) -> u32 {
    let (Some(member), Some(asking)) = (Task::current().member(), Asking::of_current()) else {
        return 0;
    };
    let weighing = member.weighing();
    let waits = weighing.verdict == Verdict::Deny.wire()
        && weighing.reason == Reason::ApprovalPending.wire();
    if !waits || !call::can_begin_anew(action == u32::from(Action::Exec.wire())) {
        return 0;
    }
    let actor = Task::current();
    // SAFETY: as in `Asking::begin`.
    let asked = unsafe { &mut *asking.0 };
    asked.waiter = Waiter {
        hold: asked.id,
        pid: actor.tgid(),
        reserved: 0,
    };
    asked.began_ns = actor.began_ns();
    if WAITING.insert(&asked.waiter, &asked.began_ns, 0).is_err() || !call::stop_current() {
        return 0;
    }
    asked.stops = 1;
    weighing.verdict = Verdict::Hold.wire();
    weighing.reason = Reason::ApprovalMissing.wire();
    if weighing.hold == Weighing::ASKED_BEFORE {
        weighing.hold = Weighing::TOLD;
    }
    1
}

//! Processes that execute a program with which a session begins, or goes on, while none lies ready: they
//! are stopped in their `execve` until the daemon has made one.
//!
//! Only where a daemon is there to do so, and not for ever. Who is not stopped is denied.

use super::call;
use super::cgroup::Cgroup;
use super::ready::{self, Arrival};
use super::record::now;
use super::state;
use super::task::Task;
use crate::maps::{ALIVE, LATECOMERS};
use crate::tell;
use agent_common::event::Begun;
use agent_common::recognise::{AWAY_NS, LATEST_NS, Latecomer};
use agent_common::session::Label;

/// What becomes of a process for which no session lay ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It is denied.
    Denied,
    /// It is stopped, and its call begins anew.
    Waits,
    /// It has a session now.
    Home,
}

const DENIED: u32 = 0;
const WAITS: u32 = 1;
const HOME: u32 = 2;

impl Late {
    #[inline(always)]
    fn of(number: u32) -> Self {
        match number {
            WAITS => Self::Waits,
            HOME => Self::Home,
            _ => Self::Denied,
        }
    }
}

/// Lets the running process wait in its `execve` for a session of a way.
#[inline(always)]
pub fn wait(way: u32) -> Late {
    Late::of(late_wait(way))
}

/// Finds a session for the running process, which came into the cgroup of one while none lay ready, or lets
/// it wait.
#[inline(always)]
pub fn come_home() -> Late {
    Late::of(late_home())
}

/// Whether the running process has waited for too long for a session of a way. Said once: who tries again then
/// waits anew.
#[inline(always)]
pub fn is_over(way: u32) -> bool {
    late_over(way) != 0
}

/// The running process has its session, or waits for none any more.
#[inline(always)]
pub fn forget() {
    let _ = LATECOMERS.remove(Task::current().address());
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn late_wait(way: u32) -> u32 {
    let task = Task::current();
    let now_ns = now();
    let mut late = Latecomer {
        began_ns: task.began_ns(),
        since_ns: now_ns,
        pid: task.tgid(),
        way,
    };
    if let Some(since_ns) = waits_since(task, way) {
        late.since_ns = since_ns;
    }
    let waits = is_daemon_there(now_ns)
        && call::can_begin_anew(true)
        && LATECOMERS.insert(task.address(), late, 0).is_ok()
        && call::stop_current();
    if !waits {
        forget();
        return DENIED;
    }
    if late.since_ns == now_ns {
        tell::begun(Label::HOMELESS, way, task, Begun::WAITS);
    }
    WAITS
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn late_over(way: u32) -> u32 {
    let since_ns = waits_since(Task::current(), way);
    let is_over = since_ns.is_some_and(|since_ns| now().saturating_sub(since_ns) >= LATEST_NS);
    if is_over {
        forget();
    }
    u32::from(is_over)
}

/// Since when a task waits for a session of a way, if it does.
#[inline(always)]
fn waits_since(task: Task, way: u32) -> Option<u64> {
    let known = LATECOMERS.get_ptr(task.address())?;
    // SAFETY: the pointer came from a successful lookup; an entry that is removed meanwhile stays
    // readable until the program ends.
    let known = unsafe { *known };
    // Another task may have had the address.
    (known.began_ns == task.began_ns() && known.way == way).then_some(known.since_ns)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn late_home() -> u32 {
    let task = Task::current();
    let Some(member) = task.member() else {
        return DENIED;
    };
    let Some(inside) = Cgroup::of(task).and_then(Cgroup::inside) else {
        return DENIED;
    };
    let arrival = Arrival::home(inside);
    if is_over(arrival.way) {
        return DENIED;
    }
    let Some(label) = ready::find(arrival, task) else {
        return late_wait(arrival.way);
    };
    state::task_added(label);
    member.relabel(label);
    forget();
    HOME
}

/// Whether somebody will wake who stops.
#[inline(always)]
pub fn is_daemon_there(now_ns: u64) -> bool {
    ALIVE
        .get(0)
        .is_some_and(|alive_ns| now_ns.saturating_sub(*alive_ns) < AWAY_NS)
}

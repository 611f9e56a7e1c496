//! The label's life: put on the first task of a session by [`enrol`], copied to every child before
//! the child can run, taken off when the kernel frees the task.
//!
//! Two pairs of programs do the copying. With BPF LSM, `task_alloc` can still fail the fork, and
//! `task_free` sees every task go. Without it, `task_newtask` copies at the same point (it also
//! fires for io_uring's workers, which `sched_process_fork` does not), but can only end a session
//! whose child it could not label.

use crate::kernel::call;
use crate::kernel::member::Member;
use crate::kernel::memory::Address;
use crate::kernel::offsets::BINPRM_FILENAME;
use crate::kernel::pending::Pending;
use crate::kernel::task::Task;
use crate::kernel::{counts, digest, hold, path, ready, state, uses, verdict};
use crate::privilege::{self, Act};
use crate::{recognise, tell};
use agent_common::counter::Counter;
use agent_common::privilege::Privilege;
use agent_common::session::{
    Cause, Enrolment, Label, Member as State, Moving, Revocation, Session,
};
use aya_ebpf::macros::{btf_tracepoint, lsm};
use aya_ebpf::programs::{BtfTracePointContext, LsmContext, RawTracePointContext};
use core::ffi::c_void;

/// A child that begins in another cgroup: no file of the cgroup's is opened for that.
pub const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Puts the running task into the session whose number and slot are its arguments. Never
/// attached: user space runs it, by `BPF_PROG_TEST_RUN`, from within the process that is to
/// become the session, so that no pid can be mistaken for another.
#[inline(always)]
pub fn enrol(ctx: &RawTracePointContext) -> Enrolment {
    let label = Label {
        session: ctx.arg(0),
        slot: ctx.arg::<u64>(1) as u32,
        reserved: 0,
    };
    if label.session == 0 || state::of(label).is_none() {
        return Enrolment::NoSuchSession;
    }
    if !state::is_permitted(label) {
        return Enrolment::Revoked;
    }
    if Task::current().member().is_some() {
        return Enrolment::AlreadyInOne;
    }
    if !Task::enrol_current(label, State::ROOT) {
        counts::add(Counter::LabelsRefused);
        return Enrolment::NoRoom;
    }
    state::task_added(label);
    Enrolment::Done
}

/// Ends the permission of the session whose number and slot are its arguments; the third says why.
/// Run by user space, as [`enrol`] is, because a store from there would undo what the kernel
/// counts in the same slot meanwhile.
#[inline(always)]
pub fn revoke(ctx: &RawTracePointContext) -> Revocation {
    let label = Label {
        session: ctx.arg(0),
        slot: ctx.arg::<u64>(1) as u32,
        reserved: 0,
    };
    let Some(cause) = Cause::from_wire(ctx.arg::<u64>(2) as u32) else {
        return Revocation::NoSuchSession;
    };
    match state::recorded(label) {
        None => Revocation::NoSuchSession,
        Some(session) if session.flags & Session::REVOKED != 0 => Revocation::Already,
        Some(_) => {
            state::revoke(label, cause);
            Revocation::Done
        }
    }
}

/// Moves the session whose number and slot are its arguments to the policy of the number that comes
/// third; its permission then ends when the fourth says. Run by user space, as [`revoke`] is.
#[inline(always)]
pub fn move_session(ctx: &RawTracePointContext) -> Moving {
    let label = Label {
        session: ctx.arg(0),
        slot: ctx.arg::<u64>(1) as u32,
        reserved: 0,
    };
    if label.session == 0 || state::recorded(label).is_none() {
        return Moving::NoSuchSession;
    }
    state::move_to(label, ctx.arg::<u64>(2) as u32, ctx.arg(3));
    Moving::Done
}

/// `security_task_alloc(struct task_struct *, unsigned long clone_flags)`: a child exists and
/// nobody has seen it yet.
#[lsm(hook = "task_alloc")]
pub fn task_alloc(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    let Some(parent) = Task::current_if_marked().and_then(Task::member) else {
        recognise::conceived(ctx.arg(0), ctx.arg(1));
        return verdict::fork(true);
    };
    if !state::is_permitted(parent.label()) {
        // Whoever forks after the end would outrun whoever kills. It does not live to try again.
        state::note_denied(parent.label());
        call::kill_current();
        return verdict::lsm(false);
    }
    let flags: u64 = ctx.arg(1);
    if flags & CLONE_INTO_CGROUP != 0 {
        let answer = privilege::judge(parent, Act::of(Privilege::Cgroup));
        if answer != 0 {
            return answer;
        }
    }
    verdict::fork(inherit(ctx.arg(0), parent, flags))
}

/// `security_task_free(struct task_struct *)`: nothing can refer to the task any more.
#[lsm(hook = "task_free")]
pub fn task_free(ctx: LsmContext) -> i32 {
    let task = Task::given(ctx.arg(0));
    end_with_missed_root(task);
    if leave(task) {
        path::forget(task);
        hold::forget(task);
        digest::forget(task);
        Pending::forget(task);
    }
    0
}

/// `task_newtask(struct task_struct *, unsigned long clone_flags)`, for kernels without BPF LSM.
#[btf_tracepoint(function = "task_newtask")]
pub fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    let Some(parent) = Task::current().member() else {
        return 0;
    };
    if !inherit(ctx.arg(0), parent, ctx.arg(1)) {
        // The child runs unlabelled and cannot be stopped from here. Its session ends instead.
        state::revoke(parent.label(), Cause::Unlabelled);
    }
    if !state::is_permitted(parent.label()) {
        call::kill_current();
    }
    0
}

/// `sched_process_exit(struct task_struct *)`, for kernels without BPF LSM.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    end_with_root();
    let _ = leave(Task::given(ctx.arg(0)));
    0
}

/// `sched_process_free(struct task_struct *)`, for kernels without BPF LSM: nobody saw the task exit, and whoever has
/// its address next must not be taken for it.
#[btf_tracepoint(function = "sched_process_free")]
pub fn process_freed(ctx: BtfTracePointContext) -> i32 {
    let _ = leave(Task::given(ctx.arg(0)));
    0
}

/// The same as `process_exit`, for kernels with BPF LSM: the label stays until `task_free`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn root_exit(_: BtfTracePointContext) -> i32 {
    end_with_root();
    0
}

/// `sched_process_exec(struct task_struct *, pid_t, struct linux_binprm *)`: the new image is in
/// place.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return 0;
    };
    // No ring outlives the program that had it.
    member.forget_former();
    let binprm: *const c_void = ctx.arg(2);
    let filename = Address(binprm as u64).read(&BINPRM_FILENAME).unwrap_or(0);
    if !state::is_permitted(member.label()) {
        // The new program does not run its first instruction.
        call::kill_current();
        return 0;
    }
    tell::exec(member.label(), filename);
    0
}

/// A session ends with its first process: what is left of it has no permission any more, whether
/// or not a daemon is there to kill it. The running task is the one that exits.
#[inline(always)]
fn end_with_root() {
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return;
    };
    if member.is_root()
        && let Some(status) = Task::current().last_words()
    {
        // A policy that is only watched ends nothing.
        if state::begin(member).is_some() && !state::is_watched(member) {
            state::revoke(member.label(), Cause::RootExit);
        }
        tell::root_exit(member.label(), Task::current(), status);
    }
}

/// The same where nobody saw the root exit: a preemptible kernel skips a tracepoint's program that
/// it interrupted.
#[inline(always)]
fn end_with_missed_root(task: Task) {
    let Some(member) = task.member() else {
        return;
    };
    if member.is_root()
        && state::is_permitted(member.label())
        && let Some(status) = task.last_words()
        && state::begin(member).is_some()
        && !state::is_watched(member)
    {
        state::revoke(member.label(), Cause::RootExit);
        tell::root_exit(member.label(), task, status);
    }
}

/// `CLONE_THREAD`: the child is a thread of its parent's process.
pub const THREAD: u64 = 0x10000;

#[inline(always)]
fn inherit(child: *mut c_void, parent: Member, clone_flags: u64) -> bool {
    let is_root = parent.is_root() && clone_flags & THREAD != 0;
    if Task::inherit(child, parent, if is_root { State::ROOT } else { 0 }) {
        state::task_added(parent.label());
        return true;
    }
    counts::add(Counter::LabelsRefused);
    false
}

/// Takes the label off. False when there was none.
#[inline(always)]
fn leave(task: Task) -> bool {
    let Some(member) = task.member() else {
        return false;
    };
    let label = member.label();
    // Before the daemon can learn that the session is over.
    uses::count_kept(member);
    if !task.forget() {
        return false;
    }
    if state::task_removed(label) {
        ready::close(label);
        tell::empty(label);
    }
    true
}

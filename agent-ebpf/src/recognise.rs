//! Sessions that nobody starts: a cgroup whose processes are one, an executable that begins one.
//!
//! A cgroup below one that is recognised is its session's, too: a new cgroup takes over what is
//! known of its parent before anybody can see it. Who is born in such a cgroup, or moved into it,
//! is labelled there. An executable's session begins where its exec can no longer fail.

use crate::kernel::binprm::Binprm;
use crate::kernel::call;
use crate::kernel::cgroup::{self, Cgroup};
use crate::kernel::container::{self, Entry};
use crate::kernel::late::Late;
use crate::kernel::member::Member;
use crate::kernel::ready::{self, Arrival};
use crate::kernel::task::{Admission, Task};
use crate::kernel::walk::Page;
use crate::kernel::{counts, executable, late, state, tree, verdict, watch};
use crate::lifecycle::{CLONE_INTO_CGROUP, THREAD};
use crate::maps::{ARRIVING, CGROUPS};
use crate::tell;
use agent_common::counter::Counter;
use agent_common::event::{Living, Process};
use agent_common::recognise::{Inside, door_of_process};
use agent_common::session::{Cause, Label, Member as State};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;

/// Which entry of the map of templates is whose: each has one user at a time.
const BY_WALK: u32 = 0;
const BY_MOVE: u32 = 1;

/// `cgroup_mkdir(struct cgroup *, const char *path)`: a cgroup is there that nobody can see yet.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_made(ctx: BtfTracePointContext) -> i32 {
    if !watch::cgroups() {
        return 0;
    }
    let made = Cgroup::given(ctx.arg(0));
    if !made.is_unified() {
        return 0;
    }
    let Some(id) = made.id() else {
        return 0;
    };
    let above = made.parent().and_then(Cgroup::inside);
    let inside = match above {
        Some(inside) if inside.kind != Inside::POD => inside,
        pod => match made.recognised(ctx.arg(1)) {
            Some(way) => Inside::place(id, way),
            None if watch::containers() && container::is_made(made, ctx.arg(1)) => {
                Inside::unknown(id, pod.map_or(0, |pod| pod.away))
            }
            None => return 0,
        },
    };
    if CGROUPS.insert(id, inside, 0).is_err() {
        counts::add(Counter::LabelsRefused);
    }
    0
}

/// `cgroup_release(struct cgroup *, const char *path)`: nothing is left of it.
#[btf_tracepoint(function = "cgroup_release")]
pub fn cgroup_gone(ctx: BtfTracePointContext) -> i32 {
    if !watch::cgroups() {
        return 0;
    }
    let gone = Cgroup::given(ctx.arg(0));
    if gone.is_unified()
        && let Some(id) = gone.id()
    {
        let _ = CGROUPS.remove(id);
    }
    0
}

/// `cgroup_attach_task(struct cgroup *, const char *path, struct task_struct *, bool threadgroup)`:
/// a process has been moved. The kernel runs this under a lock of its own.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_moved(ctx: BtfTracePointContext) -> i32 {
    if !watch::cgroups() {
        return 0;
    }
    let into = Cgroup::given(ctx.arg(0));
    if !into.is_unified() {
        return 0;
    }
    let Some(inside) = into.inside().filter(|inside| inside.kind == Inside::PLACE) else {
        return 0;
    };
    let moved: *mut c_void = ctx.arg(2);
    let task = Task::given(moved);
    if task.member().is_none() {
        admit(moved, ready::of_cgroup(inside, task), 0, BY_MOVE);
    }
    let whole: u64 = ctx.arg(3);
    let threads = cgroup::other_threads(task);
    if whole & 0xff != 0
        && threads != 0
        && let Some(member) = task.member()
    {
        // The kernel tells of the first one only, and lets nobody walk over the others here.
        tell::begun(member.label(), inside.way, task, threads);
    }
    0
}

/// A child of a process outside every session is about to be made. While what runs is being adopted
/// its parent may belong to a session and not have its label yet. [`born`] comes later and sees
/// more, but a preemptible kernel skips a tracepoint's program that it interrupted (7.x does).
#[inline(always)]
pub fn conceived(child: *mut c_void, clone_flags: u64) {
    if !watch::settling() || clone_flags & CLONE_INTO_CGROUP != 0 {
        return;
    }
    let Some((label, flags)) = belongs(Task::current()) else {
        return;
    };
    let flags = if clone_flags & THREAD != 0 { flags } else { 0 };
    bear(child, label, flags);
}

/// `task_newtask(struct task_struct *, unsigned long clone_flags)`: a child that does not run yet
/// is in its cgroup. A label that it inherits it has by now, unless its parent was labelled while it
/// was being made, by a walk over all tasks that may be over before the child could be seen.
#[btf_tracepoint(function = "task_newtask")]
pub fn born(ctx: BtfTracePointContext) -> i32 {
    let parent = Task::current_if_marked().and_then(Task::member);
    if parent.is_none() && !watch::cgroups() && watch::adopting().is_none() {
        return 0;
    }
    let child: *mut c_void = ctx.arg(0);
    let task = Task::given(child);
    if task.member().is_some() {
        return 0;
    }
    if let Some(parent) = parent {
        follow(child, parent, ctx.arg(1));
        return 0;
    }
    // Where its tree has no session yet, whoever walks over all tasks comes to it.
    if let Some((label, flags)) = belongs(task) {
        bear(child, label, flags);
    }
    0
}

/// Labels a child as its parent has been labelled since. One that cannot be runs unlabelled, and cannot be
/// stopped from here: its session ends instead.
#[inline(always)]
fn follow(child: *mut c_void, parent: Member, clone_flags: u64) {
    let is_root = parent.is_root() && clone_flags & THREAD != 0;
    match Task::follow(child, parent, if is_root { State::ROOT } else { 0 }) {
        Admission::Done => state::task_added(parent.label()),
        Admission::Refused => {
            counts::add(Counter::LabelsRefused);
            state::revoke(parent.label(), Cause::Unlabelled);
        }
        Admission::NotNeeded | Admission::Gone => {}
    }
}

/// The session that a task without a label belongs to, and what it is there.
#[inline(always)]
fn belongs(task: Task) -> Option<(Label, u32)> {
    match place(task) {
        Some(inside) => Some((ready::of_cgroup(inside, task), 0)),
        None => of_tree(task, tree::root(task)?),
    }
}

/// Labels a child. Nobody looks at it yet, so its entry may be made in two steps.
#[inline(always)]
fn bear(child: *mut c_void, label: Label, flags: u32) {
    state::task_added(label);
    if !Task::admit_unseen(child, label, flags) {
        counts::add(Counter::LabelsRefused);
        leave(label);
    }
}

/// The session of a task's cgroup, where it has one.
#[inline(always)]
fn place(task: Task) -> Option<Inside> {
    if !watch::cgroups() {
        return None;
    }
    let inside = Cgroup::of(task).and_then(Cgroup::inside)?;
    // Into a container one comes by executing a program.
    (inside.kind == Inside::PLACE).then_some(inside)
}

/// The session that is open for the tree of a root, and what a task of it is there.
#[inline(always)]
fn of_tree(task: Task, root: Task) -> Option<(Label, u32)> {
    let label = ready::door(door_of_process(root.began_ns()))?;
    let is_root = task.leader() == root;
    Some((label, if is_root { State::ROOT } else { 0 }))
}

/// Labels a task that runs, for whoever walks over all tasks, and writes down whom. The root of a
/// tree that is to be adopted and has no session yet is written down with none.
#[inline(always)]
pub fn adopt(given: *mut c_void, page: Page) {
    let task = Task::given(given);
    if task.member().is_some() || !task.is_alive() {
        return;
    }
    let mut living = Living {
        session: 0,
        process: Process::UNKNOWN,
        parent: Process::UNKNOWN,
        tid: 0,
        reserved: 0,
        last_ns: 0,
    };
    let (label, flags) = if let Some(inside) = place(task) {
        (ready::of_cgroup(inside, task), 0)
    } else {
        let Some(root) = tree::root(task) else {
            return;
        };
        match of_tree(task, root) {
            Some(found) => found,
            None if root.member().is_some() || !root.is_alive() => return,
            None => {
                root.describe(&mut living.process);
                page.write(&living);
                return;
            }
        }
    };
    let Some(label) = admit(given, label, flags, BY_WALK) else {
        return;
    };
    living.session = label.session;
    living.tid = task.tid();
    task.describe(&mut living.process);
    page.write(&living);
}

/// Puts a task that runs into a session.
#[inline(always)]
fn admit(given: *mut c_void, label: Label, flags: u32, room: u32) -> Option<Label> {
    state::task_added(label);
    match Task::admit(given, label, flags, room) {
        Admission::Done => return Some(label),
        Admission::Refused => {
            counts::add(Counter::LabelsRefused);
            leave(label);
        }
        Admission::NotNeeded => leave(label),
        Admission::Gone => {}
    }
    None
}

/// Takes back that a task was counted.
#[inline(always)]
fn leave(label: Label) {
    if state::task_removed(label) {
        ready::close(label);
        tell::empty(label);
    }
}

/// A process outside every session is about to execute a program. Where it does so in a container, it may
/// belong to that one's session from here on, and its program is judged.
#[inline(always)]
pub fn enter_container(binprm: Binprm) -> Entry {
    if !watch::containers() || !binprm.is_first() {
        return Entry::Outside;
    }
    container::enter()
}

/// A process outside every session is about to execute a program. Where that is one by which a session begins
/// and none lies ready, it waits, or is denied.
#[inline(always)]
pub fn check(binprm: Binprm) -> i32 {
    if !watch::executables() || !binprm.is_first() {
        return verdict::lsm(true);
    }
    let task = Task::current();
    // What an exec that failed has left must not begin with another program.
    if let Some(label) = executable::arriving(task) {
        ready::give_back(label);
    }
    let Some(way) = executable::way(binprm) else {
        return verdict::lsm(true);
    };
    if !late::is_over(way) {
        if let Some(label) = ready::take(Arrival::by(way))
            && ARRIVING.insert(task.address(), label, 0).is_ok()
        {
            late::forget();
            return verdict::lsm(true);
        }
        if late::wait(way) == Late::Waits {
            return verdict::once_more();
        }
    }
    counts::add(Counter::NotReady);
    tell::begun(Label::HOMELESS, way, task, 0);
    verdict::lsm(false)
}

/// A process of which it is known that it belongs to a session, but not to which, is about to execute a
/// program. True where it has to wait.
#[inline(always)]
pub fn must_wait(member: Member, binprm: Binprm) -> bool {
    member.label().session == Label::HOMELESS.session
        && binprm.is_first()
        && late::come_home() == Late::Waits
}

/// The program that a process outside every session executes can no longer fail to. Who was missed
/// when it came into its cgroup is found here at the latest, and so is who was asked which program
/// it executes before that was recognised.
#[inline(always)]
pub fn commit(binprm: Binprm) {
    let task = Task::current();
    if watch::executables() {
        if let Some(label) = executable::arriving(task) {
            enter(label, State::ROOT);
            tell::begun(label, 0, task, 0);
            return;
        }
        if binprm.is_first()
            && let Some(way) = executable::way(binprm)
        {
            let label = late(way);
            enter(label, State::ROOT);
            tell::begun(label, way, task, 0);
            return;
        }
    }
    if let Some(inside) = place(task).or_else(|| container_of(task)) {
        enter(ready::of_cgroup(inside, task), 0);
    }
}

/// The session of a task's container, where it has one, and the task is not the runtime's.
#[inline(always)]
fn container_of(task: Task) -> Option<Inside> {
    if !watch::containers() {
        return None;
    }
    container::session_of(task)
}

/// The session of who can no longer be refused its program.
#[inline(always)]
fn late(way: u32) -> Label {
    ready::take(Arrival::by(way)).unwrap_or_else(|| {
        counts::add(Counter::NotReady);
        Label::HOMELESS
    })
}

/// Puts the running task into a session, or ends it.
#[inline(always)]
fn enter(label: Label, flags: u32) {
    state::task_added(label);
    if !Task::enrol_current(label, flags) {
        counts::add(Counter::LabelsRefused);
        leave(label);
        call::kill_current();
    }
}

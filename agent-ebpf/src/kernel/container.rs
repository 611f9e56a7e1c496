//! Containers: known by the path of their cgroup, and entered by the first program that sees other mounts
//! than who started it.
//!
//! What a runtime does in a container's cgroup before that it does with its own programs, as itself, and
//! sees what its parent sees: it executes a copy of itself, it prepares the mounts. The container's program
//! is executed when that is done. An image cannot choose otherwise, and a session never has a task that
//! came in before. Who comes in when the session has begun is somebody else: a person (`kubectl exec`), a
//! probe of the kubelet's.

use super::cgroup::Cgroup;
use super::late::{self, Late};
use super::ready::{self, Arrival};
use super::record::{copy_string, now};
use super::task::Task;
use super::{counts, state, watch};
use crate::maps::{CGROUPS, KEY};
use crate::tell;
use agent_common::counter::Counter;
use agent_common::event::Begun;
use agent_common::recognise::{
    CONTAINER_ID, DOCKERS, Inside, Name, PLACE, PODS, UNKNOWN_WAY, Watch,
};
use agent_common::session::Label;
use aya_ebpf::helpers::bpf_get_current_uid_gid;

/// What becomes of who executes a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is in no container that anybody asks about.
    Outside,
    /// It waits.
    Waits,
    /// It is denied.
    Denied,
    /// It belongs to a session now.
    Joined,
}

const OUTSIDE: u32 = 0;
const WAITS: u32 = 1;
const DENIED: u32 = 2;
const JOINED: u32 = 3;

/// Judges whether the running process, which is in no session, may execute a program where it is.
#[inline(always)]
pub fn enter() -> Entry {
    match container_entry() {
        OUTSIDE => Entry::Outside,
        WAITS => Entry::Waits,
        JOINED => Entry::Joined,
        _ => Entry::Denied,
    }
}

/// A global function of numbers: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn container_entry() -> u32 {
    let task = Task::current();
    let Some(inside) = Cgroup::of(task).and_then(Cgroup::inside) else {
        return OUTSIDE;
    };
    if !matches!(inside.kind, Inside::CONTAINER | Inside::UNKNOWN) || !task.sees_other_mounts() {
        return OUTSIDE;
    }
    if inside.kind == Inside::UNKNOWN && !late::is_daemon_there(now()) && watch::releases(inside) {
        late::forget();
        // As if it had been made before anybody looked: whoever comes back finds it so.
        let _ = CGROUPS.remove(inside.door);
        tell::begun(Label::HOMELESS, UNKNOWN_WAY, task, Begun::RELEASED);
        return OUTSIDE;
    }
    let arrival = Arrival::into(inside);
    if !late::is_over(arrival.way) {
        if inside.kind == Inside::CONTAINER
            && let Some(label) = ready::find(arrival, task)
        {
            late::forget();
            return join(label);
        }
        if late::wait(arrival.way) == Late::Waits {
            return WAITS;
        }
    }
    counts::add(Counter::NotReady);
    if let Some(label) = arrival.host(inside) {
        return join(label);
    }
    tell::begun(Label::HOMELESS, arrival.way, task, 0);
    DENIED
}

/// The session's container in which a task executes a program, if it does.
#[inline(always)]
pub fn session_of(task: Task) -> Option<Inside> {
    let inside = Cgroup::of(task).and_then(Cgroup::inside)?;
    (inside.kind == Inside::CONTAINER && task.sees_other_mounts()).then_some(inside)
}

#[inline(always)]
fn join(label: Label) -> u32 {
    state::task_added(label);
    if Task::enrol_current(label, 0) {
        return JOINED;
    }
    counts::add(Counter::LabelsRefused);
    if state::task_removed(label) {
        ready::close(label);
        tell::empty(label);
    }
    DENIED
}

/// Whether a new cgroup is a container's of which somebody asks, given its path. For the tracepoint that tells
/// of new ones, as [`Cgroup::recognised`] is. Only root's runtimes are asked, and they make cgroups as root:
/// one that another user makes is that user's own matter, whatever its name.
#[inline(always)]
pub fn is_made(made: Cgroup, path: u64) -> bool {
    let user = bpf_get_current_uid_gid() as u32;
    user == 0
        && match container_name(path, made.name()) {
            OF_POD => watch::looks_at(Watch::PODS),
            OF_ENGINE => watch::looks_at(Watch::ENGINES),
            _ => false,
        }
}

const OF_POD: u32 = 1;
const OF_ENGINE: u32 = 2;

/// Whose a cgroup is by its path and name: a container's of a pod or of an engine, or zero. A global function
/// of numbers: the verifier looks at it once. Every place is a constant where the name is compared, because
/// compilers fold sums of others so that it sees them begin below zero.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn container_name(path: u64, name: u64) -> u32 {
    let Some(key) = KEY.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the pointer came from a successful lookup, and nobody else uses the key now.
    let text = unsafe { &mut (*key).0 };
    if copy_string(path, text) == 0 {
        return 0;
    }
    let in_pods = has(text, 0, PODS);
    let in_dockers = has(text, 0, DOCKERS);
    let length = copy_string(name, text) as usize;
    if in_pods
        && (is_named(text, length, Name::CONTAINERD)
            || is_named(text, length, Name::CRIO)
            || is_named(text, length, Name::BARE))
    {
        return OF_POD;
    }
    let [scope, own, split] = Name::PODMAN;
    if is_named(text, length, Name::DOCKER)
        || in_dockers && is_named(text, length, Name::BARE)
        || is_named(text, length, scope)
        || is_named(text, length, own)
        || is_named(text, length, split)
    {
        return OF_ENGINE;
    }
    0
}

/// Whether a text is a container's number in such a name.
#[inline(always)]
fn is_named(text: &[u8; PLACE], length: usize, name: Name) -> bool {
    let Name { before, behind } = name;
    if length != before.len() + CONTAINER_ID + behind.len()
        || !has(text, 0, before)
        || !has(text, before.len() + CONTAINER_ID, behind)
    {
        return false;
    }
    let mut i = 0;
    while i < CONTAINER_ID {
        if !matches!(text[before.len() + i], b'0'..=b'9' | b'a'..=b'f') {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether a text stands in another at a place.
#[inline(always)]
fn has(text: &[u8; PLACE], at: usize, part: &'static [u8]) -> bool {
    let mut i = 0;
    while i < part.len() {
        if text[at + i] != part[i] {
            return false;
        }
        i += 1;
    }
    true
}

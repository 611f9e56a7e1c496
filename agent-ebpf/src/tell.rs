//! Telling user space. Whether it hears makes no difference to a verdict.

use crate::kernel::call;
use crate::kernel::member::Member;
use crate::kernel::memory::Address;
use crate::kernel::task::Task;
use crate::kernel::{
    arguments, hold, names, progress, record::Record, record::copy_string, record::now,
};
use agent_common::action::Action;
use agent_common::decide::Weighing;
use agent_common::egress::Endpoint;
use agent_common::event::{
    Begun, Denial, Empty, Exec, FileDenial, Handoff, Header, Kind, MAX_ANCESTORS,
    MAX_ARGUMENT_BYTES, RootExit,
};
use agent_common::session::Label;

/// The number of no policy.
const NO_POLICY: u32 = u32::MAX;

#[inline(always)]
fn header<T>(kind: Kind, label: Label) -> Header {
    Header {
        kind: kind.wire(),
        size: size_of::<T>() as u16,
        reserved: 0,
        time_ns: now(),
        session: label.session,
    }
}

/// What became of which action, and why: as much as fits two registers.
#[derive(Clone, Copy)]
pub struct Judged {
    /// The rule's number in its policy.
    pub rule: u32,
    /// The action.
    pub action: Action,
    /// A [`Verdict`](agent_common::decide::Verdict): what became of it.
    pub verdict: u8,
    /// A [`Reason`](agent_common::decide::Reason): why.
    pub reason: u8,
    /// Not zero where the session's permission ends with it.
    pub revoke: u8,
    /// Whether a person is or was asked, as in a [`Weighing`].
    pub hold: u8,
}

/// An action was not allowed. A function of its own, with few and small arguments: the stack of a
/// program and all it calls is 512 bytes.
#[inline(never)]
pub fn denial(label: Label, judged: Judged, endpoint: &Endpoint) {
    if judged.hold == Weighing::TOLD {
        return;
    }
    record(label, judged, |out| {
        out.endpoint = *endpoint;
        out.privilege = 0;
        out.target = 0;
    });
}

/// The same for an act that needs a privilege.
#[inline(never)]
pub fn privilege(label: Label, judged: Judged, privilege: u8, target: u32) {
    record(label, judged, |out| {
        out.endpoint = Endpoint::NOWHERE;
        out.privilege = privilege;
        out.target = target;
    });
}

/// `object` writes what it was attempted on, straight into the record: the stack has no room.
#[inline(always)]
fn record(label: Label, judged: Judged, object: impl FnOnce(&mut Denial)) {
    let Some(mut record) = Record::<Denial>::reserve_for(label) else {
        return;
    };
    let out = record.as_mut();
    out.header = header::<Denial>(Kind::Denial, label);
    describe(out, judged, object);
    record.submit();
}

/// What was not allowed has a name, which stands beside the denial.
#[inline(always)]
fn by_name(out: &mut Denial) {
    out.endpoint = Endpoint::NOWHERE;
    out.privilege = 0;
    out.target = 0;
}

/// A use of a file was not allowed.
#[inline(always)]
pub fn file_denial(label: Label, judged: Judged, dentry: Address, words: [u64; 2]) {
    file(label, judged, dentry, |to| arguments::copy(words, to));
}

/// Somebody must be asked about a program with the words that were read last.
#[inline(always)]
pub fn program_question(label: Label, judged: Judged, dentry: Address) {
    file(label, judged, dentry, arguments::copy_asked);
}

#[inline(always)]
fn file(
    label: Label,
    judged: Judged,
    dentry: Address,
    words: impl FnOnce(&mut [u8; MAX_ARGUMENT_BYTES]) -> u32,
) {
    let Some(mut record) = Record::<FileDenial>::reserve_for(label) else {
        return;
    };
    let out = record.as_mut();
    out.denial.header = header::<FileDenial>(Kind::FileDenial, label);
    describe(&mut out.denial, judged, by_name);
    names::copy(dentry, out);
    out.arguments_length = words(&mut out.arguments);
    record.submit();
}

/// A Unix socket without a path was not to be reached.
#[inline(always)]
pub fn abstract_denial(label: Label, judged: Judged, name: u64, length: u64) {
    let Some(mut record) = Record::<FileDenial>::reserve_for(label) else {
        return;
    };
    let out = record.as_mut();
    out.denial.header = header::<FileDenial>(Kind::FileDenial, label);
    describe(&mut out.denial, judged, by_name);
    names::copy_abstract(name, length, out);
    out.arguments_length = 0;
    record.submit();
}

/// A session has reached another, or was denied it.
#[inline(never)]
pub fn handoff(member: Member, peer: u64, judged: Judged) {
    if judged.hold == Weighing::TOLD {
        return;
    }
    let label = member.label();
    let Some(mut record) = Record::<Handoff>::reserve_for(label) else {
        return;
    };
    let out = record.as_mut();
    out.header = header::<Handoff>(Kind::Handoff, label);
    Task::current().describe(&mut out.process);
    out.peer = peer;
    out.action = judged.action.wire();
    out.rule = judged.rule;
    out.verdict = judged.verdict;
    out.reason = judged.reason;
    out.policy = member.policy();
    out.reserved = 0;
    record.submit();
}

/// What every denial says of its actor.
#[inline(always)]
fn describe(out: &mut Denial, judged: Judged, object: impl FnOnce(&mut Denial)) {
    let actor = Task::current();
    actor.describe(&mut out.process);
    out.tid = actor.tid();
    out.uid = call::current_uid();
    out.rule = judged.rule;
    out.action = judged.action.wire();
    out.verdict = judged.verdict;
    out.reason = judged.reason;
    object(out);
    out.facts = progress::facts();
    out.reserved = 0;
    out.policy = actor.member().map_or(NO_POLICY, Member::policy);
    out.tool = actor.member().map_or(0, Member::innermost_tool);
    out.hold = if judged.hold == 0 {
        0
    } else {
        hold::last_question()
    };
    let mut ancestor = actor;
    let mut count = 0;
    while count < MAX_ANCESTORS {
        ancestor = ancestor.parent();
        let process = &mut out.ancestors[count];
        ancestor.describe(process);
        // Above process 1 there is the idle task, which is nobody's parent.
        if process.pid == 0 {
            break;
        }
        count += 1;
    }
    out.ancestor_count = count as u8;
}

/// A process of a session has a new program.
#[inline(always)]
pub fn exec(label: Label, filename: u64) {
    let Some(mut record) = Record::<Exec>::reserve_for(label) else {
        return;
    };
    let out = record.as_mut();
    out.header = header::<Exec>(Kind::Exec, label);
    let actor = Task::current();
    actor.describe(&mut out.process);
    actor.parent().describe(&mut out.parent);
    out.path_length = copy_string(filename, &mut out.path);
    out.arguments_length = arguments::copy(actor.words(), &mut out.arguments);
    record.submit();
}

/// The first process of a session is gone.
#[inline(always)]
pub fn root_exit(label: Label, root: Task, status: u32) {
    let Some(mut record) = Record::<RootExit>::reserve() else {
        return;
    };
    let out = record.as_mut();
    out.header = header::<RootExit>(Kind::RootExit, label);
    root.describe(&mut out.process);
    out.status = status;
    out.reserved = 0;
    record.submit();
}

/// A session that lay ready has begun with a task, or one that should have could not.
#[inline(always)]
pub fn begun(label: Label, way: u32, task: Task, threads: u32) {
    let Some(mut record) = Record::<Begun>::reserve() else {
        return;
    };
    let out = record.as_mut();
    out.header = header::<Begun>(Kind::Begun, label);
    task.describe(&mut out.process);
    out.way = way;
    out.threads = threads;
    record.submit();
}

/// The last task of a session is gone.
#[inline(always)]
pub fn empty(label: Label) {
    let Some(mut record) = Record::<Empty>::reserve() else {
        return;
    };
    record.as_mut().header = header::<Empty>(Kind::Empty, label);
    record.submit();
}

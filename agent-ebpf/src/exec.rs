//! What a session executes. Every level is asked: a script, its interpreter, that one's.
//!
//! Where rules speak of arguments the decision waits until the image is committed: only then are
//! they final, and read from the new memory. There nothing can be denied any more, so a denial
//! kills the process before its first instruction.

use crate::judge::{self, ALLOWED, Way, number};
use crate::kernel::asking::Asking;
use crate::kernel::binprm::Binprm;
use crate::kernel::call;
use crate::kernel::container::Entry;
use crate::kernel::member::Member;
use crate::kernel::memory::Address;
use crate::kernel::path::{self, End, Path};
use crate::kernel::pending::{self, LEVELS, Pending, Program};
use crate::kernel::task::Task;
use crate::kernel::weigh::{self, Survey};
use crate::kernel::{arguments, digest, lists, names, state, verdict};
use crate::maps::POLICIES;
use crate::{paths, recognise};
use agent_common::action::Action;
use agent_common::decide::{Reason, TRAIT_WRITABLE, Verdict, Weighing};
use agent_common::path::Access;
use agent_common::session::{Allowed, Cause, Session};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

/// `security_bprm_check(struct linux_binprm *)`: for every level of an execve.
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let mut member = Task::current_if_marked().and_then(Task::member);
    if member.is_none() {
        match recognise::enter_container(Binprm::given(ctx.arg(0))) {
            Entry::Outside => return recognise::check(Binprm::given(ctx.arg(0))),
            Entry::Waits => return verdict::once_more(),
            Entry::Denied => return verdict::lsm(false),
            Entry::Joined => member = Task::current().member(),
        }
    }
    let Some(member) = member else {
        return verdict::lsm(false);
    };
    if recognise::must_wait(member, Binprm::given(ctx.arg(0))) {
        return verdict::once_more();
    }
    let allowed = check(member, Binprm::given(ctx.arg(0)));
    digest::forget(Task::current());
    verdict::lsm(allowed)
}

/// The same hook, before: reads the program where a rule names programs by what they contain. For
/// this it must be able to sleep, which the one above cannot on all kernels.
#[lsm(hook = "bprm_check_security", sleepable)]
pub fn program_digest(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    if let Some(member) = Task::current_if_marked().and_then(Task::member)
        && state::recorded(member.label()).is_some_and(|session| asks_for_digests(session.policy))
    {
        digest::note(Binprm::given(ctx.arg(0)));
    }
    verdict::lsm(true)
}

/// `security_bprm_committed_creds(const struct linux_binprm *)`: the new memory is the task's, and
/// the words lie in it where they will be moved from before the first instruction.
#[lsm(hook = "bprm_committed_creds")]
pub fn bprm_committed_creds(ctx: LsmContext) -> i32 {
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        recognise::commit(Binprm::given(ctx.arg(0)));
        return verdict::lsm(true);
    };
    commit(member, Binprm::given(ctx.arg(0)));
    verdict::lsm(true)
}

#[inline(always)]
fn check(member: Member, binprm: Binprm) -> bool {
    if !state::is_permitted(member.label()) {
        // Denied below, and told; but whoever executes after the end is not to go on either.
        call::kill_current();
    }
    if binprm.is_first() {
        member.clear_starting();
        Pending::forget(Task::current());
    }
    let found = binprm.file().and_then(|file| Some((file, file.dentry()?)));
    let Some((file, dentry)) = found else {
        return false;
    };
    let walked = path::walk(dentry, 0);
    let end = if file.is_nameless(dentry) {
        NAMELESS
    } else {
        walked
    };
    let (words, kind) = (binprm.words(), kind_of(binprm));
    pending::ask_program(end, words, dentry.inode(), kind)
        && pending::judge_program(end, words, dentry.inode(), kind)
}

/// The program that the caller named.
const FIRST: u64 = 1;
/// A file that names its interpreter.
const SCRIPT: u64 = 2;

#[inline(always)]
fn kind_of(binprm: Binprm) -> u64 {
    (u64::from(binprm.is_first()) * FIRST) | (u64::from(binprm.is_script()) * SCRIPT)
}

/// Where no walk can lead to a program.
const NAMELESS: u64 = u64::MAX;

/// Asks, where somebody must be, whether a program to which the running task's walk led may run with the words
/// that the caller gives it. What they are when it runs is compared with what was asked then: a program
/// that nobody was asked about is killed. An interpreter's words are not the caller's, so nobody is asked
/// about one.
#[inline(always)]
pub fn ask(end: u64, words: u32, inode: u64, kind: u64) -> bool {
    let Some(member) = Task::current().member() else {
        return false;
    };
    let Some(session) = state::begin(member) else {
        return true;
    };
    let ended = session.flags & Session::REVOKED != 0;
    if ended || end != End::Root as u64 || kind & FIRST == 0 || !state::has_approvals(member) {
        return true;
    }
    Asking::forget_carried();
    let Some(digest) = digest(&session, inode) else {
        // Judged next, and found to be so.
        return true;
    };
    put_lists(member, &session, digest);
    let found = Survey::of(member);
    if !found.asks_for_approval() {
        return true;
    }
    let mut traits = 0;
    if found.refuses_writable() {
        traits = written(member, &session);
    }
    let read = arguments::of_caller(session.policy, words, kind & SCRIPT != 0);
    let Some((given, hash)) = read else {
        return told(member, doubt(Reason::Unreadable));
    };
    put_lists(member, &session, digest);
    let way = Way {
        traits: traits | given,
        how: weigh::TRY | weigh::CLAIM,
        ..Way::STOPS
    };
    member.weighing().hold = Weighing::NOBODY_ASKED;
    let judgement = judge::listed(member, &session, Action::Exec, (way.traits, way.how));
    if judge::must_ask(member) {
        return asked(member, number(judge::ask_of_program(member, way, hash)));
    }
    told(member, number(judgement))
}

#[inline(always)]
fn doubt(reason: Reason) -> u64 {
    number(judge::doubt(Action::Exec, reason))
}

/// What follows from a question, told with the words that it is about.
#[inline(always)]
fn asked(member: Member, judgement: u64) -> bool {
    if judgement == ALLOWED {
        return true;
    }
    let subject = path::of_current().map_or(Address(0), Path::subject);
    let judged = judge::follow_up(member, names::judged(judgement));
    names::tell_question(judged, subject);
    judged.verdict == Verdict::Audit.wire()
}

#[inline(always)]
fn told(member: Member, judgement: u64) -> bool {
    if judgement == ALLOWED {
        return true;
    }
    let subject = path::of_current().map_or(Address(0), Path::subject);
    paths::settle(member, subject, Err(names::judged(judgement)))
}

/// Judges a program to which the running task's walk led, if there is one; its inode is in `inode`.
#[inline(always)]
pub fn program(end: u64, words: u32, inode: u64, kind: u64) -> bool {
    let Some(member) = Task::current().member() else {
        return false;
    };
    let judgement = match state::begin(member) {
        None => doubt(Reason::SessionUnknown),
        Some(session) if end == End::Root as u64 => on_path(member, &session, (words, kind), inode),
        Some(_) if end == End::Lost as u64 => doubt(Reason::Unreadable),
        Some(_) => number(judge::refuse(Action::Exec, Reason::Nameless)),
    };
    if judgement == ALLOWED {
        judge::allowed(member, Allowed::Program, judge::rule_of(member));
        return true;
    }
    told(member, judgement)
}

#[inline(always)]
fn on_path(member: Member, session: &Session, (words, kind): (u32, u64), inode: u64) -> u64 {
    let Some(digest) = digest(session, inode) else {
        return doubt(Reason::Unreadable);
    };
    put_lists(member, session, digest);
    let found = Survey::of(member);
    let mut traits = 0;
    if found.refuses_writable() {
        traits = written(member, session);
        // The lists of the exec must be the last that are put into the task's entry.
        put_lists(member, session, digest);
    }
    let waits = Pending::of_current().is_some();
    let ended = session.flags & Session::REVOKED != 0;
    let asks = !ended && found.asks_for_approval() && state::has_approvals(member);
    let asked = u32::from(asks) * (kind & FIRST) as u32 * Program::ASKED;
    let by_arguments = !ended && (found.asks_for_arguments() || waits || asks);
    if by_arguments && found.could_be_allowed(waits) {
        let program = Program {
            dentry: path::of_current().map_or(0, |path| path.subject().0),
            inode,
            words: words | asked,
            traits,
            policy: session.policy,
            edition: pending::edition(session.policy),
        };
        if Pending::defer(member, program) {
            return ALLOWED;
        }
        return doubt(Reason::Unreadable);
    }
    let judgement = decide(member, session, traits, None);
    if judgement == ALLOWED && by_arguments {
        // It could not be allowed a moment ago. Its arguments must not go unread because others
        // have changed the session's facts since.
        return doubt(Reason::Busy);
    }
    judgement
}

/// The hash of the program's digest; 0 where no rule asks for it. Nothing where it is not known: the
/// kernel could not tell it, or the policy that asks came between the two programs.
#[inline(always)]
fn digest(session: &Session, inode: u64) -> Option<u64> {
    if !asks_for_digests(session.policy) {
        return Some(0);
    }
    digest::look(inode)
}

/// Whether a policy names programs by what they contain.
#[inline(always)]
fn asks_for_digests(policy: u32) -> bool {
    POLICIES.get(policy).is_some_and(|head| head.digests != 0)
}

/// Puts the lists that speak of executing the program into the task's entry: what speaks of its
/// contents comes before what speaks of its path.
#[inline(always)]
fn put_lists(member: Member, session: &Session, digest: u64) {
    paths::put_lists(member, session, Access::Exec);
    if digest != 0 {
        lists::note_digest(digest);
    }
}

/// Whether the session could have written the program: whatever its facts, a rule of the agent's
/// allows a use by which the file gets its contents, its name, or a second name elsewhere.
#[inline(always)]
fn written(member: Member, session: &Session) -> u32 {
    const USES: [Access; 4] = [Access::Write, Access::Create, Access::Rename, Access::Link];
    let mut i = 0;
    while i < USES.len() {
        paths::put_lists(member, session, USES[i]);
        if weigh::allows_something() {
            return TRAIT_WRITABLE;
        }
        i += 1;
    }
    0
}

/// Weighs an exec whose lists lie in the task's entry. The tool that it starts begins when the
/// program runs. `words` is the hash of its words where somebody may have been asked about them.
#[inline(always)]
fn decide(member: Member, session: &Session, traits: u32, words: Option<u64>) -> u64 {
    member.weighing().tool = 0;
    member.weighing().hold = Weighing::NOBODY_ASKED;
    let mut judgement = number(judge::listed(member, session, Action::Exec, (traits, 0)));
    if judge::must_ask(member) {
        // Too late to ask, and to wait.
        judgement = number(judge::look_for_answer(member, traits, words));
    }
    if judgement != ALLOWED {
        return judgement;
    }
    let tool = member.weighing().tool;
    if tool != 0 && !member.start(tool) {
        return doubt(Reason::Nested);
    }
    ALLOWED
}

#[inline(always)]
fn commit(member: Member, binprm: Binprm) {
    let count = Pending::of_current().map_or(0, Pending::count) as usize;
    let mut level = 0;
    while level < LEVELS && level < count {
        if !pending::judge_waiting(level as u32, binprm.words(), binprm.top()) {
            // What cannot be killed loses its permission instead.
            if !call::kill_current() {
                state::revoke(member.label(), Cause::Deviation);
            }
            break;
        }
        level += 1;
    }
    Pending::forget(Task::current());
    member.begin_tools();
}

/// Judges a program that waits, now that its arguments can be read: all words begin at `top`, of
/// which there are `words`. Tells what is not allowed.
#[inline(always)]
pub fn waiting(level: u32, words: u32, top: u64) -> bool {
    let Some((member, pending)) = Task::current().member().zip(Pending::of_current()) else {
        return false;
    };
    let label = member.label();
    let program = pending.take(member, level as usize);
    match by_words(member, pending, program, words, top) {
        ALLOWED => true,
        judgement => {
            let judged = names::judged(judgement);
            let mut judged = judge::follow_up(member, judged);
            if judged.verdict == Verdict::Deny.wire() {
                judged.verdict = Verdict::Kill.wire();
            }
            names::tell(label, judged, program.dentry(), pending.span());
            judged.verdict == Verdict::Audit.wire()
        }
    }
}

#[inline(always)]
fn by_words(member: Member, pending: Pending, program: Program, words: u32, top: u64) -> u64 {
    let Some(session) = state::during(member) else {
        return doubt(Reason::SessionUnknown);
    };
    if !program.is_policy_in_force() {
        return doubt(Reason::Unreadable);
    }
    // Interpreters have put their own words in front, the last of them the program's path.
    let own = program.words & !Program::ASKED;
    let offset = words.wrapping_sub(own);
    match arguments::traits(pending, session.policy, top, words, offset) {
        Some(traits) => {
            let hash = arguments::hash(pending, own);
            let hash = (program.words & Program::ASKED != 0).then_some(hash);
            decide(member, &session, traits | program.traits, hash)
        }
        None => doubt(Reason::Unreadable),
    }
}

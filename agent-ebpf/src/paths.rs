//! Judging uses of files by their paths.

use crate::judge::{self, Judgement, by_default, doubt, refuse};
use crate::kernel::asking::Asking;
use crate::kernel::directory::{self, Directory};
use crate::kernel::file::Dentry;
use crate::kernel::lists;
use crate::kernel::member::Member;
use crate::kernel::memory::Address;
use crate::kernel::path::{self, End, Path};
use crate::kernel::task::Task;
use crate::kernel::{counts, hold, names, state, weigh};
use crate::privilege;
use agent_common::action::Action;
use agent_common::counter::Counter;
use agent_common::decide::{Reason, SCOPES, Verdict, Weighing};
use agent_common::path::{Access, KEEP_OUT, Scope};
use agent_common::privilege::Privilege;
use agent_common::session::{Allowed, Label, Session};

/// Uses of one file that are attempted at once, at most three; all must be allowed. Put together
/// without a branch: the verifier would follow each combination through all that comes.
#[derive(Clone, Copy)]
pub struct Uses(u64);

impl Uses {
    const BITS: u32 = 16;
    const MOST: u32 = 3;
    /// Where all but the first stand.
    const MORE: u64 = 0xffff_ffff_0000;
    /// A path with rules further down is refused.
    const NOT_ABOVE: u64 = 1 << 63;
    /// Nothing is said of a denial.
    const QUIET: u64 = 1 << 62;
    /// What has no path is none of a policy's.
    const PATHS_ONLY: u64 = 1 << 61;
    /// The task cannot stop.
    const AT_ONCE: u64 = 1 << 60;
    /// The file has come into being in this very call.
    const CREATED: u64 = 1 << 59;
    /// It is only tried whether somebody must be asked.
    const TRY: u64 = 1 << 58;

    /// One.
    #[inline(always)]
    pub fn of(action: Action) -> Self {
        Self(u64::from(action.wire()))
    }

    /// One that is attempted if `bit` is 1, and not if it is 0.
    #[inline(always)]
    pub fn when(bit: u64, action: Action) -> Self {
        Self(bit * u64::from(action.wire()))
    }

    /// Rules further down would no longer hold, or hold for other files: then it is not allowed.
    #[inline(always)]
    pub fn unless_above_rules(self) -> Self {
        Self(self.0 | Self::NOT_ABOVE)
    }

    /// Only to know: what is denied is neither counted nor told.
    #[inline(always)]
    pub fn quietly(self) -> Self {
        Self(self.0 | Self::QUIET)
    }

    /// What has no path is allowed; and the task cannot stop, for a descriptor that comes has left the
    /// queue.
    #[inline(always)]
    pub fn if_it_has_a_path(self) -> Self {
        Self(self.0 | Self::PATHS_ONLY | Self::AT_ONCE)
    }

    /// Flags by which the task cannot stop, where the bit is 1.
    #[inline(always)]
    pub fn at_once_if(bit: u64) -> u64 {
        bit * Self::AT_ONCE
    }

    /// Where the bit is 1 the file has come into being in this very call, and its creation was asked
    /// for: to begin the call anew would be to find it there.
    #[inline(always)]
    pub fn of_created(self, bit: u64) -> Self {
        Self(self.0 | (bit * (Self::CREATED | Self::AT_ONCE)))
    }

    /// More of them.
    #[inline(always)]
    pub fn and(self, more: Self) -> Self {
        Self(self.0 << Self::BITS | more.0)
    }

    /// Takes one: an action's number, or 0 where it is not attempted.
    #[inline(always)]
    fn take(&mut self) -> u64 {
        let action = self.0 & 0xffff;
        self.0 >>= Self::BITS;
        action
    }

    /// Judges each, of the file to which the running task's walk led; false at the first that is not
    /// allowed.
    #[inline(always)]
    fn are_allowed(mut self, end: u64, flags: u64) -> bool {
        let mut i = 0;
        while i < Self::MOST {
            i += 1;
            let action = self.take();
            if action != 0 && !path::judge_use(action, end, flags) {
                return false;
            }
        }
        true
    }
}

/// Judges uses of a file by its path, counts the judgements and tells what was not allowed. What is
/// typed in it, the walk, happens here; the rest are numbers, in a function that the verifier looks
/// at once.
#[inline(always)]
pub fn judge(member: Member, dentry: Dentry, uses: Uses) -> bool {
    let flags = uses.0;
    let known = try_at_once(member, dentry, uses);
    if known == ALLOWED_AT_ONCE {
        return true;
    }
    let end = path::walk(dentry, known);
    // Of several uses none may take effect while another waits for a person.
    if flags & Uses::MORE != 0 && !path::try_uses(flags, end) {
        return false;
    }
    uses.are_allowed(end, flags)
}

/// What [`try_at_once`] answers where nothing is left to judge. No directory has that number.
const ALLOWED_AT_ONCE: u64 = u64::MAX;

/// Whether each use is allowed to everybody at all times, by the rules for a directory that the task knows: what the
/// judgement would find, without the walk. Where not, the number of the directory's inode, or 0 if it is not known. A
/// function of its own, so that its stack does not add to that of the judgement.
#[inline(never)]
fn try_at_once(member: Member, dentry: Dentry, uses: Uses) -> u64 {
    // What is known are the rules of the agent itself.
    if member.tool(1).is_some() {
        return 0;
    }
    let Some(path) = path::of_current() else {
        return 0;
    };
    let Some(known) = directory::find(path, dentry, member.policy()) else {
        return 0;
    };
    if uses.0 & Uses::NOT_ABOVE != 0
        || !directory::is_ordinary(known, path, dentry)
        || !are_always_allowed(member, known, uses)
    {
        return known.number();
    }
    path.pass_by();
    let (mut left, mut count) = (uses, 0);
    while count < Uses::MOST {
        count += 1;
        let action = left.take();
        if action != 0 {
            let rule = judge::first_of(lists::list_under(known, action));
            judge::allowed(member, Allowed::File, rule);
        }
    }
    ALLOWED_AT_ONCE
}

#[inline(always)]
fn are_always_allowed(member: Member, known: &Directory, uses: Uses) -> bool {
    if !state::is_permitted(member.label()) {
        return false;
    }
    let (mut left, mut count) = (uses, 0);
    while count < Uses::MOST {
        count += 1;
        let action = left.take();
        if action != 0 && !judge::allows_always_by(lists::list_under(known, action)) {
            return false;
        }
        // What was approved of another creation is forgotten where one is judged.
        if action == u64::from(Action::Create.wire()) && state::has_approvals(member) {
            return false;
        }
    }
    true
}

/// Tries several uses of a file before any takes effect; false where one is denied, or somebody must be
/// asked: then the task stops if it can.
#[inline(always)]
pub fn try_uses(uses: u64, end: u64) -> bool {
    let Some(member) = Task::current().member() else {
        return false;
    };
    if !state::has_approvals(member) {
        return true;
    }
    let uses = Uses(uses);
    let flags = uses.0 | Uses::TRY;
    uses.are_allowed(end, flags)
}

/// The same for the file of a name, by its address.
#[inline(always)]
pub fn try_name(dentry: u64, uses: Uses) -> bool {
    path::try_name(dentry, uses.0)
}

/// What becomes of a use of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is denied.
    Denied = 0,
    /// It is allowed.
    Allowed = 1,
    /// Somebody must be asked.
    ToAsk = 2,
}

impl Use {
    #[inline(always)]
    fn when(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Denied }
    }
}

/// Judges one use of the file to which the running task's walk led.
#[inline(always)]
pub fn judge_one(action: u64, end: End, flags: u64) -> Use {
    let Some(action) = Action::from_wire(action as u16) else {
        // Not attempted.
        return Use::when(action == 0);
    };
    let Some(member) = Task::current().member() else {
        return Use::Denied;
    };
    member.weighing().hold = Weighing::NOBODY_ASKED;
    let Some(session) = state::during(member) else {
        let doubt = doubt(action, Reason::SessionUnknown);
        return Use::when(settle(member, Address(0), doubt));
    };
    let Some(path) = path::of_current() else {
        let doubt = doubt(action, Reason::Unreadable);
        return Use::when(settle(member, Address(0), doubt));
    };
    let judgement = if end != End::Root {
        if end != End::Lost && flags & Uses::PATHS_ONLY != 0 {
            return Use::Allowed;
        }
        nowhere(member, &session, end, action)
    } else if path.is_of_denials() {
        if action != Action::Read || path.name() != session.denials {
            keep_out(member, path.subject(), action, flags, Reason::NoRule);
            return Use::Denied;
        }
        by_default(member, &session, action)
    } else {
        let judgement = on_path(member, &session, path, action, flags);
        if matches!(judgement, Err(judged) if judged.reason == Reason::Protected.wire()) {
            keep_out(member, path.subject(), action, flags, Reason::Protected);
            return Use::Denied;
        }
        judgement
    };
    if judgement.is_ok() {
        if flags & Uses::TRY == 0 {
            judge::allowed(member, Allowed::File, judge::rule_of(member));
        }
        return Use::Allowed;
    }
    if judge::must_ask(member) {
        return Use::ToAsk;
    }
    Use::when(flags & Uses::QUIET == 0 && settle(member, path.subject(), judgement))
}

/// Puts the lists that speak of a use of the file to which the running task's walk led into its
/// entry, for each of its scopes.
#[inline(always)]
pub fn put_lists(member: Member, session: &Session, access: Access) {
    let mut number = 0;
    while number < SCOPES {
        let Some(scope) = scope(member, session, number) else {
            break;
        };
        lists::note_lists(scope, number, access);
        number += 1;
    }
}

/// Counts and tells what was not allowed. True where it is only watched.
#[inline(always)]
pub fn settle(member: Member, dentry: Address, judgement: Judgement) -> bool {
    let Err(judged) = judgement else {
        return true;
    };
    let judged = judge::follow_up(member, judged);
    names::tell(member.label(), judged, dentry, [0; 2]);
    judged.verdict == Verdict::Audit.wire()
}

/// Denies what no policy can allow, not even one that is only watched.
#[inline(always)]
fn keep_out(member: Member, dentry: Address, action: Action, flags: u64, reason: Reason) {
    if flags & Uses::QUIET == 0
        && let Err(judged) = refuse(action, reason)
    {
        counts::add(Counter::Denied);
        names::tell(member.label(), judged, dentry, [0; 2]);
    }
}

/// The scope of a number, if the task has it.
#[inline(always)]
fn scope(member: Member, session: &Session, number: usize) -> Option<Scope> {
    member.tool(number).map(|tool| Scope {
        policy: session.policy,
        tool: u16::from(tool),
    })
}

#[inline(always)]
fn is_above_rules(member: Member, session: &Session, path: Path) -> bool {
    let mut number = 0;
    while number < SCOPES {
        let Some(scope) = scope(member, session, number) else {
            break;
        };
        if path.is_above_rules(scope) {
            return true;
        }
        number += 1;
    }
    false
}

/// A pipe's end, and memory, a task can have only because it was given them, and what it may do to
/// a namespace or a process is asked elsewhere; but code comes from files that have a path, or is
/// written by who may do that.
#[inline(always)]
fn nowhere(member: Member, session: &Session, end: End, action: Action) -> Judgement {
    match end {
        End::Object => by_default(member, session, action),
        End::Memory if action != Action::Map => by_default(member, session, action),
        End::Memory if privilege::has(member, Privilege::Jit) => {
            by_default(member, session, action)
        }
        End::Memory => refuse(action, Reason::Privilege),
        End::Elsewhere => refuse(action, Reason::NoRule),
        End::Root | End::Lost => doubt(action, Reason::Unreadable),
    }
}

#[inline(always)]
fn on_path(member: Member, session: &Session, path: Path, action: Action, flags: u64) -> Judgement {
    let (Some(access), Some(own)) = (action.access(), scope(member, session, 0)) else {
        return doubt(action, Reason::Unreadable);
    };
    let mut none = !path.note_lists(own, access, member);
    let [exact, _, under, ..] = *member.lists(0);
    if exact == KEEP_OUT || under == KEEP_OUT {
        return refuse(action, Reason::Protected);
    }
    let mut number = 1;
    while number < SCOPES {
        let Some(scope) = scope(member, session, number) else {
            break;
        };
        none &= !lists::note_lists(scope, number, access);
        number += 1;
    }
    if flags & Uses::NOT_ABOVE != 0 && is_above_rules(member, session, path) {
        return refuse(action, Reason::NoRule);
    }
    if none && is_own(path.subject(), member.label(), action) {
        return by_default(member, session, action);
    }
    if action == Action::Create {
        hold::forget_grant();
    }
    judge::listed(member, session, action, (0, how(path, flags)))
}

/// How a use is judged.
#[inline(always)]
fn how(path: Path, flags: u64) -> u32 {
    let mut how = 0;
    if flags & Uses::TRY != 0 {
        how |= weigh::TRY;
    }
    if flags & Uses::QUIET != 0 {
        how |= weigh::QUIET;
    }
    if flags & Uses::CREATED != 0 && hold::granted() == path.hashes()[0] {
        how |= weigh::GRANTED;
    }
    how
}

/// Puts down the question about a use of the file to which the running task's walk led. Answers how it is
/// judged.
#[inline(always)]
pub fn question(action: u64, flags: u64) -> u64 {
    let (Some(member), Some(path)) = (Task::current().member(), path::of_current()) else {
        return path::NO_QUESTION;
    };
    let action = Action::from_wire(action as u16).unwrap_or(Action::Read);
    if Asking::about_path(member, action).is_none() {
        return path::NO_QUESTION;
    }
    u64::from(how(path, flags))
}

/// Acts on the answer that was found.
#[inline(always)]
pub fn answered(action: u64, flags: u64, how: u64) -> bool {
    let (Some(member), Some(path)) = (Task::current().member(), path::of_current()) else {
        return false;
    };
    let action = Action::from_wire(action as u16).unwrap_or(Action::Read);
    if how == path::NO_QUESTION {
        return settle(member, path.subject(), doubt(action, Reason::Questions));
    }
    if flags & Uses::AT_ONCE == 0 {
        hold::wait(action, how as u32);
    }
    if member.weighing().allows() {
        if flags & Uses::TRY == 0 {
            judge::allowed(member, Allowed::File, judge::rule_of(member));
        }
        return true;
    }
    flags & Uses::QUIET == 0 && settle(member, path.subject(), judge::decided(member, action))
}

/// Whether a file tells a member of the session of the session itself: no rule can name it, and
/// every libc reads such.
#[inline(always)]
fn is_own(dentry: Address, label: Label, action: Action) -> bool {
    action == Action::Read && path::is_of_session(dentry, label)
}

//! Acts that need a privilege whatever they are done to. What such an act needs is one bit in the
//! mask of the session's policy; no rule, fact or hour has a say.

use crate::judge;
use crate::kernel::member::Member;
use crate::kernel::task::Task;
use crate::kernel::{counts, state, verdict};
use crate::maps::{INDEX, POLICIES};
use crate::tell::{self, Judged};
use agent_common::action::Action;
use agent_common::counter::Counter;
use agent_common::decide::{NO_RULE, Reason, SCOPES, Verdict};
use agent_common::privilege::Privilege;
use agent_common::session::Allowed;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

/// An act that needs a privilege.
#[derive(Clone, Copy)]
pub struct Act {
    /// The privilege's number: the bit in the mask. 63 is no privilege's, and so never given.
    pub privilege: u8,
    /// The process that it would reach, or the kind of socket that it would make, or 0.
    pub target: u32,
    /// The kernel looks only to choose a way: a denial is counted as a probe and not told.
    pub is_probe: bool,
}

impl Act {
    /// An act that reaches no process.
    #[inline(always)]
    pub fn of(privilege: Privilege) -> Self {
        Self {
            privilege: privilege.wire(),
            target: 0,
            is_probe: false,
        }
    }
}

/// The running task as a member, unless somebody else has denied the call already: then the answer.
#[inline(always)]
pub fn member(earlier: i32) -> Result<Member, i32> {
    if earlier != 0 {
        return Err(earlier);
    }
    Task::current_if_marked()
        .and_then(Task::member)
        .ok_or(verdict::lsm(true))
}

/// Judges an act of a member, counts it, tells it if it is denied, and answers the kernel.
#[inline(always)]
pub fn judge(member: Member, act: Act) -> i32 {
    verdict::lsm(allows(member, act))
}

/// Judges an act of a member, counts it, and tells it if it is denied.
#[inline(always)]
pub fn allows(member: Member, act: Act) -> bool {
    if act.target != 0 && act.target == daemon() {
        let reason = why_not(member, act.privilege).unwrap_or(Reason::Protected);
        return keep_out(member, act, reason);
    }
    let reason = match why_not(member, act.privilege) {
        None => {
            if !act.is_probe {
                // From 1: zero is none.
                let object = [u64::from(act.privilege) + 1, 0, 0];
                judge::allowed_at(member, Allowed::Privilege, NO_RULE, object);
            }
            return true;
        }
        Some(reason) => reason,
    };
    refuse(member, act, reason)
}

/// The daemon's process.
#[inline(always)]
fn daemon() -> u32 {
    INDEX.get(0).map_or(0, |index| index.daemon)
}

/// Whether a task is the daemon's.
#[inline(always)]
pub fn is_daemon(task: Task) -> bool {
    let daemon = daemon();
    daemon != 0 && task.tgid() == daemon
}

/// Denies what no policy can allow, not even one that is only watched.
#[inline(always)]
fn keep_out(member: Member, act: Act, reason: Reason) -> bool {
    if act.is_probe {
        counts::add(Counter::Probes);
        return false;
    }
    counts::add(Counter::Denied);
    let judged = Judged {
        rule: NO_RULE,
        action: Action::Privilege,
        verdict: Verdict::Deny.wire(),
        reason: reason.wire(),
        revoke: 0,
        hold: 0,
    };
    tell::privilege(member.label(), judged, act.privilege, act.target);
    false
}

/// Denies an act of which something could not be read. True where it is only watched.
#[inline(always)]
pub fn doubt(member: Member, act: Act) -> bool {
    counts::add(Counter::Doubts);
    let _ = state::begin(member);
    refuse(member, act, Reason::Unreadable)
}

/// Whether a member has a privilege, for what is judged and told elsewhere.
#[inline(always)]
pub fn has(member: Member, privilege: Privilege) -> bool {
    why_not(member, privilege.wire()).is_none()
}

#[inline(always)]
fn why_not(member: Member, privilege: u8) -> Option<Reason> {
    let Some(session) = state::begin(member) else {
        counts::add(Counter::Doubts);
        return Some(Reason::SessionUnknown);
    };
    let Some(policy) = POLICIES.get(session.policy) else {
        counts::add(Counter::Doubts);
        return Some(Reason::Unreadable);
    };
    let innermost = member.innermost_tool();
    if let Some(reason) = policy.refusal(session.flags, privilege, innermost) {
        return Some(reason);
    }
    if Privilege::is_of_program(privilege) {
        return None;
    }
    let mut scope = 1;
    while scope < SCOPES {
        let Some(tool) = member.tool(scope) else {
            break;
        };
        if !policy.gives_tool(tool, privilege) {
            return Some(Reason::Privilege);
        }
        scope += 1;
    }
    None
}

#[inline(always)]
fn refuse(member: Member, act: Act, reason: Reason) -> bool {
    if act.is_probe {
        counts::add(Counter::Probes);
        return false;
    }
    let (verdict, revoke) = match state::terms(member) {
        Some(terms) => terms.follow(Verdict::Deny.wire(), reason.wire()),
        None => (Verdict::Deny.wire(), false),
    };
    let judged = Judged {
        rule: NO_RULE,
        action: Action::Privilege,
        verdict,
        reason: reason.wire(),
        revoke: revoke.into(),
        hold: 0,
    };
    let judged = judge::follow_up(member, judged);
    tell::privilege(member.label(), judged, act.privilege, act.target);
    judged.verdict == Verdict::Audit.wire()
}

/// A hook at which every call of a member is such an act.
#[inline(always)]
fn hold(earlier: i32, privilege: Privilege) -> i32 {
    match member(earlier) {
        Ok(member) => judge(member, Act::of(privilege)),
        Err(answer) => answer,
    }
}

/// `security_sb_mount(const char *, const struct path *, const char *, unsigned long, void *)`.
#[lsm(hook = "sb_mount")]
pub fn sb_mount(ctx: LsmContext) -> i32 {
    hold(ctx.arg(5), Privilege::Mount)
}

/// `security_sb_umount(struct vfsmount *, int)`.
#[lsm(hook = "sb_umount")]
pub fn sb_umount(ctx: LsmContext) -> i32 {
    hold(ctx.arg(2), Privilege::Mount)
}

/// `security_sb_remount(struct super_block *, void *)`.
#[lsm(hook = "sb_remount")]
pub fn sb_remount(ctx: LsmContext) -> i32 {
    hold(ctx.arg(2), Privilege::Mount)
}

/// `security_sb_pivotroot(const struct path *, const struct path *)`.
#[lsm(hook = "sb_pivotroot")]
pub fn sb_pivotroot(ctx: LsmContext) -> i32 {
    hold(ctx.arg(2), Privilege::Mount)
}

/// `security_move_mount(const struct path *, const struct path *)`.
#[lsm(hook = "move_mount")]
pub fn move_mount(ctx: LsmContext) -> i32 {
    hold(ctx.arg(2), Privilege::Mount)
}

/// `security_create_user_ns(const struct cred *)`, from 6.1.
#[lsm(hook = "userns_create")]
pub fn userns_create(ctx: LsmContext) -> i32 {
    hold(ctx.arg(1), Privilege::Userns)
}

/// `security_bpf(int, union bpf_attr *, unsigned int)`; from 6.17 with one argument more, so that
/// what others said has no one place. The kernel asks nobody after a denial in any case. With the
/// privilege a session reaches what it makes itself, and nothing of the enforcer's.
#[lsm(hook = "bpf")]
pub fn bpf(ctx: LsmContext) -> i32 {
    let member = match member(0) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    let command: u32 = ctx.arg(0);
    let act = Act::of(Privilege::Bpf);
    if FOREIGN.contains(&command) && has(member, Privilege::Bpf) {
        return verdict::lsm(keep_out(member, act, Reason::Protected));
    }
    judge(member, act)
}

/// The commands that reach what others have made, by a pin or by a number: `BPF_OBJ_GET`, and
/// `BPF_PROG_GET_FD_BY_ID`, `BPF_MAP_GET_FD_BY_ID` and `BPF_LINK_GET_FD_BY_ID`.
const FOREIGN: [u32; 4] = [7, 13, 14, 30];

/// `security_kernel_module_request(char *)`: the kernel wants a module for what the task asks.
#[lsm(hook = "kernel_module_request")]
pub fn module_request(ctx: LsmContext) -> i32 {
    hold(ctx.arg(1), Privilege::Module)
}

/// `security_perf_event_open(struct perf_event_attr *, int)`; from 6.16 with one argument less.
#[lsm(hook = "perf_event_open")]
pub fn perf_event_open(_ctx: LsmContext) -> i32 {
    hold(0, Privilege::Perf)
}

/// `security_uring_sqpoll(void)`, from 5.16: a thread of the kernel's is to act for the task. Rings
/// that share such a thread keep credentials apart, and those would pass for borrowed ones.
#[lsm(hook = "uring_sqpoll")]
pub fn uring_sqpoll(ctx: LsmContext) -> i32 {
    hold(ctx.arg(0), Privilege::Uring)
}

/// `security_uring_override_creds(const struct cred *)`, from 5.16.
#[lsm(hook = "uring_override_creds")]
pub fn uring_override(ctx: LsmContext) -> i32 {
    hold(ctx.arg(1), Privilege::Uring)
}

/// `security_uring_cmd(struct io_uring_cmd *)`, from 6.0: commands past the file's operations.
#[lsm(hook = "uring_cmd")]
pub fn uring_cmd(ctx: LsmContext) -> i32 {
    hold(ctx.arg(1), Privilege::Uring)
}

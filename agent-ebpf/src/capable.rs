//! Capabilities that reach round the hooks. The kernel asks here only about a capability that the
//! task has; what it does not have the kernel denies by itself, and nothing is told of it.

use crate::kernel::call;
use crate::kernel::offsets::ASKS_EARLY;
use crate::kernel::task::Task;
use crate::kernel::verdict;
use crate::privilege::{Act, judge};
use agent_common::privilege::Privilege;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

/// The last capability of which this version knows what it allows. A later one is held.
const LAST_KNOWN: u32 = 40;

/// A number that no privilege has.
const UNKNOWN: u8 = 63;

/// `CAP_OPT_NOAUDIT`: the kernel wants to know and has no wish to log a denial.
const QUIET: u32 = 1 << 1;

/// `security_capable(const struct cred *, struct user_namespace *, int cap, unsigned int opts)`.
#[lsm(hook = "capable")]
pub fn capable(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    let Some(task) = Task::current_if_marked() else {
        return verdict::lsm(true);
    };
    let capability: i32 = ctx.arg(2);
    let capability = capability.cast_unsigned();
    let known = capability <= LAST_KNOWN;
    if known && Privilege::CAPABILITIES >> (capability & 63) & 1 == 0 {
        return verdict::lsm(true);
    }
    let Some(member) = task.member() else {
        return verdict::lsm(true);
    };
    // The kernel's own power, lent for a while, is not the session's.
    if task.has_borrowed(ctx.arg(0)) && !member.has_former() {
        return verdict::lsm(true);
    }
    let options: u32 = ctx.arg(3);
    let act = Act {
        privilege: if known { capability as u8 } else { UNKNOWN },
        target: 0,
        is_probe: options & QUIET != 0
            || is_way_to_override(capability)
            || is_asked_early(capability),
    };
    judge(member, act)
}

/// Whether the kernel looks for `CAP_DAC_READ_SEARCH` only to look for `CAP_DAC_OVERRIDE` next,
/// as it does whenever root reaches what another user owns (`generic_permission`). The one call
/// that nothing else opens is `open_by_handle_at`.
#[inline(always)]
fn is_way_to_override(capability: u32) -> bool {
    capability == u32::from(Privilege::CapDacReadSearch.wire()) && !call::opens_by_handle()
}

/// Whether the kernel asks for `CAP_SYS_NICE` before it knows whether it is needed, as it does before 6.0
/// whenever a process sets how it is scheduled.
#[inline(always)]
fn is_asked_early(capability: u32) -> bool {
    capability == u32::from(Privilege::CapSysNice.wire()) && ASKS_EARLY.load() != 0
}

//! Packets: the last look at what leaves and what comes. A socket whose session was revoked is dead
//! both ways, whoever holds it, and whatever still lies in its queue.

use crate::kernel::{budget, counts, divert, owner, segment, state, verdict};
use crate::maps::DRAINING;
use agent_common::counter::Counter;
use agent_common::divert::STRAIGHT;
use agent_common::session::{Label, Owner};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

/// A packet leaves.
#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    let Some(owner) = owner::of_packet(&ctx) else {
        return verdict::cgroup(true);
    };
    if is_silent(owner) && !segment::is_bare_reset(&ctx) {
        return silence(owner.label());
    }
    if owner.diverted != STRAIGHT {
        divert::note_origin(&ctx, owner);
    }
    if owner.budgets != 0 && !budget::draw(owner, ctx.len()) {
        counts::add(Counter::Overdrawn);
        return verdict::cgroup(false);
    }
    verdict::cgroup(true)
}

/// A packet comes.
#[cgroup_skb(ingress)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    let Some(owner) = owner::of_packet(&ctx) else {
        return verdict::cgroup(true);
    };
    if !is_silent(owner) {
        return verdict::cgroup(true);
    }
    silence(owner.label())
}

/// Whether the owner's session may neither send nor receive any more. A session that is over is
/// silent unless it came to its own end: what it had sent before still leaves then.
#[inline(always)]
fn is_silent(owner: &Owner) -> bool {
    match state::of(owner.label()) {
        Some(session) => session.is_silent(),
        None => DRAINING.get_ptr(owner.session).is_none(),
    }
}

#[inline(always)]
fn silence(label: Label) -> i32 {
    counts::add(Counter::Silenced);
    state::note_denied(label);
    verdict::cgroup(false)
}

//! Packets: the last look at what leaves and what comes. A socket whose session was revoked is dead
//! both ways, whoever holds it, and whatever still lies in its queue. And no packet of a session's chooses its own way
//! to where it may go.

use crate::kernel::{budget, counts, divert, owner, route, segment, state, verdict};
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
        return drop(owner.label(), Counter::Silenced);
    }
    if route::is_given(&ctx) {
        return drop(owner.label(), Counter::Rerouted);
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
    drop(owner.label(), Counter::Silenced)
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
fn drop(label: Label, why: Counter) -> i32 {
    counts::add(why);
    state::note_denied(label);
    verdict::cgroup(false)
}

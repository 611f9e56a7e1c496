//! Sending through a socket that is connected already: opened before the session, inherited, received,
//! or connected while the session's rules allowed it. It is judged at each use whether it may go on.
//!
//! What the agent itself may reach at all times is remembered with the socket, so that most messages
//! cost a few loads.

use crate::judge::{self, Judgement, Way};
use crate::kernel::socket::{self, Peer, Target};
use crate::kernel::task::{Member, Task};
use crate::kernel::{budget, owner, state, verdict};
use crate::maps::POLICIES;
use agent_common::action::Action;
use agent_common::decide::{NO_RULE, Reason};
use agent_common::egress::{Endpoint, TCP};
use agent_common::session::{Owner, Session};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::ffi::c_void;

/// `security_socket_sendmsg(struct socket *, struct msghdr *, int)`.
#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return verdict::lsm(true);
    };
    let (socket, message): (*const c_void, *const c_void) = (ctx.arg(0), ctx.arg(1));
    let mut peer = Endpoint::NOWHERE;
    let target = socket::peer(socket, message, &mut peer);
    let owner = owner::of_socket(socket).filter(|owner| owner.session == member.label().session);
    let judgement = match target {
        // Nowhere yet, or where no rule can speak of it.
        Peer::Other | Peer::Nobody => return verdict::lsm(true),
        // The hooks that judge it cannot stop it, and are not told how much.
        Peer::Addressed => judge::egress_later(member, Action::Send, &peer),
        Peer::Unreadable => {
            let _ = state::begin(member);
            judge::doubt(Action::Send, Reason::Unreadable)
        }
        Peer::Network => match owner {
            Some(owner) if is_free(member, owner, &peer) || completes(member, owner) => {
                return verdict::lsm(true);
            }
            Some(owner) => owned(member, socket, owner, &peer),
            None => judge::still(member, &peer, false),
        },
    };
    let judgement = judgement.and_then(|()| {
        let size: i32 = ctx.arg(2);
        room(member, socket, size)
    });
    // What goes on is no action of its own, and is not counted.
    let allowed = judgement.is_ok() || judge::settle(member, &peer, judgement);
    verdict::lsm(allowed)
}

/// Judges what is sent through a socket of the session's own. One that no rule for egress has connected was
/// accepted: then it must be allowed to listen there.
#[inline(always)]
fn owned(member: Member, socket: *const c_void, owner: &mut Owner, peer: &Endpoint) -> Judgement {
    let was_accepted = owner.rule == NO_RULE && peer.protocol == TCP;
    let judgement = if was_accepted {
        let mut own = Endpoint::NOWHERE;
        match socket::bound(socket, &mut own) {
            Target::Network => judge::listen(member, &own, Way::look(true)),
            _ => judge::doubt(Action::Listen, Reason::Unreadable),
        }
    } else {
        judge::still(member, peer, owner.rule != NO_RULE)
    };
    if judgement.is_ok() && judge::was_free(member) {
        owner.free = *peer;
        owner.policy = member.policy();
        owner.edition = edition(member.policy());
    }
    judgement
}

/// Judges whether the budgets of bytes have room for what is sent.
#[inline(always)]
fn room(member: Member, socket: *const c_void, size: i32) -> Judgement {
    let Some(owner) = owner::of_socket(socket) else {
        return Ok(());
    };
    if owner.budgets == 0 || owner.session != member.label().session {
        return Ok(());
    }
    let bytes = u64::from(size.max(0).cast_unsigned());
    if budget::has_room(owner, bytes.saturating_add(socket::unsent(socket))) {
        return Ok(());
    }
    let _ = state::begin(member);
    judge::spent(member, Action::Send)
}

/// Whether the chain is complete, and nothing else has ended the permission: what its last action has
/// connected says what it has to say, until the session is killed.
#[inline(always)]
fn completes(member: Member, owner: &Owner) -> bool {
    owner.rule != NO_RULE
        && state::of(member.label()).is_some_and(|session| {
            session.flags & Session::REVOKED != 0 && session.lasts_for_what_completed_it()
        })
}

/// Whether what was found before still holds: nothing is to be judged.
#[inline(always)]
fn is_free(member: Member, owner: &Owner, peer: &Endpoint) -> bool {
    let Some(session) = state::of(member.label()) else {
        return false;
    };
    session.flags & Session::REVOKED == 0
        && owner.free == *peer
        && owner.policy == session.policy
        && owner.edition == edition(session.policy)
        && member.tool(1).is_none()
}

#[inline(always)]
fn edition(policy: u32) -> u32 {
    POLICIES.get(policy).map_or(0, |policy| policy.edition)
}

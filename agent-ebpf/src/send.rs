//! Sending through a socket that is connected already: opened before the session, inherited, received,
//! or connected while the session's rules allowed it. It is judged at each use whether it may go on.
//!
//! What the agent itself may reach at all times is remembered with the socket, so that most messages
//! cost a few loads.

use crate::judge::{self, ALLOWED, Way, number};
use crate::kernel::member::Member;
use crate::kernel::socket::{self, Peer, Target};
use crate::kernel::task::Task;
use crate::kernel::{budget, lookup, names, owner, state, verdict};
use crate::maps::POLICIES;
use agent_common::action::Action;
use agent_common::decide::{NO_RULE, Reason, TRAIT_DIRECT};
use agent_common::divert::LOOKUP;
use agent_common::egress::{Endpoint, NetworkKey, TCP};
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
    let (mut peer, mut at) = (Endpoint::NOWHERE, Endpoint::NOWHERE);
    // In parts, each of which needs much of the stack, and none while another does.
    let judgement = match look(member, socket, message, &mut peer, &mut at) {
        GOES_ON => return verdict::lsm(true),
        how => toward(member, &at, how),
    };
    if judgement == ALLOWED {
        note_free(member, socket, &peer);
    }
    let size: i32 = ctx.arg(2);
    let judgement = if judgement == ALLOWED {
        room(member, socket, size)
    } else {
        judgement
    };
    // What goes on is no action of its own, and is not counted.
    verdict::lsm(judgement == ALLOWED || settle(member, &peer, judgement))
}

/// Looks how what is sent is to be judged, and where to: the peer, or where a socket listens that was
/// accepted.
#[inline(never)]
fn look(
    member: Member,
    socket: *const c_void,
    message: *const c_void,
    peer: &mut Endpoint,
    at: &mut Endpoint,
) -> u64 {
    let target = socket::peer(socket, message, peer);
    *at = *peer;
    let owner = owner::of_socket(socket).filter(|owner| owner.session == member.label().session);
    let origin = match &owner {
        Some(owner) if matches!(target, Peer::Network) => owner::origin(socket, owner, peer),
        _ => None,
    };
    if let Some(origin) = origin {
        if origin.why == u32::from(LOOKUP) {
            // The resolver judges it.
            let permitted = state::is_permitted(member.label());
            return if permitted { GOES_ON } else { LOOK };
        }
        (*peer, *at) = (origin.server, origin.server);
        let completes = owner.is_some_and(|owner| completes(member, owner));
        return if completes { GOES_ON } else { RELAYED };
    }
    match target {
        // Nowhere yet, or where no rule can speak of it.
        Peer::Other | Peer::Nobody => GOES_ON,
        // The hooks that judge it cannot stop it, and are not told how much.
        Peer::Addressed if state::has_approvals(member) && !lookup::begins(member, peer) => TRY,
        Peer::Addressed => NOTHING,
        Peer::Unreadable => UNREADABLE,
        Peer::Network => match owner {
            Some(owner) if is_free(member, owner, peer) || completes(member, owner) => GOES_ON,
            // One that no rule for egress has connected was accepted: then it must be allowed to listen
            // there.
            Some(owner) if owner.rule == NO_RULE && peer.protocol == TCP => {
                match socket::bound(socket, at) {
                    Target::Network => ACCEPTED,
                    _ => UNREADABLE,
                }
            }
            Some(owner) if owner.rule == NO_RULE => LOOK,
            Some(_) => CONNECTED,
            None => LOOK,
        },
    }
}

/// Remembers with a socket of the session's own that what is sent through it is free.
#[inline(never)]
fn note_free(member: Member, socket: *const c_void, peer: &Endpoint) -> u64 {
    let owner = owner::of_socket(socket).filter(|owner| owner.session == member.label().session);
    if let Some(owner) = owner
        && peer.port != 0
        && judge::was_free(member)
    {
        owner.free = *peer;
        owner.policy = member.policy();
        owner.edition = edition(member.policy());
    }
    0
}

/// Tells what is denied.
#[inline(never)]
fn settle(member: Member, peer: &Endpoint, judgement: u64) -> bool {
    judge::settle(member, peer, Err(names::judged(judgement)))
}

/// Nothing is to be judged.
const GOES_ON: u64 = 0;
/// Nothing but whether a budget has room.
const NOTHING: u64 = 1;
/// It is not known where to.
const UNREADABLE: u64 = 2;
/// What another hook judges, which cannot stop the task, is tried.
const TRY: u64 = 3;
/// A socket from elsewhere, or that nobody has connected.
const LOOK: u64 = 4;
/// A socket that the session has connected: it was asked for then.
const CONNECTED: u64 = 5;
/// A socket that the session has accepted.
const ACCEPTED: u64 = 6;
/// A socket that the session has connected, and that the daemon relays.
const RELAYED: u64 = 7;

/// Judges what is sent to an endpoint, in one number as in `exec.rs`.
#[inline(never)]
fn toward(member: Member, endpoint: &Endpoint, how: u64) -> u64 {
    if how == NOTHING {
        return ALLOWED;
    }
    if how == UNREADABLE {
        let _ = state::begin(member);
        return number(judge::doubt(Action::Send, Reason::Unreadable));
    }
    let way = if how == TRY {
        Way::TRIES
    } else {
        Way {
            traits: if how == RELAYED { 0 } else { TRAIT_DIRECT },
            ..Way::look(how != LOOK)
        }
    };
    let (action, networks) = if how == ACCEPTED {
        (Action::Listen, NetworkKey::LISTEN)
    } else {
        (Action::Send, 0)
    };
    number(judge::network(member, action, endpoint, networks, way))
}

/// Judges whether the budgets of bytes have room for what is sent.
#[inline(never)]
fn room(member: Member, socket: *const c_void, size: i32) -> u64 {
    let Some(owner) = owner::of_socket(socket) else {
        return ALLOWED;
    };
    if owner.budgets == 0 || owner.session != member.label().session {
        return ALLOWED;
    }
    let bytes = u64::from(size.max(0).cast_unsigned());
    if budget::has_room(owner, bytes.saturating_add(socket::unsent(socket))) {
        return ALLOWED;
    }
    let _ = state::begin(member);
    number(judge::spent(member, Action::Send))
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

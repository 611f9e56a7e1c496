//! Unix sockets, and sockets that come from elsewhere.
//!
//! A socket is known by who made it ([`MAKERS`](crate::maps::MAKERS)): what a session's own tasks have
//! made or accepted is the session's own, and reaching it needs no rule. What another session has made is
//! a handoff, judged by the agent's name besides the socket's. Everything else is judged by the name
//! under which it was bound.

use crate::judge::{self, Judgement, Way, by_default, doubt, refuse};
use crate::kernel::file::File;
use crate::kernel::member::Member;
use crate::kernel::task::Task;
use crate::kernel::unix::{self, Called, Sock};
use crate::kernel::{lists, names, path, state, verdict};
use crate::maps::POLICIES;
use crate::paths::Uses;
use crate::tell::{self, Judged};
use agent_common::action::Action;
use agent_common::decide::{NO_RULE, Reason, Verdict};
use agent_common::egress::{AF_UNIX, Endpoint};
use agent_common::path::EntryKind;
use agent_common::session::{Allowed, Label};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

/// What has no name is denied, and nobody is waited for: the socket is just being received. Otherwise it is
/// like a pipe: a task has it only because it was given it.
const STRICT: u64 = 1;

/// Beside an action: the same.
const RECEIVED: u64 = 1 << 32;

/// `security_unix_stream_connect(struct sock *, struct sock *other, struct sock *newsk)`: `newsk` is what
/// the other side will accept.
#[lsm(hook = "unix_stream_connect")]
pub fn unix_connect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return verdict::lsm(true);
    };
    let _ = state::begin(member);
    let [own, other, new] = unix::arguments(&ctx).map(Sock);
    let action = u64::from(Action::Connect.wire());
    if !unix::reach(other, action, 0) || !unix::hand_off(own, other, action) {
        return verdict::lsm(false);
    }
    // It is the listener's, before anybody has accepted it.
    verdict::lsm(match other.maker() {
        Some(label) => new.belong_to(label),
        None => true,
    })
}

/// `security_unix_may_send(struct socket *, struct socket *other)`: a datagram, or a datagram socket's
/// peer.
#[lsm(hook = "unix_may_send")]
pub fn unix_send(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return verdict::lsm(true);
    };
    let _ = state::begin(member);
    let [own, other, _] = unix::arguments(&ctx).map(Sock::of_socket);
    let action = u64::from(Action::Send.wire());
    let allowed = unix::reach(other, action, 0) && unix::hand_off(own, other, action);
    verdict::lsm(allowed)
}

/// `security_socket_sendmsg(struct socket *, struct msghdr *, int)`. A program of its own beside the one
/// for the internet: the two together need more stack than there is.
#[lsm(hook = "socket_sendmsg")]
pub fn unix_sendmsg(ctx: LsmContext) -> i32 {
    carry(ctx.arg(3), &ctx)
}

/// `security_socket_recvmsg(struct socket *, struct msghdr *, int, int)`.
#[lsm(hook = "socket_recvmsg")]
pub fn unix_recvmsg(ctx: LsmContext) -> i32 {
    carry(ctx.arg(4), &ctx)
}

/// A Unix socket is used. The session's own was judged when it was connected; one that comes from
/// elsewhere, by inheritance above all, is judged by its other end at each use.
#[inline(always)]
fn carry(earlier: i32, ctx: &LsmContext) -> i32 {
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return verdict::lsm(true);
    };
    let Some(own) = unix::given_unix(ctx.arg(0)) else {
        return verdict::lsm(true);
    };
    let label = member.label();
    if is_of(own, label) && state::is_permitted(label) {
        return verdict::lsm(true);
    }
    let _ = state::begin(member);
    let [socket, ..] = unix::arguments(ctx);
    let own = Sock::of_socket(socket);
    let other = own.peer();
    if other.0 == 0 {
        // Whom it reaches then, another hook asks.
        return verdict::lsm(true);
    }
    let action = u64::from(Action::Connect.wire());
    let allowed = unix::reach(other, action, 0) && unix::hand_off(own, other, action);
    verdict::lsm(allowed)
}

#[inline(always)]
fn is_of(sk: Sock, label: Label) -> bool {
    sk.maker()
        .is_some_and(|maker| maker.session == label.session)
}

/// Whether a member may take a socket that somebody sends it, as if it had connected it itself. What
/// cannot be judged is not taken.
#[inline(always)]
pub fn may_take(member: Member, file: File) -> bool {
    let sk = Sock::of_file(file.address());
    if is_of(sk, member.label()) {
        return true;
    }
    let _ = state::begin(member);
    if !sk.is_unix() {
        return unix::take_connection(sk);
    }
    let action = u64::from(Action::Connect.wire());
    let peer = sk.peer();
    let other = if peer.0 == 0 { sk } else { peer };
    unix::reach(other, action, STRICT) && unix::hand_off(sk, other, action | RECEIVED)
}

/// Judges by the name of a Unix socket whether the running task may reach it.
#[inline(always)]
pub fn judge_name(other: Sock, action: u64, flags: u64) -> bool {
    let Some(member) = Task::current().member() else {
        return false;
    };
    let act = Action::from_wire(action as u16).unwrap_or(Action::Connect);
    let Some(session) = state::during(member) else {
        return settle(member, doubt(act, Reason::SessionUnknown));
    };
    let maker = other.maker();
    if maker.is_some_and(|maker| maker.session == member.label().session) {
        return settle(member, by_default(member, &session, act));
    }
    match other.called() {
        Called::Path(end) => path::judge_use(action, end, Uses::at_once_if(flags & STRICT)),
        Called::Abstract(name, length) => {
            let judgement = match unix::note_abstract(name, length) {
                0 => doubt(act, Reason::Unreadable),
                hash => judge::named(member, &session, act, hash, flags & STRICT == 0),
            };
            let Err(judged) = judgement else {
                judge::allowed(member, Allowed::Network, judge::rule_of(member));
                return true;
            };
            let judged = judge::follow_up(member, judged);
            names::tell_abstract(judged, name, length);
            judged.verdict == Verdict::Audit.wire()
        }
        // The other session's rule decides alone.
        Called::Nothing if maker.is_some() => settle(member, by_default(member, &session, act)),
        Called::Nothing if flags & STRICT == 0 => settle(member, by_default(member, &session, act)),
        Called::Nothing => settle(member, refuse(act, Reason::NoRule)),
        Called::Unreadable => settle(member, doubt(act, Reason::Unreadable)),
    }
}

/// Judges by the name of the agent whether the running task may reach another session, and tells both.
#[inline(always)]
pub fn judge_agent(own: Sock, other: Sock, action: u64) -> bool {
    let Some(member) = Task::current().member() else {
        return false;
    };
    let Some(maker) = other.maker() else {
        return true;
    };
    if maker.session == member.label().session {
        return true;
    }
    let act = Action::from_wire(action as u16).unwrap_or(Action::Connect);
    let Err(judged) = by_agent(member, maker, act, action & RECEIVED != 0) else {
        judge::allowed(member, Allowed::Network, judge::rule_of(member));
        if own.is_news(maker.session) {
            tell::handoff(member, maker.session, allowed(act));
        }
        return true;
    };
    let judged = judge::follow_up(member, judged);
    tell::handoff(member, maker.session, judged);
    tell::denial(member.label(), judged, &peer(maker));
    judged.verdict == Verdict::Audit.wire()
}

#[inline(always)]
fn allowed(action: Action) -> Judged {
    Judged {
        rule: NO_RULE,
        action,
        verdict: Verdict::Allow.wire(),
        reason: Reason::Rule.wire(),
        revoke: 0,
        hold: 0,
    }
}

/// A session that has ended has no name any more.
#[inline(always)]
fn by_agent(member: Member, maker: Label, action: Action, received: bool) -> Judgement {
    let Some(session) = state::during(member) else {
        return doubt(action, Reason::SessionUnknown);
    };
    let agent = state::recorded(maker)
        .and_then(|peer| POLICIES.get(peer.policy))
        .map_or(0, |policy| policy.agent);
    if agent == 0 || !lists::note_named(EntryKind::Agent, agent) {
        return doubt(action, Reason::Unreadable);
    }
    judge::named(member, &session, action, agent, !received)
}

/// What a denial says of another session.
#[inline(always)]
fn peer(maker: Label) -> Endpoint {
    let [a, b, c, d, e, f, g, h] = maker.session.to_le_bytes();
    Endpoint {
        address: [a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0],
        ..Endpoint::of_family(AF_UNIX, 0)
    }
}

/// Judges where an internet socket is connected to that somebody sends to the running task.
#[inline(always)]
pub fn judge_connection(sk: Sock) -> bool {
    let Some(member) = Task::current().member() else {
        return false;
    };
    let mut endpoint = Endpoint::NOWHERE;
    let judgement = if sk.remote(&mut endpoint) {
        judge::network(member, Action::Connect, &endpoint, 0, Way::ASKS_NOBODY)
    } else {
        refuse(Action::Connect, Reason::Family)
    };
    judge::settle(member, &endpoint, judgement)
}

#[inline(always)]
fn settle(member: Member, judgement: Judgement) -> bool {
    judge::settle(member, &Endpoint::of_family(AF_UNIX, 0), judgement)
}

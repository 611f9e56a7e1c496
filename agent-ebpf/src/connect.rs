//! Connecting, and sending without a connection.
//!
//! The LSM hook sees every family and every way into `connect`; the cgroup hooks see what goes
//! round it (`MSG_FASTOPEN`, the later messages of `sendmmsg`) and are all there is on a kernel
//! without BPF LSM.

use crate::judge::{self, ALLOWED, number};
use crate::kernel::member::Member;
use crate::kernel::progress::Shared;
use crate::kernel::socket::{self, Target};
use crate::kernel::task::Task;
use crate::kernel::{divert, lookup, names, owner, state, verdict};
use agent_common::action::Action;
use agent_common::decide::Reason;
use agent_common::divert::{LOOKUP, STRAIGHT};
use agent_common::egress::Endpoint;
use aya_ebpf::macros::{cgroup_sock_addr, lsm};
use aya_ebpf::programs::{LsmContext, SockAddrContext};
use core::ffi::c_void;

/// `security_socket_connect(struct socket *, struct sockaddr *, int)`.
#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return verdict::lsm(true);
    };
    let (label, connect) = (member.label(), Action::Connect);
    let socket: *const c_void = ctx.arg(0);
    let address: *const c_void = ctx.arg(1);
    let length: i32 = ctx.arg(2);
    let mut endpoint = Endpoint::NOWHERE;
    let judgement = match socket::target(socket, address, length, &mut endpoint) {
        Target::Disconnect => return verdict::lsm(true),
        // By whom it reaches, which the next hooks are told.
        Target::Local => return verdict::lsm(true),
        // It goes to the resolver, which the next hook sees to.
        Target::Network if lookup::begins(member, &endpoint) => return verdict::lsm(true),
        Target::Network => judge::egress(member, connect, &endpoint),
        Target::Other => {
            let _ = state::begin(member);
            judge::refuse(connect, Reason::Family)
        }
        Target::Unreadable => {
            let _ = state::begin(member);
            judge::doubt(connect, Reason::Unreadable)
        }
    };
    let allowed =
        judge::settle(member, &endpoint, judgement) && owner::note_connection(socket, member);
    if allowed && let Some(progress) = Shared::of(label.slot) {
        member.leave_pass(socket::name(socket), progress.version(), &endpoint);
    }
    verdict::lsm(allowed)
}

/// `connect` on an IPv4 address, `MSG_FASTOPEN` included.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect(&ctx, socket::endpoint4, divert::redirect4)
}

/// `connect` on an IPv6 address, `MSG_FASTOPEN` included.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect(&ctx, socket::endpoint6, divert::redirect6)
}

/// A datagram to an IPv4 address from a socket that is not connected.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    send(&ctx, socket::endpoint4, divert::redirect4)
}

/// A datagram to an IPv6 address from a socket that is not connected.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    send(&ctx, socket::endpoint6, divert::redirect6)
}

#[inline(always)]
fn connect(
    ctx: &SockAddrContext,
    endpoint: impl Fn(&SockAddrContext) -> Endpoint,
    redirect: impl Fn(&SockAddrContext, Member, &Endpoint, u8) -> bool,
) -> i32 {
    let Some(member) = Task::current().member() else {
        return verdict::cgroup(true);
    };
    let (label, endpoint) = (member.label(), endpoint(ctx));
    let (pass, socket) = (member.take_pass(), socket::name_in(ctx));
    let has_passed = judge::has_passed(label, &pass, socket, &endpoint);
    let judgement = if has_passed {
        ALLOWED
    } else if lookup::begins(member, &endpoint) {
        match ask(ctx, member, Action::Connect, &endpoint, &redirect) {
            ALLOWED => return verdict::cgroup(true),
            judgement => judgement,
        }
    } else {
        // What a person has said yes to a moment ago needs no second answer.
        let granted = pass.socket == socket && pass.endpoint == endpoint;
        number(judge::egress_at_once(
            member,
            Action::Connect,
            &endpoint,
            granted,
        ))
    };
    let judgement = if judgement == ALLOWED {
        if !has_passed && !owner::note_connection_in(ctx, member) {
            return verdict::cgroup(false);
        }
        lead(ctx, member, &endpoint, &redirect)
    } else {
        judgement
    };
    if has_passed && judgement == ALLOWED {
        return verdict::cgroup(true);
    }
    verdict::cgroup(settle(member, &endpoint, judgement))
}

#[inline(always)]
fn send(
    ctx: &SockAddrContext,
    endpoint: impl Fn(&SockAddrContext) -> Endpoint,
    redirect: impl Fn(&SockAddrContext, Member, &Endpoint, u8) -> bool,
) -> i32 {
    let Some(member) = Task::current().member() else {
        return verdict::cgroup(true);
    };
    let endpoint = endpoint(ctx);
    let judgement = if lookup::begins(member, &endpoint) {
        match ask(ctx, member, Action::Send, &endpoint, &redirect) {
            ALLOWED => return verdict::cgroup(true),
            judgement => judgement,
        }
    } else {
        number(judge::egress_at_once(
            member,
            Action::Send,
            &endpoint,
            false,
        ))
    };
    let allowed = settle(member, &endpoint, judgement);
    verdict::cgroup(allowed && owner::note_budgets_in(ctx, member))
}

/// Sends a lookup to the resolver.
#[inline(always)]
fn ask(
    ctx: &SockAddrContext,
    member: Member,
    action: Action,
    server: &Endpoint,
    redirect: impl Fn(&SockAddrContext, Member, &Endpoint, u8) -> bool,
) -> u64 {
    if redirect(ctx, member, server, LOOKUP) {
        return ALLOWED;
    }
    number(judge::doubt(action, Reason::NoResolver))
}

/// Sends a connection that is allowed to the relay, where its rule wants that.
#[inline(always)]
fn lead(
    ctx: &SockAddrContext,
    member: Member,
    endpoint: &Endpoint,
    redirect: impl Fn(&SockAddrContext, Member, &Endpoint, u8) -> bool,
) -> u64 {
    let route = judge::route(member, endpoint);
    if route == STRAIGHT {
        owner::go_straight(ctx);
        return ALLOWED;
    }
    if redirect(ctx, member, endpoint, route) {
        return ALLOWED;
    }
    number(judge::doubt(Action::Connect, Reason::NoRelay))
}

#[inline(always)]
fn settle(member: Member, endpoint: &Endpoint, judgement: u64) -> bool {
    let judgement = if judgement == ALLOWED {
        Ok(())
    } else {
        Err(names::judged(judgement))
    };
    judge::settle(member, endpoint, judgement)
}

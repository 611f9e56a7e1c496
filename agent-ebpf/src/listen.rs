//! Where a session lets others come: addresses and ports of this host's.
//!
//! To listen is one action, judged when it takes effect: for TCP at `listen`, for datagrams at `bind`.
//! What comes before and after it, `bind` and `accept`, is asked whether it could be, or still may.
//! A port that the kernel chooses is everybody's who does not listen on it: clients bind to it.

use crate::judge::{self, Judgement, Way};
use crate::kernel::member::Member;
use crate::kernel::socket::{self, Target};
use crate::kernel::task::Task;
use crate::kernel::{owner, state, verdict, weigh};
use agent_common::action::Action;
use agent_common::decide::Reason;
use agent_common::egress::{Endpoint, TCP, UDP};
use aya_ebpf::macros::{cgroup_sock_addr, lsm};
use aya_ebpf::programs::{LsmContext, SockAddrContext};
use core::ffi::c_void;

/// `security_socket_bind(struct socket *, struct sockaddr *, int)`.
#[lsm(hook = "socket_bind")]
pub fn socket_bind(ctx: LsmContext) -> i32 {
    let (address, length): (*const c_void, i32) = (ctx.arg(1), ctx.arg(2));
    attempt(&ctx, 3, |socket, member, endpoint| {
        let target = socket::own(socket, address, length, endpoint);
        bound(member, target, endpoint, true)
    })
}

/// `security_socket_listen(struct socket *, int)`.
#[lsm(hook = "socket_listen")]
pub fn socket_listen(ctx: LsmContext) -> i32 {
    attempt(&ctx, 2, |socket, member, endpoint| {
        let target = socket::bound(socket, endpoint);
        taken(member, target, endpoint, Way::STOPS)
    })
}

/// `security_socket_accept(struct socket *, struct socket *)`.
#[lsm(hook = "socket_accept")]
pub fn socket_accept(ctx: LsmContext) -> i32 {
    attempt(&ctx, 2, |socket, member, endpoint| {
        let target = socket::bound(socket, endpoint);
        // What the session listens on itself was asked for then.
        let own = owner::of_socket(socket);
        let own = own.is_some_and(|owner| owner.session == member.label().session);
        taken(member, target, endpoint, Way::look(own))
    })
}

/// `bind` to an IPv4 address, for kernels without BPF LSM.
#[cgroup_sock_addr(bind4)]
pub fn bind4(ctx: SockAddrContext) -> i32 {
    in_cgroup(&ctx, socket::own4)
}

/// `bind` to an IPv6 address, for kernels without BPF LSM.
#[cgroup_sock_addr(bind6)]
pub fn bind6(ctx: SockAddrContext) -> i32 {
    in_cgroup(&ctx, socket::own6)
}

#[inline(always)]
fn attempt(
    ctx: &LsmContext,
    earlier: usize,
    judge: impl FnOnce(*const c_void, Member, &mut Endpoint) -> Judgement,
) -> i32 {
    let earlier: i32 = ctx.arg(earlier);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return verdict::lsm(true);
    };
    let mut endpoint = Endpoint::NOWHERE;
    let judgement = judge(ctx.arg(0), member, &mut endpoint);
    verdict::lsm(judge::settle(member, &endpoint, judgement))
}

#[inline(always)]
fn in_cgroup(ctx: &SockAddrContext, endpoint: impl Fn(&SockAddrContext) -> Endpoint) -> i32 {
    let Some(member) = Task::current().member() else {
        return verdict::cgroup(true);
    };
    let endpoint = endpoint(ctx);
    let judgement = bound(member, Target::Network, &endpoint, false);
    verdict::cgroup(judge::settle(member, &endpoint, judgement))
}

/// A socket gets an address.
#[inline(always)]
fn bound(member: Member, target: Target, endpoint: &Endpoint, stops: bool) -> Judgement {
    match target {
        // Sockets without ports, for which a privilege was asked when they were made.
        Target::Network if endpoint.protocol != TCP && endpoint.protocol != UDP => lasts(member),
        Target::Network if endpoint.port == 0 => lasts(member),
        Target::Network => {
            // TCP counts when it listens.
            let looks = endpoint.protocol == TCP;
            let how = if looks {
                weigh::LOOK | weigh::GRANTED
            } else {
                0
            };
            let way = Way {
                stops,
                ..Way::of(how)
            };
            judge::listen(member, endpoint, way)
        }
        Target::Local | Target::Other | Target::Disconnect => lasts(member),
        Target::Unreadable => unreadable(member),
    }
}

/// A socket listens at an address, or somebody who came is taken in.
#[inline(always)]
fn taken(member: Member, target: Target, endpoint: &Endpoint, way: Way) -> Judgement {
    match target {
        Target::Network => judge::listen(member, endpoint, way),
        Target::Local | Target::Other | Target::Disconnect => lasts(member),
        Target::Unreadable => unreadable(member),
    }
}

/// What needs no rule is denied to a session whose permission has ended all the same.
#[inline(always)]
fn lasts(member: Member) -> Judgement {
    match state::begin(member) {
        None => judge::doubt(Action::Listen, Reason::SessionUnknown),
        Some(session) => judge::by_default(member, &session, Action::Listen),
    }
}

#[inline(always)]
fn unreadable(member: Member) -> Judgement {
    let _ = state::begin(member);
    judge::doubt(Action::Listen, Reason::Unreadable)
}

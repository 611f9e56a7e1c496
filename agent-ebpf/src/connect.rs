//! Connecting, and sending without a connection.
//!
//! The LSM hook sees every family and every way into `connect`; the cgroup hooks see what goes
//! round it (`MSG_FASTOPEN`, the later messages of `sendmmsg`) and are all there is on a kernel
//! without BPF LSM.

use crate::judge;
use crate::kernel::socket::{self, Target};
use crate::kernel::task::Task;
use crate::kernel::verdict;
use agent_common::action::Action;
use agent_common::decide::Reason;
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
    let Some(label) = Task::current_if_marked().and_then(Task::label) else {
        return verdict::lsm(true);
    };
    let socket: *const c_void = ctx.arg(0);
    let address: *const c_void = ctx.arg(1);
    let length: i32 = ctx.arg(2);
    let allowed = match socket::target(socket, address, length) {
        Target::Network(endpoint) => judge::egress(label, Action::Connect, &endpoint),
        Target::Disconnect => true,
        Target::Other(endpoint) => judge::doubt(label, Action::Connect, &endpoint, Reason::Family),
        Target::Unreadable => {
            let nowhere = Endpoint { address: [0; 16], port: 0, protocol: 0, family: 0 };
            judge::doubt(label, Action::Connect, &nowhere, Reason::Unreadable)
        }
    };
    verdict::lsm(allowed)
}

/// `connect` on an IPv4 address, `MSG_FASTOPEN` included.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    sock_addr(&ctx, Action::Connect, socket::endpoint4)
}

/// `connect` on an IPv6 address, `MSG_FASTOPEN` included.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    sock_addr(&ctx, Action::Connect, socket::endpoint6)
}

/// A datagram to an IPv4 address from a socket that is not connected.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sock_addr(&ctx, Action::Send, socket::endpoint4)
}

/// A datagram to an IPv6 address from a socket that is not connected.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sock_addr(&ctx, Action::Send, socket::endpoint6)
}

#[inline(always)]
fn sock_addr(
    ctx: &SockAddrContext,
    action: Action,
    endpoint: impl Fn(&SockAddrContext) -> Endpoint,
) -> i32 {
    let Some(label) = Task::current().label() else {
        return verdict::cgroup(true);
    };
    verdict::cgroup(judge::egress(label, action, &endpoint(ctx)))
}

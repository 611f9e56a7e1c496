//! What a program is shown where the daemon answers instead: the place to which it wanted to go.

use crate::kernel::divert;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

/// The answer of these programs: the kernel takes no other.
const GO_ON: i32 = 1;

/// A datagram came to a socket of IPv4.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    divert::show_server4(&ctx);
    GO_ON
}

/// A datagram came to a socket of IPv6.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    divert::show_server6(&ctx);
    GO_ON
}

/// Somebody asks for the peer of a socket of IPv4.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    divert::show_server4(&ctx);
    GO_ON
}

/// Somebody asks for the peer of a socket of IPv6.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    divert::show_server6(&ctx);
    GO_ON
}

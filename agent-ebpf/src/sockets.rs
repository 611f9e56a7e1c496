//! Sockets get their session's label before they can be used.

use crate::kernel::task::Task;
use crate::kernel::{owner, state, verdict};
use aya_ebpf::macros::{cgroup_sock, lsm};
use aya_ebpf::programs::{LsmContext, SockContext};
use core::ffi::c_void;

/// `security_socket_post_create(struct socket *, int family, int type, int protocol, int kern)`: of
/// every family.
#[lsm(hook = "socket_post_create")]
pub fn socket_post_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(5);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = Task::current_if_marked().and_then(Task::member) else {
        return verdict::lsm(true);
    };
    let _ = state::begin(member);
    let socket: *const c_void = ctx.arg(0);
    verdict::fork(owner::claim(socket, member))
}

/// The same for sockets of IPv4 and IPv6, for kernels without BPF LSM.
#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    let Some(member) = Task::current().member() else {
        return verdict::cgroup(true);
    };
    let _ = state::begin(member);
    verdict::cgroup(owner::claim_new(&ctx, member))
}

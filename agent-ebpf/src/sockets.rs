//! Sockets get their session's label before they can be used: in their own storage, for whoever has
//! the socket, and by their address, for who comes to them from elsewhere.

use crate::kernel::member::Member;
use crate::kernel::task::Task;
use crate::kernel::unix::{self, Sock};
use crate::kernel::{counts, owner, state, verdict};
use agent_common::counter::Counter;
use aya_ebpf::macros::{cgroup_sock, lsm};
use aya_ebpf::programs::{LsmContext, SockContext};
use core::ffi::c_void;

/// `security_socket_post_create(struct socket *, int family, int type, int protocol, int kern)`: of
/// every family; each end of a pair, too.
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
    let is_known = unix::given_socket(socket).is_none_or(|sk| know(sk, member));
    if !is_known {
        return verdict::lsm(false);
    }
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

/// `security_sock_graft(struct sock *, struct socket *)`: somebody who came gets a socket.
#[lsm(hook = "sock_graft")]
pub fn sock_graft(ctx: LsmContext) -> i32 {
    if let Some(member) = Task::current_if_marked().and_then(Task::member) {
        let _ = state::begin(member);
        // Where the label cannot be stored, what is sent is judged as to a peer of nobody's choosing;
        // what cannot be noted, as what comes from elsewhere.
        let _ = owner::claim_accepted(ctx.arg(0), member);
        let _ = know(unix::given(ctx.arg(0)), member);
    }
    0
}

/// `security_sk_free(struct sock *)`: nothing can refer to it any more.
#[lsm(hook = "sk_free_security")]
pub fn socket_gone(ctx: LsmContext) -> i32 {
    unix::given(ctx.arg(0)).forget();
    0
}

/// Notes by a socket's address whose it is. False where there is no room.
#[inline(always)]
fn know(sk: Sock, member: Member) -> bool {
    if sk.belong_to(member.label()) {
        return true;
    }
    counts::add(Counter::Doubts);
    false
}

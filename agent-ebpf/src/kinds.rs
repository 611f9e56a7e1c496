//! Which kinds of sockets a session may have at all.

use crate::kernel::verdict;
use crate::privilege::{self, Act};
use agent_common::socket::SocketKind;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

/// `security_socket_create(int family, int type, int protocol, int kern)`. What the kernel makes
/// for itself, while a task of a session happens to run, is not the session's.
#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    let member = match privilege::member(ctx.arg(4)) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    let (family, kind, protocol): (u32, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let is_kernels: u32 = ctx.arg(3);
    let socket = SocketKind::of(family, kind, protocol);
    match socket.privilege() {
        Some(privilege) if is_kernels == 0 => {
            let act = Act {
                target: socket.packed(),
                ..Act::of(privilege)
            };
            privilege::judge(member, act)
        }
        _ => verdict::lsm(true),
    }
}

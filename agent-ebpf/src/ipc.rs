//! System V: shared memory, queues of messages, and semaphores. They have no path and no address, so no rule speaks of
//! them; what a session has made is its own, whatever else there is takes a privilege.

use crate::kernel::ipc::Object;
use crate::kernel::memory::is_null;
use crate::kernel::{counts, verdict};
use crate::privilege::{self, Act, member};
use agent_common::counter::Counter;
use agent_common::privilege::Privilege;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

/// `security_ipc_permission(struct kern_ipc_perm *, short)`: whatever is found by its key or number, and used.
#[lsm(hook = "ipc_permission")]
pub fn ipc_permission(ctx: LsmContext) -> i32 {
    reach(ctx.arg(2), ctx.arg(0))
}

/// `security_shm_shmctl(struct kern_ipc_perm *, int)`: removed, given to another user, or looked at by its place.
#[lsm(hook = "shm_shmctl")]
pub fn ipc_memory_changed(ctx: LsmContext) -> i32 {
    reach(ctx.arg(2), ctx.arg(0))
}

/// `security_msg_queue_msgctl(struct kern_ipc_perm *, int)`.
#[lsm(hook = "msg_queue_msgctl")]
pub fn ipc_queue_changed(ctx: LsmContext) -> i32 {
    reach(ctx.arg(2), ctx.arg(0))
}

/// `security_sem_semctl(struct kern_ipc_perm *, int)`.
#[lsm(hook = "sem_semctl")]
pub fn ipc_semaphores_changed(ctx: LsmContext) -> i32 {
    reach(ctx.arg(2), ctx.arg(0))
}

/// Without an object the kernel tells its limits alone.
#[inline(always)]
fn reach(earlier: i32, object: u64) -> i32 {
    let member = match member(earlier) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    if is_null(object) || Object(object).maker() == Some(member.label().session) {
        return verdict::lsm(true);
    }
    privilege::judge(member, Act::of(Privilege::Ipc))
}

/// `security_shm_alloc(struct kern_ipc_perm *)`: nobody can find it yet.
#[lsm(hook = "shm_alloc_security")]
pub fn ipc_memory_made(ctx: LsmContext) -> i32 {
    made(ctx.arg(1), ctx.arg(0))
}

/// `security_msg_queue_alloc(struct kern_ipc_perm *)`.
#[lsm(hook = "msg_queue_alloc_security")]
pub fn ipc_queue_made(ctx: LsmContext) -> i32 {
    made(ctx.arg(1), ctx.arg(0))
}

/// `security_sem_alloc(struct kern_ipc_perm *)`.
#[lsm(hook = "sem_alloc_security")]
pub fn ipc_semaphores_made(ctx: LsmContext) -> i32 {
    made(ctx.arg(1), ctx.arg(0))
}

#[inline(always)]
fn made(earlier: i32, object: u64) -> i32 {
    let member = match member(earlier) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    let is_noted = Object(object).belong_to(member.label().session);
    if !is_noted {
        counts::add(Counter::Doubts);
    }
    verdict::fork(is_noted)
}

/// `security_shm_free(struct kern_ipc_perm *)`: nobody can find it any more.
#[lsm(hook = "shm_free_security")]
pub fn ipc_memory_gone(ctx: LsmContext) -> i32 {
    Object(ctx.arg(0)).forget();
    0
}

/// `security_msg_queue_free(struct kern_ipc_perm *)`.
#[lsm(hook = "msg_queue_free_security")]
pub fn ipc_queue_gone(ctx: LsmContext) -> i32 {
    Object(ctx.arg(0)).forget();
    0
}

/// `security_sem_free(struct kern_ipc_perm *)`.
#[lsm(hook = "sem_free_security")]
pub fn ipc_semaphores_gone(ctx: LsmContext) -> i32 {
    Object(ctx.arg(0)).forget();
    0
}

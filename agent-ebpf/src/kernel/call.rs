//! The system call in which the running task is, and signals that it gets before the call returns.

use super::memory::Address;
use super::offsets::{HAS_TASK_REGS, REGS_CALL, REGS_RESULT, REGS_SECOND, REGS_THIRD, TASK_FLAGS};
use super::task::Task;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_send_signal_thread, bpf_task_pt_regs,
};
use aya_ebpf::helpers::{bpf_get_current_uid_gid, bpf_send_signal};

const SIGKILL: u32 = 9;
const SIGSTOP: u32 = 19;

/// The user id of the running task.
#[inline(always)]
pub fn current_uid() -> u32 {
    (bpf_get_current_uid_gid() & 0xffff_ffff) as u32
}

/// Kills the running process before it returns to user space. False where that cannot be done.
#[inline(always)]
pub fn kill_current() -> bool {
    // SAFETY: takes a signal number, acts on the running task alone.
    unsafe { bpf_send_signal(SIGKILL) == 0 }
}

const EXECVE: u64 = 59;
const EXECVEAT: u64 = 322;

/// The registers with which the running task entered the kernel. Only where [`HAS_TASK_REGS`].
#[inline(always)]
fn registers() -> Address {
    // SAFETY: the helpers take the running task alone; what they answer is read with care.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
    Address(registers.cast_unsigned())
}

/// Where the list of words lies that the running task has given to `execve`.
#[inline(always)]
pub fn current_words() -> Option<u64> {
    if HAS_TASK_REGS.load() == 0 {
        return None;
    }
    let registers = registers();
    match registers.read(&REGS_CALL)? {
        EXECVE => registers.read(&REGS_SECOND),
        EXECVEAT => registers.read(&REGS_THIRD),
        _ => None,
    }
}

/// Stops the running process before it returns to user space. False where that cannot be done. By a signal
/// to this very thread: of one to the process the kernel keeps a single one, and a second thread would go
/// on without noticing it, with the number by which its call was to begin anew for an answer.
#[inline(always)]
pub fn stop_current() -> bool {
    // SAFETY: as in `kill_current`.
    unsafe { bpf_send_signal_thread(SIGSTOP) == 0 }
}

/// Whether the running task is in a system call of its own that can begin anew. What io_uring does
/// cannot: it answers elsewhere. What the kernel does at a call's end, as io_uring's work, finds the
/// call's result in the register that holds `-ENOSYS` until then. And in `execve` the old program is
/// given up once it has been judged.
#[inline(always)]
pub fn can_begin_anew(executes: bool) -> bool {
    const EXITING: u32 = 0x4;
    const IO_WORKER: u32 = 0x10;
    const USER_WORKER: u32 = 0x4000;
    const KERNEL_THREAD: u32 = 0x20_0000;
    const NOT_YET: u64 = (-38i64).cast_unsigned();
    const URING_ENTER: u64 = 426;
    if HAS_TASK_REGS.load() == 0 {
        return false;
    }
    let task = Task::current();
    let flags: u32 = task.at().read(&TASK_FLAGS).unwrap_or(EXITING);
    if flags & (EXITING | IO_WORKER | USER_WORKER | KERNEL_THREAD) != 0 {
        return false;
    }
    let registers = registers();
    let call: u64 = registers.read(&REGS_CALL).unwrap_or(URING_ENTER);
    let result: u64 = registers.read(&REGS_RESULT).unwrap_or(0);
    let replaces = call == EXECVE || call == EXECVEAT;
    result == NOT_YET && call != URING_ENTER && (executes || !replaces)
}

/// The number of the running task's system call, where the kernel lets us know.
#[inline(always)]
pub fn current_call() -> Option<u64> {
    if HAS_TASK_REGS.load() == 0 {
        return None;
    }
    registers().read(&REGS_CALL)
}

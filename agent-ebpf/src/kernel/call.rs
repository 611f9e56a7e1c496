//! The system call in which the running task is, and signals that it gets before the call returns.

use super::memory::Address;
use super::offsets::{
    CALL_EXECVE, CALL_EXECVEAT, CALL_OPEN_BY_HANDLE, CALL_OPEN_BY_HANDLE_32, HAS_TASK_REGS,
    REGS_CALL, REGS_FIRST, REGS_RESULT, REGS_SECOND, REGS_THIRD, TASK_FLAGS,
};
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

/// The registers with which a task entered the kernel.
struct Registers(Address);

impl Registers {
    /// Those of the running task, where the kernel lets us know.
    #[inline(always)]
    fn current() -> Option<Self> {
        if HAS_TASK_REGS.load() == 0 {
            return None;
        }
        // SAFETY: the helpers take the running task alone; what they answer is read with care.
        let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
        Some(Self(Address(registers.cast_unsigned())))
    }

    /// The number of the system call; none where the task did not come by one.
    #[inline(always)]
    fn call(&self) -> Option<u32> {
        /// Added to a number by x32 programs.
        const X32: u32 = 0x4000_0000;
        let number: i32 = self.0.read(&REGS_CALL)?;
        (number >= 0).then_some(number.cast_unsigned() & !X32)
    }

    /// Whether the call has no result yet. Until then its register holds what the kernel or the program has
    /// put there.
    #[inline(always)]
    fn is_without_result(&self) -> bool {
        const NOT_YET: u64 = (-38i64).cast_unsigned();
        let before = if REGS_FIRST.load() == 0 {
            Some(NOT_YET)
        } else {
            self.0.read(&REGS_FIRST)
        };
        let result: Option<u64> = self.0.read(&REGS_RESULT);
        result.is_some() && result == before
    }
}

#[inline(always)]
fn is_exec(call: u32) -> bool {
    call == CALL_EXECVE.load() || call == CALL_EXECVEAT.load()
}

/// Where the list of words lies that the running task has given to `execve`.
#[inline(always)]
pub fn current_words() -> Option<u64> {
    let registers = Registers::current()?;
    let call = registers.call()?;
    if call == CALL_EXECVE.load() {
        registers.0.read(&REGS_SECOND)
    } else if call == CALL_EXECVEAT.load() {
        registers.0.read(&REGS_THIRD)
    } else {
        None
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
/// cannot: it answers elsewhere. What the kernel does at a call's end, as io_uring's work, finds that the
/// call has its result. And in `execve` the old program is
/// given up once it has been judged.
#[inline(always)]
pub fn can_begin_anew(executes: bool) -> bool {
    const EXITING: u32 = 0x4;
    const IO_WORKER: u32 = 0x10;
    const USER_WORKER: u32 = 0x4000;
    const KERNEL_THREAD: u32 = 0x20_0000;
    const URING_ENTER: u32 = 426;
    let Some(registers) = Registers::current() else {
        return false;
    };
    let task = Task::current();
    let flags: u32 = task.at().read(&TASK_FLAGS).unwrap_or(EXITING);
    if flags & (EXITING | IO_WORKER | USER_WORKER | KERNEL_THREAD) != 0 {
        return false;
    }
    let call = registers.call().unwrap_or(URING_ENTER);
    registers.is_without_result() && call != URING_ENTER && (executes || !is_exec(call))
}

/// Whether the running task opens a file by its handle, as far as the kernel lets us know.
#[inline(always)]
pub fn opens_by_handle() -> bool {
    let call = Registers::current().and_then(|registers| registers.call());
    call.is_some_and(|call| {
        call == CALL_OPEN_BY_HANDLE.load() || call == CALL_OPEN_BY_HANDLE_32.load()
    })
}

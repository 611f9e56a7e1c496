//! Reaching into other processes.

use super::{check, check_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// `PTRACE_SEIZE`. The tracee goes on; the trace ends with the caller.
pub(crate) fn seize(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check_long(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }).map(drop)
}

/// `PTRACE_TRACEME`.
pub(crate) fn trace_me() -> io::Result<()> {
    // SAFETY: takes numbers.
    check_long(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
}

/// `process_vm_readv(2)` of the byte at address 0, where nothing can be: EFAULT means that the
/// process may be read.
pub(crate) fn read_nothing(pid: i32) -> io::Result<()> {
    vm(pid, libc::SYS_process_vm_readv)
}

/// `process_vm_writev(2)` of the same.
pub(crate) fn write_nothing(pid: i32) -> io::Result<()> {
    vm(pid, libc::SYS_process_vm_writev)
}

fn vm(pid: i32, call: libc::c_long) -> io::Result<()> {
    let mut byte = 0_u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 1,
    };
    // SAFETY: the kernel moves at most the one byte here, which is live.
    check_long(unsafe {
        libc::syscall(
            call,
            pid,
            &raw const local,
            1_usize,
            &raw const remote,
            1_usize,
            0_usize,
        )
    })
    .map(drop)
}

/// `pidfd_open(2)`.
pub(crate) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// `pidfd_getfd(2)`: a descriptor of another process's.
pub(crate) fn take_descriptor(pid: i32, number: i32) -> io::Result<OwnedFd> {
    let pidfd = pidfd(pid)?;
    // SAFETY: takes numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
}

/// `pidfd_send_signal(2)`.
pub(crate) fn signal_by_pidfd(pid: i32, signal: i32) -> io::Result<()> {
    let pidfd = pidfd(pid)?;
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: takes numbers and no information.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    })
    .map(drop)
}

/// `tgkill(2)` of a process's first thread.
pub(crate) fn signal_thread(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check_long(unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, signal) }).map(drop)
}

/// `sigqueue(3)`.
pub(crate) fn queue_signal(pid: i32, signal: i32) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: ptr::null_mut(),
    };
    // SAFETY: takes numbers; the value is not followed.
    check(unsafe { libc::sigqueue(pid, signal, value) }).map(drop)
}

/// `F_SETOWN`: whom the kernel signals when a file is ready.
pub(crate) fn own(file: BorrowedFd<'_>, pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETOWN, pid) }).map(drop)
}

/// `F_SETOWN_EX`.
pub(crate) fn own_extended(file: BorrowedFd<'_>, pid: i32) -> io::Result<()> {
    const F_SETOWN_EX: libc::c_int = 15;
    const F_OWNER_PID: i32 = 1;
    let owner = [F_OWNER_PID, pid];
    // SAFETY: the kernel reads the two integers, which are live.
    check(unsafe { libc::fcntl(file.as_raw_fd(), F_SETOWN_EX, owner.as_ptr()) }).map(drop)
}

/// `FIOSETOWN`, on a socket.
pub(crate) fn own_by_ioctl(socket: BorrowedFd<'_>, pid: i32) -> io::Result<()> {
    const FIOSETOWN: libc::c_ulong = 0x8901;
    // SAFETY: the kernel reads the integer, which is live.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), FIOSETOWN, &raw const pid) }).map(drop)
}

/// Has the kernel send `signal` to the owner of a file that becomes readable.
pub(crate) fn signal_owner(file: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const F_SETSIG: libc::c_int = 10;
    // SAFETY: takes numbers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, signal) })?;
    signal_when_ready(file)
}

/// Has the kernel send a signal to whom it may concern when a file becomes readable.
pub(crate) fn signal_when_ready(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC) }).map(drop)
}

/// The same by `FIOASYNC`.
pub(crate) fn signal_when_ready_by_ioctl(file: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads the integer, which is live.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::FIOASYNC, &raw const on) }).map(drop)
}

/// `setpriority(2)` to what it is by default.
pub(crate) fn set_priority(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, pid.unsigned_abs(), 0) }).map(drop)
}

/// `prlimit(2)`: sets a limit to what it is.
pub(crate) fn set_limit(pid: i32) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes the structure, which is live.
    check(unsafe { libc::prlimit(pid, libc::RLIMIT_CORE, ptr::null(), &raw mut limit) })?;
    // SAFETY: the kernel reads the structure, which is live.
    check(unsafe { libc::prlimit(pid, libc::RLIMIT_CORE, &raw const limit, ptr::null_mut()) })
        .map(drop)
}

/// `sched_setaffinity(2)` to every CPU.
pub(crate) fn set_cpus(pid: i32) -> io::Result<()> {
    set_affinity(pid, [u64::MAX; 16])
}

/// The same for the caller, to one CPU of the first 64.
pub(crate) fn set_cpu(cpu: usize) -> io::Result<()> {
    let mut one = [0; 16];
    one[0] = 1 << cpu;
    set_affinity(0, one)
}

fn set_affinity(pid: i32, cpus: [u64; 16]) -> io::Result<()> {
    // SAFETY: the kernel reads the array, whose size it is told.
    check(unsafe { libc::sched_setaffinity(pid, size_of_val(&cpus), cpus.as_ptr().cast()) })
        .map(drop)
}

fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(check_long(returned)?).expect("a descriptor is an int");
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

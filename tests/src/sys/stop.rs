//! Processes that are stopped, and those who wait for them.

use super::{check, check_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn note(_signal: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Handles a signal, with `SA_RESTART` or not.
pub(crate) fn handle(signal: libc::c_int, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: a `sigaction` is made of integers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = flags;
    // SAFETY: the structure lives past the call; the handler changes one atomic number.
    check(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }).map(drop)
}

/// How often the handler ran.
pub(crate) fn handled() -> u32 {
    HANDLED.load(Ordering::Relaxed)
}

/// What `waitpid` says of a child that was stopped, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A signal stopped it.
    Stopped(i32),
    /// It exited with a code.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
}

/// `waitpid(2)` with `WUNTRACED`.
pub(crate) fn wait_for_change(pid: i32) -> io::Result<Change> {
    let mut status = 0;
    // SAFETY: the kernel writes one integer to a live one.
    check(unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) })?;
    Ok(if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status))
    } else if libc::WIFSIGNALED(status) {
        Change::Killed(libc::WTERMSIG(status))
    } else {
        Change::Exited(libc::WEXITSTATUS(status))
    })
}

/// Lets this process's parent trace it.
pub(crate) fn be_traced() -> io::Result<()> {
    // SAFETY: takes numbers.
    check_long(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
}

/// Lets a tracee go on, with this signal in place of the one that stopped it; 0 for none.
pub(crate) fn go_on(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers, and acts on a tracee of ours that is stopped.
    check_long(unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, signal) }).map(drop)
}

/// Traces no more.
pub(crate) fn let_go(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: as in `go_on`.
    check_long(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, signal) }).map(drop)
}

/// `SO_SNDTIMEO`.
pub(crate) fn send_timeout(socket: BorrowedFd<'_>, time: Duration) -> io::Result<()> {
    let time = libc::timeval {
        tv_sec: 0,
        tv_usec: libc::suseconds_t::from(time.subsec_micros().cast_signed()),
    };
    // SAFETY: the pointer and size are those of a live structure, which the kernel only reads.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const time).cast(),
            libc::socklen_t::try_from(size_of::<libc::timeval>()).expect("a small structure"),
        )
    })
    .map(drop)
}

/// Makes a socket answer at once.
pub(crate) fn answer_at_once(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// Waits until a connection that goes on by itself is there, or is not.
pub(crate) fn connected(socket: &impl AsFd) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let mut wanted = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one structure, which lives past the call.
    check(unsafe { libc::poll(&raw mut wanted, 1, 5000) })?;
    let (mut error, mut length) = (0_i32, 4);
    // SAFETY: the kernel writes one integer to a live one, and its size to another.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut length,
        )
    })?;
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

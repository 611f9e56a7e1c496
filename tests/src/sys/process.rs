//! Every way to make a process.

use super::{check, check_long};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with a code.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
}

/// Which side of a fork this is.
#[derive(Clone, Copy)]
pub(crate) enum Fork {
    /// The parent, with the child's pid.
    Parent(i32),
    /// The child.
    Child,
}

/// `fork(2)`, through libc. The caller has one thread.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: callers are actors with a single thread, so no lock is held by a thread that the
    // child lacks.
    Ok(match check(unsafe { libc::fork() })? {
        0 => Fork::Child,
        pid => Fork::Parent(pid),
    })
}

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `clone3(2)` without a stack: a fork with flags. With a cgroup, the child begins in it.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut args = CloneArgs {
        flags,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        ..CloneArgs::default()
    };
    if flags & CLONE_PARENT != 0 {
        args.exit_signal = 0;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: the structure and its size are given as the call wants them; without CLONE_VM the
    // child has a memory of its own and returns here like a fork.
    let pid = check_long(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>())
    })?;
    Ok(match i32::try_from(pid).expect("a pid is an int") {
        0 => Fork::Child,
        pid => Fork::Parent(pid),
    })
}

/// `CLONE_PARENT`: the child becomes a sibling.
pub(crate) const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;
/// `CLONE_INTO_CGROUP`, which libc's `c_int` cannot hold.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What `vfork(2)` does: a child in the parent's memory, while the parent waits. Runs `work` in
/// the child and exits with what it returns.
pub(crate) fn vfork(work: fn() -> i32) -> io::Result<i32> {
    extern "C" fn start(work: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `work` is the pointer to the `fn` below, alive while the parent waits.
        let work = unsafe { *work.cast::<fn() -> i32>() };
        work()
    }
    let mut stack = vec![0_u64; 32 * 1024];
    let mut work = work;
    // SAFETY: the child runs on `stack` (which grows down from its end) and touches the parent's
    // memory only while the parent is stopped in the call; it leaves through `_exit`, which
    // libc's `clone` calls when `start` returns.
    check(unsafe {
        libc::clone(
            start,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut work).cast(),
        )
    })
}

/// Ends the process at once, running nothing of the parent's that a fork copied.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Waits for one child.
pub(crate) fn wait(pid: i32) -> io::Result<End> {
    wait_for(pid, libc::__WALL).map(|(_, end)| end)
}

/// Waits for any child.
pub(crate) fn wait_any() -> io::Result<(i32, End)> {
    wait_for(-1, libc::__WALL)
}

fn wait_for(pid: i32, flags: libc::c_int) -> io::Result<(i32, End)> {
    let mut status = 0;
    // SAFETY: the kernel writes one integer to a live one.
    let waited = check(unsafe { libc::waitpid(pid, &raw mut status, flags) })?;
    let end = if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    };
    Ok((waited, end))
}

/// Replaces the program. Returns only when it cannot.
pub(crate) fn exec(program: &str, arguments: &[&str]) -> io::Error {
    let text = |word: &str| CString::new(word).expect("no zero byte in an argument");
    let path = text(program);
    let words: Vec<CString> = [program].iter().chain(arguments).map(|w| text(w)).collect();
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|w| w.as_ptr()).collect();
    pointers.push(ptr::null());
    // SAFETY: path and arguments are terminated strings that live past the call.
    unsafe { libc::execv(path.as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// `setsid(2)`.
pub(crate) fn setsid() -> io::Result<()> {
    // SAFETY: takes no arguments.
    check(unsafe { libc::setsid() }).map(drop)
}

/// `unshare(2)`.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes a number.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// `kill(2)`. A negative pid is a process group.
pub(crate) fn kill(pid: i32, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends a signal to this process.
pub(crate) fn raise(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: takes a number.
    check(unsafe { libc::raise(signal) }).map(drop)
}

/// Goes before every other process that wants the processor, as `chrt -f 1` does, and so do the
/// children made from now on. A nice value would not do: where every member of a bomb leads a
/// kernel session, each has a share of its own.
pub(crate) fn go_first() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call, which only reads it; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) }).map(drop)
}

/// Goes as everybody else does, and so do the children made from now on.
pub(crate) fn go_with_others() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: as in `go_first`.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameter) }).map(drop)
}

/// Changes the short name of this process, as its children will have it.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: the name is a terminated string; the kernel copies it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Ignores every signal that can be ignored; children are not waited for.
pub(crate) fn ignore_all_signals() {
    for signal in 1..=31 {
        // An alarm keeps an actor from outliving its test.
        if signal != libc::SIGALRM {
            // SAFETY: ignoring needs no handler; those that cannot be ignored are refused.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

/// Ends the calling thread alone, as `pthread_exit` does.
pub(crate) fn exit_thread() -> ! {
    // SAFETY: the thread's stack is not used any more; the process goes on.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("a thread that has ended goes on")
}

/// Ends this process after so many seconds, whatever it is doing.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: takes a number.
    unsafe { libc::alarm(seconds) };
}

/// The ids of this process: real and effective user, real and effective group.
pub(crate) fn ids() -> [u32; 4] {
    // SAFETY: none of the four takes arguments or fails.
    unsafe {
        [
            libc::getuid(),
            libc::geteuid(),
            libc::getgid(),
            libc::getegid(),
        ]
    }
}

/// The supplementary groups of this process.
pub(crate) fn groups() -> io::Result<Vec<u32>> {
    let mut groups = vec![0; 256];
    // SAFETY: the kernel writes at most as many groups as it is told there is room for.
    let count = check(unsafe { libc::getgroups(256, groups.as_mut_ptr()) })?;
    groups.truncate(usize::try_from(count).unwrap_or(0));
    Ok(groups)
}

/// `capset(2)` of what the process has already: the same, in credentials that are new.
pub(crate) fn take_own_capabilities() -> io::Result<()> {
    // `_LINUX_CAPABILITY_VERSION_3`, of this thread.
    let mut header = [0x2008_0522_u32, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: the kernel reads the header's two numbers and writes six.
    check_long(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) })?;
    // SAFETY: the kernel reads both.
    check_long(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) })
        .map(drop)
}

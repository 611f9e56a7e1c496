//! Single calls, as bare as a benchmark wants them.

use super::{check, check_long};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// `getppid(2)`: the shortest way into the kernel and back.
pub(crate) fn getppid() {
    // SAFETY: takes no arguments.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// `open(2)` for reading, and `close(2)`.
pub(crate) fn open_close(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a terminated string.
    let fd = check(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) })?;
    // SAFETY: the descriptor was opened just now and is known to nothing else.
    check(unsafe { libc::close(fd) }).map(drop)
}

/// `stat(2)`.
pub(crate) fn stat(path: &CStr) -> io::Result<()> {
    let mut buffer = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a terminated string; the kernel fills the buffer.
    check(unsafe { libc::stat(path.as_ptr(), buffer.as_mut_ptr()) }).map(drop)
}

/// `execve(2)` with no arguments and no environment. Returns only when it fails.
pub(crate) fn exec_bare(path: &CStr) {
    let arguments = [path.as_ptr(), ptr::null()];
    let environment = [ptr::null()];
    // SAFETY: the path is a terminated string; both arrays end with null.
    let _ = check_long(libc::c_long::from(unsafe {
        libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr())
    }));
}

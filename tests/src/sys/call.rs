//! Single calls, as bare as a benchmark wants them.

use super::check;
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

/// `open(2)` of a name that nothing has, and `close(2)`.
pub(crate) fn create(path: &CStr) -> io::Result<()> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    // SAFETY: the path is a terminated string.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags, 0o600) })?;
    // SAFETY: as in `open_close`.
    check(unsafe { libc::close(fd) }).map(drop)
}

/// `unlink(2)`.
pub(crate) fn unlink(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::unlink(path.as_ptr()) }).map(drop)
}

/// `rename(2)`.
pub(crate) fn rename(old: &CStr, new: &CStr) -> io::Result<()> {
    // SAFETY: both paths are terminated strings.
    check(unsafe { libc::rename(old.as_ptr(), new.as_ptr()) }).map(drop)
}

/// `execve(2)` with no arguments and no environment. Returns only when it fails, with the reason.
pub(crate) fn exec_bare(path: &CStr) -> io::Error {
    let arguments = [path.as_ptr(), ptr::null()];
    let environment = [ptr::null()];
    // SAFETY: the path is a terminated string; both arrays end with null.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

//! Every way to execute a program.

use super::process::{self, End, Fork};
use super::{check, check_long};
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Words as the kernel takes them: pointers, the last of which is null. The strings must outlive
/// the pointers.
fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words
        .iter()
        .map(|word| word.as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn texts(words: &[&str]) -> Vec<CString> {
    words.iter().map(|word| text(word)).collect()
}

fn text(word: &str) -> CString {
    CString::new(word).expect("no zero byte in a word")
}

/// `execve(2)` with all words as given, the program's own name included, and this environment.
/// Returns only when it fails.
pub(crate) fn execve(path: &str, words: &[&str]) -> io::Error {
    let (path, words) = (text(path), texts(words));
    // SAFETY: path and words are terminated strings that live past the call.
    unsafe { libc::execv(path.as_ptr(), pointers(&words).as_ptr()) };
    io::Error::last_os_error()
}

/// `execveat(2)`: a path below an open folder, or with an empty path what is open itself.
pub(crate) fn execveat(at: BorrowedFd<'_>, path: &str, words: &[&str]) -> io::Error {
    let flags = if path.is_empty() {
        libc::AT_EMPTY_PATH
    } else {
        0
    };
    let (path, words) = (text(path), texts(words));
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: path and words are terminated strings that live past the call.
    let returned = check_long(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            at.as_raw_fd(),
            path.as_ptr(),
            pointers(&words).as_ptr(),
            environment.as_ptr(),
            flags,
        )
    });
    returned.map_or_else(|error| error, |_| io::Error::other("execveat came back"))
}

/// `posix_spawn(3)`, waited for.
pub(crate) fn spawn(path: &str, words: &[&str]) -> io::Result<End> {
    let (path, words) = (text(path), texts(words));
    let environment = [ptr::null_mut::<libc::c_char>()];
    let mut pid = 0;
    let pointers: Vec<*mut libc::c_char> = pointers(&words)
        .into_iter()
        .map(<*const _>::cast_mut)
        .collect();
    // SAFETY: path and words are terminated strings that live past the call, which changes none.
    let errno = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            ptr::null(),
            ptr::null(),
            pointers.as_ptr(),
            environment.as_ptr(),
        )
    };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno));
    }
    process::wait(pid)
}

/// Executes in a child. How the program ended, or why it did not begin: `work` comes back only
/// with an error, which goes through a pipe that every execve closes.
pub(crate) fn in_child(work: impl FnOnce() -> io::Error) -> io::Result<End> {
    let [reader, writer] = pipe()?;
    match process::fork()? {
        Fork::Child => {
            let errno = work().raw_os_error().unwrap_or(-1);
            let bytes = errno.to_ne_bytes();
            // SAFETY: the bytes live past the call.
            unsafe { libc::write(writer.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
            process::exit_now(127)
        }
        Fork::Parent(pid) => {
            drop(writer);
            let mut bytes = Vec::new();
            std::fs::File::from(reader).read_to_end(&mut bytes)?;
            let end = process::wait(pid)?;
            match bytes.first_chunk() {
                Some(errno) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(*errno))),
                None => Ok(end),
            }
        }
    }
}

fn pipe() -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors into an array of two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both were opened just now and are known to nothing else.
    Ok(ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) }))
}

/// `memfd_create(2)`, which an execve closes.
pub(crate) fn memory_file() -> io::Result<std::fs::File> {
    // SAFETY: the name is a terminated string.
    let fd = check(unsafe { libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: opened just now and known to nothing else.
    Ok(unsafe { std::fs::File::from_raw_fd(fd) })
}

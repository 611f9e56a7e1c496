//! The host around a test: mounts, and nothing more yet.

use super::{check, process};
use std::ffi::CString;
use std::io;
use std::ptr;

/// Has what this process mounts from now on seen by it and by those that it starts alone.
pub(crate) fn keep_mounts_to_ourselves() -> io::Result<()> {
    process::unshare(libc::CLONE_NEWNS)?;
    mount(None, "/", libc::MS_REC | libc::MS_PRIVATE)
}

/// `mount(2)` with flags only, or from a source.
pub(crate) fn mount(source: Option<&str>, target: &str, flags: libc::c_ulong) -> io::Result<()> {
    let text = |word: &str| CString::new(word).expect("no zero byte in a path");
    let source = source.map(text);
    let target = text(target);
    // SAFETY: the strings are terminated and live past the call; the rest is null.
    check(unsafe {
        libc::mount(
            source.as_ref().map_or(ptr::null(), |s| s.as_ptr()),
            target.as_ptr(),
            ptr::null(),
            flags,
            ptr::null(),
        )
    })
    .map(drop)
}

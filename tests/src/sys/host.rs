//! The host around a test: mounts, and nothing more yet.

use super::check;
use std::ffi::CString;
use std::io;
use std::ptr;

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

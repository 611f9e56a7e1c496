//! Where the processor is no x86-64, there are no other ways into the kernel that a 64-bit program could take.

use std::ffi::CStr;
use std::io;

fn none() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSYS)
}

pub(crate) fn has_i386() -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn kill_i386(_: i32, _: i32) -> io::Result<()> {
    Err(none())
}

pub(crate) fn open_i386(_: &CStr) -> io::Result<()> {
    Err(none())
}

pub(crate) fn connect_i386(_: i32, _: &[u8]) -> io::Result<()> {
    Err(none())
}

pub(crate) fn kill_x32(_: i32, _: i32) -> io::Result<()> {
    Err(none())
}

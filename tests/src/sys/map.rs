//! Entries of the kernel's maps, whatever their values are made of.

use super::check_long;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The part of `union bpf_attr` that is about an entry.
#[repr(C)]
struct Attribute {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Puts an entry, whose value has the size of the map's.
pub(crate) fn put(map: BorrowedFd<'_>, key: u64, value: &[u8]) -> io::Result<()> {
    put_under(map, &key.to_ne_bytes(), value)
}

/// The same under a key of any length, which must be the map's.
pub(crate) fn put_under(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
    call(BPF_MAP_UPDATE_ELEM, map, key, value.as_ptr() as u64)
}

/// Removes an entry.
pub(crate) fn remove(map: BorrowedFd<'_>, key: u64) -> io::Result<()> {
    remove_under(map, &key.to_ne_bytes())
}

/// The same under a key of any length.
pub(crate) fn remove_under(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
    call(BPF_MAP_DELETE_ELEM, map, key, 0)
}

fn call(command: libc::c_int, map: BorrowedFd<'_>, key: &[u8], value: u64) -> io::Result<()> {
    let attribute = Attribute {
        map: map.as_raw_fd().unsigned_abs(),
        padding: 0,
        key: key.as_ptr() as u64,
        value,
        flags: 0,
    };
    // SAFETY: the kernel reads the attribute, the key and the value, all of which live past the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const attribute,
            size_of::<Attribute>(),
        )
    })
    .map(drop)
}

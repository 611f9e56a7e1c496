//! Memory that a process shares with all that descend from it.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Bytes that all descendants of the caller see, zero at first.
pub(crate) fn bytes(count: usize) -> io::Result<&'static [AtomicU8]> {
    // SAFETY: asks for new memory, which is mapped nowhere else and never unmapped.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            count,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is as long, zeroed, and there for ever.
    Ok(unsafe { std::slice::from_raw_parts(memory.cast(), count) })
}

/// A number that all descendants of its maker see.
pub(crate) struct Counter {
    number: &'static AtomicU32,
    maker: u32,
}

impl Counter {
    /// A new number.
    pub(crate) fn new(value: u32) -> io::Result<Self> {
        let memory = bytes(size_of::<AtomicU32>())?;
        // SAFETY: a mapping begins with a page: aligned, large enough, zeroed, and there for ever.
        let number = unsafe { &*memory.as_ptr().cast::<AtomicU32>() };
        number.store(value, Ordering::SeqCst);
        Ok(Self {
            number,
            maker: std::process::id(),
        })
    }

    /// Adds, and gives what was there before.
    pub(crate) fn add(&self, by: u32) -> u32 {
        self.number.fetch_add(by, Ordering::SeqCst)
    }

    /// Subtracts.
    pub(crate) fn subtract(&self, by: u32) {
        self.number.fetch_sub(by, Ordering::SeqCst);
    }

    /// Whether this process made it.
    pub(crate) fn is_mine(&self) -> bool {
        self.maker == std::process::id()
    }
}

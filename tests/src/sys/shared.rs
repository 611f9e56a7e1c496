//! Memory that a process shares with all that descend from it.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// A number that all descendants of its maker see.
pub(crate) struct Counter {
    number: &'static AtomicU32,
    maker: u32,
}

impl Counter {
    /// A new number.
    pub(crate) fn new(value: u32) -> io::Result<Self> {
        // SAFETY: asks for new memory, which is mapped nowhere else and never unmapped.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<AtomicU32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is a page: aligned, large enough, zeroed, and there for ever.
        let number = unsafe { &*memory.cast::<AtomicU32>() };
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

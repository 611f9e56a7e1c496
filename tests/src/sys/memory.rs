//! Memory that becomes code, in every way there is.

use super::{check, check_long};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Bytes of every mapping here.
const PAGE: usize = 4096;
/// A function that returns [`ANSWER`]: `mov`, `ret`.
#[cfg(target_arch = "x86_64")]
const CODE: [u8; 6] = [0xb8, ANSWER, 0, 0, 0, 0xc3];
/// A function that returns [`ANSWER`]: `mov`, which has its number from bit 5 on, and `ret`.
#[cfg(target_arch = "aarch64")]
const CODE: [u8; 8] = [ANSWER << 5, ANSWER >> 3, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];
/// What the code answers.
const ANSWER: u8 = 42;

/// `PROT_READ`.
pub(crate) const READ: libc::c_int = libc::PROT_READ;
/// `PROT_WRITE`.
pub(crate) const WRITE: libc::c_int = libc::PROT_WRITE;
/// `PROT_EXEC`.
pub(crate) const RUN: libc::c_int = libc::PROT_EXEC;

/// A page that is mapped.
pub(crate) struct Page {
    at: *mut libc::c_void,
    unmap: fn(*mut libc::c_void),
}

fn unmap(at: *mut libc::c_void) {
    // SAFETY: the page was mapped here, and nothing refers to it any more.
    unsafe { libc::munmap(at, PAGE) };
}

fn detach(at: *mut libc::c_void) {
    // SAFETY: the segment was attached here, and nothing refers to it any more.
    unsafe { libc::shmdt(at) };
}

impl Page {
    /// `mmap(2)`, of memory or of a file's beginning, private or shared.
    pub(crate) fn new(
        file: Option<BorrowedFd<'_>>,
        protection: libc::c_int,
        sharing: libc::c_int,
    ) -> io::Result<Self> {
        let (fd, flags) = match file {
            Some(file) => (file.as_raw_fd(), sharing),
            None => (-1, sharing | libc::MAP_ANONYMOUS),
        };
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { at, unmap })
    }

    /// `shmat(2)` of a new segment, which goes with the last who has it.
    pub(crate) fn of_segment(flags: libc::c_int) -> io::Result<Self> {
        // SAFETY: takes numbers.
        let id = check(unsafe { libc::shmget(libc::IPC_PRIVATE, PAGE, 0o700) })?;
        // SAFETY: attaches the segment at an address that the kernel chooses.
        let at = unsafe { libc::shmat(id, ptr::null(), flags) };
        let error = io::Error::last_os_error();
        // SAFETY: takes numbers.
        unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) };
        // What a failed `shmat` gives is -1, as `mmap`'s does.
        if at == libc::MAP_FAILED {
            return Err(error);
        }
        Ok(Self { at, unmap: detach })
    }

    /// A page more of the heap.
    pub(crate) fn of_heap() -> io::Result<Self> {
        // SAFETY: the pages are taken for good, and nothing else takes them meanwhile.
        let at = unsafe { libc::sbrk(2 * PAGE as libc::intptr_t) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ahead = at.align_offset(PAGE);
        Ok(Self {
            at: at.wrapping_byte_add(ahead),
            unmap: |_| {},
        })
    }

    /// `mprotect(2)`.
    pub(crate) fn protect(&self, protection: libc::c_int) -> io::Result<()> {
        // SAFETY: the page is our own, and nothing else refers to it.
        check(unsafe { libc::mprotect(self.at, PAGE, protection) }).map(drop)
    }

    /// `pkey_mprotect(2)` without a key.
    pub(crate) fn protect_by_key(&self, protection: libc::c_int) -> io::Result<()> {
        // SAFETY: as in `protect`.
        check_long(unsafe { libc::syscall(libc::SYS_pkey_mprotect, self.at, PAGE, protection, -1) })
            .map(drop)
    }

    /// Where it lies.
    pub(crate) fn address(&self) -> u64 {
        self.at as u64
    }

    /// Writes code into it. It must be writable.
    pub(crate) fn fill(&self) {
        // SAFETY: the caller has mapped it to be written to, and it is larger than the code.
        unsafe { ptr::copy_nonoverlapping(CODE.as_ptr(), self.at.cast::<u8>(), CODE.len()) };
    }

    /// This processor sees what is written into code.
    #[cfg(target_arch = "x86_64")]
    fn let_the_processor_see(&self) {}

    /// This processor may still have what was in the place of the code.
    #[cfg(target_arch = "aarch64")]
    fn let_the_processor_see(&self) {
        // SAFETY: the page is mapped, and no other instructions are in it than those that were written.
        unsafe {
            std::arch::asm!("dc cvau, {at}", "dsb ish", "ic ivau, {at}", "dsb ish", "isb", at = in(reg) self.at);
        }
    }

    /// Runs what was written into it. It must be executable.
    pub(crate) fn run(&self) -> io::Result<()> {
        self.let_the_processor_see();
        // SAFETY: the page holds a whole function of that type.
        let function: extern "C" fn() -> i32 = unsafe { mem::transmute(self.at) };
        match function() {
            answer if answer == i32::from(ANSWER) => Ok(()),
            other => Err(io::Error::other(format!("the code answered {other}"))),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        (self.unmap)(self.at);
    }
}

/// Code in the bytes of a file.
pub(crate) fn code() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..CODE.len()].copy_from_slice(&CODE);
    page
}

/// `personality(2)` by which whatever can be read can be executed.
pub(crate) fn read_implies_run() -> io::Result<()> {
    // SAFETY: takes a number.
    let before = check(unsafe { libc::personality(0xffff_ffff) })?;
    let with = libc::c_ulong::from(before.unsigned_abs())
        | libc::c_ulong::from(libc::READ_IMPLIES_EXEC.unsigned_abs());
    // SAFETY: takes a number.
    check(unsafe { libc::personality(with) }).map(drop)
}

//! What differs by processor: in which registers a system call's words lie, and which number a call has. The
//! kernel programs are the same object on all of them; the loader tells them which they run on.

use super::offsets::{Field, element, required};

/// A processor that we support.
#[derive(Debug)]
pub struct Processor {
    /// Where the words of a system call lie.
    pub registers: &'static [Field],
    /// Globals of the kernel programs that are no places, and their values.
    pub numbers: &'static [(&'static str, u32)],
}

/// The one that this program is built for.
#[cfg(target_arch = "x86_64")]
pub const HERE: &Processor = &X86_64;
/// The one that this program is built for.
#[cfg(target_arch = "aarch64")]
pub const HERE: &Processor = &AARCH64;

/// The kernel puts `-ENOSYS` where the result is to be, before it makes the call.
pub const X86_64: Processor = Processor {
    registers: &[
        required("REGS_CALL", "pt_regs", "orig_ax", 8),
        required("REGS_SECOND", "pt_regs", "si", 8),
        required("REGS_THIRD", "pt_regs", "dx", 8),
        required("REGS_RESULT", "pt_regs", "ax", 8),
    ],
    numbers: &[
        ("REGS_FIRST", 0),
        ("CALL_EXECVE", 59),
        ("CALL_EXECVEAT", 322),
        ("CALL_OPEN_BY_HANDLE", 304),
        // As i386 counts.
        ("CALL_OPEN_BY_HANDLE_32", 342),
    ],
};

/// The first argument lies where the result is to be, and the kernel keeps it elsewhere too.
pub const AARCH64: Processor = Processor {
    registers: &[
        required("REGS_CALL", "pt_regs", "syscallno", 4),
        element("REGS_SECOND", "pt_regs", "regs", 8, 1),
        element("REGS_THIRD", "pt_regs", "regs", 8, 2),
        element("REGS_RESULT", "pt_regs", "regs", 8, 0),
        required("REGS_FIRST", "pt_regs", "orig_x0", 8),
    ],
    numbers: &[
        ("CALL_EXECVE", 221),
        ("CALL_EXECVEAT", 281),
        ("CALL_OPEN_BY_HANDLE", 265),
        // As 32-bit programs count.
        ("CALL_OPEN_BY_HANDLE_32", 371),
    ],
};

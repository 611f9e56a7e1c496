//! A program that is about to be executed.

use super::file::File;
use super::memory::Typed;
use super::offsets::{
    BINPRM_ARGUMENTS, BINPRM_FILE, BINPRM_FILENAME, BINPRM_INTERPRETER, BINPRM_START, BINPRM_TOP,
};
use core::ffi::c_void;

/// The kernel's `linux_binprm`, which it hands to each hook of one execve.
#[derive(Clone, Copy)]
pub struct Binprm(Typed);

impl Binprm {
    /// The one that a hook was given.
    #[inline(always)]
    pub fn given(binprm: *const c_void) -> Self {
        Self(Typed::given(binprm))
    }

    /// Whether it is about the program that the caller named, and not about an interpreter of it:
    /// `bprm_change_interp` makes a copy of every other name.
    #[inline(always)]
    pub fn is_first(self) -> bool {
        self.0.load::<u64>(&BINPRM_INTERPRETER) == self.0.load::<u64>(&BINPRM_FILENAME)
    }

    /// The program's file.
    #[inline(always)]
    pub fn file(self) -> Option<File> {
        self.0.follow(&BINPRM_FILE).map(File::of)
    }

    /// The file's address. A number, read as one, for functions that take numbers only.
    #[inline(always)]
    pub fn file_address(self) -> u64 {
        self.0.address().read(&BINPRM_FILE).unwrap_or(0)
    }

    /// Whether the file names an interpreter in its first line.
    #[inline(always)]
    pub fn is_script(self) -> bool {
        self.0.load::<u16>(&BINPRM_START) == u16::from_le_bytes(*b"#!")
    }

    /// Words that the program is given, its own name included.
    #[inline(always)]
    pub fn words(self) -> u32 {
        self.0.load::<u32>(&BINPRM_ARGUMENTS)
    }

    /// Where the words lie, once the new memory is the task's.
    #[inline(always)]
    pub fn top(self) -> u64 {
        self.0.load::<u64>(&BINPRM_TOP)
    }
}

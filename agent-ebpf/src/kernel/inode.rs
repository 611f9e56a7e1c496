//! What a file is, apart from its name.

use super::memory::Address;
use super::offsets::{
    FILE_FLAGS, FILE_INODE, INODE_MODE, INODE_SB, PROC_INODE_MODE, PROC_INODE_PID, SB_MAGIC,
};
use super::task::Task;
use core::ffi::c_void;

/// `S_IFMT` and `S_IFBLK`.
const TYPE: u16 = 0o170_000;
const BLOCK: u16 = 0o060_000;

/// `O_ACCMODE` and `O_TRUNC`: anything else than zero of these changes the file.
const CHANGING: u32 = 0o3 | 0o1000;

/// An inode of the kernel.
#[derive(Clone, Copy)]
pub struct Inode(Address);

/// Whose part of procfs a file is.
pub enum Owner {
    /// The whole kernel's.
    Kernel,
    /// A process's, which may be gone.
    Process(Option<Task>),
}

impl Inode {
    /// An inode that a hook was given.
    #[inline(always)]
    pub fn given(inode: *const c_void) -> Self {
        Self(Address(inode as u64))
    }

    /// The inode of an open file, and whether it was opened to be changed.
    #[inline(always)]
    pub fn of_file(file: *const c_void) -> Option<(Self, bool)> {
        let file = Address(file as u64);
        let flags: u32 = file.read(&FILE_FLAGS)?;
        let inode: u64 = file.read(&FILE_INODE)?;
        Some((Self(Address(inode)), flags & CHANGING != 0))
    }

    /// Whether it is a block device.
    #[inline(always)]
    pub fn is_disk(self) -> Option<bool> {
        let mode: u16 = self.0.read(&INODE_MODE)?;
        Some(mode & TYPE == BLOCK)
    }

    /// The magic number of its file system.
    #[inline(always)]
    pub fn magic(self) -> Option<u64> {
        let sb: u64 = self.0.read(&INODE_SB)?;
        Address(sb).read(&SB_MAGIC)
    }

    /// Whose it is. Only for an inode of procfs.
    #[inline(always)]
    pub fn proc_owner(self) -> Option<Owner> {
        let proc_inode = self.0.around(&INODE_MODE, &PROC_INODE_MODE);
        let pid: u64 = proc_inode.read(&PROC_INODE_PID)?;
        if pid == 0 {
            return Some(Owner::Kernel);
        }
        Some(Owner::Process(Task::of_pid(Address(pid))))
    }
}

//! What a file is, apart from its name.

use super::memory::{Address, Typed};
use super::offsets::{INODE_MODE, INODE_SB, PROC_INODE_MODE, PROC_INODE_PID, SB_MAGIC};
use super::task::Task;
use core::ffi::c_void;

/// `S_IFMT`, `S_IFCHR`, `S_IFBLK` and `S_IFSOCK`.
const TYPE: u16 = 0o170_000;
const CHARACTER: u16 = 0o020_000;
const BLOCK: u16 = 0o060_000;
const SOCKET: u16 = 0o140_000;

/// `SOCKFS_MAGIC`: sockets themselves, and not the names of Unix sockets.
const SOCKETS: u64 = 0x534f_434b;

/// An inode that a hook was given, or that it found from there.
#[derive(Clone, Copy)]
pub struct Inode(pub Typed);

/// An inode whose address was read from the kernel's memory.
#[derive(Clone, Copy)]
pub struct InodeAddress(pub Address);

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
        Self(Typed::given(inode))
    }

    /// Where it lies.
    #[inline(always)]
    pub fn address(self) -> InodeAddress {
        InodeAddress(self.0.address())
    }

    /// Whether it is a block device.
    #[inline(always)]
    pub fn is_disk(self) -> bool {
        self.0.load::<u16>(&INODE_MODE) & TYPE == BLOCK
    }

    /// Whether it is a device that is none of blocks: a terminal, and others.
    #[inline(always)]
    pub fn is_character_device(self) -> bool {
        self.0.load::<u16>(&INODE_MODE) & TYPE == CHARACTER
    }

    /// Whether it is a socket.
    #[inline(always)]
    pub fn is_socket(self) -> bool {
        self.0.load::<u16>(&INODE_MODE) & TYPE == SOCKET && self.magic() == Some(SOCKETS)
    }

    /// The magic number of its file system.
    #[inline(always)]
    pub fn magic(self) -> Option<u64> {
        Some(self.0.follow(&INODE_SB)?.load(&SB_MAGIC))
    }
}

impl InodeAddress {
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

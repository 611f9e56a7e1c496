//! Files, and the names by which they are reached.

use super::inode::Inode;
use super::memory::{Address, Typed};
use super::offsets::{
    AREA_COPIED, AREA_FILE, AREA_FLAGS, ATTRIBUTES_VALID, DENTRY_HASHED, DENTRY_INODE, DENTRY_NAME,
    DENTRY_PARENT, DENTRY_SHORT_NAME, DENTRY_SUPER, FILE_DENTRY, FILE_FLAGS, FILE_INODE, FILE_MODE,
    INODE_LINKS, SB_MAGIC, SUPER_ROOT,
};
use agent_common::short::SHORT_WORDS;
use aya_ebpf::Global;
use core::ffi::c_void;

const MODE_READ: u32 = 1;
const MODE_WRITE_BIT: u32 = 1;
const MODE_CREATED_BIT: u32 = 20;
/// `__FMODE_EXEC` in `f_flags`: the kernel opens it for `execve`. `open(2)` cannot set it, `mq_open` can.
const FLAG_EXEC: u32 = 0x20;
/// `O_TRUNC`.
const FLAG_TRUNCATE_BIT: u32 = 9;
/// `__O_TMPFILE`.
const FLAG_TEMPORARY_BIT: u32 = 22;
/// `O_ACCMODE` and `O_TRUNC`: anything else than zero of these changes the file.
const FLAGS_CHANGING: u32 = 0o3 | 0o1000;
const VM_EXEC: u64 = 4;
const ATTR_SIZE: u32 = 1 << 3;
const ATTR_FORCE: u32 = 1 << 9;
const ATTR_FILE: u32 = 1 << 13;

/// `PIPEFS_MAGIC`.
const PIPES: u64 = 0x5049_5045;
/// `NSFS_MAGIC`: what is done with a namespace is asked elsewhere.
const NAMESPACES: u64 = 0x6e73_6673;
/// `PID_FS_MAGIC`: the same of a process, whose descriptor is a file since 6.9.
const PROCESSES: u64 = 0x5049_4446;
/// `TMPFS_MAGIC`, which the memory behind `memfd_create` has, too.
const MEMORY: u64 = 0x0102_1994;

/// `MQUEUE_MAGIC`.
const QUEUES: u64 = 0x1980_0202;

/// `EXT4_SUPER_MAGIC`, which ext2 and ext3 have, too.
const EXT: u64 = 0xef53;

/// `XFS_SUPER_MAGIC`.
const XFS: u64 = 0x5846_5342;

/// `HUGETLBFS_MAGIC`: the same in large pages.
const LARGE_PAGES: u64 = 0x9584_58f6;

/// The first field of a structure.
static START: Global<u32> = Global::new(0);

/// A name in a directory, and what it names, if anything.
#[derive(Clone, Copy)]
pub struct Dentry(pub Typed);

impl Dentry {
    /// A dentry that a hook was given.
    #[inline(always)]
    pub fn given(dentry: *const c_void) -> Self {
        Self(Typed::given(dentry))
    }

    /// The directory it lies in; itself where there is none.
    #[inline(always)]
    pub fn parent(self) -> Option<Self> {
        self.0.follow(&DENTRY_PARENT).map(Self)
    }

    /// Its file system.
    #[inline(always)]
    pub fn super_block(self) -> Option<Typed> {
        self.0.follow(&DENTRY_SUPER)
    }

    /// The bytes of a name that is short enough to lie in the dentry, and what lies behind them; nothing
    /// of a longer one.
    #[inline(always)]
    pub fn short_name(self, length: u32) -> Option<[u64; SHORT_WORDS]> {
        let within = u64::from(DENTRY_SHORT_NAME.load());
        if within == 0 || length as usize >= SHORT_WORDS * 8 {
            return None;
        }
        if self.0.load::<u64>(&DENTRY_NAME) != self.0.address().0.wrapping_add(within) {
            return None;
        }
        // What is not needed is not loaded: such loads are dear.
        let word = |at: usize| self.0.load_behind(&DENTRY_SHORT_NAME, at * 8);
        let mut words = [word(0), 0, 0, 0];
        if length > 8 {
            words[1] = word(1);
        }
        if length > 16 {
            (words[2], words[3]) = (word(2), word(3));
        }
        Some(words)
    }

    /// Whether something has the name.
    #[inline(always)]
    pub fn exists(self) -> bool {
        self.inode() != 0
    }

    /// Whether the kernel has looked what the name stands for: it hashes a name when it has.
    #[inline(always)]
    pub fn is_known(self) -> bool {
        self.0.load::<u64>(&DENTRY_HASHED) != 0
    }

    /// What a directory's name, which has names in it, names.
    #[inline(always)]
    pub fn named(self) -> Option<Typed> {
        self.0.follow(&DENTRY_INODE)
    }

    /// The address of what it names, or 0. A number, read as one: up to 6.12 the verifier takes this
    /// pointer for one that is never null, and drops the look at it.
    #[inline(always)]
    pub fn inode(self) -> u64 {
        self.0.address().read(&DENTRY_INODE).unwrap_or(0)
    }
}

/// Where a name that leads to no root of a file system leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// To an object of the kernel's that is no file: a pipe, a namespace, a process.
    Object,
    /// To memory with a descriptor.
    Memory,
    /// Anywhere else.
    Other,
}

/// What a file system is by itself.
#[derive(Clone, Copy)]
pub struct Super(pub Typed);

impl Super {
    /// The root of all its names.
    #[inline(always)]
    pub fn root(self) -> Option<Dentry> {
        self.0.follow(&SUPER_ROOT).map(Dentry)
    }

    /// Whether no two of its directories ever have the same inode number and generation. Known of few: what btrfs takes
    /// a snapshot of has the numbers and generations of the original, in the same file system.
    #[inline(always)]
    pub fn tells_directories_apart(self) -> bool {
        matches!(self.0.load::<u64>(&SB_MAGIC), MEMORY | EXT | XFS)
    }

    /// What a file of it is that lies in no directory.
    #[inline(always)]
    pub fn detached(self) -> Detached {
        match self.0.load::<u64>(&SB_MAGIC) {
            PIPES | NAMESPACES | PROCESSES => Detached::Object,
            MEMORY | LARGE_PAGES => Detached::Memory,
            _ => Detached::Other,
        }
    }
}

/// An open file.
#[derive(Clone, Copy)]
pub struct File(Typed);

impl File {
    /// A file that a hook was given.
    #[inline(always)]
    pub fn given(file: *const c_void) -> Self {
        Self(Typed::given(file))
    }

    /// For a helper that wants the kernel's own type.
    #[inline(always)]
    pub fn pointer<T>(self) -> *mut T {
        self.0.pointer()
    }

    /// The file of a mapping, if it is one of a file.
    #[inline(always)]
    pub fn of_area(area: *const c_void) -> Option<Self> {
        Typed::given(area).follow(&AREA_FILE).map(Self)
    }

    /// By which name it was opened.
    #[inline(always)]
    pub fn dentry(self) -> Option<Dentry> {
        self.0.follow(&FILE_DENTRY).map(Dentry)
    }

    /// Whether it is what its name names. Not so for the file below an overlay's, which before 6.6
    /// is opened by the overlay's name (`open_with_fake_path`).
    #[inline(always)]
    pub fn is_of(self, dentry: Dentry) -> bool {
        self.0.load::<u64>(&FILE_INODE) == dentry.0.load::<u64>(&DENTRY_INODE)
    }

    /// 1 if it can be read through this file, or 0.
    #[inline(always)]
    pub fn reads(self) -> u64 {
        u64::from(self.0.load::<u32>(&FILE_MODE) & MODE_READ)
    }

    /// 1 if its contents change through this file, or by its opening; or 0.
    #[inline(always)]
    pub fn writes(self) -> u64 {
        let written = self.0.load::<u32>(&FILE_MODE) >> MODE_WRITE_BIT;
        let truncated = self.0.load::<u32>(&FILE_FLAGS) >> FLAG_TRUNCATE_BIT;
        u64::from((written | truncated) & 1)
    }

    /// 1 if it comes into being without a name, or 0.
    #[inline(always)]
    pub fn is_temporary(self) -> u64 {
        u64::from(self.0.load::<u32>(&FILE_FLAGS) >> FLAG_TEMPORARY_BIT & 1)
    }

    /// 1 if it has come into being by being opened, or 0.
    #[inline(always)]
    pub fn is_created(self) -> u64 {
        u64::from(self.0.load::<u32>(&FILE_MODE) >> MODE_CREATED_BIT & 1)
    }

    /// Whether no name leads to what is open: it was removed, or never had one. Of several names
    /// the one by which it was opened counts.
    #[inline(always)]
    pub fn is_nameless(self, dentry: Dentry) -> bool {
        let links = match self.0.follow(&FILE_INODE) {
            Some(inode) => inode.load::<u32>(&INODE_LINKS),
            None => 0,
        };
        links == 0 || !dentry.is_known()
    }

    /// The file of a program.
    #[inline(always)]
    pub fn of(file: Typed) -> Self {
        Self(file)
    }

    /// Whether the kernel opened it to execute it.
    #[inline(always)]
    pub fn is_executed(self) -> bool {
        self.0.load::<u32>(&FILE_FLAGS) & FLAG_EXEC != 0
            && self.inode().and_then(Inode::magic) != Some(QUEUES)
    }

    /// What is open.
    #[inline(always)]
    pub fn inode(self) -> Option<Inode> {
        self.0.follow(&FILE_INODE).map(Inode)
    }

    /// Whether it was opened to be changed.
    #[inline(always)]
    pub fn is_to_change(self) -> bool {
        self.0.load::<u32>(&FILE_FLAGS) & FLAGS_CHANGING != 0
    }

    /// Its address, to compare.
    #[inline(always)]
    pub fn address(self) -> Address {
        self.0.address()
    }
}

/// The address of a hook's first argument. The verifier of some kernels takes a pointer that can be
/// null for one that cannot, and drops the look at it; it knows nothing of a number.
#[inline(always)]
pub fn first_argument(ctx: *const c_void) -> u64 {
    Address(ctx as u64).read(&START).unwrap_or(0)
}

/// The first arguments of a hook, as numbers: pointers are nothing that a global function takes.
#[inline(always)]
pub fn arguments(ctx: *const c_void) -> [u64; 4] {
    Address(ctx as u64).read(&START).unwrap_or([0; 4])
}

/// Whether a mapping is one of code already.
#[inline(always)]
pub fn is_code(area: *const c_void) -> bool {
    Typed::given(area).load::<u64>(&AREA_FLAGS) & VM_EXEC != 0
}

/// Whether a private mapping of a file has contents of its own. A number, as in [`Dentry::inode`];
/// what cannot be read counts as changed.
#[inline(always)]
pub fn is_changed(area: *const c_void) -> bool {
    let copied = Typed::given(area).address().read::<u64>(&AREA_COPIED);
    copied.is_none_or(|copied| copied != 0)
}

/// Whether attributes change by the caller's will, and not as a consequence of what was judged
/// before: truncation through a file that was opened for writing, by its opening even, or writing
/// to a file that loses its set-user-id bit. Who truncates it by its name takes that bit away, too, and
/// has not been asked.
#[inline(always)]
pub fn is_wanted(attributes: *const c_void) -> bool {
    let valid: u32 = Typed::given(attributes).load(&ATTRIBUTES_VALID);
    let is_consequence = valid & ATTR_FORCE != 0 && valid & ATTR_SIZE == 0;
    valid & ATTR_FILE == 0 && !is_consequence
}

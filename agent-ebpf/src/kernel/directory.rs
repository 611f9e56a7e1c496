//! Directories that a task knows from earlier walks, with the agent's rules for what lies under them.
//!
//! A directory's path changes only when it, or one above it, gets another name, and all that is counted by
//! the kernel (`rename_lock`). So what was found once for a directory holds until the count or
//! the table of paths has changed. A directory is known by its inode's number and generation, without
//! which a number may be given again: where a file system has no generations, as overlays have none,
//! or gives them twice, each walk goes up to the root.

use super::file::{Dentry, Super};
use super::hash;
use super::lists;
use super::memory::Address;
use super::offsets::{INODE_GENERATION, INODE_NUMBER, RENAME_LOCK};
use super::path::{Path, Walk};
use agent_common::path::{ACCESS_SLOTS, Index, Lanes};
use core::arch::asm;

/// Directories that are known of one task.
pub(super) const DIRECTORIES: usize = 4;

/// Which directory, and when.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Identity {
    /// The number of its inode.
    pub(super) inode: u64,
    /// The address of its file system.
    pub(super) super_block: u64,
    /// [`Index::generation`]; 0 where nothing is known.
    pub(super) index: u64,
    /// The generation of its inode; 0 in what a file system was made with.
    pub(super) generation: u32,
    /// How many names had changed, on the whole machine.
    pub(super) renames: u32,
}

/// What is known of a directory.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Directory {
    /// Which, and when.
    pub(super) id: Identity,
    /// The policy whose rules these are.
    pub(super) policy: u32,
    pub(super) reserved: u32,
    /// Its path.
    pub(super) path: Lanes,
    /// The agent's rules for what lies under it, for each access.
    pub(super) under: [u32; ACCESS_SLOTS],
    pub(super) unused: u64,
}

const _: () = assert!(size_of::<Directory>() == 128 && DIRECTORIES == 4);

impl Directory {
    /// The number of its inode, but for the highest bit.
    #[inline(always)]
    pub fn number(&self) -> u64 {
        self.id.inode & (u64::MAX >> 1)
    }
}

/// What the running task knows under a policy of the directory that a name lies in.
#[inline(always)]
pub fn find(path: Path, dentry: Dentry, policy: u32) -> Option<&'static Directory> {
    let id = id_of(path.index, dentry)?;
    // SAFETY: the pointer came from a successful lookup, and the entry outlives the task. The address of the file
    // system, which is a pointer to the verifier, is compared by itself.
    unsafe {
        let known = of(path.walk, id.inode);
        let kept = &raw const (*known).id;
        let difference = ((*kept).inode ^ id.inode)
            | ((*kept).index ^ id.index)
            | u64::from((*kept).generation ^ id.generation)
            | u64::from((*kept).renames ^ id.renames)
            | u64::from((*known).policy ^ policy);
        (difference == 0 && (*kept).super_block == id.super_block).then_some(&*known)
    }
}

/// Whether nothing speaks of a name in such a directory but the rules for what lies under that.
#[inline(always)]
pub fn is_ordinary(known: &Directory, path: Path, dentry: Dentry) -> bool {
    let index = path.index;
    match hash::short_name_of(index, dentry) {
        Some((name, extension)) => lists::is_of_directory_alone(index, known, name, extension),
        None => false,
    }
}

/// Begins a walk in the directory that a name lies in, which was found a moment ago by the number of its inode. A
/// function of its own: whichever way it ends, the verifier sees but its answer.
#[inline(never)]
pub(super) fn begin_in(walk: *mut Walk, index: &Index, dentry: Dentry, inode: u64) -> bool {
    let name = hash::name_of(walk, index, dentry);
    if name == 0 {
        return false;
    }
    let known = of(walk, inode);
    // SAFETY: as in `find`.
    unsafe {
        (*walk).from.key = (*known).path.key;
        (*walk).from.check = (*known).path.check;
        (*walk).inode = inode;
        (*walk).names[0] = name;
        (*walk).name = name;
        (*walk).count = 1;
        (*walk).denials = 0;
        (*walk).extension = hash::extension_of(walk, index, dentry);
    }
    true
}

/// Notes which directory a walk begins in, so that it may be known from then on.
#[inline(always)]
pub(super) fn note(walk: *mut Walk, index: &Index, dentry: Dentry) {
    let Some(id) = id_of(index, dentry) else {
        return;
    };
    // SAFETY: as in `find`.
    unsafe { (*walk).unknown = id };
}

/// Which directory a name lies in. Nothing where that cannot be told from others, or a name is changing.
#[inline(always)]
fn id_of(index: &Index, dentry: Dentry) -> Option<Identity> {
    let directory = dentry.parent()?;
    let inode = directory.named()?;
    let super_block = dentry.super_block()?;
    let generation: u32 = inode.load(&INODE_GENERATION);
    let number: u64 = inode.load(&INODE_NUMBER);
    if number == 0 || directory.0.is(dentry.0) {
        return None;
    }
    if !Super(super_block).tells_directories_apart() {
        return None;
    }
    Some(Identity {
        inode: number,
        super_block: super_block.address().0,
        index: index.generation,
        generation,
        renames: renames()?,
    })
}

/// How many names have changed; nothing while one does, or where the kernel does not tell.
#[inline(always)]
pub(super) fn renames() -> Option<u32> {
    let counter = RENAME_LOCK.load();
    if counter == 0 {
        return None;
    }
    let count = Address(counter).value::<u32>()?;
    (count & 1 == 0).then_some(count)
}

/// The place of a directory among those that are known. The mask stands right before the use, as in `path::place`.
#[inline(always)]
pub(super) fn of(walk: *mut Walk, inode: u64) -> *mut Directory {
    let mut at = inode;
    // SAFETY: the instruction changes nothing but its register, which then is below 4; the array
    // has as many elements.
    unsafe {
        asm!("{at} &= 3", at = inout(reg) at, options(pure, nomem, nostack));
        (&raw mut (*walk).known)
            .cast::<Directory>()
            .add(at as usize)
    }
}

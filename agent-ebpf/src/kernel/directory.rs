//! Directories whose paths are known from earlier walks.
//!
//! A directory's path changes only when it, or one above it, gets another name, and all that is counted by
//! the kernel (`rename_lock`). So what was found once for a directory holds until the count or
//! the table of paths has changed. A directory is known by its inode's number and generation, without
//! which a number may be given again: where a file system has no generations, as overlays have none,
//! or gives them twice, each walk goes up to the root.

use super::file::{Dentry, Super};
use super::hash;
use super::memory::Address;
use super::offsets::{INODE_GENERATION, INODE_NUMBER, RENAME_LOCK};
use super::path::Walk;
use agent_common::path::{ACCESS_SLOTS, Index, Lanes};
use core::arch::asm;

/// Directories that are known of one task.
pub(super) const DIRECTORIES: usize = 4;

/// In place of a policy: nothing is known.
pub const NO_POLICY: u32 = u32::MAX;

/// Which directory, and when.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Identity {
    /// The number of its inode.
    pub(super) inode: u64,
    /// The address of its file system.
    super_block: u64,
    /// [`Index::generation`]; 0 where nothing is known.
    pub(super) index: u64,
    /// The generation of its inode, never 0.
    generation: u32,
    /// How many names have changed, on the whole machine.
    renames: u32,
}

impl Identity {
    /// Copies it, not by way of the stack.
    #[inline(always)]
    pub(super) fn keep(&self, to: *mut Self) {
        // SAFETY: the pointer is to an entry of a map, as that of `self`.
        unsafe {
            (*to).inode = self.inode;
            (*to).super_block = self.super_block;
            (*to).generation = self.generation;
            (*to).renames = self.renames;
            core::ptr::write_volatile(&raw mut (*to).index, self.index);
        }
    }

    /// 0 where both are the same. Without a branch for each field: the verifier would follow them all.
    #[inline(always)]
    fn difference(&self, other: &Self) -> u64 {
        // SAFETY: reads what is borrowed.
        let other_super = unsafe { core::ptr::read_volatile(&raw const other.super_block) };
        (self.inode ^ other.inode)
            | (self.super_block ^ other_super)
            | (self.index ^ other.index)
            | u64::from((self.generation ^ other.generation) | (self.renames ^ other.renames))
    }

    /// Whether no name has changed since.
    #[inline(always)]
    pub(super) fn lasts(&self) -> bool {
        renames() == Some(self.renames)
    }
}

/// How many names have changed; nothing while one does, or where the kernel does not tell.
#[inline(always)]
fn renames() -> Option<u32> {
    let counter = RENAME_LOCK.load();
    if counter == 0 {
        return None;
    }
    let count = Address(counter).number()?;
    (count & 1 == 0).then_some(count)
}

/// What is known of a directory.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Directory {
    pub(super) identity: Identity,
    /// The policy whose rules these are.
    pub(super) policy: u64,
    /// Its path.
    pub(super) path: Lanes,
    /// The rules for what lies under it, for each access.
    pub(super) under: [u32; ACCESS_SLOTS],
    reserved: u64,
}

const _: () = assert!(size_of::<Directory>() == 128 && DIRECTORIES == 4);

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

/// Ends a walk at the directory that a name lies in, if that is known for a policy. Otherwise it is noted which one it
/// is, so that it can be. A function of its own: whichever way it ends, the verifier sees but its answer.
#[inline(never)]
pub(super) fn is_known(walk: *mut Walk, index: &Index, dentry: Dentry, policy: u32) -> bool {
    let Some(known) = find(walk, index, dentry, policy) else {
        return false;
    };
    let name = hash::name_of(walk, index, dentry);
    if name == 0 {
        return false;
    }
    // SAFETY: as in `find`.
    unsafe {
        (*walk).from.key = (*known).path.key;
        (*walk).from.check = (*known).path.check;
        (*walk).inode = (*walk).unknown.inode;
        (*walk).unknown.index = 0;
        (*walk).names[0] = name;
        (*walk).name = name;
        (*walk).count = 1;
        (*walk).denials = 0;
        (*walk).extension = hash::extension_of(walk, index, dentry);
    }
    true
}

/// What is typed is read here, and compared as numbers, for which it goes through the map.
#[inline(always)]
fn find(walk: *mut Walk, index: &Index, dentry: Dentry, policy: u32) -> Option<*mut Directory> {
    let directory = dentry.parent()?;
    let inode = directory.named()?;
    let super_block = dentry.super_block()?;
    let generation: u32 = inode.load(&INODE_GENERATION);
    if generation == 0 || policy == NO_POLICY || directory.0.is(dentry.0) {
        return None;
    }
    if !Super(super_block).tells_directories_apart() {
        return None;
    }
    let renames = renames()?;
    // SAFETY: the pointer came from a successful lookup, and the entry outlives the task. Volatile, so that
    // pointers come back as numbers.
    unsafe {
        let unknown = &raw mut (*walk).unknown;
        (*unknown).inode = inode.load(&INODE_NUMBER);
        core::ptr::write_volatile(&raw mut (*unknown).super_block, super_block.address().0);
        (*unknown).generation = generation;
        (*unknown).renames = renames;
        (*unknown).index = index.generation;
        let number = core::ptr::read_volatile(&raw const (*unknown).inode);
        let known = of(walk, number);
        let difference =
            (*known).identity.difference(&*unknown) | ((*known).policy ^ u64::from(policy));
        (number != 0 && difference == 0).then_some(known)
    }
}

//! The way from a name up to the root of its file system.
//!
//! Mounts are never crossed: a path is one inside its own file system, hashed with the device, so
//! that no bind mount and no mount namespace gives a file another path. User space turns the paths
//! that people write into such ones.

use super::directory::{self, DIRECTORIES, Directory, Identity};
use super::file::{Dentry, Detached, Super};
use super::hash::{extension_of, name_of, path_extension, path_name};
use super::hold;
use super::inode::{InodeAddress, Owner};
use super::memory::Address;
use super::offsets::{
    DENTRY_INODE, DENTRY_NAME, DENTRY_NAME_LENGTH, DENTRY_PARENT, DENTRY_SUPER, INODE_NUMBER,
    SUPER_DEVICE, SUPER_ROOT,
};
use super::task::Task;
use crate::maps::{EMPTY_WALK, INDEX, WALKS};
use agent_common::path::{Index, Lanes, MAX_DIRECTORIES};
use agent_common::session::Label;
use core::arch::asm;

/// Names of a path: its directories and its own.
pub(super) const NAMES: usize = MAX_DIRECTORIES + 1;
/// Room for them: a power of two, so that a mask keeps within it.
const SLOTS: usize = 64;

/// What one task needs while it walks. A program's stack has no room for it, and a place that tasks
/// of one processor share would be written by another task in the middle of a walk.
#[repr(C)]
pub struct Walk {
    /// The hashes of the names, from the file upwards.
    pub(super) names: [u64; SLOTS],
    /// How many there are.
    pub(super) count: u64,
    /// Where the names begin: at the root of the file system, or at a directory that is known.
    pub(super) from: Lanes,
    /// Where the last name begins, once lists were looked for.
    pub(super) above: Lanes,
    /// The deepest directory with rules for what lies under it, from the root to there.
    pub(super) deepest: Lanes,
    /// The lists for what lies under that.
    pub(super) under: u64,
    /// What is looked for.
    pub(super) wanted: u64,
    /// The inode of the directory that the walk began at; 0 where that is the root.
    pub(super) inode: u64,
    /// The directory that the walk came through, if it may be known from now on.
    pub(super) unknown: Identity,
    /// Directories that are known.
    pub(super) known: [Directory; DIRECTORIES],
    /// The path.
    pub(super) exact: Lanes,
    /// The hash of the base name.
    pub(super) name: u64,
    /// The hash of the extension; 0 where there is none that a rule might name.
    pub(super) extension: u64,
    /// The path that the kernel was asked to look up after this walk, or 0.
    asked: u64,
    /// The same after the walk before.
    asked_before: u64,
    /// The address of the name that was walked up from. A pointer that is read back from a map is
    /// but a number, which is all that a global function takes.
    subject: u64,
    /// The address of the bytes of a name, to the same end.
    pub(super) bytes: u64,
    /// 1 where the path is that of the sessions' denials, or of one of them; or 0.
    pub(super) denials: u64,
}

/// Where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum End {
    /// At the root of the file system.
    Root = 0,
    /// Nowhere: it is an object of the kernel's, such as a pipe.
    Object = 1,
    /// Nowhere: the file is memory.
    Memory = 2,
    /// Nowhere: it has a descriptor, and no directory.
    Elsewhere = 3,
    /// Too far away, or a name on the way could not be read.
    Lost = 4,
}

/// What the kernel knows of a path.
#[derive(Clone, Copy)]
pub struct Path {
    pub(super) walk: *mut Walk,
    pub(super) index: &'static Index,
}

/// Walks up from a name, for the running task: to the directory that it lies in if that is known, by the number of
/// its inode, or to the root. A function of its own, so that its stack does not add to that of the judgement.
#[inline(never)]
pub fn walk(dentry: Dentry, known: u64) -> u64 {
    let Some((walk, index)) = begin(dentry.0.address().0) else {
        return End::Lost as u64;
    };
    if known != 0 && directory::begin_in(walk, index, dentry, known) {
        return End::Root as u64;
    }
    directory::note(walk, index, dentry);
    climb(walk, index, dentry)
}

/// The same from a name of which the verifier knows nothing but the address.
#[inline(always)]
pub fn walk_from(dentry: u64) -> u64 {
    path_walk(dentry)
}

/// A global function of numbers. Slower than [`climb`], by a helper's call for each thing it reads.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_walk(dentry: u64) -> u64 {
    let Some((walk, index)) = begin(dentry) else {
        return End::Lost as u64;
    };
    let (mut super_block, mut root, mut device) = (0u64, 0u64, 0u32);
    Address(dentry).copy(&DENTRY_SUPER, &mut super_block);
    Address(super_block).copy(&SUPER_ROOT, &mut root);
    Address(super_block).copy(&SUPER_DEVICE, &mut device);
    let secret = index.secret.name;
    let mut at = Address(dentry);
    let mut count = 0;
    while at.0 != root {
        let (mut parent, mut bytes, mut length) = (0u64, 0u64, 0u32);
        at.copy(&DENTRY_PARENT, &mut parent);
        at.copy(&DENTRY_NAME, &mut bytes);
        at.copy(&DENTRY_NAME_LENGTH, &mut length);
        if count >= NAMES || parent == at.0 {
            return End::Lost as u64;
        }
        let hash = path_name(bytes, u64::from(length), secret.key, secret.check);
        if hash == 0 {
            return End::Lost as u64;
        }
        // SAFETY: `count` is below the array's length.
        unsafe { core::ptr::write_volatile(&raw mut (*walk).names[count], hash) };
        count += 1;
        at = Address(parent);
    }
    let (mut bytes, mut length) = (0u64, 0u32);
    Address(dentry).copy(&DENTRY_NAME, &mut bytes);
    Address(dentry).copy(&DENTRY_NAME_LENGTH, &mut length);
    let extension = if index.extensions == 0 {
        0
    } else {
        path_extension(bytes, u64::from(length), secret.key, secret.check)
    };
    arrive(walk, index, count as u64, extension, device)
}

/// What the running task needs for a walk from a name.
#[inline(always)]
fn begin(subject: u64) -> Option<(*mut Walk, &'static Index)> {
    let task = Task::current().address();
    let walk = match WALKS.get_ptr_mut(task) {
        Some(walk) => walk,
        None => {
            WALKS.insert(task, EMPTY_WALK.get(0)?, 0).ok()?;
            WALKS.get_ptr_mut(task)?
        }
    };
    let index = INDEX.get(0)?;
    // SAFETY: as in `climb`.
    unsafe {
        core::ptr::write_volatile(&raw mut (*walk).subject, subject);
        (*walk).asked_before = (*walk).asked;
        (*walk).asked = 0;
        (*walk).inode = 0;
        (*walk).unknown.index = 0;
    }
    Some((walk, index))
}

/// Notes what a walk to the root has found.
#[inline(always)]
fn arrive(walk: *mut Walk, index: &Index, count: u64, extension: u64, device: u32) -> u64 {
    // SAFETY: the pointer came from a successful lookup, and the entry outlives the task.
    unsafe {
        (*walk).name = (*walk).names[0];
        (*walk).extension = extension;
        (*walk).count = count;
        (*walk).from = index.secret.root(device);
        // Nearly all files lie elsewhere, and cost this one comparison.
        (*walk).denials = if device == index.denials_device {
            // What is known is not asked again.
            (*walk).unknown.index = 0;
            path_in_denials(core::ptr::read_volatile(&raw const (*walk).subject))
        } else {
            0
        };
    }
    End::Root as u64
}

/// The running task's last walk.
#[inline(always)]
pub fn of_current() -> Option<Path> {
    let walk = WALKS.get_ptr_mut(Task::current().address())?;
    let index = INDEX.get(0)?;
    Some(Path { walk, index })
}

/// Judges one use of the file to which the last walk led. `end` is what [`walk`] said.
#[inline(always)]
pub fn judge_use(action: u64, end: u64, flags: u64) -> bool {
    match path_use(action, end, flags) {
        TO_ASK => {
            let how = path_question(action, flags);
            if how != NO_QUESTION {
                hold::answer(0, how as u32);
            }
            path_answered(action, flags, how) != 0
        }
        used => used != 0,
    }
}

/// What [`path_use`] answers where somebody must be asked. That is done beside it, in parts: each takes much
/// of the stack.
const TO_ASK: u64 = crate::paths::Use::ToAsk as u64;

/// What [`path_question`] answers where nothing can be asked.
pub const NO_QUESTION: u64 = u64::MAX;

/// Puts down what is asked. Answers how the use is judged.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_question(action: u64, flags: u64) -> u64 {
    crate::paths::question(action, flags)
}

/// Acts on the answer.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_answered(action: u64, flags: u64, how: u64) -> u64 {
    u64::from(crate::paths::answered(action, flags, how))
}

/// A global function of numbers, like those below.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_use(action: u64, end: u64, flags: u64) -> u64 {
    let end = match end {
        0 => End::Root,
        1 => End::Object,
        2 => End::Memory,
        3 => End::Elsewhere,
        _ => End::Lost,
    };
    crate::paths::judge_one(action, end, flags) as u64
}

/// Tries whether somebody must be asked for one of several uses of the file to which the last walk led.
#[inline(always)]
pub fn try_uses(uses: u64, end: u64) -> bool {
    path_try(uses, end) != 0
}

/// The same for the file of a name, by its address.
#[inline(always)]
pub fn try_name(dentry: u64, uses: u64) -> bool {
    path_try_name(dentry, uses) != 0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_try(uses: u64, end: u64) -> u64 {
    u64::from(crate::paths::try_uses(uses, end))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_try_name(dentry: u64, uses: u64) -> u64 {
    // Not by `path_try`: calls must not go deeper than eight.
    u64::from(crate::paths::try_uses(uses, path_walk(dentry)))
}

/// Forgets what was kept for a task.
#[inline(always)]
pub fn forget(task: Task) {
    let _ = WALKS.remove(task.address());
}

/// A function of its own, so that its stack does not add to that of the telling of a denial.
#[inline(never)]
fn climb(walk: *mut Walk, index: &Index, dentry: Dentry) -> u64 {
    let Some(super_block) = dentry.super_block() else {
        return End::Lost as u64;
    };
    let Some(root) = Super(super_block).root() else {
        return End::Lost as u64;
    };
    let mut at = dentry;
    let mut count = 0;
    loop {
        let Some(parent) = at.parent() else {
            return End::Lost as u64;
        };
        if parent.0.is(at.0) {
            break;
        }
        if count >= NAMES {
            return End::Lost as u64;
        }
        let hash = name_of(walk, index, at);
        if hash == 0 {
            return End::Lost as u64;
        }
        // SAFETY: `count` is below the array's length.
        unsafe { core::ptr::write_volatile(&raw mut (*walk).names[count], hash) };
        count += 1;
        at = parent;
    }
    if !at.0.is(root.0) {
        return match Super(super_block).detached() {
            Detached::Object => End::Object as u64,
            Detached::Memory => End::Memory as u64,
            Detached::Other => End::Elsewhere as u64,
        };
    }
    let extension = extension_of(walk, index, dentry);
    let device = super_block.load(&SUPER_DEVICE);
    arrive(walk, index, count as u64, extension, device)
}

/// A place among the names. The mask changes nothing, but the verifier must see the bound on the
/// very register that is added to a pointer, and the compiler would take it away.
#[inline(always)]
pub(super) fn place(at: u64) -> usize {
    const _: () = assert!(NAMES <= SLOTS && SLOTS == 64);
    let mut at = at;
    // SAFETY: the instruction changes nothing but its register.
    unsafe { asm!("{at} &= 63", at = inout(reg) at, options(pure, nomem, nostack)) }
    at as usize
}

/// Whether a name is that of the folder of the sessions' denials, or lies in it: 1, or 0. By the
/// folder's inode, so that no other name of it and of what lies above it matters.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_in_denials(dentry: u64) -> u64 {
    let Some(index) = INDEX.get(0) else {
        return 0;
    };
    let mut above = 0u64;
    Address(dentry).copy(&DENTRY_PARENT, &mut above);
    let (own, above) = (inode_number(dentry), inode_number(above));
    u64::from(index.denials != 0 && (own == index.denials || above == index.denials))
}

/// The number of the inode that has a name; 0 where nothing has it.
#[inline(always)]
fn inode_number(dentry: u64) -> u64 {
    let (mut inode, mut number) = (0u64, 0u64);
    Address(dentry).copy(&DENTRY_INODE, &mut inode);
    Address(inode).copy(&INODE_NUMBER, &mut number);
    number
}

impl Path {
    /// Whether it is that of the sessions' denials, or of one of them.
    #[inline(always)]
    pub fn is_of_denials(self) -> bool {
        // SAFETY: as in `climb`.
        unsafe { core::ptr::read_volatile(&raw const (*self.walk).denials) != 0 }
    }

    /// The hash of its last name.
    #[inline(always)]
    pub fn name(self) -> u64 {
        // SAFETY: as in `climb`.
        unsafe { core::ptr::read_volatile(&raw const (*self.walk).name) }
    }

    /// The two hashes of the path, once lists were looked for.
    #[inline(always)]
    pub fn hashes(self) -> [u64; 2] {
        // SAFETY: as in `climb`.
        unsafe {
            let exact = &raw const (*self.walk).exact;
            [(*exact).key, (*exact).check]
        }
    }

    /// Says that something was judged without a walk: what the kernel was asked to look up is no longer asked for.
    #[inline(always)]
    pub fn pass_by(self) {
        // SAFETY: as in `climb`.
        unsafe { (*self.walk).asked = 0 }
    }

    /// The address of the name that was walked up from.
    #[inline(always)]
    pub fn subject(self) -> Address {
        // SAFETY: as in `climb`.
        Address(unsafe { core::ptr::read_volatile(&raw const (*self.walk).subject) })
    }
}

/// Whether the kernel should look first what there is at the path that was walked last: yes, unless
/// that was just asked of it.
#[inline(always)]
pub fn should_look_first(task: Task) -> bool {
    let Some(walk) = WALKS.get_ptr_mut(task.address()) else {
        return false;
    };
    // SAFETY: as in `climb`.
    unsafe {
        let path = (*walk).exact.key;
        let again = (*walk).asked_before == path;
        (*walk).asked = if again { 0 } else { path };
        !again
    }
}

/// Whether a file of procfs tells of a member of the session.
#[inline(always)]
pub fn is_of_session(dentry: Address, label: Label) -> bool {
    /// `PROC_SUPER_MAGIC`.
    const PROC: u64 = 0x9fa0;
    let inode = InodeAddress(Address(dentry.read(&DENTRY_INODE).unwrap_or(0)));
    if inode.magic() != Some(PROC) {
        return false;
    }
    let owner = match inode.proc_owner() {
        Some(Owner::Process(Some(task))) => task.member(),
        _ => None,
    };
    owner.is_some_and(|member| member.label().session == label.session)
}

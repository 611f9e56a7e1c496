//! Executables by which sessions begin.

use super::binprm::Binprm;
use super::memory::Address;
use super::offsets::{
    DENTRY_INODE, DENTRY_NAME, DENTRY_PARENT, DENTRY_SUPER, FILE_DENTRY, INODE_NUMBER, SUPER_DEVICE,
};
use super::record::copy_string;
use super::task::Task;
use crate::maps::{ARRIVING, EXECUTABLES};
use agent_common::recognise::{Executable, NAME};
use agent_common::session::Label;

/// The way by which a session begins with a program, if one does.
#[inline(always)]
pub fn way(binprm: Binprm) -> Option<u32> {
    way_of_file(binprm.file_address())
}

/// The same of a file.
#[inline(always)]
pub fn way_of_file(file: u64) -> Option<u32> {
    (way_of_program(file) as u32).checked_sub(1)
}

/// The way, counted from 1, or 0. A global function of numbers: the verifier looks at it once. The
/// file is asked for first, by whatever name; then its name, whatever file has it now.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn way_of_program(file: u64) -> u64 {
    let mut dentry = 0u64;
    Address(file).copy(&FILE_DENTRY, &mut dentry);
    let dentry = Address(dentry);
    let mut super_block = 0u64;
    dentry.copy(&DENTRY_SUPER, &mut super_block);
    let mut key = Executable {
        inode: 0,
        device: 0,
        reserved: 0,
        name: [0; NAME],
    };
    Address(super_block).copy(&SUPER_DEVICE, &mut key.device);
    key.inode = inode_of(dentry);
    if let Some(way) = find(&key) {
        return way;
    }
    let mut parent = 0u64;
    dentry.copy(&DENTRY_PARENT, &mut parent);
    key.inode = inode_of(Address(parent));
    let mut name = 0u64;
    dentry.copy(&DENTRY_NAME, &mut name);
    // A longer name was cut off, and is none of those.
    if copy_string(name, &mut key.name) as usize >= NAME - 1 {
        return 0;
    }
    find(&key).unwrap_or(0)
}

#[inline(always)]
fn inode_of(dentry: Address) -> u64 {
    let (mut inode, mut number) = (0u64, 0u64);
    dentry.copy(&DENTRY_INODE, &mut inode);
    Address(inode).copy(&INODE_NUMBER, &mut number);
    number
}

#[inline(always)]
fn find(key: &Executable) -> Option<u64> {
    let way = EXECUTABLES.get_ptr(key)?;
    // SAFETY: the pointer came from a successful lookup.
    Some(u64::from(unsafe { *way }) + 1)
}

/// The session that begins with the program that a task is about to execute.
#[inline(always)]
pub fn arriving(task: Task) -> Option<Label> {
    let label = ARRIVING.get_ptr(task.address())?;
    // SAFETY: the pointer came from a successful lookup, and only the task writes here.
    let label = unsafe { *label };
    let _ = ARRIVING.remove(task.address());
    Some(label)
}

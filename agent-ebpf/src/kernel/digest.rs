//! The SHA-256 of a program that is about to be executed. Only a program that may sleep can ask the
//! kernel for it; it leaves here, for the running task, what the program that judges looks
//! at.

use super::binprm::Binprm;
use super::task::Task;
use crate::maps::{DIGESTS, INDEX};
use agent_common::path::Secret;
use aya_ebpf::helpers::generated::bpf_ima_file_hash;

/// `HASH_ALGO_SHA256`: how the kernel was told to hash.
const SHA256: i64 = 4;

const BYTES: usize = 32;

/// The value of the map.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Noted {
    /// The file's inode, by its address: what is judged must be what was read.
    inode: u64,
    /// The hash of the digest, as policies' digests are hashed.
    hash: u64,
}

/// Reads a program's file and notes its digest. What cannot be read is not noted.
#[inline(always)]
pub fn note(binprm: Binprm) {
    let Some(file) = binprm.file() else {
        return;
    };
    let mut digest = [0u64; BYTES / 8];
    // SAFETY: the file's type is known to the verifier, and the helper writes as many bytes as are said.
    let answer =
        unsafe { bpf_ima_file_hash(file.pointer(), digest.as_mut_ptr().cast(), BYTES as u32) };
    let (SHA256, Some(index), Some(dentry)) = (answer, INDEX.get(0), file.dentry()) else {
        return;
    };
    let mut lanes = index.secret.name;
    for word in digest {
        lanes = lanes.with(word);
    }
    let noted = Noted {
        inode: dentry.inode(),
        hash: Secret::finish(lanes, BYTES as u64),
    };
    let _ = DIGESTS.insert(Task::current().address(), noted, 0);
}

/// What was noted of the program that has this inode.
#[inline(always)]
pub fn look(inode: u64) -> Option<u64> {
    let noted = *DIGESTS.get_ptr(Task::current().address()).map(|noted| {
        // SAFETY: only the running task's own programs write its entry.
        unsafe { &*noted }
    })?;
    (noted.inode == inode).then_some(noted.hash)
}

/// Forgets what was noted for a task.
#[inline(always)]
pub fn forget(task: Task) {
    let _ = DIGESTS.remove(task.address());
}

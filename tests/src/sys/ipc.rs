//! System V: shared memory, a queue of messages, semaphores.

use super::check;
use std::io;
use std::mem;
use std::ptr;

/// One object of each kind, by their numbers. Everybody may use them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objects {
    /// Shared memory.
    pub(crate) memory: i32,
    /// A queue of messages.
    pub(crate) queue: i32,
    /// Semaphores.
    pub(crate) semaphores: i32,
}

const EVERYBODY: libc::c_int = 0o666;

impl Objects {
    /// New ones.
    pub(crate) fn make() -> io::Result<Self> {
        let flags = libc::IPC_CREAT | EVERYBODY;
        Ok(Self {
            // SAFETY: takes numbers.
            memory: check(unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, flags) })?,
            // SAFETY: takes numbers.
            queue: check(unsafe { libc::msgget(libc::IPC_PRIVATE, flags) })?,
            // SAFETY: takes numbers.
            semaphores: check(unsafe { libc::semget(libc::IPC_PRIVATE, 1, flags) })?,
        })
    }

    /// Takes them away.
    pub(crate) fn remove(self) -> io::Result<()> {
        // SAFETY: without anything to read or write.
        check(unsafe { libc::shmctl(self.memory, libc::IPC_RMID, ptr::null_mut()) })?;
        // SAFETY: the same.
        check(unsafe { libc::msgctl(self.queue, libc::IPC_RMID, ptr::null_mut()) })?;
        // SAFETY: the same.
        check(unsafe { libc::semctl(self.semaphores, 0, libc::IPC_RMID) })?;
        Ok(())
    }
}

/// Has shared memory for a moment.
pub(crate) fn attach(memory: i32) -> io::Result<()> {
    // SAFETY: the kernel chooses where, and nothing is read there.
    let at = unsafe { libc::shmat(memory, ptr::null(), libc::SHM_RDONLY) };
    // What a failed `shmat` gives is -1, as `mmap`'s does.
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: attached a moment ago, and used by nobody.
    check(unsafe { libc::shmdt(at) }).map(drop)
}

/// Sends a message, and takes one.
pub(crate) fn send(queue: i32) -> io::Result<()> {
    #[repr(C)]
    struct Message(libc::c_long, [u8; 8]);
    let mut message = Message(1, [0; 8]);
    let (at, size) = ((&raw mut message).cast(), size_of::<[u8; 8]>());
    // SAFETY: behind the kind there are as many bytes as is said.
    check(unsafe { libc::msgsnd(queue, at, size, libc::IPC_NOWAIT) })?;
    // SAFETY: the same, to write to.
    let taken = unsafe { libc::msgrcv(queue, at, size, 0, libc::IPC_NOWAIT) };
    super::check_long(taken as libc::c_long).map(drop)
}

/// Raises a semaphore by one.
pub(crate) fn raise(semaphores: i32) -> io::Result<()> {
    let mut operation = libc::sembuf {
        sem_num: 0,
        sem_op: 1,
        sem_flg: 0,
    };
    // SAFETY: one operation, which is live.
    check(unsafe { libc::semop(semaphores, &raw mut operation, 1) }).map(drop)
}

/// Who may use shared memory is set to what it is.
pub(crate) fn change_memory(memory: i32) -> io::Result<()> {
    // SAFETY: integers, for which zero is a value; read by the kernel.
    let mut state: libc::shmid_ds = unsafe { mem::zeroed() };
    state.shm_perm.mode = 0o666;
    // SAFETY: as large as the kernel expects.
    check(unsafe { libc::shmctl(memory, libc::IPC_SET, &raw mut state) }).map(drop)
}

/// The same of a queue.
pub(crate) fn change_queue(queue: i32) -> io::Result<()> {
    // SAFETY: as in `change_memory`.
    let mut state: libc::msqid_ds = unsafe { mem::zeroed() };
    state.msg_perm.mode = 0o666;
    state.msg_qbytes = 1024;
    // SAFETY: as in `change_memory`.
    check(unsafe { libc::msgctl(queue, libc::IPC_SET, &raw mut state) }).map(drop)
}

/// The same of semaphores.
pub(crate) fn change_semaphores(semaphores: i32) -> io::Result<()> {
    // SAFETY: as in `change_memory`.
    let mut state: libc::semid_ds = unsafe { mem::zeroed() };
    state.sem_perm.mode = 0o666;
    // SAFETY: as in `change_memory`.
    check(unsafe { libc::semctl(semaphores, 0, libc::IPC_SET, &raw mut state) }).map(drop)
}

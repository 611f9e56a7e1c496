//! Whose the objects of System V are: shared memory, queues of messages, semaphores.

use crate::maps::SHARED;

/// An object, by the address of its `kern_ipc_perm`.
#[derive(Clone, Copy)]
pub struct Object(pub u64);

impl Object {
    /// The session whose task has made it.
    #[inline(always)]
    pub fn maker(self) -> Option<u64> {
        // SAFETY: an entry that is removed meanwhile stays readable until the program ends.
        unsafe { SHARED.get(self.0) }.copied()
    }

    /// Notes whose it is. False where there is no room.
    #[inline(always)]
    pub fn belong_to(self, session: u64) -> bool {
        SHARED.insert(self.0, session, 0).is_ok()
    }

    /// Forgets whose it was.
    #[inline(always)]
    pub fn forget(self) {
        let _ = SHARED.remove(self.0);
    }
}

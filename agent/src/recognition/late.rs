//! Those who came when no session lay ready: they are stopped in their `execve`, and go on when one does.

use super::Recognition;
use crate::chain::chain;
use crate::holds::wake::{self, Found, LOOKS};
use crate::kernel::clock;
use crate::kernel::maps::MapsError;
use crate::sessions::Sessions;
use agent_common::recognise::LATEST_NS;
use std::cell::RefCell;
use std::rc::Rc;

impl Recognition {
    /// Lets everybody try again who waits for a session. Who finds none waits again, or is denied when it
    /// has waited for too long. The kernel forgets who has tried with success or for the last time; who is gone
    /// otherwise is forgotten here.
    pub fn wake(sessions: &mut Sessions) -> Result<(), MapsError> {
        let maps = sessions.recognised();
        for (task, late) in maps.latecomers() {
            let found = wake::go_on(late.pid, late.began_ns);
            // A handler may have led it elsewhere, and it never executes anything.
            let is_old = clock::boot_ns().saturating_sub(late.since_ns) > 2 * LATEST_NS;
            if found == Found::Gone || found == Found::Awake && is_old {
                maps.forget_latecomer(task)?;
            }
        }
        Ok(())
    }

    /// Says that who waits will be woken, and wakes whoever does.
    pub(super) fn see_to_latecomers(sessions: &mut Sessions) -> Result<(), MapsError> {
        sessions.recognised().set_alive(clock::boot_ns())?;
        Self::wake(sessions)
    }
}

/// Wakes those who wait, again and again: some have yet to stop when a session lies ready for them.
pub fn wake_all(sessions: &Rc<RefCell<Sessions>>) {
    let sessions = Rc::clone(sessions);
    tokio::task::spawn_local(async move {
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            if let Err(error) = Recognition::wake(&mut sessions.borrow_mut()) {
                let error = chain(error);
                tracing::warn!(error, "cannot see who waits for a session");
            }
        }
    });
}

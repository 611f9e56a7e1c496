//! Who belongs to a session, for user space that asks: it opens the pinned link and reads.

use crate::kernel::task::Task;
use crate::kernel::walk::Page;
use agent_common::event::{Living, Process};

/// Writes down a task that is a member and has not ended. The mark would spare most tasks the
/// lookup, but this runs for a person or a kill, not for every action.
#[inline(always)]
pub fn members(task: Task, page: Page) {
    let Some(member) = task.member() else {
        return;
    };
    if !task.is_alive() {
        return;
    }
    let mut living = Living {
        session: member.label().session,
        process: Process::UNKNOWN,
        parent: Process::UNKNOWN,
        tid: task.tid(),
        reserved: 0,
        last_ns: member.last_action(),
    };
    task.describe(&mut living.process);
    task.parent().describe(&mut living.parent);
    page.write(&living);
}

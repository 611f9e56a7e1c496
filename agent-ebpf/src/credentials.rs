//! Credentials that a task had before. What a ring of io_uring was told to do is done with those that the task had
//! then; to a hook that looks as if the kernel had lent them.

use crate::kernel::task::Task;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

/// `commit_creds(struct cred *)`: the running task takes other credentials, by whatever call.
#[fentry(function = "commit_creds")]
pub fn credentials_taken(_: FEntryContext) -> i32 {
    let Some(task) = Task::current_if_marked() else {
        return 0;
    };
    if let Some(member) = task.member()
        && task.has_ring()
    {
        member.note_former();
    }
    0
}

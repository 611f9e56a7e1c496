//! Whose tree a process belongs to that ran before its executable was recognised.

use super::executable;
use super::memory::Address;
use super::task::Task;
use super::watch;

/// How far up a process looks. Who is further down is not found.
const ANCESTORS: usize = 64;

/// The outermost process above a task, itself included, that runs the executable that is being
/// adopted. Nothing where none is, as everywhere outside such a moment.
#[inline(always)]
pub fn root(task: Task) -> Option<Task> {
    let way = watch::adopting()?;
    let root = outermost(task.leader().address(), u64::from(way));
    (root != 0).then_some(Task::given(root as *const _))
}

/// The address of its first thread, or 0. A global function of numbers: the verifier looks at it
/// once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn outermost(leader: u64, way: u64) -> u64 {
    let mut task = Task::given(leader as *const _);
    let mut found = 0;
    let mut above = 0;
    while above < ANCESTORS {
        if executable::way_of_file(task.executable()).map(u64::from) == Some(way) {
            found = task.address();
        }
        let parent = task.parent().leader();
        if parent == task || parent.at() == Address(0) {
            break;
        }
        task = parent;
        above += 1;
    }
    found
}

//! The mark: task storage whose mere presence says that a task may carry a label.
//!
//! One load of `task->bpf_storage` sends every other task home, which costs a fraction of a map
//! lookup. The label itself lies in `MEMBERS`, because neither cgroup programs nor 5.10 can read
//! task storage, and because user space can list a hash map. A mark without a label is harmless;
//! a label without a mark cannot be, because a fork that cannot mark its child fails.

use super::btf_map::BtfMap;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::bpf_task_storage_get;
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use core::ptr;

const TASK_STORAGE: usize = bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize;

#[btf_map]
static MARKS: BtfMap<i32, u64, TASK_STORAGE, 0, { BPF_F_NO_PREALLOC as usize }> = BtfMap::pinned();

/// Marks a task, given as a pointer whose type the verifier knows. False when the kernel could
/// not store the mark.
#[inline(always)]
pub fn mark(task: *mut c_void) -> bool {
    insist(|| {
        // SAFETY: the map is the loader's, and the verifier checks the type of `task`.
        let stored = unsafe {
            bpf_task_storage_get(
                MARKS.raw(),
                task.cast(),
                ptr::null_mut(),
                u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
            )
        };
        !stored.is_null()
    })
}

/// Stores something, in several attempts: newer kernels take memory for it only as far as they need wait
/// for no lock, and now and then find none although there is enough.
#[inline(always)]
pub fn insist(mut store: impl FnMut() -> bool) -> bool {
    store() || store() || store() || store()
}

//! The mark: task storage whose mere presence says that a task may carry a label.
//!
//! One load of `task->bpf_storage` sends every other task home, which costs a fraction of a map
//! lookup. The label itself lies in `MEMBERS`, because neither cgroup programs nor 5.10 can read
//! task storage, and because user space can list a hash map. A mark without a label is harmless;
//! a label without a mark cannot be, because a fork that cannot mark its child fails.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::bpf_task_storage_get;
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use core::ptr;

/// aya has no type for task storage; this is the shape its loader reads from BTF.
#[repr(C)]
struct TaskStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
    pinning: *const [i32; 1],
}

// SAFETY: the pointers describe the map to the loader and are never followed.
unsafe impl<T> Sync for TaskStorage<T> {}

#[btf_map]
static MARKS: TaskStorage<u64> = TaskStorage {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
    pinning: ptr::null(),
};

/// Marks a task, given as a pointer whose type the verifier knows. False when the kernel could
/// not store the mark.
#[inline(always)]
pub fn mark(task: *mut c_void) -> bool {
    // SAFETY: the map is the loader's, and the verifier checks the type of `task`.
    let stored = unsafe {
        bpf_task_storage_get(
            ptr::from_ref(&MARKS).cast_mut().cast(),
            task.cast(),
            ptr::null_mut(),
            u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
        )
    };
    !stored.is_null()
}

//! Walking over all tasks, one call of the program for each.

use aya_ebpf::helpers::generated::bpf_seq_write;
use core::ffi::c_void;

/// `struct bpf_iter__task`, as the verifier shows it to a program.
#[repr(C)]
struct Step {
    meta: *const Meta,
    task: *const c_void,
}

/// The beginning of `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    page: *mut c_void,
}

/// What the walk has to say, for whoever reads it.
#[derive(Clone, Copy)]
pub struct Page(*mut c_void);

/// The task of this call and where to write; nothing at the walk's end.
#[inline(always)]
pub fn step(ctx: *mut c_void) -> Option<(*mut c_void, Page)> {
    let step = ctx.cast::<Step>();
    // SAFETY: the verifier knows the context's layout, and that `meta` and its field are there.
    let (task, page) = unsafe {
        let meta = core::ptr::read_volatile(&raw const (*step).meta);
        (
            core::ptr::read_volatile(&raw const (*step).task),
            core::ptr::read_volatile(&raw const (*meta).page),
        )
    };
    (!task.is_null()).then(|| (task.cast_mut(), Page(page)))
}

impl Page {
    /// Writes a record. What does not fit is written again by the kernel, in a larger room.
    #[inline(always)]
    pub fn write<T>(self, record: &T) {
        // SAFETY: `page` came from the context, and `record` is as large as is said.
        unsafe {
            bpf_seq_write(
                self.0.cast(),
                core::ptr::from_ref(record).cast(),
                size_of::<T>() as u32,
            )
        };
    }
}

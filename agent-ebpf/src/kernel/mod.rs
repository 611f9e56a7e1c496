//! Everything that touches the kernel's memory. The rest of the crate has no `unsafe`.

#![expect(
    unsafe_code,
    reason = "the only module that reads kernel memory and calls raw helpers"
)]

pub mod argument;
pub mod arguments;
pub mod asking;
pub mod binprm;
mod btf_map;
pub mod budget;
pub mod call;
pub mod cgroup;
pub mod container;
pub mod counts;
pub mod digest;
pub mod directory;
pub mod divert;
pub mod executable;
pub mod file;
mod hash;
pub mod hold;
pub mod inode;
pub mod ipc;
pub mod late;
pub mod lists;
pub mod lookup;
pub mod member;
pub mod memory;
pub mod names;
pub mod offsets;
pub mod owner;
pub mod path;
pub mod pending;
pub mod progress;
pub mod ready;
pub mod record;
pub mod route;
pub mod segment;
mod share;
pub mod socket;
pub mod state;
pub mod storage;
pub mod task;
pub mod tree;
pub mod unix;
pub mod uses;
pub mod verdict;
pub mod walk;
pub mod watch;
pub mod weigh;

use task::Task;

/// The entry of [`lifecycle::enrol`](crate::lifecycle::enrol). aya's macro for this program type
/// would return zero whatever happened.
#[unsafe(link_section = "raw_tp/enrol")]
#[unsafe(no_mangle)]
extern "C" fn enrol(ctx: *mut core::ffi::c_void) -> u32 {
    crate::lifecycle::enrol(&aya_ebpf::programs::RawTracePointContext::new(ctx)).wire()
}

/// The entry of [`lifecycle::revoke`](crate::lifecycle::revoke).
#[unsafe(link_section = "raw_tp/revoke")]
#[unsafe(no_mangle)]
extern "C" fn revoke(ctx: *mut core::ffi::c_void) -> u32 {
    crate::lifecycle::revoke(&aya_ebpf::programs::RawTracePointContext::new(ctx)).wire()
}

/// The entry of [`lifecycle::move_session`](crate::lifecycle::move_session).
#[unsafe(link_section = "raw_tp/move_session")]
#[unsafe(no_mangle)]
extern "C" fn move_session(ctx: *mut core::ffi::c_void) -> u32 {
    crate::lifecycle::move_session(&aya_ebpf::programs::RawTracePointContext::new(ctx)).wire()
}

/// The entry of [`census::members`](crate::census::members). aya has no macro for iterators.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn members(ctx: *mut core::ffi::c_void) -> u32 {
    if let Some((task, page)) = walk::step(ctx) {
        crate::census::members(Task::given(task), page);
    }
    0
}

/// The entry of [`recognise::adopt`](crate::recognise::adopt).
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn adopt(ctx: *mut core::ffi::c_void) -> u32 {
    if let Some((task, page)) = walk::step(ctx) {
        crate::recognise::adopt(task, page);
    }
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

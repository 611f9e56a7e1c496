//! Maps that the loader and the kernel know by their BTF: aya has no type for some, and no pinned
//! form of others.

use core::ffi::c_void;
use core::ptr;

/// The shape that aya's loader reads from BTF: each number is the length of an array type.
#[repr(C)]
pub struct BtfMap<K, V, const KIND: usize, const ENTRIES: usize, const FLAGS: usize> {
    r#type: *const [i32; KIND],
    key: *const K,
    value: *const V,
    max_entries: *const [i32; ENTRIES],
    map_flags: *const [i32; FLAGS],
    pinning: *const [i32; 1],
}

// SAFETY: the pointers describe the map to the loader and are never followed.
unsafe impl<K, V, const KIND: usize, const ENTRIES: usize, const FLAGS: usize> Sync
    for BtfMap<K, V, KIND, ENTRIES, FLAGS>
{
}

impl<K, V, const KIND: usize, const ENTRIES: usize, const FLAGS: usize>
    BtfMap<K, V, KIND, ENTRIES, FLAGS>
{
    /// A map that is pinned by its name.
    pub const fn pinned() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
            pinning: ptr::null(),
        }
    }

    /// The map, as helpers want it.
    #[inline(always)]
    pub fn raw(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}

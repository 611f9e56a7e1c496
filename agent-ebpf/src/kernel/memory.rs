//! Reading kernel memory.

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel as copy_from_kernel;
use core::arch::asm;

/// An address in kernel memory that may be stale or wrong: every read is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    /// Reads a value at an offset.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: &Global<u32>) -> Option<T> {
        let at = self.0.wrapping_add(u64::from(offset.load()));
        // SAFETY: the helper checks the address and fails where nothing can be read.
        unsafe { bpf_probe_read_kernel(at as *const T) }.ok()
    }
}

impl Address {
    /// The address of the structure that holds, at offset `outer`, a field that lies at offset
    /// `inner` of the structure here.
    #[inline(always)]
    pub fn around(self, inner: &Global<u32>, outer: &Global<u32>) -> Self {
        let field = self.0.wrapping_add(u64::from(inner.load()));
        Self(field.wrapping_sub(u64::from(outer.load())))
    }

    /// The value that lies right here.
    #[inline(always)]
    pub fn value<T: Copy>(self) -> Option<T> {
        // SAFETY: the helper checks the address and fails where nothing can be read.
        unsafe { bpf_probe_read_kernel(self.0 as *const T) }.ok()
    }

    /// Copies a value at an offset to where it belongs. What cannot be read becomes zero, which
    /// the helper sees to: no branch, and so no second path for the verifier to follow.
    #[inline(always)]
    pub fn copy<T: Copy>(self, offset: &Global<u32>, to: &mut T) {
        let at = self.0.wrapping_add(u64::from(offset.load()));
        // SAFETY: the helper checks the address, and writes the whole of `to` or zeroes it.
        unsafe {
            copy_from_kernel(
                core::ptr::from_mut(to).cast(),
                size_of::<T>() as u32,
                at as *const core::ffi::c_void,
            )
        };
    }
}

/// Whether a pointer that a hook was given is null. Verifiers take it for granted that it is not,
/// and drop the branch; of its lower half they know nothing.
#[inline(always)]
pub fn is_null(pointer: u64) -> bool {
    let low: u64;
    // SAFETY: copies a register.
    unsafe { asm!("w0 = w1", in("r1") pointer, lateout("r0") low, options(pure, nomem, nostack)) };
    low == 0
}

/// A pointer whose type the verifier knows, and that is not null.
#[derive(Clone, Copy)]
pub struct Typed(*const u8);

impl Typed {
    /// A pointer that a hook or a helper gave; it is never null.
    #[inline(always)]
    pub fn given<T>(pointer: *const T) -> Self {
        Self(pointer.cast())
    }

    /// Follows a pointer field. Newer verifiers insist on the look at null.
    #[inline(always)]
    pub fn follow(self, offset: &Global<u32>) -> Option<Self> {
        let pointer: *const u8 = self.load(offset);
        (!pointer.is_null()).then_some(Self(pointer))
    }

    /// Loads a field. The verifier has checked that the offset is a field of this size.
    #[inline(always)]
    pub fn load<T: Copy>(self, offset: &Global<u32>) -> T {
        self.load_behind(offset, 0)
    }

    /// Loads what lies so many bytes behind the beginning of a field, in it.
    #[inline(always)]
    pub fn load_behind<T: Copy>(self, offset: &Global<u32>, bytes: usize) -> T {
        // SAFETY: a load through a typed pointer is verified at load time and cannot fault; the
        // volatile read keeps the compiler from splitting or merging it.
        unsafe {
            core::ptr::read_volatile(self.0.add(offset.load() as usize).add(bytes).cast::<T>())
        }
    }
}

impl Typed {
    /// Whether both are the same.
    #[inline(always)]
    pub fn is(self, other: Self) -> bool {
        core::ptr::eq(self.0, other.0)
    }

    /// The pointer itself, for helpers that want the type which the verifier knows.
    #[inline(always)]
    pub fn pointer<T>(self) -> *mut T {
        self.0.cast_mut().cast()
    }

    /// The address, for what is read by helpers.
    #[inline(always)]
    pub fn address(self) -> Address {
        Address(self.0 as u64)
    }
}

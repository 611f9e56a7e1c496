//! Arguments of hooks that stand elsewhere on another kernel.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::Global;
use aya_ebpf::programs::LsmContext;
use core::arch::asm;

/// The argument at `N`, or the one after it if `shift` is not 0. The verifier wants each place in an
/// instruction of its own; what compilers make of a choice between two places, it refuses.
#[inline(always)]
pub fn shifted<const N: usize>(ctx: &LsmContext, shift: &Global<u32>) -> u64 {
    if shift.load() == 0 {
        at::<N>(ctx)
    } else {
        after::<N>(ctx)
    }
}

#[inline(always)]
fn at<const N: usize>(ctx: &LsmContext) -> u64 {
    let argument: u64;
    // SAFETY: the verifier knows how many arguments the hook has.
    unsafe {
        asm!(
            "{argument} = *(u64 *)({ctx} + {place})",
            argument = out(reg) argument,
            ctx = in(reg) ctx.as_ptr(),
            place = const N * 8,
        );
    }
    argument
}

#[inline(always)]
fn after<const N: usize>(ctx: &LsmContext) -> u64 {
    let argument: u64;
    // SAFETY: as in `at`.
    unsafe {
        asm!(
            "{argument} = *(u64 *)({ctx} + {place})",
            argument = out(reg) argument,
            ctx = in(reg) ctx.as_ptr(),
            place = const N * 8 + 8,
        );
    }
    argument
}

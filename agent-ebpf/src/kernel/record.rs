//! Records in the ring.

use super::{counts, share};
use crate::maps::DECISIONS;
use agent_common::counter::Counter;
use agent_common::session::Label;
use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};
use aya_ebpf::maps::ring_buf::RingBufEntry;

/// Nanoseconds since boot, suspended time included.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes no arguments, always answers.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The processor on which this runs.
#[inline(always)]
pub fn processor() -> u32 {
    // SAFETY: takes no arguments, always answers.
    unsafe { bpf_get_smp_processor_id() }
}

/// Room for a record in the ring, to be submitted.
pub struct Record<T: 'static>(RingBufEntry<T>);

impl<T> Record<T> {
    /// Takes room, if there is any, and counts what is lost where there is none.
    #[inline(always)]
    pub fn reserve() -> Option<Self> {
        let record = DECISIONS.reserve::<T>(0).map(Self);
        if record.is_none() {
            counts::add(Counter::EventsLost);
        }
        record
    }

    /// The same for what a session did: no session gets more than its share of the ring.
    #[inline(always)]
    pub fn reserve_for(label: Label) -> Option<Self> {
        let record = if share::has_room(label) {
            DECISIONS.reserve::<T>(0).map(Self)
        } else {
            None
        };
        share::count(label, record.is_some());
        if record.is_none() {
            counts::add(Counter::EventsLost);
        }
        record
    }

    /// The room itself. Every field must be written before it is submitted.
    #[inline(always)]
    pub fn as_mut(&mut self) -> &mut T {
        // SAFETY: every type that goes into the ring is made of integers, for which any bytes
        // the ring held before are a value.
        unsafe { self.0.assume_init_mut() }
    }

    /// Hands the record to user space.
    #[inline(always)]
    pub fn submit(self) {
        self.0.submit(0);
    }
}

/// Copies a string of the kernel and says how long it is, without its end.
#[inline(always)]
pub fn copy_string(from: u64, to: &mut [u8]) -> u32 {
    // SAFETY: the helper checks the address and stops at the end of `to`.
    match unsafe { bpf_probe_read_kernel_str_bytes(from as *const u8, to) } {
        Ok(bytes) => bytes.len() as u32,
        Err(_) => 0,
    }
}

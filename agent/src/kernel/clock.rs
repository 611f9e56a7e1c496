//! The two clocks: the kernel's programs count from boot, policies speak of hours.

use nix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since boot, suspended time included.
pub fn boot_ns() -> u64 {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .expect("every kernel that this program runs on has this clock");
    std::time::Duration::from(since)
        .as_nanos()
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub fn wall_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Seconds between 1970 and boot, as the wall clock has it now.
pub fn booted_s() -> u64 {
    wall_s().saturating_sub(boot_ns() / 1_000_000_000)
}

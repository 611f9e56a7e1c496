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

/// The wall clock as it stood when it was read, for times that count from boot. Whoever explains many
/// moments reads it once: both clocks are calls of the system where a machine is emulated.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    /// Its time at boot, in nanoseconds since 1970.
    booted_ns: i128,
}

impl WallClock {
    /// As it is now.
    pub fn read() -> Self {
        let wall = jiff::Timestamp::now().as_nanosecond();
        Self {
            booted_ns: wall - i128::from(boot_ns()),
        }
    }

    /// What it showed at a moment since boot.
    pub fn at(self, boot_ns: u64) -> String {
        jiff::Timestamp::from_nanosecond(self.booted_ns + i128::from(boot_ns))
            .unwrap_or_default()
            .to_string()
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::read()
    }
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

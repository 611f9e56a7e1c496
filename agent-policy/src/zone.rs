//! Time zones, from a copy of the IANA database inside the program: no file of the host is read.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Seconds that a zone's local time is ahead of UTC at a second since 1970; nothing for a zone that
/// does not exist.
pub(crate) fn offset_s(zone: &str, wall_s: u64) -> Option<i32> {
    if zone == "UTC" {
        return Some(0);
    }
    let zone = ZONES.get(zone).ok()?;
    let at = Timestamp::from_second(i64::try_from(wall_s).ok()?).ok()?;
    Some(zone.to_offset(at).seconds())
}

/// Seconds since 1970 of a time such as 2026-03-02T10:00:00Z.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let at: Timestamp = text.parse().ok()?;
    u64::try_from(at.as_second()).ok()
}

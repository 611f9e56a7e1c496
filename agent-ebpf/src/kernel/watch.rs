//! What is recognised at all.

use crate::maps::WATCH;
use agent_common::recognise::{Inside, WhenAway};

/// Whether cgroups are.
#[inline(always)]
pub fn cgroups() -> bool {
    WATCH.get(0).is_some_and(|watch| watch.cgroups != 0)
}

/// Whether executables are.
#[inline(always)]
pub fn executables() -> bool {
    WATCH.get(0).is_some_and(|watch| watch.executables != 0)
}

/// The way whose running executables are being adopted.
#[inline(always)]
pub fn adopting() -> Option<u32> {
    WATCH.get(0)?.adopting.checked_sub(1)
}

/// Whether anything that already runs is being adopted.
#[inline(always)]
pub fn settling() -> bool {
    WATCH.get(0).is_some_and(|watch| watch.settling != 0)
}

/// Whether containers are.
#[inline(always)]
pub fn containers() -> bool {
    WATCH.get(0).is_some_and(|watch| watch.containers != 0)
}

/// Whether those of pods, or of engines, are.
#[inline(always)]
pub fn looks_at(whose: u32) -> bool {
    WATCH.get(0).is_some_and(|watch| watch.looks_at(whose))
}

/// Whether a container is let be of which nobody can be asked whose it is: as its pod has it, or all.
#[inline(always)]
pub fn releases(inside: Inside) -> bool {
    match inside.away {
        0 => WATCH.get(0).is_some_and(|watch| watch.releases()),
        away => away == WhenAway::Release.bit(),
    }
}

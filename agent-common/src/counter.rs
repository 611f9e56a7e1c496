//! What the kernel programs count, per CPU, whether or not anybody listens.

use crate::wire::wire_enum;

wire_enum! {
    /// Index into the counter map.
    Counter: u32 {
        /// Actions of sessions that were allowed.
        Allowed = 0 => "allowed",
        /// Actions of sessions that were denied.
        Denied = 1 => "denied",
        /// Events that found the ring full. Their verdicts were enforced all the same.
        EventsLost = 2 => "events_lost",
        /// Forks of sessions that failed because the child's label could not be stored.
        LabelsRefused = 3 => "labels_refused",
        /// Actions denied because something needed for the decision could not be read.
        Doubts = 4 => "doubts",
        /// Times the kernel looked whether a session has a capability, only to choose a way, and
        /// was told that it has not. Nobody asked for anything, so nothing was denied.
        Probes = 5 => "probes",
        /// Sessions that should have begun and could not, because none lay ready: whoever would
        /// have been in it was not executed, or is denied everything.
        NotReady = 6 => "not_ready",
        /// Packets of sockets of revoked sessions that were dropped.
        Silenced = 7 => "silenced",
        /// Packets that were dropped because a budget of bytes had no room for them.
        Overdrawn = 8 => "overdrawn",
        /// Questions that were put to a person.
        Asked = 9 => "asked",
        /// Packets that were dropped because they name places to pass on their way.
        Rerouted = 10 => "rerouted",
    }
}

/// Number of counters, which is the size of the counter map.
#[expect(clippy::cast_possible_truncation, reason = "there are a handful")]
pub const COUNTERS: u32 = Counter::ALL.len() as u32;

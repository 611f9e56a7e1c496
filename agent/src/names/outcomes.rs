//! How lookups went, counted by the resolver and read by whoever shows figures.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered.
    Answered,
    /// It was refused: the policy does not name it.
    Refused,
    /// No server answered, or there was no room.
    Failed,
}

/// Counts, since the daemon began.
#[derive(Debug, Default)]
pub struct Outcomes([AtomicU64; 3]);

impl Outcomes {
    pub(super) fn note(&self, outcome: Outcome) {
        let [answered, refused, failed] = &self.0;
        let of = match outcome {
            Outcome::Answered => answered,
            Outcome::Refused => refused,
            Outcome::Failed => failed,
        };
        of.fetch_add(1, Ordering::Relaxed);
    }

    /// Each outcome's word, and how often it was.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let [answered, refused, failed] = &self.0;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("answered", of(answered)),
            ("refused", of(refused)),
            ("failed", of(failed)),
        ]
    }
}

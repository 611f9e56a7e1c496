//! How long to wait before something is tried again.

use rand::TryRngCore as _;
use rand::rngs::OsRng;
use std::time::Duration;

/// Pauses that grow. Each is half again longer or shorter by chance: when what all wait for comes back, not all
/// nodes come at once.
#[derive(Debug, Clone)]
pub(crate) struct Pauses {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Pauses {
    /// The first and the longest.
    pub(crate) fn between(first: Duration, last: Duration) -> Self {
        let next = first;
        Self { first, last, next }
    }

    /// The next, without chance.
    pub(crate) fn upcoming(&self) -> Duration {
        self.next
    }

    /// How long to wait now.
    pub(crate) fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.last);
        pause.mul_f64(0.5 + share())
    }

    /// What was tried succeeded, or nearly.
    pub(crate) fn begin_anew(&mut self) {
        self.next = self.first;
    }
}

/// A number between 0 and 1. Where none can be drawn, all wait the same.
fn share() -> f64 {
    let drawn = OsRng.try_next_u32().unwrap_or(u32::MAX / 2);
    f64::from(drawn) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew() {
        let seconds = Duration::from_secs;
        let mut pauses = Pauses::between(seconds(1), seconds(5));
        for expected in [1, 2, 4, 5, 5] {
            let (least, most) = (seconds(expected) / 2, seconds(expected) * 3 / 2);
            let pause = pauses.take();
            assert!(
                (least..=most).contains(&pause),
                "{pause:?}, not about {expected} s"
            );
        }
        pauses.begin_anew();
        assert_eq!(pauses.upcoming(), seconds(1));
    }
}

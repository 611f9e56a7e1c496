//! How often somebody may do something.

use std::time::{Duration, Instant};

/// A bucket that fills again with time.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    room: f64,
    left: f64,
    filled: Instant,
}

impl Bucket {
    /// One that is full: so many a second, and twice as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self {
            per_second,
            room: per_second * 2.0,
            left: per_second * 2.0,
            filled: Instant::now(),
        }
    }

    /// Takes some, and says how long to wait for that. Nothing is refused that is waited for.
    pub(crate) fn take(&mut self, count: usize) -> Duration {
        let now = Instant::now();
        let filled = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        self.filled = now;
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.left = (self.left + filled).min(self.room) - count;
        if self.left >= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((-self.left / self.per_second).min(60.0))
    }

    /// Takes one if it is there.
    pub(crate) fn try_take(&mut self) -> bool {
        if self.take(1).is_zero() {
            return true;
        }
        self.left += 1.0;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_rate_at_once_and_then_it_takes_time() {
        let mut bucket = Bucket::new(10);
        assert!((0..20).all(|_| bucket.try_take()));
        assert!(!bucket.try_take());
        let wait = bucket.take(100);
        assert!(
            wait > Duration::from_secs(9) && wait <= Duration::from_secs(10),
            "{wait:?}"
        );
    }
}

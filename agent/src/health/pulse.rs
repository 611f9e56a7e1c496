//! The daemon's loops, and whether they turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A loop that must go on turning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// Tells what happened, and keeps the house each second.
    Events,
    /// Sends the canary in, each minute.
    Canary,
    /// Looks names up for sessions, and looks at the host's files each second.
    Resolver,
    /// Carries connections of sessions.
    Relay,
}

impl Loop {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Events, Self::Canary, Self::Resolver, Self::Relay];

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Canary => "canary",
            Self::Resolver => "resolver",
            Self::Relay => "relay",
        }
    }

    /// How long it may take over one turn, on a machine that sessions keep busy.
    fn patience(self) -> Duration {
        match self {
            Self::Events | Self::Resolver | Self::Relay => Duration::from_secs(30),
            // A minute between two, a minute for each of its attempts, half a one for what is told of them.
            Self::Canary => Duration::from_secs(240),
        }
    }
}

/// When each loop turned last. A loop that has not begun is not waited for.
#[derive(Debug, Clone, Default)]
pub struct Pulses([Pulse; Loop::ALL.len()]);

/// When one loop turned last, in milliseconds since the first of all; zero where it has not begun.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// It turns.
    pub fn beat(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }

    fn age(&self, now: u64) -> Option<Duration> {
        let last = self.0.load(Ordering::Relaxed);
        (last > 0).then(|| Duration::from_millis(now.saturating_sub(last)))
    }
}

impl Pulses {
    /// One loop's.
    pub fn of(&self, one: Loop) -> &Pulse {
        let [events, canary, resolver, relay] = &self.0;
        match one {
            Loop::Events => events,
            Loop::Canary => canary,
            Loop::Resolver => resolver,
            Loop::Relay => relay,
        }
    }

    /// How long ago each loop that has begun turned last.
    pub fn ages(&self) -> impl Iterator<Item = (Loop, Duration)> {
        let now = now();
        Loop::ALL
            .into_iter()
            .filter_map(move |one| Some((one, self.of(one).age(now)?)))
    }

    /// Whether all turn, or which do not.
    pub fn check(&self) -> Result<(), String> {
        let late = self.ages().filter(|(one, age)| *age > one.patience());
        let words: Vec<_> = late
            .map(|(one, age)| {
                format!(
                    "loop `{}` has not turned for {} s, expected at most {} s",
                    one.word(),
                    age.as_secs(),
                    one.patience().as_secs()
                )
            })
            .collect();
        if words.is_empty() {
            Ok(())
        } else {
            Err(words.join("; "))
        }
    }
}

/// Milliseconds since this was asked first, counted from one.
fn now() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let passed = FIRST.get_or_init(Instant::now).elapsed().as_millis();
    u64::try_from(passed).map_or(u64::MAX, |passed| passed.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_named() {
        let pulses = Pulses::default();
        assert_eq!(pulses.check(), Ok(()), "none has begun");
        for one in Loop::ALL {
            pulses.of(one).beat();
        }
        assert_eq!(pulses.check(), Ok(()));
        assert_eq!(pulses.ages().count(), Loop::ALL.len());
        // Instants before the first cannot be had: the loop stood still since the first.
        let late = Pulse(Arc::new(AtomicU64::new(1)));
        assert_eq!(late.age(31_001), Some(Duration::from_secs(31)));
        assert!(late.age(31_001) > Some(Loop::Events.patience()));
    }
}

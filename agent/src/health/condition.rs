//! Whether enforcement is proven: what the canary found last, and when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Older than this a proof is none: the canary goes in every minute, and on a machine that sessions keep
/// busy it may take two more.
pub const PROOF_HOLDS: Duration = Duration::from_secs(240);

/// What is known, shared by all threads.
#[derive(Debug, Clone, Default)]
pub struct Condition(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    /// When the canary was last denied all that it should be.
    proven: Option<Instant>,
    /// Why enforcement is not proven, if it is not.
    failure: Option<String>,
    /// What is less than it should be, each in its words.
    degraded: Vec<String>,
}

impl Condition {
    /// What is found is whole after each change, whoever panicked in between.
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is less than it should be, beside what was said before.
    pub fn add_degraded(&self, reason: &str) {
        self.lock().degraded.push(reason.to_owned());
    }

    /// Notes what the canary found: nothing, or why nothing is proven. What was noted before is given back.
    pub fn note(&self, failure: Option<String>) -> Option<String> {
        let mut found = self.lock();
        if failure.is_none() {
            found.proven = Some(Instant::now());
        }
        std::mem::replace(&mut found.failure, failure)
    }

    /// Why enforcement is not proven, as the canary found it.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// How long ago the canary was denied; nothing where it never was.
    pub fn age(&self) -> Option<Duration> {
        self.lock().proven.map(|at| at.elapsed())
    }

    /// Whether enforcement is proven now, in words either way.
    pub fn readiness(&self) -> Result<String, String> {
        let found = self.lock();
        if let Some(failure) = &found.failure {
            return Err(format!("not ready: enforcement is not proven: {failure}"));
        }
        let Some(proven) = found.proven else {
            return Err("not ready: the canary has not been denied yet".into());
        };
        let ago = proven.elapsed().as_secs();
        if proven.elapsed() > PROOF_HOLDS {
            return Err(format!(
                "not ready: the canary was last denied {ago} s ago, expected at most {} s",
                PROOF_HOLDS.as_secs()
            ));
        }
        let denied = format!("the canary was denied {ago} s ago");
        Ok(if found.degraded.is_empty() {
            format!("ready: {denied}")
        } else {
            format!("ready, degraded: {denied}; {}", found.degraded.join("; "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_the_canary_was_denied() {
        let condition = Condition::default();
        assert_eq!(
            condition.readiness().unwrap_err(),
            "not ready: the canary has not been denied yet"
        );
        assert_eq!(condition.note(None), None);
        assert_eq!(
            condition.readiness().unwrap(),
            "ready: the canary was denied 0 s ago"
        );
        condition.add_degraded("no BPF LSM");
        condition.add_degraded("programs of another build");
        assert_eq!(
            condition.readiness().unwrap(),
            "ready, degraded: the canary was denied 0 s ago; no BPF LSM; programs of another build"
        );
        condition.note(Some("a session was not denied connect".into()));
        assert_eq!(
            condition.readiness().unwrap_err(),
            "not ready: enforcement is not proven: a session was not denied connect"
        );
        assert!(condition.age().is_some(), "when it last was stays known");
        assert!(condition.note(None).is_some());
        assert!(condition.readiness().is_ok());
    }

    #[test]
    fn an_old_proof_is_none() {
        let condition = Condition::default();
        let long_ago = Instant::now().checked_sub(PROOF_HOLDS + Duration::from_secs(1));
        condition.lock().proven = Some(long_ago.expect("the machine is up for longer"));
        let why = condition.readiness().unwrap_err();
        assert!(why.contains("241 s ago"), "{why}");
    }
}

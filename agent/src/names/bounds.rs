//! What lookups can carry out of a session is bounded, as is how often it asks.

use agent_policy::{Lookups, Pace};
use hickory_proto::rr::RecordType;
use std::collections::HashSet;
use std::time::Instant;

/// Names that are remembered as asked for.
const REMEMBERED: usize = 4_096;

/// Whether a type of record may be asked for. Those that no policy names carry what no connection needs.
pub(super) fn is_kind(lookups: &Lookups, kind: RecordType) -> bool {
    let number = u16::from(kind);
    lookups.records.iter().any(|own| own.number() == number)
}

/// Whether what stands before the domain of a `*.` is no longer than the policy allows.
pub(super) fn is_short(lookups: &Lookups, below: &str) -> bool {
    below.len() <= lookups.below
        && below.split('.').count() <= lookups.labels
        && below.split('.').all(|label| label.len() <= lookups.label)
}

/// What a session has asked lately.
#[derive(Debug)]
pub(super) struct Asked {
    lookups: Bucket,
    new_names: Bucket,
    names: HashSet<String>,
}

impl Asked {
    pub(super) fn nothing(lookups: &Lookups) -> Self {
        Self {
            lookups: Bucket::at(lookups.pace),
            new_names: Bucket::at(lookups.new_names),
            names: HashSet::new(),
        }
    }

    /// The same under another version of the policy: what was asked stays known.
    pub(super) fn under(self, lookups: &Lookups) -> Self {
        Self {
            names: self.names,
            ..Self::nothing(lookups)
        }
    }

    /// Whether there is room for another lookup; `below` says that a `*.` allows the name.
    pub(super) fn has_room(&mut self, name: &str, below: bool, now: Instant) -> bool {
        if !self.lookups.take(now) {
            return false;
        }
        if !below || self.names.contains(name) {
            return true;
        }
        if !self.new_names.take(now) {
            return false;
        }
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        self.names.insert(name.to_owned());
        true
    }
}

/// So many at once, and then so many a second.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    size: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one of a policy's.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a policy's numbers are far below where a float would round them"
    )]
    pub(super) fn at(pace: Pace) -> Self {
        let rate = pace.count as f64 / pace.period_s as f64;
        Self::full((rate, pace.burst as f64))
    }

    pub(super) fn full((rate, size): (f64, f64)) -> Self {
        Self {
            rate,
            size,
            left: size,
            at: Instant::now(),
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = now.duration_since(self.at).as_secs_f64();
        self.at = now.max(self.at);
        self.left = (self.left + since * self.rate).min(self.size);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_run_out_and_known_ones_do_not() {
        let mut asked = Asked::nothing(&Lookups::default());
        let now = Instant::now();
        let mut new = (0..200).map(|i| asked.has_room(&format!("n{i}.example.com"), true, now));
        let granted = new.by_ref().take_while(|room| *room).count();
        drop(new);
        assert_eq!(granted, 120);
        assert!(asked.has_room("n0.example.com", true, now));
        assert!(asked.has_room("api.example.com", false, now));
        let later = now + std::time::Duration::from_secs(60);
        assert!(asked.has_room("n200.example.com", true, later));
    }

    #[test]
    fn what_is_longer_than_hosts_are_called_is_not_asked() {
        let usual = Lookups::default();
        let is_short = |below: &str| is_short(&usual, below);
        assert!(is_short("raw") && is_short("a.b.c.d"));
        assert!(!is_short("a.b.c.d.e"));
        assert!(!is_short(&"x".repeat(41)) && is_short(&"x".repeat(40)));
        assert!(!is_short(&["x".repeat(40), "y".repeat(40)].join(".")));
    }

    #[test]
    fn only_what_connections_need_is_looked_up() {
        let usual = Lookups::default();
        let is_kind = |kind| is_kind(&usual, kind);
        assert!(is_kind(RecordType::A) && is_kind(RecordType::HTTPS));
        for kind in [
            RecordType::TXT,
            RecordType::NULL,
            RecordType::ANY,
            RecordType::AXFR,
            RecordType::MX,
            RecordType::Unknown(65_399),
        ] {
            assert!(!is_kind(kind), "{kind}");
        }
    }
}

//! What lookups can carry out of a session is bounded, as is how often it asks.

use hickory_proto::rr::RecordType;
use std::collections::HashSet;
use std::time::Instant;

/// The longest label below a `*.` of the policy.
pub(super) const LABEL: usize = 40;

/// Bytes of all labels below a `*.` of the policy, with their dots.
pub(super) const BELOW: usize = 80;

/// Labels below a `*.` of the policy.
pub(super) const DEPTH: usize = 4;

/// Lookups of a session: how many a second, and how many at once.
const LOOKUPS: (f64, f64) = (100.0, 500.0);

/// Names below a `*.` that a session has not asked for before: how many a second, and how many at once.
const NEW_NAMES: (f64, f64) = (1.0, 120.0);

/// Names that are remembered as asked for.
const REMEMBERED: usize = 4_096;

/// The types of records that may be asked for. Others carry what no connection needs.
pub(super) fn is_kind(kind: RecordType) -> bool {
    matches!(
        kind,
        RecordType::A
            | RecordType::AAAA
            | RecordType::CNAME
            | RecordType::HTTPS
            | RecordType::SVCB
            | RecordType::SRV
    )
}

/// Whether what stands before the domain of a `*.` is no longer than names of hosts are.
pub(super) fn is_short(below: &str) -> bool {
    below.len() <= BELOW
        && below.split('.').count() <= DEPTH
        && below.split('.').all(|label| label.len() <= LABEL)
}

/// What a session has asked lately.
#[derive(Debug)]
pub(super) struct Asked {
    lookups: Bucket,
    new_names: Bucket,
    names: HashSet<String>,
}

impl Asked {
    pub(super) fn nothing() -> Self {
        Self {
            lookups: Bucket::full(LOOKUPS),
            new_names: Bucket::full(NEW_NAMES),
            names: HashSet::new(),
        }
    }

    /// Whether there is room for another lookup; `below` says that a `*.` allows the name.
    pub(super) fn has_room(&mut self, name: &str, below: bool) -> bool {
        if !self.lookups.take() {
            return false;
        }
        if !below || self.names.contains(name) {
            return true;
        }
        if !self.new_names.take() {
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
    pub(super) fn full((rate, size): (f64, f64)) -> Self {
        Self {
            rate,
            size,
            left: size,
            at: Instant::now(),
        }
    }

    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        let since = now.duration_since(self.at).as_secs_f64();
        self.at = now;
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
        let mut asked = Asked::nothing();
        let mut room = (0..200).map(|i| asked.has_room(&format!("n{i}.example.com"), true));
        let granted = room.by_ref().take_while(|room| *room).count();
        drop(room);
        assert!((120..125).contains(&granted), "{granted}");
        assert!(asked.has_room("n0.example.com", true));
        assert!(asked.has_room("api.example.com", false));
    }

    #[test]
    fn what_is_longer_than_hosts_are_called_is_not_asked() {
        assert!(is_short("raw") && is_short("a.b.c.d"));
        assert!(!is_short("a.b.c.d.e"));
        assert!(!is_short(&"x".repeat(41)) && is_short(&"x".repeat(40)));
        assert!(!is_short(&["x".repeat(40), "y".repeat(40)].join(".")));
    }

    #[test]
    fn only_what_connections_need_is_looked_up() {
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

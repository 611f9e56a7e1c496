//! What was answered lately. The same for all sessions: whether one may ask is not decided here.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers that are kept.
const ENTRIES: usize = 8_192;

/// What was asked: a canonical name and a type.
pub(super) type Key = (String, RecordType);

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The code.
    pub code: ResponseCode,
    /// The records that answer, the chain of names included.
    pub answers: Vec<Record>,
    /// Where there are none, what says so.
    pub authorities: Vec<Record>,
    /// Seconds for which it holds.
    pub ttl_s: u32,
}

/// An answer, and how old it is.
#[derive(Debug, Clone)]
pub(super) struct Found {
    known: Arc<Known>,
    age_s: u32,
}

impl Found {
    /// One that has just come.
    pub(super) fn fresh(known: Arc<Known>) -> Self {
        Self { known, age_s: 0 }
    }

    /// The answer as it was.
    pub(super) fn origin(&self) -> &Known {
        &self.known
    }

    /// Seconds for which it holds yet.
    pub(super) fn ttl_s(&self) -> u32 {
        self.known.ttl_s.saturating_sub(self.age_s)
    }

    /// The answer as it is now.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::clone(&self.known);
        known.ttl_s = self.ttl_s();
        let records = known.answers.iter_mut().chain(&mut known.authorities);
        for record in records {
            record.ttl = record.ttl.saturating_sub(self.age_s);
        }
        known
    }

    /// Whether another is the same, and as old to the second.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.known, &other.known) && self.age_s == other.age_s
    }
}

/// What was answered lately.
#[derive(Debug, Default)]
pub(super) struct Cache {
    known: HashMap<Key, (Instant, Arc<Known>)>,
    /// The same by when it ends, soonest first.
    ends: BTreeSet<(Instant, Key)>,
}

impl Cache {
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Found> {
        let (since, known) = self.known.get(key)?;
        let age_s = u32::try_from(now.duration_since(*since).as_secs()).unwrap_or(u32::MAX);
        (age_s < known.ttl_s).then(|| Found {
            known: Arc::clone(known),
            age_s,
        })
    }

    pub(super) fn put(&mut self, key: Key, known: Arc<Known>, now: Instant) {
        if known.ttl_s == 0 {
            return;
        }
        self.take(&key);
        while self.known.len() >= ENTRIES
            && let Some((_, first)) = self.ends.first().cloned()
        {
            self.take(&first);
        }
        self.ends.insert((end(now, &known), key.clone()));
        self.known.insert(key, (now, known));
    }

    fn take(&mut self, key: &Key) {
        if let Some((since, known)) = self.known.remove(key) {
            self.ends.remove(&(end(since, &known), key.clone()));
        }
    }
}

fn end(since: Instant, known: &Known) -> Instant {
    since + Duration::from_secs(known.ttl_s.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(ttl_s: u32) -> Arc<Known> {
        Arc::new(Known {
            code: ResponseCode::NoError,
            answers: Vec::new(),
            authorities: Vec::new(),
            ttl_s,
        })
    }

    #[test]
    fn an_answer_is_kept_while_it_holds() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let key = ("a.example.com".to_owned(), RecordType::A);
        cache.put(key.clone(), known(60), now);
        let later = |s| {
            cache
                .get(&key, now + Duration::from_secs(s))
                .map(|found| (found.ttl_s(), found.known().ttl_s))
        };
        assert_eq!(
            (later(0), later(59), later(60)),
            (Some((60, 60)), Some((1, 1)), None)
        );
        let mut cache = Cache::default();
        cache.put(key.clone(), known(0), now);
        assert!(cache.get(&key, now).is_none());
    }

    #[test]
    fn a_flood_of_names_takes_no_more_room() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for i in 0..ENTRIES * 3 {
            cache.put((format!("n{i}.example.com"), RecordType::A), known(60), now);
        }
        assert_eq!((cache.known.len(), cache.ends.len()), (ENTRIES, ENTRIES));
    }
}

//! What names said of addresses, of one session, as it stands in the kernel's table.

use super::{CEILING, FLOOR, GRACE, SLACK};
use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::kernel::plain::Plain;
use agent_common::names::{Answer, AnswerKey, MAX_NAMES_OF_ADDRESS};
use aya::maps::{HashMap as KernelMap, Map, MapData};
use std::collections::HashMap;
use std::time::Duration;

/// Addresses of one session that are kept: twice as many as fit into the largest answers of a hundred
/// names.
pub(super) const MAX_OF_SESSION: usize = 4_096;

/// How many are taken out at once where there is no room.
const TAKEN_OUT: usize = 64;

/// The table.
pub(super) type Answers = KernelMap<MapData, Plain<AnswerKey>, Plain<Answer>>;

/// Opens the table.
pub(super) fn answers(pins: &Pins) -> Result<Answers, MapsError> {
    typed("ANSWERS", Map::HashMap(open(pins, "ANSWERS")?))
}

/// Where something is written.
pub(super) trait Table {
    /// Writes an entry.
    fn put(&mut self, key: AnswerKey, answer: Answer) -> Result<(), MapsError>;
    /// Takes one out, if it is there.
    fn take(&mut self, key: AnswerKey);
}

impl Table for Answers {
    fn put(&mut self, key: AnswerKey, answer: Answer) -> Result<(), MapsError> {
        Ok(self.insert(Plain(key), Plain(answer), 0)?)
    }

    fn take(&mut self, key: AnswerKey) {
        // What is not there is what was wanted.
        let _ = self.remove(&Plain(key));
    }
}

/// Why an address is not entered.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnterError {
    #[error("the session has {MAX_OF_SESSION} addresses of names in use")]
    Full,
    #[error(transparent)]
    Map(#[from] MapsError),
}

#[derive(Debug, Clone)]
struct Entry {
    answer: Answer,
    /// The name that was asked for last; nothing where an earlier daemon knew it.
    name: Option<String>,
}

/// The answers to one session.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<AnswerKey, Entry>,
}

/// Until when connections may begin after an answer that is good for so long.
pub(super) fn expiry(now_ns: u64, ttl_s: u32) -> u64 {
    let ttl = Duration::from_secs(ttl_s.into()).clamp(FLOOR, CEILING) + GRACE;
    now_ns.saturating_add(ttl.as_nanos().try_into().unwrap_or(u64::MAX))
}

impl Book {
    /// Takes over what an earlier daemon has written.
    pub(super) fn adopt(&mut self, key: AnswerKey, answer: Answer) {
        self.entries.insert(key, Entry { answer, name: None });
    }

    /// Enters an address: in the scope, what the name says holds there until then.
    pub(super) fn enter(
        &mut self,
        table: &mut impl Table,
        at: AnswerKey,
        (set, name): (u32, &str),
        (now_ns, expires_ns): (u64, u64),
    ) -> Result<(), EnterError> {
        let numbers = (0..MAX_NAMES_OF_ADDRESS).map(|number| AnswerKey { number, ..at });
        let find = |test: &dyn Fn(Option<&Entry>) -> bool| {
            let mut numbers = numbers.clone();
            numbers.find(|key| test(self.entries.get(key)))
        };
        let same = find(&|entry| entry.is_some_and(|entry| entry.answer.set == set));
        let free = || find(&|entry| entry.is_none_or(|entry| entry.answer.expires_ns <= now_ns));
        let oldest = || {
            numbers
                .clone()
                .min_by_key(|key| self.entries.get(key).map(|entry| entry.answer.expires_ns))
        };
        let Some(key) = same.or_else(free).or_else(oldest) else {
            return Err(EnterError::Full);
        };
        let known = self.entries.get_mut(&key);
        let known = known.filter(|entry| entry.answer.set == set);
        if let Some(entry) = known {
            let slack_ns = u64::try_from(SLACK.as_nanos()).unwrap_or(0);
            if entry.name.as_deref() != Some(name) {
                entry.name = Some(name.to_owned());
            }
            if entry.answer.expires_ns.saturating_add(slack_ns) < expires_ns {
                let answer = Answer {
                    expires_ns,
                    ..entry.answer
                };
                table.put(key, answer)?;
                entry.answer = answer;
            }
            return Ok(());
        }
        if !self.entries.contains_key(&key) {
            self.make_room(table, now_ns)?;
        }
        let answer = Answer {
            expires_ns,
            set,
            reserved: 0,
        };
        table.put(key, answer)?;
        let name = Some(name.to_owned());
        self.entries.insert(key, Entry { answer, name });
        Ok(())
    }

    /// What has expired longest goes first, and what has not does not go.
    fn make_room(&mut self, table: &mut impl Table, now_ns: u64) -> Result<(), EnterError> {
        if self.entries.len() < MAX_OF_SESSION {
            return Ok(());
        }
        let mut expired: Vec<(u64, AnswerKey)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.answer.expires_ns <= now_ns)
            .map(|(key, entry)| (entry.answer.expires_ns, *key))
            .collect();
        if expired.is_empty() {
            return Err(EnterError::Full);
        }
        expired.sort_unstable();
        for (_, key) in expired.into_iter().take(TAKEN_OUT) {
            self.entries.remove(&key);
            table.take(key);
        }
        Ok(())
    }

    /// The same answers under another version of the policy: `place` says of a tool's number and a name
    /// which scope and set those are there, if any.
    pub(super) fn under(
        &self,
        table: &mut impl Table,
        place: impl Fn(u8, &str) -> Option<(u32, u32)>,
    ) -> Self {
        let mut moved = Self::default();
        for (key, entry) in &self.entries {
            let Some(name) = &entry.name else { continue };
            let [tool, ..] = key.scope.to_le_bytes();
            let Some((scope, set)) = place(tool, name) else {
                continue;
            };
            let at = AnswerKey { scope, ..*key };
            let times = (0, entry.answer.expires_ns);
            // What finds no room there is looked up again.
            let _ = moved.enter(table, at, (set, name), times);
        }
        moved
    }

    /// Takes everything out, but what another book holds.
    pub(super) fn clear(&mut self, table: &mut impl Table, other: Option<&Self>) {
        for (key, _) in self.entries.drain() {
            if other.is_none_or(|other| !other.entries.contains_key(&key)) {
                table.take(key);
            }
        }
    }

    /// The name that led to an address last, if any did.
    pub(super) fn name_of(&self, address: [u8; 16]) -> Option<&str> {
        let of_address = self
            .entries
            .iter()
            .filter(|(key, _)| key.address == address);
        let newest = of_address.max_by_key(|(_, entry)| entry.answer.expires_ns);
        newest.and_then(|(_, entry)| entry.name.as_deref())
    }

    /// How many addresses it holds.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Memory(BTreeMap<AnswerKey, Answer>);

    impl Table for Memory {
        fn put(&mut self, key: AnswerKey, answer: Answer) -> Result<(), MapsError> {
            self.0.insert(key, answer);
            Ok(())
        }

        fn take(&mut self, key: AnswerKey) {
            self.0.remove(&key);
        }
    }

    impl PartialEq for Memory {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    fn key(address: u16) -> AnswerKey {
        let [high, low] = address.to_be_bytes();
        let mut bytes = [0; 16];
        bytes[14..].copy_from_slice(&[high, low]);
        AnswerKey {
            session: 7,
            scope: 3 << 8,
            number: 0,
            address: bytes,
        }
    }

    #[test]
    fn names_of_one_set_share_an_entry_and_others_have_their_own() {
        let (mut book, mut table) = (Book::default(), Memory::default());
        let times = (1, 100);
        book.enter(&mut table, key(1), (5, "a.example.com"), times)
            .unwrap();
        book.enter(&mut table, key(1), (5, "b.example.com"), (1, 50))
            .unwrap();
        assert_eq!(table.0.len(), 1);
        assert_eq!(
            table.0[&key(1)].expires_ns,
            100,
            "no answer makes an earlier one shorter"
        );
        assert_eq!(book.name_of(key(1).address), Some("b.example.com"));
        book.enter(&mut table, key(1), (6, "c.example.com"), times)
            .unwrap();
        assert_eq!(table.0.len(), 2);
        for set in 7..20 {
            book.enter(&mut table, key(1), (set, "d.example.com"), times)
                .unwrap();
        }
        assert_eq!(table.0.len(), MAX_NAMES_OF_ADDRESS as usize);
    }

    #[test]
    fn what_stands_is_written_anew_only_where_it_would_end_too_early() {
        const S: u64 = 1_000_000_000;
        let (mut book, mut table) = (Book::default(), Memory::default());
        let set = (5, "a.example.com");
        book.enter(&mut table, key(1), set, (1, 100 * S)).unwrap();
        book.enter(&mut table, key(1), set, (1, 110 * S)).unwrap();
        assert_eq!(table.0[&key(1)].expires_ns, 100 * S);
        book.enter(&mut table, key(1), set, (1, 111 * S)).unwrap();
        assert_eq!(table.0[&key(1)].expires_ns, 111 * S);
    }

    #[test]
    fn what_has_expired_longest_makes_room_and_what_has_not_does_not() {
        let (mut book, mut table) = (Book::default(), Memory::default());
        for address in 0..u16::try_from(MAX_OF_SESSION).unwrap() {
            let until = 1_000 + u64::from(address);
            book.enter(&mut table, key(address), (5, "a.example.com"), (1, until))
                .unwrap();
        }
        let more = |book: &mut Book, table: &mut Memory, now| {
            book.enter(table, key(50_000), (5, "a.example.com"), (now, 9_000))
        };
        let full = more(&mut book, &mut table, 900);
        assert!(matches!(full, Err(EnterError::Full)), "{full:?}");
        assert!(!table.0.contains_key(&key(50_000)));
        more(&mut book, &mut table, 1_001).unwrap();
        assert!(table.0.contains_key(&key(50_000)) && table.0.contains_key(&key(2)));
        assert!(!table.0.contains_key(&key(0)) && !table.0.contains_key(&key(1)));
        book.clear(&mut table, None);
        assert!(table.0.is_empty());
    }

    #[test]
    fn answers_go_with_a_session_that_is_moved() {
        let (mut book, mut table) = (Book::default(), Memory::default());
        book.enter(&mut table, key(1), (5, "a.example.com"), (1, 100))
            .unwrap();
        book.enter(&mut table, key(2), (5, "gone.example.com"), (1, 100))
            .unwrap();
        let place = |tool: u8, name: &str| {
            (name == "a.example.com").then_some((4 << 8 | u32::from(tool), 9))
        };
        let moved = book.under(&mut table, place);
        book.clear(&mut table, Some(&moved));
        let there = AnswerKey {
            scope: 4 << 8,
            ..key(1)
        };
        assert_eq!(table.0.keys().collect::<Vec<_>>(), [&there]);
        assert_eq!(table.0[&there].set, 9);
    }

    #[test]
    fn an_answer_holds_as_long_as_it_says_with_a_floor_and_a_ceiling() {
        const S: u64 = 1_000_000_000;
        assert_eq!(expiry(S, 0), S + 90 * S);
        assert_eq!(expiry(0, 300), 330 * S);
        assert_eq!(expiry(0, u32::MAX), (86_400 + 30) * S);
    }
}

//! Questions that are asked again and again, to the byte, and what was said to each: the same as before but for its
//! number and for the seconds that have passed.

use super::cache::Found;
use super::message::Question;
use std::collections::HashMap;
use std::sync::Arc;

/// Questions that are remembered. Only such are as were answered from the cache: who asks for what nobody asked
/// before costs them nothing.
const ENTRIES: usize = 1_024;

/// Bytes of the number that stands first in a message.
const NUMBER: usize = 2;

/// What was asked and said.
#[derive(Debug, Default)]
pub(super) struct Echo(HashMap<Box<[u8]>, Entry>);

#[derive(Debug)]
struct Entry {
    question: Arc<Question>,
    /// What was known then, and what was said of it where there was so much room.
    found: Found,
    room: usize,
    answer: Vec<u8>,
}

impl Echo {
    /// What a message asks that came before.
    pub(super) fn question(&self, asked: &[u8]) -> Option<Arc<Question>> {
        let entry = self.0.get(asked.get(NUMBER..)?)?;
        Some(Arc::clone(&entry.question))
    }

    /// The answer to a message of what was found for it.
    pub(super) fn answer(
        &mut self,
        asked: &[u8],
        question: &Arc<Question>,
        found: &Found,
        room: usize,
    ) -> Vec<u8> {
        let asked = asked.get(NUMBER..).unwrap_or_default();
        if let Some(entry) = self.0.get(asked)
            && entry.room == room
            && entry.found.is(found)
        {
            return entry.answer.clone();
        }
        let answer = question.answer(&found.known(), room);
        if self.0.len() >= ENTRIES {
            self.0.clear();
        }
        let entry = Entry {
            question: Arc::clone(question),
            found: found.clone(),
            room,
            answer: answer.clone(),
        };
        self.0.insert(asked.into(), entry);
        answer
    }
}

/// An answer with the number of what was asked.
pub(super) fn numbered(mut answer: Vec<u8>, asked: &[u8]) -> Vec<u8> {
    if let (Some(own), Some(number)) = (answer.get_mut(..NUMBER), asked.get(..NUMBER)) {
        own.copy_from_slice(number);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::cache::{Cache, Known};
    use crate::names::message::Fault;
    use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use std::time::{Duration, Instant};

    fn asked(number: u16, name: &str) -> Vec<u8> {
        let name = Name::from_ascii(name).unwrap();
        let mut message = Message::new(number, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name, RecordType::A));
        message.to_vec().unwrap()
    }

    /// An echo, the question, and the cache with its answer, which came at that time.
    fn place(name: &str) -> Result<(Echo, Arc<Question>, Cache, Instant), Fault> {
        let question = Arc::new(Question::read(&asked(1, name))?);
        let data = RData::A(std::net::Ipv4Addr::new(192, 0, 2, 1).into());
        let known = Known {
            code: ResponseCode::NoError,
            answers: vec![Record::from_rdata(question.query.name.clone(), 60, data)],
            authorities: Vec::new(),
            ttl_s: 60,
        };
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(question.key.clone(), Arc::new(known), now);
        Ok((Echo::default(), question, cache, now))
    }

    #[test]
    fn what_is_said_again_is_what_would_be_said_anew() {
        let (mut echo, question, cache, now) = place("api.example.com.").unwrap();
        for (number, seconds) in [(7, 0), (8, 0), (9, 1), (10, 59)] {
            let asked = asked(number, "api.example.com.");
            assert_eq!(echo.question(&asked).is_some(), number > 7);
            let later = now + Duration::from_secs(seconds);
            let found = cache.get(&question.key, later).unwrap();
            let answer = numbered(echo.answer(&asked, &question, &found, 512), &asked);
            let message = Message::from_vec(&answer).unwrap();
            assert_eq!(message.metadata.id, number);
            assert_eq!(u64::from(message.answers[0].ttl), 60 - seconds);
            let anew = numbered(question.answer(&found.known(), 512), &asked);
            assert_eq!(answer, anew);
        }
    }

    #[test]
    fn another_question_or_less_room_has_its_own_answer() {
        let (mut echo, question, cache, now) = place("api.example.com.").unwrap();
        let found = cache.get(&question.key, now).unwrap();
        let usual = asked(7, "api.example.com.");
        let whole = echo.answer(&usual, &question, &found, 512);
        assert!(echo.question(&asked(7, "API.example.com.")).is_none());
        assert!(echo.question(&asked(7, "b.example.com.")).is_none());
        assert!(echo.question(&[7]).is_none());
        let cut = echo.answer(&usual, &question, &found, 40);
        assert!(cut.len() < whole.len() && Message::from_vec(&cut).unwrap().metadata.truncation);
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let (mut echo, question, cache, now) = place("api.example.com.").unwrap();
        let found = cache.get(&question.key, now).unwrap();
        for number in 0..ENTRIES * 2 + 1 {
            let name = format!("n{number}.example.com.");
            echo.answer(&asked(7, &name), &question, &found, 512);
            assert!(echo.0.len() <= ENTRIES);
        }
    }
}

//! The messages: what a session asks, what a server answers, and what the session hears of it.
//!
//! Nothing that a session wrote travels on: a question to a server is made anew of its name and its type.
//! Nothing that a server wrote does unless it belongs to the answer.

use super::cache::{Key, Known};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// The largest question that is read. One for the longest name, with room for what EDNS adds.
pub const MAX_QUESTION: usize = 512;

/// What a datagram holds for who does not say that it takes more.
const PLAIN: u16 = 512;
/// What a datagram holds at most: what passes every network without being cut up.
pub const PAYLOAD: u16 = 1232;
/// Names that lead to one another.
const CHAIN: usize = 16;
/// Records of one answer.
const RECORDS: usize = 100;
/// Seconds for which "no" is believed at most.
const MAX_NO_S: u32 = 300;
/// Seconds for which a "no" holds that does not say so.
const PLAIN_NO_S: u32 = 5;

/// What a session asks. The number by which it will know the answer is not part of it: answers are made with 0 there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question as it was written, capitals included.
    pub query: Query,
    /// The name in the form in which policies have it: lower case, no final dot. And what is asked for.
    pub key: Key,
    /// Whether it is to be looked for elsewhere.
    pub recurses: bool,
    /// Bytes that a datagram may have, where it says so.
    pub payload: Option<u16>,
}

/// What cannot be answered as a question for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nobody can be answered: it is no question.
    Silence,
    /// An error, in its bytes, and the name that was asked for, for people.
    Error(Vec<u8>, Option<String>),
}

impl Question {
    /// Reads it.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let [high, low, flags, ..] = *bytes else {
            return Err(Fault::Silence);
        };
        // An answer is never answered.
        if flags & 0x80 != 0 {
            return Err(Fault::Silence);
        }
        let id = u16::from_be_bytes([high, low]);
        let wrong = |code| Fault::Error(error(id, OpCode::Query, code), None);
        if bytes.len() > MAX_QUESTION {
            return Err(wrong(ResponseCode::FormErr));
        }
        let message = Message::from_vec(bytes).map_err(|_| wrong(ResponseCode::FormErr))?;
        if message.metadata.op_code != OpCode::Query {
            let code = ResponseCode::NotImp;
            let bytes = error(id, message.metadata.op_code, code);
            return Err(Fault::Error(bytes, None));
        }
        let [query] = message.queries.as_slice() else {
            return Err(wrong(ResponseCode::FormErr));
        };
        let edns = message.edns.as_ref();
        if edns.is_some_and(|edns| edns.version() != 0) {
            return Err(wrong(ResponseCode::BADVERS));
        }
        let name = canonical(&query.name).unwrap_or_default();
        let question = Self {
            query: query.clone(),
            key: (name, query.query_type),
            recurses: message.metadata.recursion_desired,
            payload: edns.map(Edns::max_payload),
        };
        if question.name().is_empty() || query.query_class != DNSClass::IN {
            let bytes = question.say(ResponseCode::Refused, &[], &[], usize::MAX);
            return Err(Fault::Error(bytes, Some(shown(&query.name))));
        }
        Ok(question)
    }

    /// The name, as policies have it.
    pub fn name(&self) -> &str {
        &self.key.0
    }

    /// What is asked for.
    pub fn kind(&self) -> RecordType {
        self.key.1
    }

    /// Bytes that a datagram with the answer may have.
    pub fn room(&self) -> usize {
        usize::from(self.payload.unwrap_or(PLAIN).clamp(PLAIN, PAYLOAD))
    }

    /// The answer, cut off where it has more bytes than there is room for.
    pub fn answer(&self, known: &Known, room: usize) -> Vec<u8> {
        self.say(known.code, &known.answers, &known.authorities, room)
    }

    /// Says no.
    pub fn refuse(&self, code: ResponseCode) -> Vec<u8> {
        self.say(code, &[], &[], usize::MAX)
    }

    fn say(
        &self,
        code: ResponseCode,
        answers: &[Record],
        authorities: &[Record],
        room: usize,
    ) -> Vec<u8> {
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.recursion_desired = self.recurses;
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.add_query(self.query.clone());
        if self.payload.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            message.set_edns(edns);
        }
        message.insert_answers(answers.to_vec());
        message.insert_authorities(authorities.to_vec());
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= room => bytes,
            Ok(_) => {
                let cut = message.truncate().to_vec();
                cut.unwrap_or_else(|_| error(0, OpCode::Query, ResponseCode::ServFail))
            }
            Err(_) => error(0, OpCode::Query, ResponseCode::ServFail),
        }
    }
}

/// A question to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    id: u16,
    name: Name,
    kind: RecordType,
}

impl Asking {
    /// For a canonical name. Its letters get capitals at random, which the answer must repeat, where
    /// that is wanted: who cannot see the question cannot guess them.
    pub fn of(name: &str, kind: RecordType, capitals: bool) -> Option<Self> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        if capitals {
            name.randomize_label_case();
        }
        Some(Self {
            id: number()?,
            name,
            kind,
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
        message.to_vec().ok()
    }

    /// Reads an answer. Nothing where it is not one to this question.
    pub fn hear(&self, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let [query] = message.queries.as_slice() else {
            return None;
        };
        let is_ours = message.metadata.id == self.id
            && message.metadata.message_type == MessageType::Response
            && query.name.eq_case(&self.name)
            && query.query_type == self.kind
            && query.query_class == DNSClass::IN;
        is_ours.then_some(message)
    }
}

/// What an answer of a server says of a name: the records that lead from it to what was asked for.
/// Nothing where the server could not say.
pub fn known(name: &str, kind: RecordType, message: &Message) -> Option<Known> {
    let code = message.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let mut at = Name::from_ascii(name).ok()?;
    at.set_fqdn(true);
    let mut answers: Vec<Record> = Vec::new();
    for _ in 0..CHAIN {
        let of_name = message
            .answers
            .iter()
            .filter(|record| record.dns_class == DNSClass::IN && record.name == at);
        let found = of_name
            .clone()
            .filter(|record| record.record_type() == kind);
        answers.extend(found.filter_map(without_addresses));
        if answers.iter().any(|record| record.record_type() == kind) {
            break;
        }
        let mut aliases = of_name.filter(|record| record.record_type() == RecordType::CNAME);
        let Some(alias) = aliases.next() else { break };
        let RData::CNAME(to) = &alias.data else { break };
        answers.push(alias.clone());
        at = to.0.clone();
    }
    if answers.len() > RECORDS {
        return None;
    }
    let is_there = answers.iter().any(|record| record.record_type() == kind);
    let shortest = answers.iter().map(|record| record.ttl).min();
    if is_there {
        return Some(Known {
            code: ResponseCode::NoError,
            answers,
            authorities: Vec::new(),
            ttl_s: shortest.unwrap_or(0),
        });
    }
    // Who speaks of the zone in which the name is not says for how long that holds.
    let says_no = message
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) if record.name.zone_of(&at) => {
                Some((record.clone(), record.ttl.min(soa.minimum)))
            }
            _ => None,
        });
    let no_s = says_no.as_ref().map_or(PLAIN_NO_S, |(_, seconds)| *seconds);
    Some(Known {
        code,
        ttl_s: shortest.unwrap_or(no_s).min(no_s).min(MAX_NO_S),
        answers,
        authorities: says_no.into_iter().map(|(record, _)| record).collect(),
    })
}

/// An answer that the host itself knows.
pub fn own(question: &Question, addresses: &[IpAddr]) -> Known {
    const OWN_S: u32 = 60;
    let record = |address: &IpAddr| {
        let data = match (address, question.kind()) {
            (IpAddr::V4(address), RecordType::A) => RData::A((*address).into()),
            (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA((*address).into()),
            _ => return None,
        };
        Some(Record::from_rdata(question.query.name.clone(), OWN_S, data))
    };
    Known {
        code: ResponseCode::NoError,
        answers: addresses.iter().filter_map(record).collect(),
        authorities: Vec::new(),
        ttl_s: OWN_S,
    }
}

/// The addresses of an answer.
pub fn addresses(known: &Known) -> impl Iterator<Item = IpAddr> {
    known
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
}

/// A record without what would lead past a lookup: the addresses that a service's record hints at.
fn without_addresses(record: &Record) -> Option<Record> {
    let hint = |key: &SvcParamKey| matches!(key, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint);
    let bare = |service: &SVCB| {
        let is_bound = service.svc_params.iter().any(|(key, value)| {
            // Who must understand a hint cannot do without it.
            *key == SvcParamKey::Mandatory && value.to_string().contains("hint")
        });
        let params = service.svc_params.iter().filter(|(key, _)| !hint(key));
        (!is_bound).then(|| {
            SVCB::new(
                service.svc_priority,
                service.target_name.clone(),
                params.cloned().collect(),
            )
        })
    };
    let mut record = record.clone();
    match &mut record.data {
        RData::HTTPS(service) => service.0 = bare(&service.0)?,
        RData::SVCB(service) => *service = bare(service)?,
        _ => {}
    }
    Some(record)
}

/// A number that nobody can guess.
fn number() -> Option<u16> {
    use rand::TryRngCore;
    let [low, high, ..] = rand::rngs::OsRng.try_next_u32().ok()?.to_le_bytes();
    Some(u16::from_le_bytes([low, high]))
}

/// A name in the form in which policies have it: letters, digits, `-` and `_`, lower case, no final dot.
/// Nothing where it is no name of a host or service.
fn canonical(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return None;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Any name, for people.
fn shown(name: &Name) -> String {
    crate::events::process::readable(name.to_ascii().as_bytes())
}

fn error(id: u16, op_code: OpCode, code: ResponseCode) -> Vec<u8> {
    Message::error_msg(id, op_code, code)
        .to_vec()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! Lookups: what a session asks, what a server answers to that, and what the session hears. Two bytes of length, the
//! question, and the answer.

#![no_main]

#[expect(
    dead_code,
    unreachable_pub,
    reason = "what the daemon alone uses of these files"
)]
#[path = "../../src/names"]
mod names {
    pub(crate) mod cache;
    pub(crate) mod message;
}

/// How the daemon shows texts of others; here only that it can.
mod events {
    pub(crate) mod process {
        pub(crate) fn readable(bytes: &[u8]) -> String {
            String::from_utf8_lossy(bytes).escape_default().to_string()
        }
    }
}

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use libfuzzer_sys::fuzz_target;
use names::message::{self, Question};

/// What every way to hear an answer is limited to.
const STREAM: usize = 65_535;

fuzz_target!(|bytes: &[u8]| {
    let [high, low, rest @ ..] = bytes else {
        return;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (asked, answered) = rest.split_at(length);
    let question = Question::read(asked);
    if let Ok(question) = &question {
        let name = question.name();
        assert!(!name.is_empty() && name.len() <= 253, "{name:?}");
        assert!(
            !name.bytes().any(|byte| byte.is_ascii_uppercase()),
            "{name:?}"
        );
    }
    let Ok(answer) = Message::from_vec(answered) else {
        return;
    };
    let (name, kind) = match &question {
        Ok(question) => question.key.clone(),
        Err(_) => ("a.example.com".to_owned(), RecordType::A),
    };
    let Some(known) = message::known(&name, kind, &answer) else {
        return;
    };
    for record in &known.answers {
        let of = record.record_type();
        assert!(
            of == kind || of == RecordType::CNAME,
            "{of} was not asked for"
        );
    }
    let addresses = message::addresses(&known).count();
    assert!(addresses <= known.answers.len());
    if let Ok(question) = &question {
        for room in [question.room(), STREAM] {
            assert!(
                question.answer(&known, room).len() <= room,
                "no room for that"
            );
        }
    }
});

use super::*;
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamValue};
use hickory_proto::rr::rdata::{A, CNAME, HTTPS, SOA};

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn asked(text: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), kind));
    message.to_vec().unwrap()
}

fn record(of: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(of), ttl, data)
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn answered(records: Vec<Record>) -> Message {
    let mut message = Message::response(1, OpCode::Query);
    message.insert_answers(records);
    message
}

#[test]
fn a_name_has_one_form_whatever_its_capitals() {
    let question = Question::read(&asked("Api.EXAMPLE.com", RecordType::A)).unwrap();
    assert_eq!(question.name(), "api.example.com");
    let answer = Message::from_vec(&question.refuse(ResponseCode::Refused)).unwrap();
    assert!(
        answer.queries[0].name.eq_case(&name("Api.EXAMPLE.com")),
        "0x20 is kept"
    );
    assert_eq!(
        (answer.metadata.id, answer.metadata.response_code),
        (0, ResponseCode::Refused),
        "who sends it gives it its number"
    );
}

#[test]
fn what_is_no_name_of_a_host_is_refused() {
    for label in [&b"a\0b"[..], b"a.b", b"a b", b"caf\xc3\xa9", b"a/b"] {
        let mut message = Message::new(9, MessageType::Query, OpCode::Query);
        let labels = [label, b"example", b"com"];
        message.add_query(Query::query(
            Name::from_labels(labels).unwrap(),
            RecordType::A,
        ));
        let found = Question::read(&message.to_vec().unwrap());
        let Err(Fault::Error(bytes, Some(_))) = found else {
            panic!("{label:?}: {found:?}");
        };
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    }
}

#[test]
fn what_is_no_question_is_not_answered_or_told_so() {
    assert_eq!(Question::read(&[]), Err(Fault::Silence));
    assert_eq!(Question::read(&[1, 2]), Err(Fault::Silence));
    // An answer.
    let bytes = answered(Vec::new()).to_vec().unwrap();
    assert_eq!(Question::read(&bytes), Err(Fault::Silence));
    // A name that leads to itself, one that goes on beyond the end, two questions, none, and too many bytes.
    let head = |questions: u8| vec![0, 9, 1, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    let mut circle = head(1);
    circle.extend([0xc0, 12, 0, 1, 0, 1]);
    let mut open = head(1);
    open.extend([63, b'a']);
    let mut long = asked("a.example.com", RecordType::A);
    long.resize(MAX_QUESTION + 1, 0);
    for bytes in [circle, open, head(2), head(0), long] {
        let found = Question::read(&bytes);
        let Err(Fault::Error(bytes, None)) = found else {
            panic!("{found:?}");
        };
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    }
}

#[test]
fn only_what_leads_from_the_name_to_the_answer_is_believed() {
    let message = answered(vec![
        record("edge.cdn.example", 30, a(7)),
        record(
            "api.example.com",
            300,
            RData::CNAME(CNAME(name("edge.cdn.example"))),
        ),
        record("bank.example", 300, a(66)),
        record(
            "api.example.com",
            300,
            RData::TXT(hickory_proto::rr::rdata::TXT::new(vec!["x".into()])),
        ),
    ]);
    let known = known("api.example.com", RecordType::A, &message).unwrap();
    assert_eq!(
        addresses(&known).collect::<Vec<_>>(),
        ["192.0.2.7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!((known.answers.len(), known.ttl_s), (2, 30));
}

#[test]
fn names_that_lead_in_a_circle_come_to_an_end() {
    let message = answered(vec![
        record("a.example", 300, RData::CNAME(CNAME(name("b.example")))),
        record("b.example", 300, RData::CNAME(CNAME(name("a.example")))),
    ]);
    let known = known("a.example", RecordType::A, &message).unwrap();
    assert_eq!(addresses(&known).count(), 0);
    assert!(known.answers.len() <= CHAIN);
}

#[test]
fn a_no_holds_as_long_as_its_zone_says() {
    let mut message = answered(Vec::new());
    message.metadata.response_code = ResponseCode::NXDomain;
    let soa = |minimum| SOA::new(name("ns.example"), name("x.example"), 1, 2, 3, 4, minimum);
    message.add_authority(record("example", 3600, RData::SOA(soa(120))));
    let said = known("gone.example", RecordType::A, &message).unwrap();
    assert_eq!(
        (said.code, said.ttl_s, said.authorities.len()),
        (ResponseCode::NXDomain, 120, 1)
    );
    // Not who has nothing to say of it.
    let elsewhere = known("gone.test", RecordType::A, &message).unwrap();
    assert_eq!(
        (elsewhere.ttl_s, elsewhere.authorities.len()),
        (PLAIN_NO_S, 0)
    );
    message.metadata.response_code = ResponseCode::ServFail;
    assert!(known("gone.example", RecordType::A, &message).is_none());
}

#[test]
fn a_service_comes_without_addresses() {
    let params = vec![(
        SvcParamKey::Ipv4Hint,
        SvcParamValue::Ipv4Hint(IpHint(vec![A::new(192, 0, 2, 66)])),
    )];
    let https = RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)));
    let message = answered(vec![record("api.example.com", 60, https)]);
    let known = known("api.example.com", RecordType::HTTPS, &message).unwrap();
    let RData::HTTPS(service) = &known.answers[0].data else {
        panic!("{known:?}");
    };
    assert!(service.0.svc_params.is_empty());
}

#[test]
fn an_answer_that_does_not_fit_is_cut_off() {
    let question = Question::read(&asked("api.example.com", RecordType::A)).unwrap();
    let records = (0..60).map(|last| record("api.example.com", 60, a(last)));
    let known = known(
        "api.example.com",
        RecordType::A,
        &answered(records.collect()),
    )
    .unwrap();
    let short = question.answer(&known, question.room());
    assert!(short.len() <= 512);
    let message = Message::from_vec(&short).unwrap();
    assert!(message.metadata.truncation && message.answers.is_empty());
    let whole = Message::from_vec(&question.answer(&known, usize::from(u16::MAX))).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 60);
}

#[test]
fn an_answer_must_repeat_the_question_with_its_capitals() {
    let asking = Asking::of("a-rather-long-name-of.example.com", RecordType::A, true).unwrap();
    let reply = |id, name: Name, kind| {
        let mut message = Message::response(id, OpCode::Query);
        message.add_query(Query::query(name, kind));
        asking.hear(&message.to_vec().unwrap()).is_some()
    };
    assert!(reply(asking.id, asking.name.clone(), RecordType::A));
    assert!(!reply(
        asking.id.wrapping_add(1),
        asking.name.clone(),
        RecordType::A
    ));
    assert!(!reply(asking.id, asking.name.clone(), RecordType::AAAA));
    assert!(!reply(asking.id, asking.name.to_lowercase(), RecordType::A));
    assert!(!reply(asking.id, name("other.example.com"), RecordType::A));
}

/// A question, an answer, and bytes of neither.
fn any_bytes() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let whole = answered(vec![
        record(
            "api.example.com",
            300,
            RData::CNAME(CNAME(name("edge.cdn.example"))),
        ),
        record("edge.cdn.example", 30, a(7)),
    ]);
    let seeds = vec![
        asked("api.example.com", RecordType::HTTPS),
        whole.to_vec().unwrap(),
        Vec::new(),
    ];
    let change = (any::<proptest::sample::Index>(), any::<u8>());
    (
        proptest::sample::select(seeds),
        proptest::collection::vec(change, 0..12),
        proptest::collection::vec(any::<u8>(), 0..64),
    )
        .prop_map(|(mut bytes, changes, more)| {
            bytes.extend(more);
            for (at, to) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = to;
                }
            }
            bytes
        })
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(20_000))]

    #[test]
    fn no_bytes_do_harm(bytes in any_bytes()) {
        if let Ok(question) = Question::read(&bytes) {
            proptest::prop_assert!(question.name().bytes().all(
                |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
            ));
            proptest::prop_assert!(question.name().len() <= 253);
            let answer = question.refuse(ResponseCode::Refused);
            proptest::prop_assert!(Message::from_vec(&answer).is_ok());
        }
        if let Ok(message) = Message::from_vec(&bytes)
            && let Some(known) = known("api.example.com", RecordType::A, &message)
        {
            let question = Question::read(&asked("api.example.com", RecordType::A)).unwrap();
            proptest::prop_assert!(question.answer(&known, question.room()).len() <= 512);
        }
    }
}

//! A collector that is away, slow, refuses, or is not who it should be.

use super::receiver::{Manner, Receiver};
use super::{Bounds, Exporter, begin, bounds, lines, numbers, settings, tell, until};
use crate::chain::chain;
use crate::health::wishes;
use crate::otlp::{OtlpError, Settings};
use interlock_controller::certs::{self, Wanted};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tonic::Code;

/// Where nobody listens any more.
fn free_address() -> SocketAddr {
    Receiver::begin().address
}

#[test]
fn what_found_room_arrives_when_the_collector_is_back_and_the_rest_is_counted() {
    let address = free_address();
    // Every line takes the same: as many as fit are known.
    let line = lines(1).len() - 1 + size_of::<crate::otlp::queue::Line>();
    let room = 100 * line;
    let told = lines(9);
    let url = format!("http://{address}");
    let (exporter, _wishes) = begin(settings(url, Bounds { room, ..bounds() }));
    let queue = exporter.queue();
    for _ in 0..20 {
        queue.put(&told);
    }
    let info = until(&exporter, "refused", |info| info.error.is_some());
    assert_eq!((info.waiting, info.sent, info.lost), (100, 0, 80));
    let why = info.error.expect("why");
    assert!(
        !info.connected && why.contains("Connection refused"),
        "{why}"
    );
    let receiver = Receiver::at(address, None);
    let info = until(&exporter, "sent", |info| info.waiting == 0);
    assert_eq!((info.sent, info.lost, info.connected), (100, 80, true));
    assert_eq!(info.error, None);
    let expected: Vec<i64> = (1..=9).cycle().take(100).collect();
    assert_eq!(numbers(&receiver.heard), expected);
    // There is room again.
    queue.put(&told);
    until(&exporter, "sent", |info| info.sent == 109);
    // It goes away and comes back while nothing waits.
    drop(receiver);
    queue.put(&told);
    until(&exporter, "away", |info| !info.connected);
    let receiver = Receiver::at(address, None);
    until(&exporter, "sent", |info| info.sent == 118);
    assert_eq!(numbers(&receiver.heard), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_collector_that_does_not_answer_holds_nobody_up() {
    let receiver = Receiver::begin();
    receiver.set(Manner::Stalls);
    let patience = Duration::from_millis(300);
    let end = Duration::from_millis(200);
    let (exporter, _wishes) = tell(
        &receiver,
        Bounds {
            patience,
            end,
            ..bounds()
        },
    );
    let (queue, told) = (exporter.queue(), lines(100));
    let began = Instant::now();
    for _ in 0..2_000 {
        queue.put(&told);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "200000 events took {took:?}");
    let info = until(&exporter, "given up", |info| info.error.is_some());
    assert_eq!(info.error.as_deref(), Some("it did not answer in 300ms"));
    assert_eq!((info.waiting + info.lost, info.sent), (200_000, 0));
    assert!(
        info.lost > 100_000,
        "more waits than there is room for: {info:?}"
    );
    // Nor the end.
    let began = Instant::now();
    drop(exporter);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "the end took {took:?}");
}

#[test]
fn what_waits_at_the_end_is_sent() {
    let receiver = Receiver::begin();
    receiver.set(Manner::Refuses(Code::Unavailable));
    let pauses = (Duration::from_secs(60), Duration::from_secs(60));
    let (exporter, _wishes) = tell(&receiver, Bounds { pauses, ..bounds() });
    exporter.queue().put(&lines(2000));
    let info = until(&exporter, "refused", |info| info.error.is_some());
    assert_eq!(
        info.error.as_deref(),
        Some("it says: not this (Unavailable)")
    );
    assert_eq!(info.waiting, 2000);
    receiver.set(Manner::Takes);
    drop(exporter);
    assert_eq!(numbers(&receiver.heard), (1..=2000).collect::<Vec<_>>());
}

#[test]
fn what_is_refused_for_good_is_lost_and_the_next_goes_on() {
    let receiver = Receiver::begin();
    receiver.set(Manner::Refuses(Code::InvalidArgument));
    let (exporter, _wishes) = tell(&receiver, bounds());
    exporter.queue().put(&lines(1));
    let info = until(&exporter, "refused", |info| info.lost == 1);
    assert_eq!((info.waiting, info.sent), (0, 0));
    receiver.set(Manner::TakesBut(2));
    exporter.queue().put(&lines(3));
    let info = until(&exporter, "taken", |info| info.waiting == 0);
    // One or more messages, of each of which two, or as many as there were, are refused.
    assert_eq!(info.sent + info.lost, 4, "{info:?}");
    assert!(info.lost >= 3, "{info:?}");
    let info = until(&exporter, "said", |info| {
        info.connected && info.error.is_some()
    });
    let why = info.error.expect("why");
    assert!(why.contains("events were refused: too old"), "{why}");
}

/// A folder with certificates for loopback.
fn certificates(name: &str) -> PathBuf {
    let folder = format!("interlock-otlp-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    let wanted = Wanted {
        trust: name.into(),
        hosts: vec!["127.0.0.1".into()],
        nodes: Vec::new(),
        operators: Vec::new(),
        days: 1,
    };
    std::fs::create_dir_all(&folder).expect("a folder");
    certs::make(&folder, &wanted).expect("certificates");
    folder
}

#[test]
fn over_tls_it_must_be_who_it_should_be_and_hears_the_token_of_now() {
    let (own, other) = (certificates("own"), certificates("other"));
    let token = own.join("headers");
    std::fs::write(&token, "authorization: Bearer first\n").expect("a token");
    let receiver = Receiver::at(SocketAddr::from(([127, 0, 0, 1], 0)), Some(&own));
    let authorities = own.join("authorities");
    std::fs::copy(other.join("ca.pem"), &authorities).expect("copied");
    let url = format!("https://{}", receiver.address);
    let (exporter, _wishes) = begin(Settings {
        headers: Some(token.clone()),
        authorities: authorities.clone(),
        ..settings(url, bounds())
    });
    exporter.queue().put(&lines(1));
    let info = until(&exporter, "refused", |info| info.error.is_some());
    let why = info.error.expect("why");
    assert!(
        why.contains("invalid peer certificate: UnknownIssuer"),
        "{why}"
    );
    assert_eq!(numbers(&receiver.heard), Vec::<i64>::new());
    // The right one takes its place.
    std::fs::copy(own.join("ca.pem"), &authorities).expect("copied");
    let said = || {
        let headers = receiver.heard.headers.lock().expect("them");
        headers.get("authorization").cloned()
    };
    until(&exporter, "sent", |info| info.sent == 1);
    assert_eq!(said().expect("a token"), "Bearer first");
    std::fs::write(&token, "authorization: Bearer second\n").expect("a token");
    exporter.queue().put(&lines(1));
    until(&exporter, "sent", |info| info.sent == 2);
    assert_eq!(said().expect("a token"), "Bearer second");
    // A file that is no good for a moment loses nothing.
    std::fs::write(&token, "").expect("written");
    exporter.queue().put(&lines(1));
    let info = until(&exporter, "refused", |info| !info.connected);
    let why = info.error.expect("why");
    assert!(why.contains("found no header"), "{why}");
    std::fs::write(&token, "authorization: Bearer third\n").expect("a token");
    until(&exporter, "sent", |info| info.sent == 3);
    for folder in [own, other] {
        std::fs::remove_dir_all(folder).expect("removed");
    }
}

#[test]
fn what_cannot_work_does_not_begin() {
    let begin = |settings: Settings| {
        let (wish, _wishes) = wishes();
        let begun: Result<Exporter, OtlpError> = Exporter::begin(settings, "n1", wish);
        chain(begun.expect_err("no thread"))
    };
    let of = |url: &str| settings(url.to_owned(), bounds());
    assert!(begin(of("localhost")).starts_with("found the address `localhost`"));
    let why = begin(Settings {
        authorities: "/nowhere/ca.pem".into(),
        ..of("https://127.0.0.1:4317")
    });
    assert!(
        why.starts_with("cannot read /nowhere/ca.pem: No such file"),
        "{why}"
    );
    let why = begin(Settings {
        authorities: "/dev/null".into(),
        ..of("https://127.0.0.1:4317")
    });
    assert!(why.starts_with("/dev/null: found no certificate"), "{why}");
}

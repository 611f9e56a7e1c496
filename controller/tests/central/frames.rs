//! Whoever has a certificate and speaks HTTP/2 of its own: frame by frame.

use crate::hostile::{is_alive, resident_mib};
use crate::sim::{Chain, Place};
use agent_proto::files::{Files, Followed};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// What memory may grow by while one of these goes on; other tests run in this process, too.
const ROOM: u64 = 150;

type Inside = TlsStream<TcpStream>;

/// A connection with somebody's certificate.
async fn inside(place: &Place, name: &str) -> Inside {
    let files = Files::in_folder(&place.certs(), name);
    let config = Followed::<ClientConfig>::begin(files).unwrap().now().0;
    let tcp = TcpStream::connect(place.address).await.unwrap();
    let host = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(config).connect(host, tcp).await.unwrap()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The beginning, with windows of so many bytes for what is answered.
fn preface(window: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let setting = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    bytes.extend(frame(SETTINGS, 0, 0, &setting));
    bytes
}

/// A header, without any compression.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for word in [name, value] {
        assert!(word.len() < 127);
        bytes.push(u8::try_from(word.len()).unwrap());
        bytes.extend(word.as_bytes());
    }
    bytes
}

fn headers(method: &str) -> Vec<u8> {
    [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", &format!("/interlock.v1.{method}")),
        header(":authority", "x"),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    ]
    .concat()
}

/// A whole call, in one stream.
fn call(stream: u32, method: &str, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &length, message].concat();
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &headers(method));
    for part in body.chunks(16_000) {
        bytes.extend(frame(DATA, 0, stream, part));
    }
    bytes.extend(frame(DATA, END_STREAM, stream, &[]));
    bytes
}

/// Writes until the other side has had enough, or so many bytes; how many went.
async fn pour(inside: &mut Inside, bytes: &[u8], most: usize) -> usize {
    let mut poured = 0;
    while poured < most {
        let write = tokio::time::timeout(Duration::from_secs(3), inside.write_all(bytes));
        if !matches!(write.await, Ok(Ok(()))) {
            break;
        }
        poured += bytes.len();
    }
    let _ = inside.flush().await;
    poured
}

/// Whether the other side ends it.
async fn is_ended(inside: &mut Inside) -> bool {
    let mut bytes = vec![0; 65_536];
    let read = async { while !matches!(inside.read(&mut bytes).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_after_the_handshake_ends_the_connection() {
    let place = Place::of(&["n1"]).await;
    for seed in 0..20 {
        let mut node = inside(&place, "node-n1").await;
        let noise = crate::hostile::noise(seed * 31 + 7, 4096);
        if seed % 2 == 0 {
            pour(&mut node, &preface(65_535), 1).await;
        }
        pour(&mut node, &noise, 1).await;
        assert!(is_ended(&mut node).await, "{seed}");
    }
    is_alive(&place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_never_end_are_not_kept() {
    let place = Place::of(&["n1"]).await;
    let before = resident_mib();
    let mut node = inside(&place, "node-n1").await;
    pour(&mut node, &preface(65_535), 1).await;
    pour(&mut node, &frame(HEADERS, 0, 1, &headers("Node/Enrol")), 1).await;
    let more: Vec<u8> = (0..120)
        .flat_map(|_| header("x-flood", &"y".repeat(120)))
        .collect();
    let poured = pour(&mut node, &frame(CONTINUATION, 0, 1, &more), 128 << 20).await;
    assert!(poured < 64 << 20, "{poured} bytes of headers were taken");
    assert!(is_ended(&mut node).await);
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < ROOM, "{grown} MiB");
    is_alive(&place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let place = Place::of(&["n1"]).await;
    let before = resident_mib();
    let mut node = inside(&place, "node-n1").await;
    pour(&mut node, &preface(65_535), 1).await;
    let (mut poured, mut stream) = (0, 1);
    while poured < 20_000 {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers("Node/Report")));
            bytes.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
            stream += 2;
        }
        let write = tokio::time::timeout(Duration::from_secs(3), node.write_all(&bytes));
        if !matches!(write.await, Ok(Ok(()))) {
            break;
        }
        poured += 100;
    }
    assert!(is_ended(&mut node).await, "after {poured} streams");
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < ROOM, "{grown} MiB");
    is_alive(&place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_deep_huge_or_never_come_are_refused() {
    let place = Place::of(&["n1"]).await;
    let before = resident_mib();
    let mut node = inside(&place, "node-n1").await;
    pour(&mut node, &preface(1 << 20), 1).await;
    // Groups in groups, and lengths in lengths, a million deep.
    let groups = vec![0x7b; 1_000_000];
    let mut lengths = Vec::new();
    while lengths.len() < 1_000_000 {
        lengths.extend([0x12, 0xff, 0xff, 0x3f]);
    }
    let mut stream = 1;
    for method in [
        "Node/Enrol",
        "Node/Inventory",
        "Node/Report",
        "Operator/RollOut",
    ] {
        for message in [&groups, &lengths] {
            // One that is refused early is reset, so what follows may find nobody.
            pour(&mut node, &call(stream, method, message), 1).await;
            stream += 2;
        }
    }
    drop(node);
    // It says that four gibibytes follow.
    for promised in [u32::MAX, 5 << 20] {
        let mut node = inside(&place, "node-n1").await;
        pour(&mut node, &preface(1 << 20), 1).await;
        pour(
            &mut node,
            &frame(HEADERS, END_HEADERS, 1, &headers("Node/Enrol")),
            1,
        )
        .await;
        let promise = [&[0][..], &promised.to_be_bytes()].concat();
        pour(&mut node, &frame(DATA, 0, 1, &promise), 1).await;
        let mut answer = vec![0; 16_384];
        let mut told: Vec<u8> = Vec::new();
        while told.len() <= 80 {
            let read = tokio::time::timeout(Duration::from_secs(2), node.read(&mut answer));
            match read.await {
                Ok(Ok(count @ 1..)) => told.extend(&answer[..count]),
                _ => break,
            }
        }
        // Refused by its length, before anything of it came.
        assert!(told.len() > 80, "{promised}: {told:?}");
    }
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < ROOM, "{grown} MiB");
    is_alive(&place).await;
    place.node("n1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_no_window_is_told_nothing_and_holds_no_memory() {
    let place = Place::of(&["n1"]).await;
    let mut node = place.node("n1").await;
    let mut reports = node.report().await;
    let mut chain = Chain::new();
    for _ in 0..1500 {
        chain.add(chain.newest().sequence + 1, &"x".repeat(8192));
    }
    for from in (1..=1500).step_by(50) {
        reports.send(chain.batch(from..=from + 49)).await.unwrap();
    }
    let before = resident_mib();
    // `last` is 100,000, and it follows: twelve mebibytes for each who asks.
    let asked = [0x28, 0xa0, 0x8d, 0x06, 0x30, 0x01];
    let mut lazy = Vec::new();
    for _ in 0..10 {
        let mut see = inside(&place, "operator-see").await;
        pour(&mut see, &preface(0), 1).await;
        for stream in (1..40).step_by(2) {
            pour(&mut see, &call(stream, "Operator/Events", &asked), 1).await;
        }
        lazy.push(see);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let grown = resident_mib().saturating_sub(before);
    println!("200 readers without a window: {grown} MiB");
    assert!(grown < 2 * ROOM, "{grown} MiB");
    is_alive(&place).await;
    chain.grow(1);
    reports.send(chain.batch(1501..=1501)).await.unwrap();
}

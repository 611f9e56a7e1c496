//! Whoever comes to the port.

use crate::sim::{Chain, Place};
use agent_proto::wire::*;
use interlock_controller::door::Limits;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The service answers somebody else, and soon.
pub(crate) async fn is_alive(place: &Place) {
    let began = Instant::now();
    let mut see = place.operator("see").await;
    see.list_nodes(ListNodesRequest {}).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

/// Bytes that look like nothing, the same each time.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_make_no_sense_are_dropped_and_others_served() {
    let place = Place::of(&["n1"]).await;
    let tls = [0x16, 3, 1, 0xff, 0xff];
    for seed in 0..200 {
        let mut tcp = TcpStream::connect(place.address).await.unwrap();
        let mut bytes = noise(seed * 77 + 1, 1 + usize::try_from(seed).unwrap() * 97);
        match seed % 4 {
            0 => bytes.splice(0..0, tls).for_each(drop),
            1 => bytes
                .splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                .for_each(drop),
            _ => {}
        }
        // It may hang up in the middle.
        let _ = tcp.write_all(&bytes).await;
    }
    let mut plain = TcpStream::connect(place.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(8), plain.read_to_end(&mut answer));
    assert!(read.await.is_ok(), "the connection stays open");
    is_alive(&place).await;
}

/// What this process holds in memory.
pub(crate) fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_say_nothing_are_bounded_and_let_go() {
    let place = Place::with(&["n1"], |settings| {
        settings.limits = Limits {
            strangers: 200,
            ..Limits::default()
        };
    })
    .await;
    let before = resident_mib();
    let mut idle = Vec::new();
    for _ in 0..3000 {
        idle.push(TcpStream::connect(place.address).await.unwrap());
    }
    let used = resident_mib().saturating_sub(before);
    assert!(used < 200, "{used} MiB for connections that say nothing");
    // Those that found a place lose it when their time is up, and others come in.
    tokio::time::sleep(Duration::from_secs(6)).await;
    is_alive(&place).await;
    let mut open = 0;
    for mut tcp in idle {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(1), tcp.read(&mut byte)).await;
        open += usize::from(read.is_err());
    }
    assert_eq!(open, 0, "connections that say nothing are still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_has_so_many_connections_and_calls_and_no_more() {
    let place = Place::with(&["n1"], |settings| {
        settings.limits = Limits {
            of_one: 3,
            calls: 10,
            ..Limits::default()
        };
    })
    .await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(place.node("n1").await);
    }
    let more = tokio::time::timeout(Duration::from_secs(5), async {
        let channel = place.channel("node-n1").await.ok()?;
        let mut client = node_client::NodeClient::new(channel);
        client.enrol(crate::sim::hello()).await.ok()
    });
    assert!(
        more.await.unwrap().is_none(),
        "a fourth connection of one node"
    );
    is_alive(&place).await;
    let mut refused = 0;
    for _ in 0..60 {
        let there = InventoryRequest::default();
        if let Err(status) = kept[0].client.inventory(there).await {
            assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused} of 60 calls at once were refused");
    kept.pop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    place.node("n1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_holds_up_nobody() {
    let place = Place::of(&["n1"]).await;
    let mut node = place.node("n1").await;
    let mut reports = node.report().await;
    let mut chain = Chain::new();
    for _ in 0..2000 {
        chain.add(chain.newest().sequence + 1, &"x".repeat(4096));
    }
    for from in (1..=2000).step_by(100) {
        reports.send(chain.batch(from..=from + 99)).await.unwrap();
    }
    let mut lazy = Vec::new();
    for _ in 0..16 {
        let asked = EventsRequest {
            last: 100_000,
            follow: true,
            ..EventsRequest::default()
        };
        lazy.push(place.operator("see").await.events(asked).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    is_alive(&place).await;
    chain.grow(1);
    reports.send(chain.batch(2001..=2001)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_headers_is_refused() {
    let place = Place::of(&["n1"]).await;
    let mut see = place.operator("see").await;
    let mut request = tonic::Request::new(ListNodesRequest {});
    for i in 0..400 {
        let name = format!("x-flood-{i}");
        let name = tonic::metadata::MetadataKey::from_bytes(name.as_bytes()).unwrap();
        request
            .metadata_mut()
            .insert(name, "y".repeat(200).parse().unwrap());
    }
    assert!(see.list_nodes(request).await.is_err());
    is_alive(&place).await;
}

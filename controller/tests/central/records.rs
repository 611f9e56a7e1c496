//! Records: each once, in order, and never lost once acknowledged.

use crate::sim;
use crate::sim::{Folder, Place, batch, record, wanted};
use agent_proto::seal::{self, Purpose};
use agent_proto::wire::report_request::What as Reported;
use agent_proto::wire::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic::Code;

async fn stored(place: &Place, node: &str) -> Vec<u64> {
    let asked = EventsRequest {
        node: node.into(),
        last: 100_000,
        ..EventsRequest::default()
    };
    let mut events = place
        .operator("see")
        .await
        .events(asked)
        .await
        .unwrap()
        .into_inner();
    let mut sequences = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        sequences.push(event.record.unwrap().sequence);
    }
    sequences
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_kept_once_and_the_controller_says_where_to_go_on() {
    let mut place = Place::of(&["n1"]).await;
    let mut node = place.node("n1").await;
    let mut reports = node.report().await;
    let first = reports
        .send(batch("boot-1", (1..=3).map(record).collect()))
        .await
        .unwrap();
    assert_eq!(first.sequence, 3);
    // The acknowledgement was lost, say: all again, and more.
    let again = reports
        .send(batch("boot-1", (2..=5).map(record).collect()))
        .await
        .unwrap();
    assert_eq!((again.sequence, again.conflicts.len()), (5, 0));
    let body = seal::stored("n1", "boot-1", 5, &again.hash);
    let keys = &node.enrolled.keys;
    assert!(seal::is_signed(
        keys,
        Purpose::Stored,
        &body,
        &again.countersignature
    ));
    assert_eq!(stored(&place, "n1").await, [1, 2, 3, 4, 5]);
    // The same after the controller was away.
    place.stop().await;
    place.start().await;
    let mut node = place.node("n1").await;
    let known = Position {
        boot: "boot-1".into(),
        sequence: 5,
    };
    assert_eq!(node.enrolled.stored, [known]);
    let mut reports = node.report().await;
    reports
        .send(batch("boot-1", (5..=6).map(record).collect()))
        .await
        .unwrap();
    assert_eq!(stored(&place, "n1").await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hash_for_a_stored_record_and_a_hole_are_seen() {
    let place = Place::of(&["n1"]).await;
    let mut node = place.node("n1").await;
    let mut reports = node.report().await;
    reports
        .send(batch("boot-1", (1..=3).map(record).collect()))
        .await
        .unwrap();
    let forged = Record {
        hash: b"other".to_vec(),
        ..record(2)
    };
    let answer = reports
        .send(batch("boot-1", vec![forged, record(7)]))
        .await
        .unwrap();
    assert_eq!((answer.sequence, answer.conflicts), (7, vec![2]));
    let point = |hash: &[u8]| Checkpoint {
        boot: "boot-1".into(),
        sequence: 3,
        hash: hash.to_vec(),
        body: b"signed by the node".to_vec(),
        signature: vec![1],
    };
    let checkpoint = |point| ReportRequest {
        what: Some(Reported::Checkpoint(point)),
    };
    let right = reports
        .send(checkpoint(point(&record(3).hash)))
        .await
        .unwrap();
    assert!(!right.countersignature.is_empty() && right.conflicts.is_empty());
    let wrong = reports.send(checkpoint(point(b"x"))).await.unwrap();
    assert!(wrong.countersignature.is_empty());
    assert_eq!(wrong.conflicts, [3]);
    let mut see = place.operator("see").await;
    let nodes = see
        .list_nodes(ListNodesRequest {})
        .await
        .unwrap()
        .into_inner()
        .nodes;
    let node = &nodes[0];
    assert_eq!((node.records, node.missing, node.conflicts), (4, 3, 1));
    let asked = CheckpointsRequest {
        node: "n1".into(),
        boot: String::new(),
    };
    let kept = see
        .checkpoints(asked)
        .await
        .unwrap()
        .into_inner()
        .checkpoints;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].checkpoint.as_ref().unwrap().sequence, 3);
    let audit = see
        .audit(AuditRequest { last: 0 })
        .await
        .unwrap()
        .into_inner()
        .entries;
    assert!(
        audit.iter().any(|entry| entry.action == "records differ"),
        "{audit:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_refused_and_ends_the_stream() {
    let place = Place::of(&["n1"]).await;
    let mut node = place.node("n1").await;
    let long = Record {
        kind: "x".repeat(1000),
        ..record(1)
    };
    let big = Record {
        body: vec![0; 300 * 1024],
        ..record(1)
    };
    for (boot, records) in [
        ("boot-1", vec![]),
        ("../x", vec![record(1)]),
        ("boot-1", vec![record(2), record(1)]),
        ("boot-1", vec![record(u64::MAX)]),
        ("boot-1", vec![long]),
        ("boot-1", vec![big]),
    ] {
        let mut reports = node.report().await;
        let refused = reports.send(batch(boot, records)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let huge = Record {
        body: vec![0; 5 << 20],
        ..record(1)
    };
    let mut reports = node.report().await;
    assert!(reports.send(batch("boot-1", vec![huge])).await.is_err());
    assert!(stored(&place, "n1").await.is_empty());
    let mut reports = node.report().await;
    assert!(reports.send(batch("boot-1", vec![record(1)])).await.is_ok());
}

/// The controller as a process of its own.
fn start(folder: &Path, listen: SocketAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_interlock-controller"))
        .args(["serve", "--listen", &listen.to_string()])
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--certs")
        .arg(folder.join("certs"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_during_a_load_it_loses_nothing_it_acknowledged() {
    const KILLS: u32 = 12;
    let folder = Folder::new();
    let certs = folder.0.join("certs");
    interlock_controller::certs::make(&certs, &wanted(&["n1"])).unwrap();
    let listen = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut child = start(&folder.0, listen);
    let (mut next, mut acknowledged) = (1, 0);
    for kill in 0..=KILLS {
        let Some(mut node) = again(listen, &certs).await else {
            panic!("the controller does not come back");
        };
        let known = node
            .enrolled
            .stored
            .first()
            .map_or(0, |position| position.sequence);
        assert!(
            known >= acknowledged,
            "acknowledged {acknowledged}, stored {known}"
        );
        // What was not acknowledged is sent again, as a node does.
        next = next.min(acknowledged + 1);
        let mut reports = node.report().await;
        let mut rounds = 0;
        let killer = (kill < KILLS).then(|| {
            let pid = child.id();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(13 * (kill % 7)))).await;
                Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()
                    .unwrap();
            })
        });
        while killer.is_some() || rounds < 3 {
            rounds += 1;
            let records: Vec<Record> = (next..next + 50).map(record).collect();
            match reports.send(batch("boot-1", records)).await {
                Ok(answer) => {
                    acknowledged = answer.sequence;
                    next = acknowledged + 1;
                }
                Err(_) => break,
            }
        }
        if let Some(killer) = killer {
            killer.await.unwrap();
            child.wait().unwrap();
            child = start(&folder.0, listen);
        }
    }
    let channel = sim::channel(listen, &certs, "operator-see").await.unwrap();
    let asked = EventsRequest {
        last: 100_000,
        ..EventsRequest::default()
    };
    let mut see = operator_client::OperatorClient::new(channel);
    let mut events = see.events(asked).await.unwrap().into_inner();
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    while let Some(event) = events.message().await.unwrap() {
        *counts.entry(event.record.unwrap().sequence).or_default() += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(acknowledged > 300, "the load was too small: {acknowledged}");
    for sequence in 1..=acknowledged {
        assert_eq!(
            counts.get(&sequence),
            Some(&1),
            "record {sequence} of {acknowledged}"
        );
    }
}

async fn again(listen: SocketAddr, certs: &Path) -> Option<sim::Node> {
    for _ in 0..200 {
        if let Ok(channel) = sim::channel(listen, certs, "node-n1").await {
            let mut client = node_client::NodeClient::new(channel);
            if let Ok(enrolled) = client.enrol(sim::hello()).await {
                let enrolled = enrolled.into_inner();
                return Some(sim::Node {
                    name: "n1".into(),
                    client,
                    enrolled,
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

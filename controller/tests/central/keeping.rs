//! Records that are removed by age and size, and copies of the database.

use crate::sim::{Chain, Node, Place, checkpoint};
use agent_proto::wire::{
    AuditRequest, CheckpointsRequest, EventsRequest, ListNodesRequest, Position, Record,
};
use interlock_controller::retain::Keep;
use interlock_controller::serve::database;
use interlock_controller::store::sqlite::Sqlite;
use interlock_controller::store::{Records as _, Store as _};
use std::time::Duration;

async fn chain(place: &Place) -> Told {
    let mut see = place.operator("see").await;
    let all = see
        .checkpoints(CheckpointsRequest::default())
        .await
        .unwrap();
    let chain = all.into_inner().chains.remove(0);
    let asked = EventsRequest {
        last: 100_000,
        ..EventsRequest::default()
    };
    let mut events = see.events(asked).await.unwrap().into_inner();
    let mut records = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        records.push(event.record.unwrap());
    }
    Told { chain, records }
}

/// Bytes of a database that are few.
const MOST: u64 = 1 << 20;

/// What is stored of a node's chain.
struct Told {
    chain: agent_proto::wire::Chain,
    records: Vec<Record>,
}

/// What is kept follows, hash by hash, from where the chain was cut, to what is countersigned.
fn follows(told: &Told) {
    let cut = told.chain.cut.clone().expect("it was cut");
    let mut hash = agent_evidence::chain::Hash(cut.hash.try_into().unwrap());
    let mut sequence = cut.sequence;
    for record in &told.records {
        sequence += 1;
        assert_eq!(record.sequence, sequence, "a hole");
        hash = agent_evidence::chain::link(&hash, sequence, &record.body);
        assert_eq!(record.hash, hash.0);
    }
    assert_eq!(told.chain.stored.as_ref().unwrap().hash, hash.0);
}

async fn send(node: &mut Node, chain: &Chain, first: u64, sign: bool) {
    let mut reports = node.report().await;
    let last = chain.newest().sequence;
    for first in (first..=last).step_by(500) {
        let batch = chain.batch(first..=last.min(first + 499));
        assert_eq!(reports.send(batch).await.unwrap().forked, "");
    }
    if sign {
        let answer = reports.send(checkpoint(&chain.checkpoint())).await.unwrap();
        assert_eq!(answer.forked, "");
    }
}

async fn until_cut(place: &Place, upto: u64) -> Told {
    for _ in 0..200 {
        let told = chain(place).await;
        if told
            .chain
            .cut
            .as_ref()
            .is_some_and(|cut| cut.sequence >= upto)
        {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "nothing is cut up to {upto}: {:?}",
        chain(place).await.chain
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_go_where_both_have_signed_and_the_cut_is_said() {
    let mut place = Place::with(&["n1"], |settings| {
        settings.keep = Keep {
            age: Some(Duration::from_millis(1500)),
            bytes: None,
            every: Duration::from_millis(100),
        };
    })
    .await;
    let mut own = Chain::of(40);
    let mut node = place.node_with("n1", &own).await;
    // Ten of them are not countersigned: they stay, however old.
    send(&mut node, &own, 1, true).await;
    own.grow(10);
    send(&mut node, &own, 41, false).await;
    let told = until_cut(&place, 40).await;
    follows(&told);
    assert_eq!(
        told.chain.cut,
        Some(Position {
            sequence: 40,
            hash: own.records[39].hash.clone()
        })
    );
    assert_eq!(told.records.len(), 10);
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert_eq!(
        chain(&place).await.records.len(),
        10,
        "what is not signed went"
    );
    // The node goes on, also with what the controller has no more, and after a restart.
    place.stop().await;
    place.start().await;
    let mut node = place.node_with("n1", &own).await;
    assert_eq!(node.enrolled.forked, "");
    own.grow(5);
    send(&mut node, &own, 35, false).await;
    follows(&chain(&place).await);
    // Somebody else's record where it was cut, or in what is kept, is found as before.
    for at in [40, 45] {
        let mut other = Chain::new();
        other.records = own.records[..at - 1].to_vec();
        other.add(at as u64, "something else");
        other.grow(20);
        let mut node = place.node_with("n1", &own).await;
        let answer = node
            .report()
            .await
            .send(other.batch(38..=60))
            .await
            .unwrap();
        assert!(answer.forked.contains("another hash"), "{at}: {answer:?}");
    }
    let mut see = place.operator("see").await;
    let audit = see
        .audit(AuditRequest { last: 0 })
        .await
        .unwrap()
        .into_inner()
        .entries;
    let said = audit
        .iter()
        .find(|entry| entry.action == "remove records")
        .unwrap();
    assert!(
        said.outcome
            .starts_with("40 records up to 40, whose hash is"),
        "{said:?}"
    );
    assert_eq!(agent_proto::seal::audit_fault(&audit), None);
    let node = see
        .list_nodes(ListNodesRequest {})
        .await
        .unwrap()
        .into_inner()
        .nodes
        .remove(0);
    assert_eq!((node.records, node.missing), (15, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_too_large_loses_its_oldest_records() {
    let place = Place::with(&["n1"], |settings| {
        settings.keep = Keep {
            age: None,
            bytes: Some(MOST),
            every: Duration::from_millis(100),
        };
    })
    .await;
    let mut own = Chain::of(2500);
    let mut node = place.node_with("n1", &own).await;
    send(&mut node, &own, 1, true).await;
    follows(&until_cut(&place, 1000).await);
    // And it stays so while more comes.
    own.grow(2000);
    send(&mut node, &own, 2501, true).await;
    let told = until_cut(&place, 3000).await;
    follows(&told);
    let used = Sqlite::open(&database(&place.settings.data))
        .unwrap()
        .used()
        .unwrap();
    assert!(used <= MOST + (1 << 20), "{used}");
    assert!(!told.records.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_made_under_load_is_a_whole_controller() {
    let mut place = Place::of(&["n1"]).await;
    let own = Chain::of(2000);
    let mut node = place.node_with("n1", &own).await;
    let data = place.settings.data.clone();
    let copy = place.folder.0.join("copy.db");
    let load = async {
        let mut reports = node.report().await;
        for first in (1..=2000).step_by(50) {
            reports.send(own.batch(first..=first + 49)).await.unwrap();
        }
    };
    // As `interlock-controller backup` does it, which is a process of its own.
    let back_up = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_interlock-controller"))
            .args(["backup", "--data"])
            .args([&data, &copy])
            .output();
        let done = command.await.unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    tokio::join!(load, back_up);
    drop(node);
    place.stop().await;
    // It does not write over a copy.
    let again = Sqlite::open(&database(&data)).unwrap().back_up(&copy);
    assert!(again.is_err());
    for end in ["db", "db-wal", "db-shm"] {
        let _ = std::fs::remove_file(data.join(format!("controller.{end}")));
    }
    std::fs::copy(&copy, database(&data)).unwrap();
    place.start().await;
    let mut node = place.node_with("n1", &own).await;
    assert_eq!(node.enrolled.forked, "");
    let known = node.enrolled.stored.clone().unwrap().sequence;
    assert!(known < 2000, "the copy was made when all was there");
    send(&mut node, &own, known + 1, true).await;
    assert_eq!(chain(&place).await.records.len(), 2000);
}

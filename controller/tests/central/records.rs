//! Records: each once, in order, one chain, and never lost once acknowledged.

use crate::sim::{self, Chain, Folder, Place, checkpoint, wanted};
use agent_evidence::checkpoint::Countersigned;
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

/// What the audit says of a node's record.
async fn audited(place: &Place) -> Vec<String> {
    let mut see = place.operator("see").await;
    let audit = see.audit(AuditRequest { last: 0 }).await.unwrap();
    let entries = audit.into_inner().entries.into_iter();
    entries
        .filter(|entry| entry.object == "its record")
        .map(|entry| format!("{}: {}", entry.action, entry.outcome))
        .collect()
}

async fn shown(place: &Place) -> NodeInfo {
    let mut see = place.operator("see").await;
    let nodes = see.list_nodes(ListNodesRequest {}).await.unwrap();
    nodes.into_inner().nodes.remove(0)
}

fn at(answer: &ReportResponse) -> u64 {
    assert_eq!(answer.forked, "");
    answer.stored.as_ref().unwrap().sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_kept_once_and_the_controller_says_where_to_go_on() {
    let mut place = Place::of(&["n1"]).await;
    let chain = Chain::of(6);
    let mut node = place.node_with("n1", &chain).await;
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(chain.batch(1..=3)).await.unwrap()), 3);
    // The acknowledgement was lost, say: all again, and more.
    assert_eq!(at(&reports.send(chain.batch(2..=5)).await.unwrap()), 5);
    assert_eq!(stored(&place, "n1").await, [1, 2, 3, 4, 5]);
    // The same after the controller was away.
    drop((node, reports));
    place.stop().await;
    place.start().await;
    let mut node = place.node_with("n1", &chain).await;
    let known = node.enrolled.stored.clone().unwrap();
    assert_eq!(
        (known.sequence, &known.hash),
        (5, &chain.records[4].hash),
        "where to go on"
    );
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(chain.batch(5..=6)).await.unwrap()), 6);
    assert_eq!(stored(&place, "n1").await, [1, 2, 3, 4, 5, 6]);
    // By what records are found stands in their bodies.
    let asked = EventsRequest {
        session: "00000000000000aa".into(),
        agent: "a".into(),
        kind: "decision".into(),
        last: 1,
        ..EventsRequest::default()
    };
    let mut see = place.operator("see").await;
    let mut events = see.events(asked).await.unwrap().into_inner();
    let found = events.message().await.unwrap().unwrap().record.unwrap();
    assert_eq!((found.sequence, found.boot.as_str()), (6, "boot-1"));
    assert_eq!(found.verdict, "deny");
    assert!(found.time_ms > 1_700_000_000_000, "{}", found.time_ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_countersigned_over_what_is_stored_and_for_who_signed_it() {
    let place = Place::of(&["n1"]).await;
    let mut chain = Chain::of(3);
    let mut node = place.node_with("n1", &chain).await;
    let mut reports = node.report().await;
    reports.send(chain.batch(1..=3)).await.unwrap();
    let signed = chain.checkpoint();
    let answer = reports.send(checkpoint(&signed)).await.unwrap();
    let countersigned: Countersigned = serde_json::from_slice(&answer.countersigned).unwrap();
    assert!(countersigned.is_sound());
    assert_eq!(countersigned.checkpoint, signed.checkpoint);
    assert_eq!(
        countersigned.key,
        hex::encode(&node.enrolled.keys[0]),
        "by the key that nodes know"
    );
    let mut see = place.operator("see").await;
    for asked in [
        CheckpointsRequest {
            node: "n1".into(),
            ..CheckpointsRequest::default()
        },
        CheckpointsRequest {
            key: chain.evidence().key,
            ..CheckpointsRequest::default()
        },
    ] {
        let kept = see.checkpoints(asked).await.unwrap().into_inner().chains;
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].stored, Some(chain.newest()));
        assert!(kept[0].countersigned.iter().eq([&answer.countersigned]));
    }
    // Over what never came, and by another key: neither.
    chain.grow(1);
    let early = reports.send(checkpoint(&chain.checkpoint())).await.unwrap();
    assert!(early.forked.contains("4, which never came"), "{early:?}");
    let mut node = place.node_with("n1", &chain).await;
    let mut reports = node.report().await;
    let other = Chain {
        key: Chain::under(8).key,
        records: chain.records[..3].to_vec(),
    };
    let forged = reports.send(checkpoint(&other.checkpoint())).await.unwrap();
    assert!(
        forged.forked.contains("not signed by the node's key"),
        "{forged:?}"
    );
    assert!(forged.countersigned.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_breaks_the_chain_is_refused_and_all_after_it() {
    let place = Place::of(&["n1"]).await;
    let chain = Chain::of(6);
    let changed = |change: fn(&mut RecordBatch)| {
        let mut request = chain.batch(4..=5);
        if let Some(Reported::Batch(batch)) = &mut request.what {
            change(batch);
        }
        request
    };
    // Somebody else's record 3, and what follows it.
    let mut other = Chain {
        records: chain.records[..2].to_vec(),
        ..Chain::new()
    };
    other.add(3, "something else");
    other.grow(3);
    let breaks = [
        (
            changed(|batch| batch.records[1].body.push(b' ')),
            "record 5 has another hash",
        ),
        (
            changed(|batch| batch.records[0].hash[0] ^= 1),
            "record 4 has another hash",
        ),
        (
            other.batch(4..=5),
            "follows a record 3 that is stored with another hash",
        ),
        (other.batch(3..=4), "record 3 is stored with another hash"),
        (other.batch(1..=6), "record 3 is stored with another hash"),
    ];
    let mut node = place.node_with("n1", &chain).await;
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(chain.batch(1..=3)).await.unwrap()), 3);
    for (wrong, why) in breaks {
        let mut node = place.node_with("n1", &chain).await;
        let mut reports = node.report().await;
        let answer = reports.send(wrong).await.unwrap();
        assert!(
            answer.forked.contains(why),
            "{}, expected {why}",
            answer.forked
        );
        // Nothing more is taken on this connection, even what would fit.
        let more = reports.send(chain.batch(4..=4)).await.unwrap();
        assert!(more.forked.contains(why), "{more:?}");
    }
    assert_eq!(stored(&place, "n1").await, [1, 2, 3]);
    let said = audited(&place).await;
    let forks = said.iter().filter(|line| line.starts_with("record forks"));
    assert_eq!(forks.count(), 5, "{said:?}");
    // The control: what fits is taken.
    let mut node = place.node_with("n1", &chain).await;
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(chain.batch(4..=6)).await.unwrap()), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_rolled_back_is_told_when_it_enrols() {
    let place = Place::of(&["n1"]).await;
    let chain = Chain::of(5);
    let mut node = place.node_with("n1", &chain).await;
    assert_eq!(node.enrolled.forked, "");
    node.report().await.send(chain.batch(1..=5)).await.unwrap();
    let node = place.node_with("n1", &Chain::of(3)).await;
    let why = "the node's record ends with 3, and 5 is stored: it was rolled back";
    assert_eq!(node.enrolled.forked, why);
    let mut other = Chain {
        records: chain.records[..4].to_vec(),
        ..Chain::new()
    };
    other.add(5, "something else");
    let mut node = place.node_with("n1", &other).await;
    assert_eq!(node.enrolled.forked, "record 5 is stored with another hash");
    // All else goes on, and no record is taken.
    let refused = node.report().await.send(other.batch(5..=5)).await.unwrap();
    assert_eq!(refused.forked, node.enrolled.forked);
    node.subscribe(&[]).await;
    assert_eq!(shown(&place).await.forks, 2);
    let said = audited(&place).await;
    assert!(said.contains(&format!("record forks: {why}")), "{said:?}");
    // Whoever begins anew, under another key, is heard, and what was before stays.
    let mut fresh = Chain::under(8);
    fresh.grow(2);
    let mut node = place.node_with("n1", &fresh).await;
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(fresh.batch(1..=2)).await.unwrap()), 2);
    assert_eq!(stored(&place, "n1").await, [1, 2, 3, 4, 5, 1, 2]);
    let said = audited(&place).await;
    assert!(
        said[said.len() - 1].starts_with("record begins anew"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_has_lost_is_seen_and_the_chain_goes_on() {
    let place = Place::of(&["n1"]).await;
    // Retired before it could be sent: the chain begins with 3.
    let mut chain = Chain::of(4);
    let mut node = place.node_with("n1", &chain).await;
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(chain.batch(3..=4)).await.unwrap()), 4);
    // Numbers that nobody will ever use, after what is stored, as a gap tells.
    chain.add(7, "a gap");
    assert_eq!(at(&reports.send(chain.batch(7..=7)).await.unwrap()), 7);
    // The folder was put back on the node, which has noticed it: the gap follows an older record.
    let mut back = Chain {
        records: chain.records[..3].to_vec(),
        ..Chain::new()
    };
    back.add(8, "a gap");
    back.grow(1);
    let mut node = place.node_with("n1", &back).await;
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(back.batch(8..=9)).await.unwrap()), 9);
    assert_eq!(stored(&place, "n1").await, [3, 4, 7, 8, 9]);
    assert_eq!(shown(&place).await.missing, 2);
    let said = audited(&place).await;
    assert_eq!(
        said,
        [
            "records are missing: records 1 to 2 of the node's record never came",
            "records are missing: records 5 to 6 of the node's record never came",
            "the node has lost records: records 4 to 7, which are stored here",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_refused_and_ends_the_stream() {
    let place = Place::of(&["n1"]).await;
    let chain = Chain::of(3);
    let mut node = place.node_with("n1", &chain).await;
    let changed = |change: fn(&mut RecordBatch)| {
        let mut request = chain.batch(1..=3);
        if let Some(Reported::Batch(batch)) = &mut request.what {
            change(batch);
        }
        request
    };
    for wrong in [
        changed(|batch| batch.records.clear()),
        changed(|batch| batch.before = None),
        changed(|batch| batch.records.swap(0, 1)),
        changed(|batch| drop(batch.records.remove(1))),
        changed(|batch| batch.records[0].sequence = u64::MAX),
        changed(|batch| batch.records[0].body = vec![b' '; 300 * 1024]),
        changed(|batch| {
            let record = &mut batch.records[0];
            record.body = b"[[[[".repeat(1000);
            let start = agent_evidence::chain::Hash::START;
            record.hash = agent_evidence::chain::link(&start, 1, &record.body)
                .0
                .to_vec();
        }),
        ReportRequest {
            what: Some(Reported::Checkpoint(b"{}".to_vec())),
        },
    ] {
        let mut reports = node.report().await;
        let refused = reports.send(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let huge = changed(|batch| batch.records[0].body = vec![0; 5 << 20]);
    assert!(node.report().await.send(huge).await.is_err());
    assert!(stored(&place, "n1").await.is_empty());
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(chain.batch(1..=1)).await.unwrap()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_from_an_older_backup_gets_again_what_it_has_forgotten() {
    let mut place = Place::of(&["n1"]).await;
    let chain = Chain::of(9);
    let mut node = place.node_with("n1", &chain).await;
    let mut reports = node.report().await;
    reports.send(chain.batch(1..=4)).await.unwrap();
    let (data, copy) = (place.settings.data.clone(), place.folder.0.join("copy"));
    let mut store = interlock_controller::store::sqlite::Sqlite::open(
        &interlock_controller::serve::database(&data),
    )
    .unwrap();
    interlock_controller::store::Store::back_up(&mut store, &copy).unwrap();
    drop(store);
    reports.send(chain.batch(5..=9)).await.unwrap();
    drop((node, reports));
    place.stop().await;
    for end in ["db", "db-wal", "db-shm"] {
        let _ = std::fs::remove_file(data.join(format!("controller.{end}")));
    }
    std::fs::copy(&copy, data.join("controller.db")).unwrap();
    place.start().await;
    // The node has a countersignature over its eighth record.
    let hello = EnrolRequest {
        evidence: Some(Evidence {
            countersigned: 8,
            ..chain.evidence()
        }),
        ..sim::hello()
    };
    let mut node = place.node_with("n1", &chain).await;
    let enrolled = node.client.enrol(hello).await.unwrap().into_inner();
    assert_eq!(
        (enrolled.stored.unwrap().sequence, enrolled.forked.as_str()),
        (4, "")
    );
    let said = audited(&place).await;
    let line = "records are forgotten: stored up to 4, and 4 more were countersigned";
    assert!(said.iter().any(|said| said.starts_with(line)), "{said:?}");
    let mut reports = node.report().await;
    assert_eq!(at(&reports.send(chain.batch(5..=9)).await.unwrap()), 9);
    assert_eq!(stored(&place, "n1").await, (1..=9).collect::<Vec<_>>());
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
    let mut chain = Chain::of(50);
    let mut acknowledged = 0;
    for kill in 0..=KILLS {
        let Some(mut node) = again(listen, &certs, &chain).await else {
            panic!("the controller does not come back");
        };
        let known = node.enrolled.stored.clone().unwrap_or_default().sequence;
        assert_eq!(node.enrolled.forked, "");
        assert!(
            known >= acknowledged,
            "acknowledged {acknowledged}, stored {known}"
        );
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
            // What was not acknowledged is sent again, as a node does.
            let (first, last) = (acknowledged + 1, acknowledged + 50);
            chain.grow(last.saturating_sub(chain.newest().sequence));
            match reports.send(chain.batch(first..=last)).await {
                Ok(answer) => acknowledged = at(&answer),
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
        let record = event.record.unwrap();
        let at = usize::try_from(record.sequence).unwrap() - 1;
        assert_eq!(record.hash, chain.records[at].hash);
        *counts.entry(record.sequence).or_default() += 1;
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

async fn again(listen: SocketAddr, certs: &Path, chain: &Chain) -> Option<sim::Node> {
    for _ in 0..200 {
        if let Ok(channel) = sim::channel(listen, certs, "node-n1").await {
            let mut client = node_client::NodeClient::new(channel);
            let hello = EnrolRequest {
                evidence: Some(chain.evidence()),
                ..sim::hello()
            };
            if let Ok(enrolled) = client.enrol(hello).await {
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

//! What one controller carries: nodes that stay connected, records that are verified and stored, and a
//! revocation that reaches all. Real gRPC and TLS over loopback; the nodes are simulated in this very
//! process, so that it pays for both sides.
//!
//! `cargo xtask bench central`, or `cargo bench -p controller --bench central -- [NODES]`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

#[path = "../tests/central/sim.rs"]
mod sim;

use agent_proto::wire::*;
use interlock_controller::certs::{self, Wanted};
use sim::{Chain, Place, hello, revoke_agent, wanted};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Nodes that report at the same time, for how long, records in one batch.
const REPORTERS: usize = 20;
const SUSTAINED: Duration = Duration::from_secs(60);
const RECORDS: u64 = 500;

/// Connections that come about at the same time.
const AT_ONCE: usize = 64;

fn main() {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(asked.unwrap_or(5000)));
}

/// What this process holds in memory, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

/// The middle, the 99th of a hundred and the last.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    format!(
        "half {:.1?}, 99 % {:.1?}, all {:.1?}",
        at(50),
        at(99),
        at(100)
    )
}

async fn measure(count: usize) {
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    let place = Place::of(&[]).await;
    let nodes = Wanted {
        nodes: names.clone(),
        ..wanted(&[])
    };
    certs::make(&place.certs(), &nodes).unwrap();
    let place = Arc::new(place);
    let before = resident();

    let began = Instant::now();
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut coming = JoinSet::new();
    for name in names {
        let (place, gate) = (Arc::clone(&place), Arc::clone(&gate));
        coming.spawn(async move {
            let _turn = gate.acquire().await.unwrap();
            let mut node = place.node_with(&name, &Chain::new()).await;
            let orders = node.subscribe(&[]).await;
            (node, orders)
        });
    }
    let all = coming.join_all().await;
    let took = began.elapsed();
    println!(
        "nodes     {count} enrolled and subscribed in {took:.1?}, {:.0} a second; {} KiB of memory each, both sides",
        count as f64 / took.as_secs_f64(),
        (resident() - before) * 1024 / count as u64
    );

    // Who is told writes down when, and answers as a node without sessions does.
    let told: Arc<Mutex<BTreeMap<u64, Vec<Instant>>>> = Arc::default();
    let mut reporters = Vec::new();
    for (node, mut orders) in all {
        if reporters.len() < REPORTERS {
            reporters.push(node);
        }
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((_, directive)) = orders.next().await {
                let epoch = directive.epoch;
                told.lock()
                    .unwrap()
                    .entry(epoch)
                    .or_default()
                    .push(Instant::now());
                orders.answer(epoch, State::InForce).await;
                orders.answer(epoch, State::TreeEmpty).await;
            }
        });
    }

    report(reporters).await;
    for _ in 0..3 {
        revoke(&place, &told).await;
    }
    println!("memory    {} MiB at the end", resident());
}

/// Each node writes as it goes, as a daemon does: hashes and encodes what it then sends.
async fn report(reporters: Vec<sim::Node>) {
    let began = Instant::now();
    let mut working = JoinSet::new();
    for node in reporters {
        working.spawn(sustain(node, began + SUSTAINED));
    }
    let (mut times, mut bytes) = (Vec::new(), 0);
    for (each, size) in working.join_all().await {
        times.extend(each);
        bytes += size;
    }
    let took = began.elapsed();
    let count = times.len() as u64 * RECORDS;
    println!(
        "records   {count} of {} bytes verified and stored in {took:.1?}, {:.0} a second; a batch of {RECORDS}: {}",
        bytes / count,
        count as f64 / took.as_secs_f64(),
        spread(times)
    );
}

/// How long each batch took until it was stored, and the bytes of all records.
async fn sustain(mut node: sim::Node, until: Instant) -> (Vec<Duration>, u64) {
    let mut chain = Chain::of(1);
    let enrol = EnrolRequest {
        evidence: Some(chain.evidence()),
        ..hello()
    };
    node.client.enrol(enrol).await.unwrap();
    let mut reports = node.report().await;
    reports.send(chain.batch(1..=1)).await.unwrap();
    let (mut times, mut bytes) = (Vec::new(), 0);
    while Instant::now() < until {
        // Of what is stored, only the end is needed, to go on from.
        chain.records.drain(..chain.records.len() - 1);
        let first = chain.newest().sequence + 1;
        chain.grow(RECORDS);
        let last = chain.newest().sequence;
        bytes += chain.records[1..].iter().map(size).sum::<u64>();
        let sent = Instant::now();
        let answer = reports.send(chain.batch(first..=last)).await.unwrap();
        assert_eq!(answer.stored.unwrap().sequence, last, "{}", answer.forked);
        times.push(sent.elapsed());
    }
    (times, bytes)
}

fn size(record: &Record) -> u64 {
    record.body.len() as u64
}

async fn revoke(place: &Place, told: &Mutex<BTreeMap<u64, Vec<Instant>>>) {
    let mut operator = place.operator("root").await;
    let ordered = Instant::now();
    let order = operator
        .revoke(revoke_agent("a"))
        .await
        .unwrap()
        .into_inner();
    let asked = WatchRequest {
        epoch: order.epoch,
        once: false,
    };
    let mut watch = operator.watch(asked).await.unwrap().into_inner();
    while let Some(seen) = watch.message().await.unwrap() {
        if seen.complete {
            break;
        }
    }
    let complete = ordered.elapsed();
    let times = told.lock().unwrap()[&order.epoch].clone();
    assert_eq!(times.len(), order.nodes as usize, "somebody was not told");
    let times = times.iter().map(|time| *time - ordered).collect();
    println!(
        "revoke    told to {} nodes: {}; all acknowledged and shown after {complete:.1?}",
        order.nodes,
        spread(times)
    );
}

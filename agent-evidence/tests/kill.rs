//! A writer that is killed at any moment, a hundred times: what it had answered for is there, once,
//! and the chain verifies.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod common;

use agent_evidence::read;
use agent_evidence::record::What;
use common::{Node, denial};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the child finds the folder.
const HOME: &str = "EVIDENCE_TEST_HOME";
/// The first number that it records.
const FROM: &str = "EVIDENCE_TEST_FROM";
const ROUNDS: u64 = 100;

/// The child: records denials as fast as it can, and says which are recorded.
#[test]
#[ignore = "run by the test below"]
fn writer() {
    let Some(home) = std::env::var_os(HOME) else {
        return;
    };
    let node = Node::at(home.as_ref());
    let from: u32 = std::env::var(FROM).unwrap().parse().unwrap();
    let mut store = node.open_with(agent_evidence::store::Settings {
        segment: 16 * 1024,
        ..Node::settings()
    });
    let mut out = std::io::stdout().lock();
    for number in (from..).step_by(3) {
        let batch = [denial(number), denial(number + 1), denial(number + 2)];
        store.commit(&batch).unwrap();
        writeln!(out, "acknowledged {number} {}", number + 2).unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_a_hundred_times_loses_and_doubles_nothing() {
    let node = Node::new("kill");
    let mut acknowledged = BTreeSet::new();
    let mut from = 1;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture"])
            .env(HOME, node.home())
            .env(FROM, from.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut numbers = Vec::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The line of a writer that was killed may be cut off.
                let words: Vec<_> = line.split(' ').collect();
                if let ["acknowledged", first, last] = words[..] {
                    numbers.push((first.parse::<u32>().unwrap(), last.parse::<u32>()));
                }
            }
            numbers
        });
        // Between nothing, the opening, and some hundred records.
        std::thread::sleep(Duration::from_micros(1_500 + round * 7_919 % 25_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for (first, _) in reader.join().unwrap() {
            acknowledged.extend(first..first + 3);
            from = from.max(first + 3);
        }
        // What was written and not answered for may be there, so those numbers are not used again.
        from += 30_000;
    }
    let mut store = node.open();
    store.commit(&[denial(from)]).unwrap();
    store.seal().unwrap();
    let report = node.verify();
    assert!(report.whole, "{report:?}");
    let mut recorded = BTreeSet::new();
    for entry in read::after(&node.disk(), 0, usize::MAX).unwrap() {
        if let What::Decision(decision) = entry.record().unwrap().what {
            let number = decision.process.pid;
            assert!(recorded.insert(number), "{number} is recorded twice");
        }
    }
    let lost: Vec<_> = acknowledged.difference(&recorded).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(acknowledged.len() > 1000, "only {}", acknowledged.len());
    println!(
        "{} acknowledged, {} recorded, {} gaps of torn ends, {} segments",
        acknowledged.len(),
        recorded.len(),
        report.gaps.len(),
        report.segments
    );
}

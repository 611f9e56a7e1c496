//! Reading the record while it grows, as whoever carries it elsewhere does.

mod common;

use agent_evidence::chain::link;
use agent_evidence::mark::Mark;
use agent_evidence::read::{Entry, Reader, after};
use agent_evidence::store::Settings;
use common::{Node, denial};
use std::fs;

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.mark.sequence).collect()
}

/// Segments that hold a few records each.
fn small() -> Settings {
    Settings {
        segment: 4096,
        ..Node::settings()
    }
}

#[test]
fn it_reads_on_where_it_stopped_over_segments_and_never_what_is_not_synced() {
    let node = Node::new("follow");
    let mut store = node.open_with(small());
    let mut reader = Reader::after(0);
    let mut before = Mark::START;
    let mut seen = Vec::new();
    for number in 1..=40 {
        store.commit(&[denial(number)]).unwrap();
        // One behind: as if the newest were not synced yet.
        let synced = store.head().sequence - 1;
        let taken = reader.take(&node.disk(), synced, 100, 1 << 20).unwrap();
        for entry in &taken.entries {
            assert_eq!(entry.before, before);
            let hash = link(&before.hash, entry.mark.sequence, &entry.body);
            assert_eq!(hash, entry.mark.hash);
            before = entry.mark;
        }
        seen.extend(numbers(&taken.entries));
    }
    assert_eq!(seen, (1..=39).collect::<Vec<_>>());
    assert!(fs::read_dir(node.folder()).unwrap().count() > 3, "segments");
    store.seal().unwrap();
    let taken = reader.take(&node.disk(), 40, 100, 1 << 20).unwrap();
    assert_eq!(numbers(&taken.entries), [40]);
    let checkpoint = taken.checkpoint.unwrap();
    assert!(checkpoint.is_by(&node.key().public()));
    assert_eq!(checkpoint.checkpoint.sequence, 40);
    let none = reader.take(&node.disk(), 40, 100, 1 << 20).unwrap();
    assert!(none.entries.is_empty() && none.checkpoint.is_none());
    // From the middle, and in pieces of so many records and bytes.
    let mut reader = Reader::after(17);
    let taken = reader.take(&node.disk(), 40, 3, 1 << 20).unwrap();
    assert_eq!(numbers(&taken.entries), [18, 19, 20]);
    assert_eq!(taken.entries[0].before.sequence, 17);
    let taken = reader.take(&node.disk(), 40, 100, 1).unwrap();
    assert_eq!(numbers(&taken.entries), [21], "one fits whatever its size");
}

#[test]
fn where_records_were_lost_it_says_what_stood_before() {
    let node = Node::new("follow-lost");
    let mut store = node.open();
    store.commit(&[denial(1), denial(2), denial(3)]).unwrap();
    let old = fs::read(node.segment(1)).unwrap();
    store.commit(&[denial(4), denial(5)]).unwrap();
    store.seal().unwrap();
    drop(store);
    // The folder is put back, and what is remembered outside it is not.
    fs::write(node.segment(1), old).unwrap();
    node.open().commit(&[denial(7)]).unwrap();
    let mut reader = Reader::after(5);
    let taken = reader.take(&node.disk(), 100, 100, 1 << 20).unwrap();
    // The gap has the next number, and follows the last record that is believed.
    assert_eq!(numbers(&taken.entries), [6, 7]);
    assert_eq!(taken.entries[0].before.sequence, 3);
    // What does not follow is handed out by itself.
    let mut reader = Reader::after(0);
    let first = reader.take(&node.disk(), 100, 100, 1 << 20).unwrap();
    assert_eq!(numbers(&first.entries), [1, 2, 3]);
    let then = reader.take(&node.disk(), 100, 100, 1 << 20).unwrap();
    assert_eq!(numbers(&then.entries), [6, 7]);
    assert_eq!(numbers(&after(&node.disk(), 2, 3).unwrap()), [3, 6, 7]);
}

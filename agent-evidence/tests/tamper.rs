//! What somebody may do to the files, and what `verify` and the next daemon make of it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod common;

use agent_evidence::disk::Disk;
use agent_evidence::finding::Found;
use agent_evidence::frame::{Frame, Kind, MAGIC};
use agent_evidence::record::What;
use agent_evidence::{chain, read, segment};
use common::{Node, denial};
use std::fs;

/// Frames of a segment: where each begins and ends.
fn frames(bytes: &[u8]) -> Vec<(Kind, usize, usize)> {
    let mut at = MAGIC.len();
    let mut frames = Vec::new();
    while let Ok((frame, length)) = Frame::read(&bytes[at..]) {
        frames.push((frame.kind, at, at + length));
        at += length;
    }
    assert_eq!(at, bytes.len());
    frames
}

fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let frames = frames(bytes).into_iter();
    let records = frames.filter(|(kind, ..)| *kind == Kind::Record);
    records.map(|(_, begin, end)| (begin, end)).collect()
}

/// A node that recorded five denials, and the bytes of its one segment.
fn five(test: &str) -> (Node, Vec<u8>) {
    let node = Node::new(test);
    let mut store = node.open();
    for number in 1..=5 {
        store.commit(&[denial(number)]).unwrap();
    }
    store.seal().unwrap();
    let bytes = fs::read(node.segment(1)).unwrap();
    (node, bytes)
}

#[test]
fn an_untouched_record_is_whole() {
    let (node, bytes) = five("untouched");
    let report = node.verify();
    assert!(report.whole, "{report:?}");
    assert_eq!((report.records, report.last, report.signed), (5, 5, 5));
    assert_eq!(records(&bytes).len(), 5);
}

#[test]
fn every_flipped_byte_of_a_segment_is_found() {
    let (node, bytes) = five("flip");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        fs::write(node.segment(1), &flipped).unwrap();
        let report = node.verify();
        assert!(!report.whole, "byte {at}");
        let finding = &report.findings[0];
        assert!(finding.offset <= at, "byte {at}: {finding}");
    }
}

#[test]
fn every_truncation_is_found() {
    let (node, bytes) = five("truncate");
    for length in 0..bytes.len() {
        fs::write(node.segment(1), &bytes[..length]).unwrap();
        let report = node.verify();
        let records = records(&bytes);
        let (_, last) = records.last().unwrap();
        // Without the checkpoint at the end all records are there, and not signed yet.
        let only_unsigned = length == *last;
        assert_eq!(report.whole, only_unsigned, "{length}: {report:?}");
        assert_eq!(report.signed == 5, length == bytes.len(), "{length}");
    }
    fs::remove_file(node.segment(1)).unwrap();
    let report = node.verify();
    assert_eq!(report.findings[0].found, Found::RolledBack);
    assert_eq!(report.findings[0].missing, Some((1, 5)));
}

#[test]
fn a_dropped_and_a_swapped_record_are_named() {
    let (node, bytes) = five("drop");
    let records = records(&bytes);
    for (at, (begin, end)) in records.iter().enumerate() {
        let dropped = [&bytes[..*begin], &bytes[*end..]].concat();
        fs::write(node.segment(1), dropped).unwrap();
        let report = node.verify();
        let finding = &report.findings[0];
        // Behind the last record stands its checkpoint, which now speaks of nothing.
        let expected = if at == 4 {
            Found::Resealed
        } else {
            Found::Dropped
        };
        assert_eq!(
            (report.whole, finding.found),
            (false, expected),
            "{finding}"
        );
    }
    let (one, two) = (records[1], records[2]);
    let swapped = [
        &bytes[..one.0],
        &bytes[two.0..two.1],
        &bytes[one.0..one.1],
        &bytes[two.1..],
    ];
    fs::write(node.segment(1), swapped.concat()).unwrap();
    let finding = &node.verify().findings[0];
    assert_eq!(
        (finding.found, finding.after),
        (Found::Swapped, 1),
        "{finding}"
    );
}

/// All records anew with a change in the second: sums and hashes fit.
fn resealed(bytes: &[u8], keep_checkpoints: bool) -> Vec<u8> {
    let mut out = bytes[..records(bytes)[0].0].to_vec();
    let mut previous = chain::Hash::START;
    for (kind, begin, end) in frames(bytes).into_iter().skip(1) {
        let (frame, _) = Frame::read(&bytes[begin..end]).unwrap();
        if kind != Kind::Record {
            if keep_checkpoints {
                out.extend_from_slice(&bytes[begin..end]);
            }
            continue;
        }
        let text = String::from_utf8(frame.body.to_vec()).unwrap();
        let body = match frame.sequence {
            2 => text.replace("\"verdict\":\"deny\"", "\"verdict\":\"allow\""),
            _ => text,
        };
        previous = chain::link(&previous, frame.sequence, body.as_bytes());
        let frame = Frame {
            hash: previous,
            body: body.as_bytes(),
            ..frame
        };
        frame.write(&mut out);
    }
    out
}

#[test]
fn who_reseals_without_the_key_is_found() {
    let (node, bytes) = five("reseal");
    fs::write(node.segment(1), resealed(&bytes, true)).unwrap();
    let finding = &node.verify().findings[0];
    assert_eq!(finding.found, Found::Resealed, "{finding}");
    // Without checkpoints only what is remembered outside tells, or what somebody else remembers.
    fs::write(node.segment(1), resealed(&bytes, false)).unwrap();
    let finding = &node.verify().findings[0];
    assert_eq!(finding.found, Found::Resealed, "{finding}");
    let mark = fs::read(node.mark()).unwrap();
    fs::remove_file(node.mark()).unwrap();
    assert!(
        node.verify().whole,
        "this needs the controller's checkpoint"
    );
    let known = node.mark_of(&mark);
    assert!(!node.verify_against(vec![known]).whole);
}

#[test]
fn who_seals_with_another_key_is_found() {
    let (node, _) = five("other-key");
    let other = five("other-key-2").0;
    fs::copy(other.segment(1), node.segment(1)).unwrap();
    let finding = &node.verify().findings[0];
    assert_eq!(finding.found, Found::Resealed);
    assert!(finding.detail.contains("another key"), "{finding}");
}

#[test]
fn a_folder_that_was_rolled_back_is_found_and_its_numbers_are_not_used_again() {
    let node = Node::new("rollback");
    node.open().commit(&[denial(1), denial(2)]).unwrap();
    let old = fs::read(node.segment(1)).unwrap();
    let mut store = node.open();
    for number in 3..=9 {
        store.commit(&[denial(number)]).unwrap();
    }
    drop(store);
    fs::remove_file(node.segment(3)).unwrap();
    fs::write(node.segment(1), old).unwrap();
    let report = node.verify();
    assert_eq!(report.findings[0].found, Found::RolledBack);
    assert_eq!(report.findings[0].missing, Some((3, 9)));
    let mut store = node.open();
    assert_eq!(store.commit(&[denial(10)]).unwrap(), 11);
    store.seal().unwrap();
    let report = node.verify();
    assert_eq!(report.findings, []);
    assert!(!report.whole, "nine records are missing");
    assert_eq!((report.gaps[0].gap.first, report.gaps[0].gap.last), (3, 9));
    // The copy with all that remembers it, put back together: only the controller can tell.
    let known = node.head();
    fs::remove_file(node.mark()).unwrap();
    fs::remove_file(node.segment(10)).unwrap();
    assert!(node.verify().whole);
    let finding = &node.verify_against(vec![known]).findings[0];
    assert_eq!(finding.found, Found::RolledBack, "{finding}");
}

#[test]
fn segments_that_are_missing_or_not_themselves_are_found() {
    let node = Node::new("segments");
    for number in 1..=4 {
        let mut store = node.open();
        store.commit(&[denial(number)]).unwrap();
        store.seal().unwrap();
    }
    assert!(node.verify().whole);
    let second = fs::read(node.segment(2)).unwrap();
    fs::remove_file(node.segment(2)).unwrap();
    let finding = node.verify().findings[0].clone();
    assert_eq!(
        (finding.found, finding.missing),
        (Found::Dropped, Some((2, 2)))
    );
    let third = fs::read(node.segment(3)).unwrap();
    fs::write(node.segment(2), &third).unwrap();
    fs::write(node.segment(3), &second).unwrap();
    assert!(!node.verify().whole);
    fs::write(node.segment(2), &second).unwrap();
    fs::write(node.segment(3), &third).unwrap();
    fs::remove_file(node.segment(1)).unwrap();
    let finding = node.verify().findings[0].clone();
    assert_eq!(
        (finding.found, finding.missing),
        (Found::Dropped, Some((1, 1)))
    );
}

/// Whatever was done to a segment: the next daemon goes on, says so, keeps what it put aside, and
/// what it makes of the folder verifies but for what is missing.
#[test]
fn after_any_flipped_byte_the_next_writer_goes_on() {
    let (node, bytes) = five("repair");
    let mark = fs::read(node.mark()).unwrap();
    for at in 0..bytes.len() {
        node.clear();
        fs::write(node.mark(), &mark).unwrap();
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x01;
        fs::write(node.segment(1), &flipped).unwrap();
        let mut store = node.open();
        let number = store.commit(&[denial(6)]).unwrap();
        assert!(number > 6, "byte {at}: {number} was used before");
        store.seal().unwrap();
        let report = node.verify();
        assert_eq!(report.findings, [], "byte {at}");
        let grave: Vec<_> = report.gaps.iter().map(|stated| &stated.gap).collect();
        assert_eq!(grave.len(), 1, "byte {at}: {grave:?}");
        // Whatever is not believed is kept.
        let aside: usize = node
            .quarantined()
            .iter()
            .map(|(_, bytes)| bytes.len())
            .sum();
        let kept = fs::read(node.segment(1)).map_or(0, |kept| kept.len());
        assert!(aside > 0 && aside + kept >= bytes.len(), "byte {at}");
        let again = node.open();
        assert_eq!(
            again.head().sequence,
            number,
            "byte {at}: nothing else was found"
        );
    }
}

#[test]
fn what_was_torn_is_cut_off_and_nothing_that_was_answered_for_is_lost() {
    let (node, bytes) = five("torn");
    let mark = fs::read(node.mark()).unwrap();
    let (begin, end) = records(&bytes)[4];
    for length in begin..end {
        node.clear();
        fs::write(node.segment(1), &bytes[..length]).unwrap();
        // It was killed before it answered for the fifth.
        fs::remove_file(node.mark()).unwrap();
        let mut store = node.open();
        store.commit(&[denial(6)]).unwrap();
        store.seal().unwrap();
        let report = node.verify();
        assert!(report.whole, "{length}: {report:?}");
        let torn = usize::from(length > begin);
        assert_eq!(report.gaps.len(), torn, "{length}");
        let entries = read::after(&node.disk(), 0, 100).unwrap();
        let denials = entries
            .iter()
            .filter(|entry| matches!(entry.record().unwrap().what, What::Decision(_)));
        assert_eq!(denials.count(), 5, "{length}");
    }
    fs::write(node.mark(), mark).unwrap();
}

#[test]
fn an_empty_segment_is_none() {
    let (node, _) = five("empty");
    fs::write(node.folder().join(segment::name(6)), b"").unwrap();
    assert_eq!(node.verify().findings[0].found, Found::Torn);
    let mut store = node.open();
    store.commit(&[denial(6)]).unwrap();
    store.seal().unwrap();
    assert!(node.verify().whole, "{:?}", node.verify());
    assert!(node.disk().names().unwrap().len() > 1);
}

/// Found by the fuzz target: nothing of several segments is believed but their headers.
#[test]
fn when_every_segment_is_damaged_the_next_writer_explains_all_of_it() {
    let node = Node::new("all");
    for number in 1..=3 {
        let mut store = node.open();
        store.commit(&[denial(number), denial(number)]).unwrap();
        store.seal().unwrap();
    }
    for first in [1, 3, 5] {
        let mut bytes = fs::read(node.segment(first)).unwrap();
        let (begin, _) = records(&bytes)[0];
        bytes[begin] ^= 1;
        fs::write(node.segment(first), bytes).unwrap();
    }
    let mut store = node.open();
    assert!(store.commit(&[denial(4)]).unwrap() > 7);
    store.seal().unwrap();
    let report = node.verify();
    assert_eq!(report.findings, []);
    assert!(!report.whole && report.gaps.len() >= 3, "{report:?}");
    assert_eq!(node.quarantined().len(), 3);
}

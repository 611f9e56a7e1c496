//! Each way to tamper with a small record, and by whom it is found: by `verify` alone, or only where it
//! is held against what the controller has.

use super::{Looked, Told};
use crate::evidence::Place;
use crate::evidence::against::Against;
use agent_evidence::chain::{Hash, link};
use agent_evidence::checkpoint::{Checkpoint, Countersigned};
use agent_evidence::disk::Folder;
use agent_evidence::frame::{Frame, Kind, MAGIC};
use agent_evidence::key::{Key, public_path, read_public};
use agent_evidence::mark::MarkFile;
use agent_evidence::record::{Draft, Loss, What};
use agent_evidence::segment::{self, Trust};
use agent_evidence::store::{Settings, Store};
use std::fs;
use std::path::{Path, PathBuf};

/// A record in a folder of its own.
struct Node {
    home: PathBuf,
    place: Place,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Node {
    fn new(test: &str) -> Self {
        let name = format!("interlock-verify-{test}-{}", std::process::id());
        let home = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        let place = Place::of(&home.join("evidence"));
        Self { home, place }
    }

    /// Records so many events, each with its number and one more.
    fn record(&self, numbers: std::ops::RangeInclusive<u64>, more: u64) -> Store<Folder> {
        let settings = Settings {
            reserve: 0,
            ..Settings::of("n", "b")
        };
        let disk = Folder::make(&self.place.folder).unwrap();
        let key = Key::take(&self.place.key).unwrap();
        let mut store = Store::at(disk, key, MarkFile::at(&self.place.mark), settings);
        store.open().unwrap();
        for number in numbers {
            let loss = Loss {
                place: "ring".into(),
                events: number + more,
                ..Loss::default()
            };
            store.commit(&[Draft::now(None, What::Loss(loss))]).unwrap();
        }
        store.seal().unwrap();
        store
    }

    fn segment(&self) -> PathBuf {
        self.place.folder.join(segment::name(1))
    }

    fn look(&self, theirs: Option<&Against>) -> Looked {
        let known = MarkFile::at(&self.place.mark).read().unwrap();
        let trust = Trust {
            key: Some(read_public(&public_path(&self.place.key)).unwrap()),
            known: known.into_iter().collect(),
        };
        Looked::at(&self.place, &trust, theirs).unwrap()
    }

    /// Found alone, and then also with the controller's checkpoint; or only with that.
    fn is_found(&self, theirs: &Against, alone: bool, what: &str) {
        assert_eq!(!self.look(None).report.whole, alone, "{what}, alone");
        let looked = self.look(Some(theirs));
        assert!(!looked.report.whole, "{what}, against the controller");
        assert_eq!(looked.only_against.is_empty(), alone, "{what}: who says so");
        let told = Told {
            report: &looked.report,
            only_against: &looked.only_against,
            controller_keys: Vec::new(),
            against: Some(theirs),
        };
        let text = told.text(true);
        assert_eq!(text.contains("WRONG  only against c: "), !alone, "{text}");
    }
}

fn theirs(store: &Store<Folder>) -> Against {
    Against {
        by: "c".into(),
        marks: vec![store.head()],
        ..Against::default()
    }
}

fn frames(bytes: &[u8]) -> Vec<(Kind, usize, usize)> {
    let (mut at, mut frames) = (MAGIC.len(), Vec::new());
    while let Ok((frame, length)) = Frame::read(&bytes[at..]) {
        frames.push((frame.kind, at, at + length));
        at += length;
    }
    frames
}

/// All records anew with another second one: sums and hashes fit, signatures cannot.
fn resealed(bytes: &[u8], keep_checkpoints: bool) -> Vec<u8> {
    let all = frames(bytes);
    let mut out = bytes[..all[0].2].to_vec();
    let mut before = Hash::START;
    for (kind, begin, end) in &all[1..] {
        let (frame, _) = Frame::read(&bytes[*begin..*end]).unwrap();
        if *kind != Kind::Record {
            if keep_checkpoints {
                out.extend_from_slice(&bytes[*begin..*end]);
            }
            continue;
        }
        let text = String::from_utf8(frame.body.to_vec()).unwrap();
        let body = text.replace("\"events\":2", "\"events\":9");
        before = link(&before, frame.sequence, body.as_bytes());
        let frame = Frame {
            hash: before,
            body: body.as_bytes(),
            ..frame
        };
        frame.write(&mut out);
    }
    assert_ne!(out, bytes);
    out
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_is_done_to_the_files_is_found_alone() {
    let node = Node::new("alone");
    let theirs = theirs(&node.record(1..=4, 0));
    let bytes = fs::read(node.segment()).unwrap();
    let whole = node.look(Some(&theirs));
    assert!(whole.report.whole && whole.only_against.is_empty());
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(node.segment(), flipped).unwrap();
        node.is_found(&theirs, true, &format!("byte {at} flipped"));
    }
    let all = frames(&bytes);
    let records: Vec<_> = all.iter().filter(|it| it.0 == Kind::Record).collect();
    for (_, begin, end) in &records {
        let dropped = [&bytes[..*begin], &bytes[*end..]].concat();
        fs::write(node.segment(), dropped).unwrap();
        node.is_found(&theirs, true, "dropped");
        fs::write(node.segment(), &bytes[..*begin]).unwrap();
        node.is_found(&theirs, true, "truncated");
    }
    let (one, two) = (records[1], records[2]);
    let swapped = [
        &bytes[..one.1],
        &bytes[two.1..two.2],
        &bytes[one.1..one.2],
        &bytes[two.2..],
    ];
    fs::write(node.segment(), swapped.concat()).unwrap();
    node.is_found(&theirs, true, "swapped");
    for keep in [true, false] {
        fs::write(node.segment(), resealed(&bytes, keep)).unwrap();
        node.is_found(&theirs, true, "re-sealed");
    }
    fs::remove_file(node.segment()).unwrap();
    node.is_found(&theirs, true, "taken away");
}

#[test]
fn what_is_done_to_all_that_remembers_it_is_found_only_against_the_controller() {
    let node = Node::new("against");
    node.record(1..=2, 0);
    let old = node.home.join("old");
    copy(&node.place.folder, &old);
    let old_mark = fs::read(&node.place.mark).unwrap();
    let theirs = theirs(&node.record(3..=6, 0));
    assert!(node.look(Some(&theirs)).report.whole, "the control");
    let bytes = fs::read(node.segment()).unwrap();
    // The whole folder as it was, and the mark beside it.
    let now = node.home.join("now");
    copy(&node.place.folder, &now);
    fs::remove_dir_all(&node.place.folder).unwrap();
    copy(&old, &node.place.folder);
    node.is_found(&theirs, true, "rolled back without the mark");
    fs::write(&node.place.mark, old_mark).unwrap();
    node.is_found(&theirs, false, "rolled back with the mark");
    // Without signatures, and nothing that remembers.
    fs::remove_dir_all(&node.place.folder).unwrap();
    fs::create_dir(&node.place.folder).unwrap();
    fs::write(node.segment(), resealed(&bytes, false)).unwrap();
    fs::remove_file(&node.place.mark).unwrap();
    node.is_found(&theirs, false, "re-sealed without signatures");
    // By who has the node's key: as good as true, here.
    fs::remove_dir_all(&node.place.folder).unwrap();
    node.record(1..=8, 1);
    node.is_found(&theirs, false, "written anew with the node's key");
}

#[test]
fn whose_a_countersignature_is_is_said_only_where_it_is_known() {
    let node = Node::new("whose");
    let mut store = node.record(1..=2, 0);
    let drawn = agent_proto::seal::Key::draw().unwrap();
    let key = agent_proto::seal::Key::from_pkcs8(&drawn).unwrap();
    let head = store.head();
    let checkpoint = Checkpoint {
        sequence: head.sequence,
        hash: head.hash,
        node: "n".into(),
        boot: "b".into(),
        time: "2026-03-02T10:00:00Z".into(),
    };
    let public = hex::encode(key.public());
    let sign = |message: &[u8]| key.sign_as_it_is(message);
    let signed = Countersigned::sign(checkpoint, &key.public(), sign);
    store.commit(&[]).unwrap();
    store.countersign(&signed).unwrap();
    drop(store);
    let looked = node.look(None);
    let told = |controller_keys| {
        let told = Told {
            report: &looked.report,
            only_against: &[],
            controller_keys,
            against: None,
        };
        told.text(true)
    };
    let unknown = told(Vec::new());
    assert!(
        unknown.contains(&format!("by {public}: whether that is")),
        "{unknown}"
    );
    assert!(!unknown.contains("by the controller"), "{unknown}");
    let known = told(vec![public]);
    assert!(
        known.contains("countersigned by the controller up to record 2"),
        "{known}"
    );
}

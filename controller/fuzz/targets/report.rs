//! What nodes report: batches and checkpoints. Whatever comes, an answer; and what is taken is one
//! chain, whose hashes are those of its bodies.

#![no_main]

use agent_evidence::chain::{Hash, link};
use agent_evidence::checkpoint::{Countersigned, Signed};
use agent_proto::wire::report_request::What;
use agent_proto::wire::{Position, Record, RecordBatch, ReportRequest};
use interlock_controller::report::check;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fn take(mut batch: RecordBatch) {
    let before = batch.before.clone().unwrap_or_default();
    if let Ok(None) = check(&before, &mut batch.records) {
        let mut hash = Hash(before.hash.try_into().expect("it was taken"));
        let first = batch.records[0].sequence;
        assert!(first > before.sequence);
        for (sequence, record) in (first..).zip(&batch.records) {
            assert_eq!(record.sequence, sequence);
            hash = link(&hash, sequence, &record.body);
            assert_eq!(record.hash, hash.0);
            assert!(record.kind.len() <= 256 && record.session.len() <= 256);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ReportRequest { what: Some(what) }) = ReportRequest::decode(bytes) {
        match what {
            What::Batch(batch) => take(batch),
            What::Checkpoint(bytes) => {
                if let Ok(signed) = serde_json::from_slice::<Signed>(&bytes) {
                    assert!(!signed.is_by_bytes(&[7; 32]));
                }
            }
        }
    }
    if let Ok(countersigned) = serde_json::from_slice::<Countersigned>(bytes) {
        let _ = countersigned.is_sound();
    }
    // The bytes as bodies of records whose hashes are right: what they say is looked at.
    let mut hash = Hash([0; 32]);
    let records = bytes
        .split(|byte| *byte == b'\n')
        .zip(1..)
        .map(|(body, sequence)| {
            hash = link(&hash, sequence, body);
            Record {
                sequence,
                hash: hash.0.to_vec(),
                body: body.to_vec(),
                ..Record::default()
            }
        });
    let records = records.take(8).collect();
    let before = Position {
        sequence: 0,
        hash: vec![0; 32],
    };
    take(RecordBatch {
        before: Some(before),
        records,
    });
});

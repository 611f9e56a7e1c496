//! Reads a segment byte by byte, and stops at the first that cannot be believed.

use crate::chain::{Hash, link};
use crate::checkpoint::{Countersigned, Signed};
use crate::finding::{Finding, Found};
use crate::frame::{Frame, FrameError, Kind, MAGIC};
use crate::mark::Mark;
use crate::record::{Record, What};
use crate::segment::{Header, Jump, Segment, Trust, first_of};
use ed25519_dalek::VerifyingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// What of a record can be read without knowing its kind.
#[derive(Deserialize)]
struct Envelope {
    sequence: u64,
    node: String,
    boot: String,
    what: BTreeMap<String, IgnoredAny>,
}

/// What was whole when the last checkpoint was made.
#[derive(Clone, Copy)]
struct Good {
    keep: usize,
    head: Mark,
    records: u64,
}

struct Walk<'a> {
    bytes: &'a [u8],
    trust: &'a Trust,
    at: usize,
    head: Mark,
    good: Good,
    key: Option<VerifyingKey>,
    out: Segment,
}

/// Something that is wrong, and whether all since the last checkpoint is in doubt with it.
struct Wrong {
    found: Found,
    detail: String,
    doubt: bool,
}

impl Wrong {
    fn here(found: Found, detail: impl Into<String>) -> Self {
        Self {
            found,
            detail: detail.into(),
            doubt: false,
        }
    }

    fn since_checkpoint(detail: impl Into<String>) -> Self {
        Self {
            found: Found::Resealed,
            detail: detail.into(),
            doubt: true,
        }
    }
}

impl Segment {
    /// Looks at a segment. The newest one may end without a checkpoint, or be torn.
    pub fn read(name: &str, bytes: &[u8], newest: bool, trust: &Trust) -> Self {
        let start = Mark {
            sequence: 0,
            hash: Hash::START,
        };
        let mut walk = Walk {
            bytes,
            trust,
            at: 0,
            head: start,
            good: Good {
                keep: 0,
                head: start,
                records: 0,
            },
            key: None,
            out: Self {
                name: name.to_owned(),
                ..Self::default()
            },
        };
        let wrong = walk.all(newest).err();
        if let Some(wrong) = wrong {
            walk.stop(wrong);
        } else {
            walk.out.keep = walk.at;
        }
        let read = walk.out.header.is_some();
        walk.out.head = read.then_some(walk.head);
        walk.out.highest = walk.out.highest.max(walk.head.sequence);
        walk.out
    }
}

impl<'a> Walk<'a> {
    fn all(&mut self, newest: bool) -> Result<(), Wrong> {
        if newest && self.bytes.len() < MAGIC.len() {
            return Err(Wrong::here(Found::Torn, "it has no header"));
        }
        self.header(newest)?;
        while self.at < self.bytes.len() {
            let (frame, length) =
                Frame::read(&self.bytes[self.at..]).map_err(|error| no_frame(&error, newest))?;
            match frame.kind {
                Kind::Record => self.record(&frame)?,
                Kind::Checkpoint => self.checkpoint(&frame, length)?,
                Kind::Countersignature => self.countersignature(&frame)?,
                Kind::Header => {
                    return Err(Wrong::here(Found::Changed, "there is a second header"));
                }
            }
            self.at += length;
        }
        if !newest && self.out.unsigned > 0 {
            let detail = "it does not end with a checkpoint, though another segment follows";
            return Err(Wrong::here(Found::Truncated, detail));
        }
        Ok(())
    }

    fn header(&mut self, newest: bool) -> Result<(), Wrong> {
        let changed = |detail: String| Wrong::here(Found::Changed, detail);
        let Some(rest) = self.bytes.strip_prefix(&MAGIC) else {
            return Err(changed(format!("it does not begin with {MAGIC:?}")));
        };
        let (frame, length) = Frame::read(rest).map_err(|error| no_frame(&error, newest))?;
        if frame.kind != Kind::Header {
            return Err(changed(format!("it begins with a {:?}", frame.kind)));
        }
        let header: Header = serde_json::from_slice(frame.body)
            .map_err(|error| changed(format!("its header is none: {error}")))?;
        if first_of(&self.out.name) != Some(frame.sequence) {
            let detail = format!("its header says that it begins with {}", frame.sequence);
            return Err(changed(detail));
        }
        let named =
            crate::chain::from_hex(&header.key).and_then(|key| VerifyingKey::from_bytes(&key).ok());
        self.key = self.trust.key.or(named);
        if let (Some(trusted), Some(named)) = (self.trust.key, named)
            && trusted != named
        {
            let detail = format!("it is signed with another key, {}", header.key);
            return Err(Wrong::here(Found::Resealed, detail));
        }
        self.out.first = frame.sequence;
        self.out.previous = frame.hash;
        self.head = Mark {
            sequence: frame.sequence.saturating_sub(1),
            hash: frame.hash,
        };
        self.at = MAGIC.len() + length;
        self.note_good();
        self.out.header = Some(header);
        Ok(())
    }

    fn note_good(&mut self) {
        self.good = Good {
            keep: self.at,
            head: self.head,
            records: self.out.records,
        };
    }

    fn record(&mut self, frame: &Frame<'a>) -> Result<(), Wrong> {
        let expected = self.head.sequence + 1;
        let (found, sequence) = (frame.hash, frame.sequence);
        if found != link(&self.head.hash, sequence, frame.body) || sequence < expected {
            return Err(self.broken(frame, expected));
        }
        let envelope: Envelope = serde_json::from_slice(frame.body)
            .map_err(|error| Wrong::here(Found::Resealed, format!("no record: {error}")))?;
        let header = self.out.header.as_ref().expect("it was read first");
        if (envelope.sequence, &envelope.node, &envelope.boot)
            != (sequence, &header.node, &header.boot)
        {
            let detail = format!(
                "the record calls itself {} of {} at boot {}",
                envelope.sequence, envelope.node, envelope.boot
            );
            return Err(Wrong::since_checkpoint(detail));
        }
        let known = self.trust.known.iter();
        if let Some(known) = known
            .filter(|known| known.sequence == sequence)
            .find(|known| known.hash != found)
        {
            let detail = format!("its hash is {found}, and was {} once", known.hash);
            return Err(Wrong::since_checkpoint(detail));
        }
        if sequence > expected {
            self.out.jumps.push(Jump {
                after: self.head,
                at: sequence,
                previous: self.head.hash,
                segment: self.out.name.clone(),
                offset: self.at,
            });
        }
        self.note_special(frame, &envelope)?;
        self.head = Mark {
            sequence,
            hash: found,
        };
        self.out.records += 1;
        self.out.unsigned += 1;
        Ok(())
    }

    /// Keeps what records say of the record itself.
    fn note_special(&mut self, frame: &Frame<'a>, envelope: &Envelope) -> Result<(), Wrong> {
        let special = ["gap", "retired", "loss"];
        if !special.iter().any(|kind| envelope.what.contains_key(*kind)) {
            return Ok(());
        }
        let record = Record::decode(frame.body)
            .map_err(|error| Wrong::here(Found::Resealed, format!("no record: {error}")))?;
        match record.what {
            What::Gap(gap) => self.out.gaps.push((record.sequence, gap)),
            What::Retired(retired) => self.out.retired.push(retired),
            What::Loss(loss) => self.out.lost += loss.events,
            _ => {}
        }
        Ok(())
    }

    /// Names what is wrong with a record that does not follow.
    fn broken(&self, frame: &Frame<'a>, expected: u64) -> Wrong {
        let sequence = frame.sequence;
        if sequence == expected {
            let detail = format!(
                "the checksum of record {sequence} is right, but its hash does not follow from what \
                 it says and from the record before"
            );
            return Wrong::here(Found::Resealed, detail);
        }
        let later = self.numbers_from(self.at);
        if sequence < expected || later.contains(&expected) {
            let detail = format!("record {sequence} stands where {expected} should");
            Wrong::here(Found::Swapped, detail)
        } else {
            let detail = format!("record {sequence} follows record {}", self.head.sequence);
            Wrong::here(Found::Dropped, detail)
        }
    }

    fn checkpoint(&mut self, frame: &Frame<'a>, length: usize) -> Result<(), Wrong> {
        let signed: Signed = serde_json::from_slice(frame.body).map_err(|error| {
            Wrong::since_checkpoint(format!("a checkpoint that is none: {error}"))
        })?;
        let says = Mark {
            sequence: signed.checkpoint.sequence,
            hash: signed.checkpoint.hash,
        };
        let framed = Mark {
            sequence: frame.sequence,
            hash: frame.hash,
        };
        if says != self.head || framed != self.head {
            let detail = format!("a checkpoint of {says} stands behind {}", self.head);
            return Err(Wrong::since_checkpoint(detail));
        }
        let header = self.out.header.as_ref().expect("it was read first");
        if signed.checkpoint.node != header.node {
            let detail = format!("a checkpoint of node {}", signed.checkpoint.node);
            return Err(Wrong::since_checkpoint(detail));
        }
        if !self.key.is_some_and(|key| signed.is_by(&key)) {
            let detail = format!(
                "the signature of the checkpoint of {} is false",
                says.sequence
            );
            return Err(Wrong::since_checkpoint(detail));
        }
        self.out.unsigned = 0;
        self.out.checkpoints.push(says);
        self.at += length;
        self.note_good();
        self.at -= length;
        Ok(())
    }

    fn countersignature(&mut self, frame: &Frame<'a>) -> Result<(), Wrong> {
        let wrong = |detail: &str| Wrong::here(Found::Changed, detail.to_owned());
        let countersigned: Countersigned = serde_json::from_slice(frame.body)
            .map_err(|_| wrong("a countersignature that is none"))?;
        let of = &countersigned.checkpoint;
        if !countersigned.is_sound() || frame.sequence != of.sequence || frame.hash != of.hash {
            return Err(wrong("the countersignature is false"));
        }
        let mut known = self.out.checkpoints.iter();
        if known.any(|mark| mark.sequence == of.sequence && mark.hash != of.hash) {
            return Err(wrong("the countersignature is for other records"));
        }
        if of.sequence > self.head.sequence {
            return Err(wrong(
                "the countersignature is for records that are not there",
            ));
        }
        let key = countersigned.key.to_ascii_lowercase();
        let newest = self.out.countersigned.entry(key).or_default();
        *newest = of.sequence.max(*newest);
        Ok(())
    }

    fn stop(&mut self, wrong: Wrong) {
        let at = self.at;
        self.out.highest = self.numbers_from(at).into_iter().max().unwrap_or(0);
        self.out.fault = Some(Finding {
            found: wrong.found,
            segment: self.out.name.clone(),
            offset: at,
            after: self.head.sequence,
            missing: None,
            detail: wrong.detail,
        });
        self.out.keep = at;
        if wrong.doubt {
            let Good {
                keep,
                head,
                records,
            } = self.good;
            self.out.keep = keep;
            self.out.records = records;
            self.out.unsigned = 0;
            self.out.highest = self.out.highest.max(self.head.sequence);
            self.head = head;
        }
    }

    /// The numbers of records from a byte on, as far as they can be made out.
    fn numbers_from(&self, mut at: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match Frame::read(rest) {
                Ok((frame, length)) => {
                    if frame.kind == Kind::Record {
                        numbers.push(frame.sequence);
                    }
                    at += length;
                }
                // Perhaps only what lies within was changed.
                Err(FrameError::Checksum { .. } | FrameError::Kind(_)) => {
                    let length = rest
                        .first_chunk::<4>()
                        .map(|length| u32::from_le_bytes(*length));
                    at += crate::frame::FIXED + length.unwrap_or(0) as usize;
                }
                Err(_) => break,
            }
        }
        numbers
    }
}

/// Names what is wrong with bytes that are no frame.
fn no_frame(error: &FrameError, newest: bool) -> Wrong {
    let found = match error {
        FrameError::Short { .. } if newest => Found::Torn,
        FrameError::Short { .. } => Found::Truncated,
        _ => Found::Changed,
    };
    Wrong::here(found, error.to_string())
}

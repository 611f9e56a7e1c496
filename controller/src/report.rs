//! What nodes report: their records, verified as they come, and the checkpoints over them.

use crate::clock;
use crate::fleet::Fleet;
use crate::node::unavailable;
use crate::rate::Bucket;
use crate::store::{Batch, Deed};
use agent_evidence::chain::{Hash, link};
use agent_evidence::checkpoint::{Countersigned, Signed};
use agent_proto::wire::report_request::What as Reported;
use agent_proto::wire::{Position, Record, RecordBatch, ReportRequest, ReportResponse};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

/// The longest text by which records are found. What is longer is cut.
const MAX_WORD: usize = 256;

/// The longest body of a record: evidence knows none that is longer.
const MAX_BODY: usize = 256 * 1024;

/// The longest checkpoint.
const MAX_CHECKPOINT: usize = 4096;

/// The chain that a connection reports, as it was settled when the node enrolled.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    /// The chain.
    pub(crate) chain: i64,
    /// The key that signs its checkpoints.
    pub(crate) key: Vec<u8>,
    /// Why nothing of it is taken.
    pub(crate) forked: Option<String>,
}

/// Takes what one node reports.
pub(crate) struct Reporter {
    pub(crate) node: String,
    pub(crate) reports: Reports,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) bucket: Bucket,
}

/// What of a record's body it is found by.
#[derive(Deserialize)]
struct Found {
    sequence: u64,
    boot: String,
    time: String,
    session: Option<FoundSession>,
    what: BTreeMap<String, FoundWhat>,
}

#[derive(Deserialize)]
struct FoundSession {
    id: String,
    agent: Option<String>,
}

#[derive(Deserialize)]
struct FoundWhat {
    verdict: Option<String>,
}

impl Reporter {
    /// Takes all that comes, until the node goes or says what is no report.
    pub(crate) async fn take_all(
        mut self,
        mut reports: Streaming<ReportRequest>,
        answers: mpsc::Sender<Result<ReportResponse, Status>>,
    ) {
        loop {
            let answer = match reports.message().await {
                Ok(Some(ReportRequest { what: Some(what) })) => self.take(what).await,
                // What a later version has to say.
                Ok(Some(ReportRequest { what: None })) => continue,
                Ok(None) => return,
                Err(status) => {
                    debug!(node = self.node, %status, "reports end");
                    return;
                }
            };
            let failed = answer.is_err();
            if answers.send(answer).await.is_err() || failed {
                return;
            }
        }
    }

    async fn take(&mut self, what: Reported) -> Result<ReportResponse, Status> {
        if let Some(forked) = &self.reports.forked {
            return Ok(refusal(forked));
        }
        let taken = match what {
            Reported::Batch(batch) => self.keep(batch).await?,
            Reported::Checkpoint(signed) => self.countersign(&signed).await?,
        };
        if !taken.forked.is_empty() {
            let forked = taken.forked.clone();
            self.audit("record forks", &forked).await?;
            self.reports.forked = Some(forked);
        }
        Ok(taken)
    }

    async fn keep(&mut self, batch: RecordBatch) -> Result<ReportResponse, Status> {
        let (before, mut records) = (batch.before.unwrap_or_default(), batch.records);
        if let Some(broken) = check(&before, &mut records)? {
            return Ok(refusal(&broken));
        }
        if let Some(short) = self.fleet.room.short() {
            warn!(node = self.node, "{short}");
            return Err(Status::resource_exhausted(short.to_string()));
        }
        // Whoever is too fast waits, and so does its queue: nothing is lost here.
        tokio::time::sleep(self.bucket.take(records.len())).await;
        let chain = self.reports.chain;
        let kept = self.fleet.desk.keep(Batch {
            chain,
            before,
            records,
        });
        let kept = kept.await.map_err(unavailable)?;
        self.fleet.note_arrival();
        if let Some((first, last)) = kept.holes.lost {
            let what = format!("records {first} to {last} of the node's record never came");
            self.audit("records are missing", &what).await?;
        }
        if let Some((first, last)) = kept.holes.forgotten {
            let what = format!("records {first} to {last}, which are stored here");
            self.audit("the node has lost records", &what).await?;
        }
        Ok(ReportResponse {
            stored: Some(kept.stored),
            countersigned: Vec::new(),
            forked: kept.forked.unwrap_or_default(),
        })
    }

    async fn countersign(&mut self, signed: &[u8]) -> Result<ReportResponse, Status> {
        let wrong = || Status::invalid_argument("found no checkpoint");
        if signed.len() > MAX_CHECKPOINT {
            return Err(wrong());
        }
        let signed: Signed = serde_json::from_slice(signed).map_err(|_| wrong())?;
        let sequence = signed.checkpoint.sequence;
        if !signed.is_by_bytes(&self.reports.key) {
            return Ok(refusal(&format!(
                "the checkpoint over record {sequence} is not signed by the node's key"
            )));
        }
        let of = Position {
            sequence,
            hash: signed.checkpoint.hash.0.to_vec(),
        };
        let key = &self.fleet.key;
        let sign = |message: &[u8]| key.sign_as_it_is(message);
        let countersigned = Countersigned::sign(signed.checkpoint, &key.public(), sign);
        let countersigned = serde_json::to_vec(&countersigned)
            .map_err(|error| Status::internal(error.to_string()))?;
        let (chain, body, at) = (self.reports.chain, countersigned.clone(), of.clone());
        let kept = self
            .fleet
            .desk
            .write(move |store| store.keep_checkpoint(chain, &at, &body));
        Ok(match kept.await.map_err(unavailable)? {
            Some(forked) => refusal(&forked),
            None => ReportResponse {
                stored: Some(of),
                countersigned,
                forked: String::new(),
            },
        })
    }

    async fn audit(&self, action: &str, outcome: &str) -> Result<(), Status> {
        warn!(node = self.node, action, outcome, "audited");
        let deed = Deed {
            who: format!("node/{}", self.node),
            action: action.into(),
            object: "its record".into(),
            outcome: outcome.into(),
        };
        let audited = self
            .fleet
            .desk
            .write(move |store| store.audit(&deed, clock::now_ms()));
        audited.await.map_err(unavailable)
    }
}

fn refusal(why: &str) -> ReportResponse {
    ReportResponse {
        forked: why.to_owned(),
        ..ReportResponse::default()
    }
}

/// Whether records follow one another, by number and by hash; why not. Notes in each by what it is
/// found. Whatever comes from a node goes through this.
pub fn check(before: &Position, records: &mut [Record]) -> Result<Option<String>, Status> {
    let wrong = |what: String| Err(Status::invalid_argument(what));
    let Some(first) = records.first().map(|record| record.sequence) else {
        return wrong("found no records".into());
    };
    if first <= before.sequence || first > u64::MAX >> 1 {
        return wrong(format!(
            "found record {first} after {}, expected a higher one",
            before.sequence
        ));
    }
    let Ok(mut hash) = <[u8; 32]>::try_from(&before.hash[..]).map(Hash) else {
        return wrong("found no hash of what stands before, expected 32 bytes".into());
    };
    let mut numbered = (first..).zip(&*records);
    if let Some((expected, record)) = numbered.find(|(number, it)| it.sequence != *number) {
        let found = record.sequence;
        return wrong(format!("found record {found}, expected {expected}"));
    }
    for (sequence, record) in (first..).zip(records) {
        if record.body.len() > MAX_BODY {
            return wrong(format!(
                "record {sequence}: found more than {MAX_BODY} bytes"
            ));
        }
        hash = link(&hash, sequence, &record.body);
        if record.hash != hash.0 {
            return Ok(Some(format!(
                "record {sequence} has another hash than its body and what stands before it make"
            )));
        }
        if let Err(why) = find(record) {
            return wrong(format!("record {sequence}: {why}"));
        }
    }
    Ok(None)
}

fn find(record: &mut Record) -> Result<(), String> {
    let found: Found = serde_json::from_slice(&record.body)
        .map_err(|error| format!("found no record of evidence: {error}"))?;
    if found.sequence != record.sequence {
        return Err(format!("it says that it is record {}", found.sequence));
    }
    record.boot = cut(found.boot);
    let time: Result<jiff::Timestamp, _> = found.time.parse();
    let time_ms = time.map_or(0, |time| time.as_millisecond());
    record.time_ms = u64::try_from(time_ms).unwrap_or(0);
    let session = found.session.map(|session| (session.id, session.agent));
    let (session, agent) = session.unwrap_or_default();
    record.session = cut(session);
    record.agent = cut(agent.unwrap_or_default());
    let (kind, what) = found.what.into_iter().next().unzip();
    record.kind = cut(kind.unwrap_or_default());
    record.verdict = cut(what.and_then(|what| what.verdict).unwrap_or_default());
    Ok(())
}

fn cut(mut word: String) -> String {
    if word.len() > MAX_WORD {
        let end = word.floor_char_boundary(MAX_WORD);
        word.truncate(end);
    }
    word
}

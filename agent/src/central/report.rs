//! The node's record on its way to the controller: evidence as it lies on the disk, no further than
//! what is synced. The controller says where to go on, and signs the checkpoints over what it has.

use super::uplink::{EndError, next, soon};
use super::{Shown, show};
use agent_evidence::chain::from_hex;
use agent_evidence::checkpoint::{Countersigned, Signed};
use agent_evidence::disk::Folder;
use agent_evidence::key::{public_path, read_public};
use agent_evidence::read::{Entry, Reader, Taken};
use agent_evidence::recorder::Recorder;
use agent_proto::wire::node_client::NodeClient;
use agent_proto::wire::report_request::What as Reported;
use agent_proto::wire::{
    EnrolResponse, Evidence, Position, Record, RecordBatch, ReportRequest, ReportResponse,
};
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tracing::warn;

/// How long the controller may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long there is no look at the folder where nothing new is recorded: checkpoints come alone.
const LOOK: Duration = Duration::from_secs(1);

/// How many looks records wait before the controller is asked again whether it has room for them.
const ROOM: u32 = 10;

/// Between two batches of which the first was not full: each costs as much as fifty records do.
const PAUSE: Duration = Duration::from_millis(100);

/// Records and bytes in one batch.
const BATCH: (usize, usize) = (500, 1024 * 1024);

/// The record, for whoever carries it away.
#[derive(Clone)]
pub struct Own {
    recorder: Recorder,
    folder: PathBuf,
    key: PathBuf,
}

impl Own {
    /// The record that a recorder writes.
    pub fn new(recorder: Recorder, place: &crate::evidence::Place) -> Self {
        Self {
            recorder,
            folder: place.folder.clone(),
            key: public_path(&place.key),
        }
    }

    /// What is said of it to the controller; nothing while nothing can be recorded.
    pub(super) fn told(&self) -> Option<Evidence> {
        let health = self.recorder.health();
        let key = read_public(&self.key).ok().filter(|_| health.opened)?;
        Some(Evidence {
            key: key.as_bytes().to_vec(),
            newest: Some(Position {
                sequence: health.recorded,
                hash: health.hash.0.to_vec(),
            }),
            countersigned: health.countersigned,
        })
    }
}

/// What is reported on one connection.
pub(super) struct Report {
    own: Own,
    shown: Shown,
    /// How far the controller has it.
    stored: Position,
    keys: Vec<Vec<u8>>,
    /// Why it takes nothing of it.
    forked: String,
    /// Whether it knows of the record at all.
    told: bool,
}

impl Report {
    /// What the controller has said of the record.
    pub(super) fn new(own: &Own, shown: &Shown, told: bool, enrolled: &EnrolResponse) -> Self {
        Self {
            own: own.clone(),
            shown: shown.clone(),
            stored: enrolled.stored.clone().unwrap_or_default(),
            keys: enrolled.keys.clone(),
            forked: enrolled.forked.clone(),
            told,
        }
    }

    /// Sends what is recorded, until the connection ends. While the controller has no room for records
    /// they wait, and orders still come.
    pub(super) async fn send(
        mut self,
        mut node: NodeClient<Channel>,
    ) -> Result<Infallible, EndError> {
        show(&self.shown, |info| {
            (info.forked, info.held_up) = (None, None);
        });
        loop {
            let Err(error) = self.send_all(&mut node).await;
            let full = match &error {
                EndError::Status(status) if status.code() == Code::ResourceExhausted => {
                    status.message().to_owned()
                }
                _ => return Err(error),
            };
            warn!(why = full, "the controller takes no records, which wait");
            show(&self.shown, |info| info.held_up = Some(full));
            for _ in 0..ROOM {
                self.show();
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Sends until something fails. A record that is not the one that is stored is not sent.
    async fn send_all(&mut self, node: &mut NodeClient<Channel>) -> Result<Infallible, EndError> {
        if !self.told {
            while self.own.told().is_none() {
                tokio::time::sleep(LOOK).await;
            }
            return Err(EndError::Refused("the record can be told now".into()));
        }
        let mut reader = Reader::after(self.stored.sequence.saturating_sub(1));
        if self.forked.is_empty() {
            let folder = self.own.folder.clone();
            let (sequence, hash) = (self.stored.sequence, self.stored.hash.clone());
            let looked = spawn_blocking(move || {
                let why = differs(&mut reader, &folder, (sequence, &hash));
                why.map(|why| (why, reader))
            });
            let (why, read) = looked.await.map_err(|_| EndError::Daemon)??;
            reader = read;
            self.forked = why.unwrap_or_default();
        }
        if !self.forked.is_empty() {
            return self.stay_away().await;
        }
        let (sender, requests) = mpsc::channel(1);
        let stream = soon(PATIENCE, node.report(ReceiverStream::new(requests))).await??;
        let mut answers = stream.into_inner();
        loop {
            let work = self.read(reader);
            let taken = tokio::select! {
                taken = work => taken,
                // Nothing is asked: it can only be the end.
                ended = answers.message() => {
                    ended?;
                    return Err(EndError::Over("reports"));
                }
            };
            let (taken, read) = taken.map_err(|_| EndError::Daemon)??;
            reader = read;
            if let Some(last) = taken.entries.last() {
                let last = (last.mark.sequence, last.mark.hash.0.to_vec());
                let is_full = taken.entries.len() >= BATCH.0;
                let answer = self
                    .ask(&sender, &mut answers, batch(taken.entries))
                    .await?;
                if !answer.forked.is_empty() {
                    self.forked = answer.forked;
                    return self.stay_away().await;
                }
                let stored = answer.stored.unwrap_or_default();
                if (stored.sequence, &stored.hash) != (last.0, &last.1) {
                    return Err(EndError::Refused(format!(
                        "the controller acknowledges record {}, expected {}",
                        stored.sequence, last.0
                    )));
                }
                self.stored = stored;
                show(&self.shown, |info| info.held_up = None);
                if !is_full {
                    tokio::time::sleep(PAUSE).await;
                }
            } else if self.own.recorder.health().recorded > self.stored.sequence {
                // What is recorded cannot be read at the moment.
                tokio::time::sleep(LOOK).await;
            }
            if let Some(signed) = taken.checkpoint.filter(|it| self.is_news(it)) {
                let text = serde_json::to_vec(&signed).map_err(io::Error::other)?;
                let what = Reported::Checkpoint(text);
                let answer = self.ask(&sender, &mut answers, what).await?;
                if !answer.forked.is_empty() {
                    self.forked = answer.forked;
                    return self.stay_away().await;
                }
                self.take(&signed, &answer.countersigned)?;
            }
            self.show();
        }
    }

    /// Reads what comes next, on a thread that may wait for the disk.
    fn read(&self, mut reader: Reader) -> tokio::task::JoinHandle<io::Result<(Taken, Reader)>> {
        let (own, after) = (self.own.clone(), self.stored.sequence);
        spawn_blocking(move || {
            let last = own.recorder.wait(after, LOOK);
            let disk = Folder::at(&own.folder);
            let taken = reader.take(&disk, last, BATCH.0, BATCH.1)?;
            Ok((taken, reader))
        })
    }

    /// Whether the controller has not signed it, and has what it is over.
    fn is_news(&self, signed: &Signed) -> bool {
        let of = signed.checkpoint.sequence;
        of <= self.stored.sequence && of > self.own.recorder.health().countersigned
    }

    /// Puts the controller's signature beside ours, if it is that.
    fn take(&self, signed: &Signed, text: &[u8]) -> Result<(), EndError> {
        let read: Option<Countersigned> = serde_json::from_slice(text).ok();
        let sound = read.filter(|it| it.checkpoint == signed.checkpoint && it.is_sound());
        let known = sound.filter(|it| {
            from_hex::<32>(&it.key).is_some_and(|key| self.keys.iter().any(|known| *known == key))
        });
        let countersigned = known.ok_or_else(|| {
            let of = signed.checkpoint.sequence;
            EndError::Refused(format!("the countersignature over record {of} is none"))
        })?;
        self.own.recorder.countersign(countersigned);
        Ok(())
    }

    fn show(&self) {
        let health = self.own.recorder.health();
        show(&self.shown, |info| {
            info.waiting = health.recorded.saturating_sub(self.stored.sequence);
            info.countersigned = health.countersigned;
        });
    }

    /// Sends, and waits for the answer. How much waits meanwhile is shown.
    async fn ask(
        &self,
        sender: &mpsc::Sender<ReportRequest>,
        answers: &mut Streaming<ReportResponse>,
        what: Reported,
    ) -> Result<ReportResponse, EndError> {
        let sent = sender.send(ReportRequest { what: Some(what) });
        sent.await.map_err(|_| EndError::Over("reports"))?;
        let mut answer = std::pin::pin!(next(answers));
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                () = tokio::time::sleep(LOOK) => self.show(),
            }
        }
    }

    /// Says why nothing is sent, for as long as the connection lasts.
    async fn stay_away(&self) -> Result<Infallible, EndError> {
        warn!(
            why = self.forked,
            "the record is not the one that the controller has"
        );
        self.show();
        show(&self.shown, |info| info.forked = Some(self.forked.clone()));
        std::future::pending().await
    }
}

/// Why the record is not the one of which this is stored, as far as it can be seen here.
fn differs(
    reader: &mut Reader,
    folder: &Path,
    (sequence, hash): (u64, &[u8]),
) -> io::Result<Option<String>> {
    if sequence == 0 {
        return Ok(None);
    }
    let taken = reader.take(&Folder::at(folder), sequence, 1, usize::MAX)?;
    // One that is gone cannot be held against it: the next says what stood before.
    let own = taken.entries.first();
    Ok(own
        .filter(|own| own.mark.sequence == sequence && own.mark.hash.0 != *hash)
        .map(|own| {
            format!(
                "record {sequence} has the hash {} here, and {} at the controller",
                own.mark.hash,
                hex::encode(hash)
            )
        }))
}

fn batch(entries: Vec<Entry>) -> Reported {
    let before = entries.first().map(|first| Position {
        sequence: first.before.sequence,
        hash: first.before.hash.0.to_vec(),
    });
    let records = entries.into_iter().map(|entry| Record {
        sequence: entry.mark.sequence,
        hash: entry.mark.hash.0.to_vec(),
        body: entry.body,
        ..Record::default()
    });
    Reported::Batch(RecordBatch {
        before,
        records: records.collect(),
    })
}

//! What nodes ask.

use crate::clock;
use crate::door::{Limits, Peer};
use crate::fleet::{self, Fleet, Known};
use crate::rate::Bucket;
use crate::store::{Batch, Deed, DeskError};
use agent_proto::identity::{self, Identity};
use agent_proto::seal::{self, Purpose};
use agent_proto::version;
use agent_proto::wire::directives_request::What as Said;
use agent_proto::wire::directives_response::What as Told;
use agent_proto::wire::node_server::Node;
use agent_proto::wire::report_request::What as Reported;
use agent_proto::wire::{
    Checkpoint, Directive, DirectivesRequest, DirectivesResponse, EnrolRequest, EnrolResponse,
    Heartbeat, InventoryRequest, InventoryResponse, Position, Record, RecordBatch, ReportRequest,
    ReportResponse, Subscribe,
};
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

/// Answers that may wait for a slow reader.
const WAITING: usize = 16;

/// The longest time between two signs of life.
const BEAT: Duration = Duration::from_secs(10);

/// How long a node may take to say what it subscribes to.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest text by which records are found.
const MAX_WORD: usize = 256;

/// The longest body of a record.
const MAX_BODY: usize = 256 * 1024;

/// Who answers nodes.
pub(crate) struct Nodes {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) limits: Limits,
}

/// Who asks, if it is a node.
fn node<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.ok_or_else(|| Status::unauthenticated("nobody is known to ask"))?;
    if !peer.may_call() {
        return Err(Status::resource_exhausted(
            "too many calls a second on this connection",
        ));
    }
    match &*peer.identity {
        Identity::Node(name) => Ok(name.clone()),
        other => Err(Status::permission_denied(format!(
            "{other} is no node: only nodes may ask this"
        ))),
    }
}

/// What the other side is told when the store fails. The cause is ours to read.
pub(crate) fn unavailable(error: DeskError) -> Status {
    warn!(error = %format!("{:#}", anyhow::Error::from(error)), "the store fails");
    Status::unavailable("the controller's store fails: try again")
}

#[tonic::async_trait]
impl Node for Nodes {
    type ReportStream = ReceiverStream<Result<ReportResponse, Status>>;
    type DirectivesStream = ReceiverStream<Result<DirectivesResponse, Status>>;

    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let name = node(&request)?;
        let request = request.into_inner();
        let version = version::agree(&request)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        if !identity::is_name(&request.boot) {
            return Err(Status::invalid_argument("found no boot, expected a name"));
        }
        let epoch = self.fleet.epoch();
        self.catch_up(&name, &request, epoch).await?;
        let now_ms = clock::now_ms();
        let (who, asked) = (name.clone(), request.clone());
        let enrolled = self
            .fleet
            .desk
            .write(move |store| store.enrol(&who, &asked, now_ms));
        let stored = enrolled.await.map_err(unavailable)?;
        self.note_forgotten(&name, &request.acknowledged, &stored)
            .await?;
        info!(node = name, boot = request.boot, "enrolled");
        Ok(Response::new(EnrolResponse {
            version,
            supports: version::FEATURES
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
            requires: Vec::new(),
            controller: self.fleet.controller.clone(),
            epoch,
            time_ms: now_ms,
            lease_ms: u64::try_from(self.fleet.lease.as_millis()).unwrap_or(u64::MAX),
            keys: vec![self.fleet.key.public()],
            stored,
        }))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let name = node(&request)?;
        let (answers, answered) = mpsc::channel(WAITING);
        let reporter = Reporter {
            node: name,
            fleet: Arc::clone(&self.fleet),
            bucket: Bucket::new(self.limits.records),
        };
        tokio::spawn(reporter.take_all(request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(answered)))
    }

    async fn directives(
        &self,
        request: Request<Streaming<DirectivesRequest>>,
    ) -> Result<Response<Self::DirectivesStream>, Status> {
        let name = node(&request)?;
        let mut said = request.into_inner();
        let (orders, ordered) = mpsc::channel(WAITING);
        let fleet = Arc::clone(&self.fleet);
        tokio::spawn(async move {
            let done = match first(&mut said).await {
                Ok(subscribe) => steer(&fleet, &name, subscribe, said, &orders).await,
                Err(status) => Err(status),
            };
            if let Err(status) = done {
                debug!(node = name, %status, "directives end");
                // It may have gone away.
                let _ = orders.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(ordered)))
    }

    async fn inventory(
        &self,
        request: Request<InventoryRequest>,
    ) -> Result<Response<InventoryResponse>, Status> {
        let name = node(&request)?;
        let there = request.into_inner();
        let take = move |store: &mut dyn crate::store::Store| {
            store.take_inventory(&name, &there, clock::now_ms())
        };
        self.fleet.desk.write(take).await.map_err(unavailable)?;
        Ok(Response::new(InventoryResponse {}))
    }
}

impl Nodes {
    /// A node that proves to have had a later directive than any that is known here: this database
    /// is older than that. Epochs go on above it, so that nodes obey again.
    async fn catch_up(&self, name: &str, request: &EnrolRequest, epoch: u64) -> Result<(), Status> {
        let Some(newest) = &request.newest else {
            return Ok(());
        };
        let keys = [self.fleet.key.public()];
        if !seal::is_signed(&keys, Purpose::Directive, &newest.body, &newest.signature) {
            return Ok(());
        }
        let had = Directive::decode(&newest.body[..]).unwrap_or_default();
        if had.controller != self.fleet.controller || had.epoch <= epoch {
            return Ok(());
        }
        warn!(
            node = name,
            had = had.epoch,
            epoch,
            "this database is older than what nodes were told"
        );
        self.fleet
            .raise_epoch(had.epoch)
            .await
            .map_err(unavailable)?;
        let deed = Deed {
            who: format!("node/{name}"),
            action: "database is older".into(),
            object: format!("epoch {epoch}"),
            outcome: format!(
                "the node had epoch {} of {}: {}; epochs go on above it",
                had.epoch, had.issued_by, had.reason
            ),
        };
        self.audit(deed).await
    }

    async fn note_forgotten(
        &self,
        name: &str,
        acknowledged: &[Position],
        stored: &[Position],
    ) -> Result<(), Status> {
        for position in acknowledged {
            let known = stored.iter().find(|known| known.boot == position.boot);
            let known = known.map_or(0, |known| known.sequence);
            if known < position.sequence {
                let deed = Deed {
                    who: format!("node/{name}"),
                    action: "records are forgotten".into(),
                    object: format!("boot {}", position.boot),
                    outcome: format!(
                        "acknowledged up to {}, stored up to {known}",
                        position.sequence
                    ),
                };
                warn!(
                    node = name,
                    acknowledged = position.sequence,
                    known,
                    "records are forgotten"
                );
                self.audit(deed).await?;
            }
        }
        Ok(())
    }

    async fn audit(&self, deed: Deed) -> Result<(), Status> {
        let audited = self
            .fleet
            .desk
            .write(move |store| store.audit(&deed, clock::now_ms()));
        audited.await.map_err(unavailable)
    }
}

/// Takes what one node reports.
struct Reporter {
    node: String,
    fleet: Arc<Fleet>,
    bucket: Bucket,
}

impl Reporter {
    async fn take_all(
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
        match what {
            Reported::Batch(batch) => self.keep(batch).await,
            Reported::Checkpoint(point) => self.keep_checkpoint(point).await,
        }
    }

    async fn keep(&mut self, batch: RecordBatch) -> Result<ReportResponse, Status> {
        check(&batch)?;
        // Whoever is too fast waits, and so does its queue: nothing is lost here.
        tokio::time::sleep(self.bucket.take(batch.records.len())).await;
        let boot = batch.boot.clone();
        let kept = self.fleet.desk.keep(Batch {
            node: self.node.clone(),
            boot: batch.boot,
            records: batch.records,
        });
        let kept = kept.await.map_err(unavailable)?;
        self.fleet.note_arrival();
        self.note_conflicts(&boot, &kept.conflicts).await?;
        Ok(ReportResponse {
            countersignature: self.countersign(&boot, kept.sequence, &kept.hash),
            boot,
            sequence: kept.sequence,
            hash: kept.hash,
            time_ms: clock::now_ms(),
            conflicts: kept.conflicts,
        })
    }

    async fn keep_checkpoint(&mut self, point: Checkpoint) -> Result<ReportResponse, Status> {
        let (boot, sequence, hash) = (point.boot.clone(), point.sequence, point.hash.clone());
        if !identity::is_name(&boot) || point.body.len() > MAX_BODY || hash.len() > MAX_WORD {
            return Err(Status::invalid_argument("found no checkpoint"));
        }
        let countersignature = self.countersign(&boot, sequence, &hash);
        let (node, signature) = (self.node.clone(), countersignature.clone());
        let keep = move |store: &mut dyn crate::store::Store| {
            store.keep_checkpoint(&node, &point, &signature, clock::now_ms())
        };
        let fits = self.fleet.desk.write(keep).await.map_err(unavailable)?;
        if !fits {
            self.note_conflicts(&boot, &[sequence]).await?;
        }
        Ok(ReportResponse {
            boot,
            sequence,
            hash,
            countersignature: if fits { countersignature } else { Vec::new() },
            time_ms: clock::now_ms(),
            conflicts: if fits { Vec::new() } else { vec![sequence] },
        })
    }

    /// A node whose records are not what they were has lost its disk, or somebody has been at it.
    async fn note_conflicts(&self, boot: &str, conflicts: &[u64]) -> Result<(), Status> {
        let (Some(first), Some(last)) = (conflicts.first(), conflicts.last()) else {
            return Ok(());
        };
        warn!(
            node = self.node,
            boot, first, last, "records differ from those that are stored"
        );
        let deed = Deed {
            who: format!("node/{}", self.node),
            action: "records differ".into(),
            object: format!("boot {boot}"),
            outcome: format!(
                "{} between {first} and {last}; those stored first stay",
                conflicts.len()
            ),
        };
        let audited = self
            .fleet
            .desk
            .write(move |store| store.audit(&deed, clock::now_ms()));
        audited.await.map_err(unavailable)
    }

    fn countersign(&self, boot: &str, sequence: u64, hash: &[u8]) -> Vec<u8> {
        let body = seal::stored(&self.node, boot, sequence, hash);
        self.fleet.key.sign(Purpose::Stored, &body)
    }
}

fn check(batch: &RecordBatch) -> Result<(), Status> {
    let wrong = |what: String| Err(Status::invalid_argument(what));
    if !identity::is_name(&batch.boot) {
        return wrong("found no boot, expected a name".into());
    }
    let mut last = 0;
    for record in &batch.records {
        let Record {
            sequence,
            kind,
            session,
            agent,
            verdict,
            ..
        } = record;
        if *sequence <= last || *sequence > u64::MAX >> 1 {
            return wrong(format!(
                "found record {sequence} after {last}, expected a higher one"
            ));
        }
        last = *sequence;
        let words = [kind, session, agent, verdict];
        if words.iter().any(|word| word.len() > MAX_WORD) || record.hash.len() > MAX_WORD {
            return wrong(format!(
                "record {sequence}: found a word of more than {MAX_WORD} bytes"
            ));
        }
        if record.body.len() > MAX_BODY {
            return wrong(format!(
                "record {sequence}: found more than {MAX_BODY} bytes"
            ));
        }
    }
    if last == 0 {
        return wrong("found no records".into());
    }
    Ok(())
}

async fn first(said: &mut Streaming<DirectivesRequest>) -> Result<Subscribe, Status> {
    let message = tokio::time::timeout(PATIENCE, said.message()).await;
    match message.map_err(|_| Status::deadline_exceeded("expected a subscription"))?? {
        Some(DirectivesRequest {
            what: Some(Said::Subscribe(subscribe)),
        }) => Ok(subscribe),
        _ => Err(Status::invalid_argument("expected a subscription first")),
    }
}

/// Tells one node what it lacks, and hears what became of it.
async fn steer(
    fleet: &Arc<Fleet>,
    node: &str,
    subscribe: Subscribe,
    mut said: Streaming<DirectivesRequest>,
    orders: &mpsc::Sender<Result<DirectivesResponse, Status>>,
) -> Result<(), Status> {
    let mut changes = fleet.changes();
    let mut connection = fleet.connect(node);
    let name = node.to_owned();
    let found = fleet.desk.read(move |store| {
        let labels = store.labels()?.remove(&name).unwrap_or_default();
        Ok((labels, store.outcomes_at(&name)?))
    });
    let (labels, outcomes) = found.await.map_err(unavailable)?;
    let all = fleet.all();
    let mut told = all.last().map_or(0, |last| last.issued.epoch);
    let holds = subscribe.holds;
    for known in fleet::lacking(&all, (node, &labels), &holds, &outcomes) {
        tell(orders, &known).await?;
    }
    let mut beat = tokio::time::interval(beat(fleet.lease));
    loop {
        tokio::select! {
            biased;
            _ = &mut connection.displaced => {
                return Err(Status::aborted("the node has connected anew"));
            }
            changed = changes.changed() => {
                changed.map_err(|_| Status::unavailable("the controller ends"))?;
                let new = fleet.after(told);
                told = new.last().map_or(told, |last| last.issued.epoch);
                for known in fleet::lacking(&new, (node, &labels), &[], &BTreeMap::new()) {
                    tell(orders, &known).await?;
                }
            }
            message = said.message() => match message? {
                Some(DirectivesRequest { what: Some(Said::Outcome(outcome)) }) => {
                    if fleet.get(outcome.epoch).is_some() {
                        fleet.desk.note(node, outcome).await.map_err(unavailable)?;
                        fleet.note_answer();
                    }
                }
                Some(_) => {}
                None => return Ok(()),
            },
            _ = beat.tick() => {
                let heartbeat = Heartbeat { time_ms: clock::now_ms(), epoch: fleet.epoch() };
                let response = DirectivesResponse { what: Some(Told::Heartbeat(heartbeat)) };
                send(orders, response).await?;
            }
        }
    }
}

/// Often enough that one that is lost does not end a lease.
fn beat(lease: Duration) -> Duration {
    if lease.is_zero() {
        BEAT
    } else {
        (lease / 4).clamp(Duration::from_millis(100), BEAT)
    }
}

async fn tell(
    orders: &mpsc::Sender<Result<DirectivesResponse, Status>>,
    known: &Known,
) -> Result<(), Status> {
    let directive = known.issued.signed.clone();
    send(
        orders,
        DirectivesResponse {
            what: Some(Told::Directive(directive)),
        },
    )
    .await
}

async fn send(
    orders: &mpsc::Sender<Result<DirectivesResponse, Status>>,
    response: DirectivesResponse,
) -> Result<(), Status> {
    let gone = |_| Status::cancelled("the node has gone");
    orders.send(Ok(response)).await.map_err(gone)
}

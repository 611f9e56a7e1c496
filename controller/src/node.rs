//! What nodes ask.

use crate::clock;
use crate::door::{Limits, Peer};
use crate::fleet::{self, Fleet, Known};
use crate::rate::Bucket;
use crate::report::{Reporter, Reports};
use crate::store::{Deed, DeskError, Enrolled};
use agent_proto::identity::{self, Identity};
use agent_proto::seal::{self, Purpose};
use agent_proto::version;
use agent_proto::wire::directives_request::What as Said;
use agent_proto::wire::directives_response::What as Told;
use agent_proto::wire::node_server::Node;
use agent_proto::wire::{
    Directive, DirectivesRequest, DirectivesResponse, EnrolRequest, EnrolResponse, Heartbeat,
    InventoryRequest, InventoryResponse, ReportRequest, ReportResponse, Subscribe,
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

/// Who answers nodes.
pub(crate) struct Nodes {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) limits: Limits,
}

fn peer<T>(request: &Request<T>) -> Result<&Peer, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.ok_or_else(|| Status::unauthenticated("nobody is known to ask"))
}

/// Who asks, if it is a node.
fn node<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = peer(request)?;
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
        let peer = peer(&request)?.clone();
        let request = request.into_inner();
        let version = version::agree(&request)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        if !identity::is_name(&request.boot) {
            return Err(Status::invalid_argument("found no boot, expected a name"));
        }
        let newest = request.evidence.iter().flat_map(|it| &it.newest);
        let keys = request.evidence.iter().map(|it| it.key.len());
        if keys
            .chain(newest.map(|it| it.hash.len()))
            .any(|it| it != 32)
        {
            return Err(Status::invalid_argument(
                "found no key or hash of the node's record, expected 32 bytes",
            ));
        }
        let epoch = self.fleet.epoch();
        self.catch_up(&name, &request, epoch).await?;
        let now_ms = clock::now_ms();
        let (who, asked) = (name.clone(), request.clone());
        let enrolled = self
            .fleet
            .desk
            .write(move |store| store.enrol(&who, &asked, now_ms));
        let enrolled = enrolled.await.map_err(unavailable)?;
        if let Some(enrolled) = &enrolled {
            self.note_record(&name, enrolled).await?;
        }
        let key = request.evidence.map(|evidence| evidence.key);
        let reports = enrolled.as_ref().zip(key).map(|(enrolled, key)| Reports {
            chain: enrolled.chain,
            key,
            forked: enrolled.forked.clone(),
        });
        peer.report(reports);
        let (stored, forked) = enrolled.map(|it| (it.stored, it.forked)).unzip();
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
            forked: forked.flatten().unwrap_or_default(),
        }))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let name = node(&request)?;
        let reports = peer(&request)?.reports();
        let reports = reports.ok_or_else(|| {
            Status::failed_precondition("expected the node to enrol with its record first")
        })?;
        let (answers, answered) = mpsc::channel(WAITING);
        let reporter = Reporter {
            node: name,
            reports,
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
        let mut there = request.into_inner();
        let questions = std::mem::take(&mut there.questions);
        self.fleet.approvals.take(&name, questions);
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

    /// What the node's record and the one that is stored say of each other.
    async fn note_record(&self, name: &str, enrolled: &Enrolled) -> Result<(), Status> {
        let Enrolled { stored, .. } = enrolled;
        let told = [
            enrolled.forked.clone().map(|why| ("record forks", why)),
            enrolled.renewed.then(|| {
                let what = "the node begins another record, under another key; the one before stays";
                ("record begins anew", what.to_owned())
            }),
            (enrolled.forgotten > 0).then(|| {
                let (last, more) = (stored.sequence, enrolled.forgotten);
                let what = format!(
                    "stored up to {last}, and {more} more were countersigned: this database is older"
                );
                ("records are forgotten", what)
            }),
        ];
        for (action, outcome) in told.into_iter().flatten() {
            warn!(node = name, action, outcome, "audited");
            let deed = Deed {
                who: format!("node/{name}"),
                action: action.into(),
                object: "its record".into(),
                outcome,
            };
            self.audit(deed).await?;
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

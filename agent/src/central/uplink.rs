//! The thread that talks to the controller. It waits for nobody but the network, and nobody waits
//! for it.

use super::report::{Own, Report};
use super::{Heard, Shown, show};
use crate::chain::chain;
use crate::events::explain;
use crate::pauses::Pauses;
use agent_proto::client::{Client, ClientError};
use agent_proto::identity::Identity;
use agent_proto::wire::directives_request::What as Said;
use agent_proto::wire::directives_response::What as Told;
use agent_proto::wire::node_client::NodeClient;
use agent_proto::wire::{DirectivesRequest, InventoryRequest, Outcome, Subscribe};
use prost::Message as _;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

/// How long the controller may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to store a batch: a slow disk is not a dead controller.
const STORING: Duration = Duration::from_secs(60);

/// How long it may say nothing. It beats every ten seconds at least.
const SILENCE: Duration = Duration::from_secs(35);

/// Between two attempts to connect: first and last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How often there is a look at what is on the node, and how often it is told although nothing changed.
const LOOK: Duration = Duration::from_secs(1);
const SAY: Duration = Duration::from_secs(30);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndError {
    #[error("cannot be a node of a controller")]
    Client(#[from] ClientError),
    #[error("found the certificate of {0}, expected a node's")]
    NoNode(Identity),
    #[error("the controller says: {} ({:?})", .0.message(), .0.code())]
    Status(Status),
    #[error("the controller did not answer in {0:?}")]
    Silent(Duration),
    #[error("{0}")]
    Refused(String),
    #[error("the controller ended the stream of {0}")]
    Over(&'static str),
    #[error("the record cannot be read")]
    Record(#[from] io::Error),
    #[error("the daemon has ended")]
    Daemon,
}

/// What it says stands in ours: it is no cause beside it.
impl From<Status> for EndError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Whom the certificate names, as its file says now.
pub(super) fn name_of_node(client: &Client) -> Result<String, EndError> {
    match client.own()? {
        Identity::Node(name) => Ok(name),
        other => Err(EndError::NoNode(other)),
    }
}

/// The one who talks to the controller.
pub(super) struct Uplink {
    client: Client,
    heard: Sender<Heard>,
    own: Own,
    shown: Shown,
    haste: u32,
}

impl Uplink {
    pub(super) fn new(
        client: Client,
        heard: Sender<Heard>,
        own: Own,
        shown: Shown,
        haste: u32,
    ) -> Self {
        Self {
            client,
            heard,
            own,
            shown,
            haste: haste.max(1),
        }
    }

    /// Begins, on a thread of its own.
    pub(super) fn spawn(self, mut outcomes: UnboundedReceiver<Outcome>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = move || runtime.block_on(self.keep_connected(&mut outcomes));
        std::thread::Builder::new()
            .name("central".into())
            .spawn(work)?;
        Ok(())
    }

    async fn keep_connected(self, outcomes: &mut UnboundedReceiver<Outcome>) {
        let mut pauses = Pauses::between(PAUSES.0 / self.haste, PAUSES.1 / self.haste);
        loop {
            let began = std::time::Instant::now();
            let Err(error) = self.talk(outcomes).await;
            let error = chain(error);
            let mut news = false;
            show(&self.shown, |info| {
                news = info.connected || info.error.as_ref() != Some(&error);
                if info.connected || info.since.is_empty() {
                    info.since = explain::now();
                }
                info.connected = false;
                info.error = Some(error.clone());
            });
            if news {
                warn!(controller = self.client.address(), error, "not connected");
            }
            if self.heard.send(Heard::Lost).await.is_err() {
                // The daemon is gone.
                return;
            }
            // One that lasted is no reason to wait long for the next.
            if began.elapsed() > pauses.upcoming() * 4 {
                pauses.begin_anew();
            }
            tokio::time::sleep(pauses.take()).await;
            // They are of a connection that is over: the controller asks again.
            while outcomes.try_recv().is_ok() {}
        }
    }

    /// Connects and talks until something fails.
    async fn talk(
        &self,
        outcomes: &mut UnboundedReceiver<Outcome>,
    ) -> Result<std::convert::Infallible, EndError> {
        let name = name_of_node(&self.client)?;
        let channel = self.client.connect().await?;
        let mut node = NodeClient::new(channel)
            .max_decoding_message_size(agent_proto::MAX_MESSAGE)
            .max_encoding_message_size(agent_proto::MAX_MESSAGE);
        let (mut request, holds) = self.ask(|answer| Heard::Hello(name, answer)).await?;
        request.evidence = self.own.told();
        let told = request.evidence.is_some();
        let enrolled = soon(PATIENCE, node.enrol(request)).await??.into_inner();
        let report = Report::new(&self.own, &self.shown, told, &enrolled);
        let accepted = self
            .ask(|answer| Heard::Enrolled(Box::new(enrolled), answer))
            .await?;
        accepted.map_err(EndError::Refused)?;
        info!(controller = self.client.address(), "connected");
        show(&self.shown, |info| {
            info.connected = true;
            info.since = explain::now();
            info.error = None;
        });
        tokio::select! {
            ended = self.hear(node.clone(), holds, outcomes) => ended,
            ended = report.send(node.clone()) => ended,
            ended = self.tell_inventory(node) => ended,
        }
    }

    /// Asks the daemon.
    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Heard,
    ) -> Result<T, EndError> {
        let (answer, answered) = oneshot::channel();
        self.heard
            .send(question(answer))
            .await
            .map_err(|_| EndError::Daemon)?;
        answered.await.map_err(|_| EndError::Daemon)
    }

    async fn hear(
        &self,
        mut node: NodeClient<Channel>,
        holds: Vec<u64>,
        outcomes: &mut UnboundedReceiver<Outcome>,
    ) -> Result<std::convert::Infallible, EndError> {
        let (say, said) = mpsc::channel(16);
        send(&say, Said::Subscribe(Subscribe { holds })).await?;
        let stream = soon(PATIENCE, node.directives(ReceiverStream::new(said))).await??;
        let mut told = stream.into_inner();
        loop {
            tokio::select! {
                message = soon(SILENCE / self.haste, told.message()) => {
                    let message = message??.ok_or(EndError::Over("directives"))?;
                    let heard = match message.what {
                        Some(Told::Directive(signed)) => Heard::Directive(signed),
                        Some(Told::Heartbeat(beat)) => Heard::Beat(beat.time_ms),
                        None => continue,
                    };
                    self.heard.send(heard).await.map_err(|_| EndError::Daemon)?;
                }
                outcome = outcomes.recv() => {
                    let outcome = outcome.ok_or(EndError::Daemon)?;
                    soon(PATIENCE, send(&say, Said::Outcome(outcome))).await??;
                }
            }
        }
    }

    async fn tell_inventory(
        &self,
        mut node: NodeClient<Channel>,
    ) -> Result<std::convert::Infallible, EndError> {
        let mut told = InventoryRequest::default();
        let mut when = None::<std::time::Instant>;
        loop {
            let there = self.ask(Heard::Look).await?;
            if there != told || when.is_none_or(|when| when.elapsed() > SAY) {
                let size = there.encoded_len();
                soon(PATIENCE, node.inventory(there.clone())).await??;
                debug!(size, "told what there is");
                told = there;
                when = Some(std::time::Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

pub(super) async fn soon<T>(
    patience: Duration,
    what: impl Future<Output = T>,
) -> Result<T, EndError> {
    timeout(patience, what)
        .await
        .map_err(|_| EndError::Silent(patience))
}

pub(super) async fn next<T>(answers: &mut Streaming<T>) -> Result<T, EndError> {
    let answer = soon(STORING, answers.message()).await??;
    answer.ok_or(EndError::Over("reports"))
}

async fn send(say: &Sender<DirectivesRequest>, what: Said) -> Result<(), EndError> {
    let sent = say.send(DirectivesRequest { what: Some(what) }).await;
    sent.map_err(|_| EndError::Over("directives"))
}

//! A controller with certificates in a folder of its own, and nodes that are simulated.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by the tests and the load, which use different parts"
)]

use agent_evidence::chain::{Hash, link};
use agent_evidence::checkpoint::{Checkpoint, Signed};
use agent_evidence::record::{self as evidence, Decision, Draft, What};
use agent_proto::client::{Client, ClientError};
use agent_proto::files::Files;
use agent_proto::wire::directives_request::What as Said;
use agent_proto::wire::directives_response::What as Told;
use agent_proto::wire::node_client::NodeClient;
use agent_proto::wire::operator_client::OperatorClient;
use agent_proto::wire::report_request::What as Reported;
use agent_proto::wire::*;
use ed25519_dalek::{Signer as _, SigningKey};
use interlock_controller::certs::{self, Wanted};
use interlock_controller::door::Limits;
use interlock_controller::serve::{Controller, Settings};
use prost::Message as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed with its owner.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("interlock-controller-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A controller in this process.
pub struct Place {
    pub folder: Folder,
    pub address: SocketAddr,
    pub settings: Settings,
    end: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

pub fn wanted(nodes: &[&str]) -> Wanted {
    Wanted {
        trust: "test".into(),
        hosts: vec!["127.0.0.1".into()],
        nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
        operators: [
            "root",
            "see=viewer",
            "kill=responder",
            "grant=approver",
            "write=policy-author",
        ]
        .map(str::to_owned)
        .to_vec(),
        days: 1,
    }
}

impl Place {
    pub async fn with(nodes: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let folder = Folder::new();
        certs::make(&folder.0.join("certs"), &wanted(nodes)).unwrap();
        let mut settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: folder.0.join("data"),
            files: Files::in_folder(&folder.0.join("certs"), "controller"),
            lease: Duration::ZERO,
            limits: Limits::default(),
            tokens: None,
            keep: interlock_controller::retain::Keep::default(),
            reserved: 0,
        };
        change(&mut settings);
        let mut place = Self {
            folder,
            address: settings.listen,
            settings,
            end: None,
            served: None,
        };
        place.start().await;
        place
    }

    pub async fn of(nodes: &[&str]) -> Self {
        Self::with(nodes, |_| {}).await
    }

    /// Starts it, at the address that it had.
    pub async fn start(&mut self) {
        let settings = Settings {
            listen: self.address,
            ..self.settings.clone()
        };
        let controller = Controller::open(&settings).await.unwrap();
        self.address = controller.address().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        self.end = Some(end);
        self.served = Some(tokio::spawn(async move {
            let stop = async {
                let _ = ended.await;
            };
            tokio::select! {
                served = controller.serve(std::future::pending()) => served.unwrap(),
                () = stop => {}
            }
        }));
    }

    /// Ends it, as suddenly as a task can be ended.
    pub async fn stop(&mut self) {
        drop(self.end.take());
        if let Some(served) = self.served.take() {
            served.await.unwrap();
        }
        // The store's threads let go of the database when nobody asks any more.
        for _ in 0..200 {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let data = &self.settings.data;
            let mut held = open.filter_map(|entry| entry.path().read_link().ok());
            if !held.any(|path| path.starts_with(data)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the database is still open");
    }

    pub fn certs(&self) -> PathBuf {
        self.folder.0.join("certs")
    }

    pub async fn channel(&self, name: &str) -> Result<Channel, ClientError> {
        channel(self.address, &self.certs(), name).await
    }

    pub async fn operator(&self, name: &str) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel(&format!("operator-{name}")).await.unwrap())
    }

    /// A node that has recorded nothing yet.
    pub async fn node(&self, name: &str) -> Node {
        self.node_with(name, &Chain::new()).await
    }

    pub async fn node_with(&self, name: &str, chain: &Chain) -> Node {
        Node::at(self.address, &self.certs(), name, chain).await
    }
}

pub async fn channel(
    address: SocketAddr,
    certs: &Path,
    name: &str,
) -> Result<Channel, ClientError> {
    let client = Client::new(&address.to_string(), Files::in_folder(certs, name))?;
    client.connect().await
}

/// What a node says first.
pub fn hello() -> EnrolRequest {
    EnrolRequest {
        version_from: 1,
        version_to: 1,
        boot: "boot-1".into(),
        ..EnrolRequest::default()
    }
}

/// A simulated node that has enrolled.
pub struct Node {
    pub name: String,
    pub client: NodeClient<Channel>,
    pub enrolled: EnrolResponse,
}

impl Node {
    pub async fn at(address: SocketAddr, certs: &Path, name: &str, chain: &Chain) -> Self {
        let channel = channel(address, certs, &format!("node-{name}"))
            .await
            .unwrap();
        let mut client = NodeClient::new(channel);
        let hello = EnrolRequest {
            evidence: Some(chain.evidence()),
            ..hello()
        };
        let enrolled = client.enrol(hello).await.unwrap().into_inner();
        Self {
            name: name.into(),
            client,
            enrolled,
        }
    }

    pub async fn report(&mut self) -> Reports {
        let (sender, receiver) = mpsc::channel(8);
        // The stream begins with the first message.
        let requests = ReceiverStream::new(receiver);
        let answers = self.client.report(requests).await.unwrap().into_inner();
        Reports { sender, answers }
    }

    pub async fn subscribe(&mut self, holds: &[u64]) -> Orders {
        let (sender, receiver) = mpsc::channel(64);
        let subscribe = Subscribe {
            holds: holds.to_vec(),
        };
        let first = DirectivesRequest {
            what: Some(Said::Subscribe(subscribe)),
        };
        sender.send(first).await.unwrap();
        let requests = ReceiverStream::new(receiver);
        let orders = self.client.directives(requests).await.unwrap().into_inner();
        Orders { sender, orders }
    }
}

pub struct Reports {
    pub sender: mpsc::Sender<ReportRequest>,
    pub answers: Streaming<ReportResponse>,
}

/// A node's record, as evidence makes it.
pub struct Chain {
    pub key: SigningKey,
    pub records: Vec<Record>,
}

impl Chain {
    pub fn new() -> Self {
        Self::under(7)
    }

    /// One under a key of its own.
    pub fn under(seed: u8) -> Self {
        Self {
            key: SigningKey::from_bytes(&[seed; 32]),
            records: Vec::new(),
        }
    }

    /// One of so many records.
    pub fn of(count: u64) -> Self {
        let mut chain = Self::new();
        chain.grow(count);
        chain
    }

    pub fn grow(&mut self, count: u64) {
        for _ in 0..count {
            let sequence = self.newest().sequence + 1;
            self.add(sequence, &format!("record {sequence}"));
        }
    }

    /// Adds a record that says something.
    pub fn add(&mut self, sequence: u64, what: &str) {
        let decision = Decision {
            verdict: "deny".into(),
            reason: what.into(),
            ..Decision::default()
        };
        let session = evidence::Session {
            id: "00000000000000aa".into(),
            agent: Some("a".into()),
            ..evidence::Session::default()
        };
        let draft = Draft::now(Some(session), What::Decision(Box::new(decision)));
        let body = draft.encode(sequence, "node", "boot-1");
        let before = Hash(self.newest().hash.try_into().unwrap());
        self.records.push(Record {
            sequence,
            hash: link(&before, sequence, &body).0.to_vec(),
            body,
            ..Record::default()
        });
    }

    pub fn newest(&self) -> Position {
        self.records.last().map_or_else(start, position)
    }

    /// Records by number, with what stands before them.
    pub fn batch(&self, range: RangeInclusive<u64>) -> ReportRequest {
        let first = self
            .records
            .iter()
            .position(|record| record.sequence >= *range.start())
            .unwrap();
        let before = first.checked_sub(1).map(|at| position(&self.records[at]));
        let records = self.records[first..].iter();
        let records = records.take_while(|record| record.sequence <= *range.end());
        let batch = RecordBatch {
            before: Some(before.unwrap_or_else(start)),
            records: records.cloned().collect(),
        };
        ReportRequest {
            what: Some(Reported::Batch(batch)),
        }
    }

    /// What the node signs over its newest record.
    pub fn checkpoint(&self) -> Signed {
        let newest = self.newest();
        let checkpoint = Checkpoint {
            sequence: newest.sequence,
            hash: Hash(newest.hash.try_into().unwrap()),
            node: "node".into(),
            boot: "boot-1".into(),
            time: "2026-03-02T10:00:00Z".into(),
        };
        let text = serde_json::to_vec(&checkpoint).unwrap();
        let message = [&b"interlock evidence checkpoint 1\0"[..], &text].concat();
        Signed {
            checkpoint,
            signature: hex::encode(self.key.sign(&message).to_bytes()),
        }
    }

    pub fn evidence(&self) -> Evidence {
        Evidence {
            key: self.key.verifying_key().as_bytes().to_vec(),
            newest: Some(self.newest()),
            countersigned: 0,
        }
    }
}

fn start() -> Position {
    Position {
        sequence: 0,
        hash: vec![0; 32],
    }
}

fn position(record: &Record) -> Position {
    Position {
        sequence: record.sequence,
        hash: record.hash.clone(),
    }
}

pub fn checkpoint(signed: &Signed) -> ReportRequest {
    ReportRequest {
        what: Some(Reported::Checkpoint(serde_json::to_vec(signed).unwrap())),
    }
}

impl Reports {
    pub async fn send(&mut self, request: ReportRequest) -> Result<ReportResponse, tonic::Status> {
        self.sender
            .send(request)
            .await
            .map_err(|_| tonic::Status::cancelled("gone"))?;
        self.answers
            .message()
            .await?
            .ok_or_else(|| tonic::Status::cancelled("gone"))
    }
}

pub struct Orders {
    pub sender: mpsc::Sender<DirectivesRequest>,
    pub orders: Streaming<DirectivesResponse>,
}

impl Orders {
    /// The next directive.
    pub async fn next(&mut self) -> Result<(SignedDirective, Directive), tonic::Status> {
        loop {
            let message = self.orders.message().await?;
            match message
                .ok_or_else(|| tonic::Status::cancelled("gone"))?
                .what
            {
                Some(Told::Directive(signed)) => {
                    let directive = Directive::decode(&signed.body[..]).unwrap();
                    return Ok((signed, directive));
                }
                _ => continue,
            }
        }
    }

    /// Whether a directive comes soon.
    pub async fn soon(&mut self) -> Option<Directive> {
        let next = tokio::time::timeout(Duration::from_millis(300), self.next());
        Some(next.await.ok()?.unwrap().1)
    }

    pub async fn answer(&self, epoch: u64, state: State) {
        let outcome = Outcome {
            epoch,
            state: state.into(),
            ..Outcome::default()
        };
        let said = DirectivesRequest {
            what: Some(Said::Outcome(outcome)),
        };
        self.sender.send(said).await.unwrap();
    }
}

pub fn revoke_agent(agent: &str) -> RevokeRequest {
    RevokeRequest {
        what: Some(Revocation {
            scope: Some(revocation::Scope::Agent(agent.into())),
        }),
        node: String::new(),
        reason: "a test".into(),
    }
}

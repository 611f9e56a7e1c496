//! `interlock ctl`: what operators ask the controller, and order through it.

mod approvals;
mod inventory;
mod order;
mod policy;
mod see;
mod table;

use crate::central::CERTS;
use agent_proto::client::{Client, ClientError};
use agent_proto::files::Files;
use agent_proto::wire::operator_client::OperatorClient;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Options of `ctl`.
#[derive(Debug, Args)]
pub struct Ctl {
    /// The controller
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "INTERLOCK_CONTROLLER",
        default_value = "localhost:7443",
        global = true
    )]
    pub controller: String,
    /// Where the certificates lie: ca.pem, and NAME.pem and NAME.key of who asks
    #[arg(long, value_name = "DIR", env = "INTERLOCK_CERTS", default_value = CERTS, global = true)]
    pub certs: PathBuf,
    /// Whose certificate to use
    #[arg(
        long = "as",
        value_name = "NAME",
        env = "INTERLOCK_OPERATOR",
        default_value = "operator",
        global = true
    )]
    pub name: String,
    /// A file with an OpenID token to show instead of a certificate; of the certificates only
    /// ca.pem is needed then
    #[arg(long, value_name = "FILE", env = "INTERLOCK_TOKEN", global = true)]
    pub token: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the nodes: who is connected, and how enforcement is there
    Nodes,
    /// List the sessions of all nodes
    Sessions(see::Sessions),
    /// List the agents, with their owners and where they have a policy
    Agents,
    /// Show the newest records of all nodes
    Events(see::Events),
    /// The kill switch: end a session, a task, an agent, a node's sessions or everything
    ///
    /// Waits until nothing of it runs at any node. Whatever is not one session is barred: nothing of
    /// it begins any more until `interlock ctl lift`.
    ///
    /// Exit code 0: nothing of it runs at any node; 1: not so, or not known.
    #[command(subcommand)]
    Revoke(order::Revoke),
    /// Let begin again what a revocation bars
    Lift(order::Lift),
    /// Show what became of a directive at each node
    Watch(order::Watch),
    /// Bring policies and roll them out
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Issue a grant for one start of one agent on one node, and print it
    Grant(order::Grant),
    /// Show how far the record of each node is stored; as JSON, what is signed of it, for
    /// `interlock evidence verify --against FILE`
    Checkpoints(see::Checkpoints),
    /// Show what operators did, and check that nothing of it was changed
    Audit(see::Audit),
    /// List what waits for a person's answer on all nodes
    Approvals(approvals::Approvals),
    /// Say yes to a question; where a policy wants several people, each says so
    ///
    /// Exit code 0: it is in force at the node, or somebody else must say yes, too; 1: not so.
    Approve(approvals::Approve),
    /// Say no to a question
    Deny(approvals::Deny),
    /// Print the agents as a CycloneDX bill of materials
    Inventory,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// The controller cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It says no.
    #[error("the controller says: {}", .0.message())]
    Status(Status),
    /// Nothing can be run here.
    #[error("cannot begin")]
    Runtime(#[from] std::io::Error),
    /// The answer cannot be written as JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// A policy cannot be read.
    #[error(transparent)]
    Files(#[from] crate::policy_cli::Fault),
    /// It cannot be used.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// A grant would not fit its policy.
    #[error(transparent)]
    Budget(#[from] crate::sessions::NoBudgetError),
    /// The token cannot be read.
    #[error("cannot read {}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something is not what it should be.
    #[error("{0}")]
    Wrong(String),
}

/// What it says stands in ours: it is no cause beside it.
impl From<Status> for CtlError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Shows a token with each call, if there is one.
#[derive(Clone)]
struct Shown(Option<AsciiMetadataValue>);

impl Shown {
    fn read(file: Option<&Path>) -> Result<Self, CtlError> {
        let Some(path) = file else {
            return Ok(Self(None));
        };
        let text = std::fs::read_to_string(path).map_err(|source| CtlError::Token {
            path: path.to_owned(),
            source,
        })?;
        let value = format!("Bearer {}", text.trim()).parse();
        let wrong = |_| CtlError::Wrong(format!("{}: found no token", path.display()));
        let mut value: AsciiMetadataValue = value.map_err(wrong)?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Who asks, and how it is answered.
struct Asker {
    client: OperatorClient<InterceptedService<Channel, Shown>>,
    json: bool,
}

/// Does it. False where what was ordered is not so everywhere.
pub fn run(options: &Ctl) -> Result<bool, CtlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shown = Shown::read(options.token.as_deref())?;
        let mut files = Files::in_folder(&options.certs, &options.name);
        if options.token.is_some() {
            files = files.anonymous();
        }
        let channel = Client::new(&options.controller, files)?.connect().await?;
        let client = OperatorClient::with_interceptor(channel, shown)
            .max_decoding_message_size(4 * agent_proto::MAX_MESSAGE)
            .max_encoding_message_size(agent_proto::MAX_MESSAGE);
        let mut asker = Asker {
            client,
            json: options.json,
        };
        let done = match &options.verb {
            Verb::Nodes => asker.nodes().await,
            Verb::Sessions(what) => asker.sessions(what).await,
            Verb::Agents => asker.agents().await,
            Verb::Events(what) => asker.events(what).await,
            Verb::Revoke(what) => return asker.revoke(what).await,
            Verb::Lift(what) => return asker.lift(what).await,
            Verb::Watch(what) => return asker.watch(what).await,
            Verb::Policy(what) => return asker.policy(what).await,
            Verb::Grant(what) => asker.grant(what).await,
            Verb::Checkpoints(what) => asker.checkpoints(what).await,
            Verb::Audit(what) => return asker.audit(what).await,
            Verb::Approvals(what) => asker.approvals(what).await,
            Verb::Approve(what) => return asker.approve(what).await,
            Verb::Deny(what) => return asker.deny(what).await,
            Verb::Inventory => asker.inventory().await,
        };
        done.map(|()| true)
    })
}

fn print_json(value: &serde_json::Value) -> Result<(), CtlError> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A time for people, or nothing.
fn time(ms: u64) -> String {
    let then = i64::try_from(ms).ok().filter(|ms| *ms > 0);
    let then = then.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    then.map_or_else(|| "-".to_owned(), |then| format!("{then:.0}"))
}

//! The way to the central controller, and what the daemon does because of it.
//!
//! | thread | task | does |
//! |---|---|---|
//! | `central` | `uplink` | connects, enrols, sends the record and the inventory, hears directives |
//! | the daemon's | `central` | obeys: bars, ends sessions, takes policies, checks grants, watches the lease |
//!
//! What was heard comes down a bounded way, as [`Heard`]. What goes up is read where evidence lies
//! ([`report`]), so that it needs no memory here and is lost with nothing. Nothing the daemon or the
//! kernel does waits for the controller.

mod accept;
mod bar;
mod end;
pub mod grants;
mod obey;
mod permit;
mod questions;
pub mod report;
mod state;
mod there;
mod uplink;

use crate::control::protocol::Start;
use crate::names::Finder;
use agent_proto::files::Files;
use agent_proto::wire::{EnrolRequest, EnrolResponse, InventoryRequest, Outcome, SignedDirective};
pub use grants::Latch;
pub use obey::{Central, Parts};
pub use permit::Permit;
use report::Own;
use serde::{Deserialize, Serialize};
pub use state::controller_keys;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Where what was heard from the controller is kept. It must outlive the boot: a bar holds on.
pub const FOLDER: &str = "/var/lib/interlock/central";

/// Where certificates lie.
pub const CERTS: &str = "/etc/interlock/certs";

/// What is heard that may wait for the daemon.
const WAITING: usize = 64;

/// How the daemon reaches the controller.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HOST:PORT`.
    pub address: String,
    /// How that is found.
    pub finder: Finder,
    /// The node's certificates.
    pub files: Files,
    /// Where what was heard is kept.
    pub folder: PathBuf,
    /// What operators select nodes by.
    pub labels: BTreeMap<String, String>,
    /// Whether a session needs a grant to be started.
    pub require_grant: bool,
    /// How many times sooner than usual it is tried again and given up: one, but for tests that have
    /// no hour.
    pub haste: u32,
}

/// Why there is no way to the controller.
#[derive(Debug, thiserror::Error)]
pub enum CentralError {
    /// The address is none.
    #[error("cannot be a node of a controller")]
    Client(#[from] agent_proto::client::ClientError),
    /// What was kept cannot be read. Bars may stand in it: nothing is guessed.
    #[error("cannot use {}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that talks to the controller")]
    Thread(#[source] std::io::Error),
}

/// What the uplink hears or needs.
#[derive(Debug)]
pub enum Heard {
    /// It is about to enrol, as the node of this name.
    Hello(String, oneshot::Sender<(EnrolRequest, Vec<u64>)>),
    /// It has enrolled; no is a reason not to talk to this controller.
    Enrolled(Box<EnrolResponse>, oneshot::Sender<Result<(), String>>),
    /// A directive.
    Directive(SignedDirective),
    /// The controller is there, at its time.
    Beat(u64),
    /// The connection is over.
    Lost,
    /// What there is on this node.
    Look(oneshot::Sender<InventoryRequest>),
}

/// How the connection is, for `interlock status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControllerInfo {
    /// Where the controller is.
    pub address: String,
    /// This node's name.
    pub node: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Since when that is so.
    pub since: String,
    /// Why it is not, as far as is known.
    pub error: Option<String>,
    /// Records that wait to be acknowledged.
    pub waiting: u64,
    /// The newest record that the controller's signature covers.
    pub countersigned: u64,
    /// Why the controller takes no records: they are not what it has.
    pub forked: Option<String>,
    /// Why it takes none for now: they wait here.
    pub held_up: Option<String>,
    /// The newest directive's epoch.
    pub epoch: u64,
    /// What may not begin until it is lifted.
    pub barred: Vec<String>,
    /// Why what it said last is not kept for the next daemon.
    pub unsaved: Option<String>,
    /// What is not as it should be.
    pub warning: Option<String>,
}

/// The same, shared by both threads.
pub(crate) type Shown = Arc<Mutex<ControllerInfo>>;

/// Changes what is shown.
pub(crate) fn show(shown: &Shown, change: impl FnOnce(&mut ControllerInfo)) {
    change(&mut shown.lock().unwrap_or_else(PoisonError::into_inner));
}

/// The two ends of the way to the controller, before anything goes over it.
pub struct Begun {
    settings: Settings,
    state: state::State,
    heard: mpsc::Receiver<Heard>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    shown: Shown,
    client: agent_proto::client::Client,
    hear: mpsc::Sender<Heard>,
    told: mpsc::UnboundedReceiver<Outcome>,
}

impl Begun {
    /// What the controller calls this node; none as long as no certificate has ever said it.
    pub fn node(&self) -> Option<&str> {
        Some(&*self.state.kept.node).filter(|name| !name.is_empty())
    }

    /// Begins to connect, on a thread of its own.
    pub fn connect(self, own: Own) -> Result<Connecting, CentralError> {
        let uplink = uplink::Uplink::new(
            self.client,
            self.hear,
            own,
            Arc::clone(&self.shown),
            self.settings.haste,
        );
        uplink.spawn(self.told).map_err(CentralError::Thread)?;
        Ok(Connecting {
            settings: self.settings,
            state: self.state,
            heard: self.heard,
            outcomes: self.outcomes,
            shown: self.shown,
        })
    }
}

/// The daemon's end of the way to the controller.
pub struct Connecting {
    pub(crate) settings: Settings,
    pub(crate) state: state::State,
    pub(crate) heard: mpsc::Receiver<Heard>,
    pub(crate) outcomes: mpsc::UnboundedSender<Outcome>,
    pub(crate) shown: Shown,
}

/// What comes from the controller, for whoever answers instead of the daemon: a load, a test.
pub struct Listening {
    /// What is heard or asked.
    pub heard: mpsc::Receiver<Heard>,
    /// What became of directives.
    pub outcomes: mpsc::UnboundedSender<Outcome>,
    /// How the connection is.
    pub info: Box<dyn Fn() -> ControllerInfo + Send>,
}

impl Connecting {
    /// Leaves it to somebody else to answer.
    pub fn listen(self) -> Listening {
        let shown = self.shown;
        Listening {
            heard: self.heard,
            outcomes: self.outcomes,
            info: Box::new(move || {
                let info = shown.lock().unwrap_or_else(PoisonError::into_inner);
                info.clone()
            }),
        }
    }

    /// The policies that the controller told before.
    pub fn policies(&self) -> Vec<Start> {
        self.state.kept.starts()
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Reads what is kept. A node whose certificate cannot be used is one that cannot reach its controller:
/// it is held all the same.
pub fn begin(settings: &Settings) -> Result<Begun, CentralError> {
    let client = agent_proto::client::Client::new(&settings.address, settings.files.clone())?;
    let finder = settings.finder.clone();
    let client = client.reached_by(Arc::new(move |address| {
        let finder = finder.clone();
        Box::pin(async move { finder.connect(&address).await })
    }));
    let mut state = state::State::open(&settings.folder)?;
    if let Ok(name) = uplink::name_of_node(&client) {
        state.kept.node = name;
    }
    let shown = Shown::default();
    show(&shown, |info| {
        info.address.clone_from(&settings.address);
        info.node.clone_from(&state.kept.node);
        info.since = crate::events::explain::now();
        info.epoch = state.kept.newest_epoch();
        info.barred = state.kept.bars.iter().map(ToString::to_string).collect();
    });
    let (hear, heard) = mpsc::channel(WAITING);
    let (outcomes, told) = mpsc::unbounded_channel();
    Ok(Begun {
        settings: settings.clone(),
        state,
        heard,
        outcomes,
        shown,
        client,
        hear,
        told,
    })
}

//! What the Kubernetes API tells a node, and what the node tells it.
//!
//! | task | does |
//! |---|---|
//! | `policies` | keeps AgentPolicies and AgentProfiles as files in a folder, which the library follows as any other |
//! | `pods` | knows the labels, annotations and service accounts of this node's pods |
//! | `reports` | says which policies are in force here, as the node's NodeReport |
//! | `leader` | on one node at a time: counts all reports, and writes each policy's status |
//!
//! All run on a thread of their own. Nothing the daemon or the kernel does waits for the API, except a container
//! that only it can tell apart. While it is away what was heard last holds on; the folder outlives the boot.

mod client;
mod files;
mod leader;
mod lease;
mod pods;
mod policies;
mod reports;
mod resources;
mod summary;

pub use client::ClientError;
pub use pods::{PodFacts, Pods};
use reports::Standing;

use crate::events::explain;
use crate::evidence::host_name;
use crate::kernel::loader::Mode;
use crate::library::Library;
use crate::serving;
use files::Files;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

/// Where policies of the API are kept. It must outlive the boot: they hold before the API is there.
pub const FOLDER: &str = "/var/lib/interlock/kubernetes";

/// Containers that wait for the API at the same time.
const ASKED: usize = 256;

/// How a node talks to the Kubernetes API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its address, such as `https://10.0.0.1:443`.
    pub server: String,
    /// The folder with `token` and `ca.crt`, which are read anew as they change, and `namespace`.
    pub account: PathBuf,
    /// This node's name there.
    pub node: String,
    /// Where policies of it are kept.
    pub folder: PathBuf,
}

/// Why there is no way to the API.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The address or the files cannot be used.
    #[error("cannot talk to the Kubernetes API")]
    Client(#[from] ClientError),
    /// The folder cannot be used.
    #[error("cannot keep policies of the Kubernetes API in {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that talks to the Kubernetes API")]
    Thread(#[source] io::Error),
}

/// How the way to the API is, for `interlock status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesInfo {
    /// Where the API is.
    pub server: String,
    /// This node's name there.
    pub node: String,
    /// Since when its policies are known as they are now; nothing where they are known from before only.
    pub heard: Option<String>,
    /// Why something of it does not answer, by what was wanted.
    pub errors: std::collections::BTreeMap<String, String>,
    /// Whether this node counts the reports of all.
    pub leads: bool,
}

/// The same, shared by both threads.
#[derive(Debug, Clone, Default)]
struct Shown(Arc<Mutex<KubernetesInfo>>);

impl Shown {
    fn change(&self, change: impl FnOnce(&mut KubernetesInfo)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was heard, if anything was; notes that, or why not.
    fn heard<T, E: Error + 'static>(&self, wanted: &str, told: Result<T, E>) -> Option<T> {
        let (heard, error) = match told {
            Ok(heard) => (Some(heard), None),
            Err(error) => (None, Some(client::said(error))),
        };
        self.change(|info| {
            let before = match &error {
                Some(error) => info.errors.insert(wanted.to_owned(), error.clone()),
                None => info.errors.remove(wanted),
            };
            match (&error, before) {
                (Some(error), None) => warn!(wanted, error, "the Kubernetes API does not tell"),
                (None, Some(_)) => info!(wanted, "the Kubernetes API tells again"),
                _ => {}
            }
        });
        heard
    }

    fn heard_policies(&self) {
        self.change(|info| info.heard = info.heard.take().or_else(|| Some(explain::now())));
    }
}

/// The daemon's end of the way to the API.
pub struct Kubernetes {
    /// What the API tells of this node's pods.
    pub pods: Pods,
    folder: PathBuf,
    enforcement: String,
    /// Nothing until the daemon has taken up what there is.
    standing: watch::Sender<Option<Standing>>,
    shown: Shown,
}

impl Kubernetes {
    /// Begins to talk, on a thread of its own.
    pub fn begin(settings: Settings) -> Result<Self, KubernetesError> {
        let folder = folder(&settings);
        let files = Files::open(&folder).map_err(|source| KubernetesError::Folder {
            path: folder.clone(),
            source,
        })?;
        let config = client::config(&settings)?;
        let namespace = client::namespace(&settings)?;
        let shown = Shown::default();
        shown.change(|info| {
            info.server.clone_from(&settings.server);
            info.node.clone_from(&settings.node);
        });
        let (ask, asked) = mpsc::channel(ASKED);
        let (standing, stands) = watch::channel(None);
        let pods = Pods::new(ask);
        let (known, says) = (pods.clone(), shown.clone());
        let work = move || async move {
            let Some(client) = says.heard("everything", client::connect(config)) else {
                return;
            };
            tokio::join!(
                policies::follow(&client, &files, &says),
                pods::follow(&client, &settings.node, &known, &says),
                pods::answer(&client, asked),
                reports::send(&client, &settings.node, stands, &says),
                leader::lead(&client, (&namespace, &settings.node), &says),
            );
        };
        serving::begin("kubernetes", work).map_err(KubernetesError::Thread)?;
        Ok(Self {
            pods,
            folder,
            enforcement: String::new(),
            standing,
            shown,
        })
    }

    /// Says how far this kernel enforces.
    pub fn set_mode(&mut self, mode: &Mode) {
        self.enforcement = match mode {
            Mode::Full => "full".to_owned(),
            Mode::Degraded(reason) => format!("degraded: {reason}"),
        };
    }

    /// Says how the policies stand on this node.
    pub fn tell(&self, library: &Library) {
        let standing = Some(Standing::of(library, &self.folder, &self.enforcement));
        self.standing.send_if_modified(|before| {
            let is_new = *before != standing;
            *before = standing;
            is_new
        });
    }

    /// How the way to the API is.
    pub fn info(&self) -> KubernetesInfo {
        let mut info = KubernetesInfo::default();
        self.shown.change(|shown| info = shown.clone());
        info
    }
}

/// Where policies of the API are kept, for the library.
pub fn folder(settings: &Settings) -> PathBuf {
    settings.folder.join("policies")
}

/// Where the API is for those in its cluster, as a pod is told.
pub fn server() -> String {
    let told = |name: &str| std::env::var(format!("KUBERNETES_SERVICE_{name}")).unwrap_or_default();
    let (host, port) = (told("HOST"), told("PORT"));
    match host.contains(':') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    }
}

/// What this node is called, unless told otherwise: as the kubelet calls it.
pub fn node() -> String {
    host_name().to_lowercase()
}

//! How the daemon is set up, and what follows from that for sessions and people.

use crate::central;
use crate::containers;
use crate::evidence::{self, Keeping};
use crate::health;
use crate::health::Wanted;
use crate::holds;
use crate::holds::bell::{Bell, BellError};
use crate::kernel::pins;
use crate::kubernetes;
use crate::names::{self, Finder};
use crate::otlp::{self, Exporter, OtlpError};
use crate::sessions::guarded::Guarded;
use std::path::PathBuf;
use tokio::sync::mpsc::Sender;

/// How the daemon is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub socket: PathBuf,
    /// The files and folders of the policies that it loads.
    pub policies: Vec<PathBuf>,
    /// Where it keeps what the next daemon needs.
    pub records: PathBuf,
    /// Where sessions can read their own denials.
    pub denials: PathBuf,
    /// Where it keeps the newest events.
    pub events: PathBuf,
    /// How it asks the Kubernetes API, if it does.
    pub kubernetes: Option<kubernetes::Settings>,
    /// How it reaches the controller, if it has one.
    pub central: Option<central::Settings>,
    /// How it keeps the record.
    pub evidence: Keeping,
    /// How it looks names up.
    pub names: names::Settings,
    /// How it recognises containers.
    pub containers: containers::Settings,
    /// Whom it tells of questions to people, if anybody.
    pub bell: Option<holds::bell::Settings>,
    /// Which collector it tells of events and metrics, if any.
    pub otlp: Option<otlp::Settings>,
    /// How it shows how it is.
    pub health: health::Settings,
    /// Whether it enters the mounts and cgroups of process 1 first, out of a container.
    pub enter_host: bool,
}

impl Settings {
    /// Has whom the daemon itself wants to reach found by the servers that sessions' names are found by.
    pub(super) fn find_by_servers(&mut self) {
        let finder = Finder::Servers(self.names.servers.clone());
        if let Some(central) = &mut self.central {
            central.finder = finder.clone();
        }
        if let Some(otlp) = &mut self.otlp {
            otlp.finder = finder;
        }
    }

    /// Who tells people of questions, under the name that the record has for this node.
    pub(super) fn bell(&self, node: Option<String>) -> Result<Option<Bell>, BellError> {
        let begin = |to| Bell::begin(to, self.evidence.name_of_node(node));
        self.bell.as_ref().map(begin).transpose()
    }

    /// The files and folders of policies, those of the Kubernetes API included.
    pub(super) fn policies(&self) -> Vec<PathBuf> {
        let given = self.kubernetes.iter().map(kubernetes::folder);
        self.policies.iter().cloned().chain(given).collect()
    }

    /// Who tells a collector of events and metrics, under the name that the record has for this node.
    pub(super) fn exporter(
        &self,
        node: Option<String>,
        daemon: Sender<Wanted>,
    ) -> Result<Option<Exporter>, OtlpError> {
        let begin = |to: &otlp::Settings| {
            let node = self.evidence.name_of_node(node);
            Exporter::begin(to.clone(), &node, daemon)
        };
        self.otlp.as_ref().map(begin).transpose()
    }

    /// What no session reaches, or changes.
    pub(super) fn guarded(&self) -> Guarded {
        let lock = self.socket.with_extension("lock");
        let questions = holds::records::folder(&self.records);
        let closed = [&self.socket, &lock, &self.records, &questions, &self.events];
        let evidence = evidence::Place::of(&self.evidence.folder).all();
        let guarded = closed
            .into_iter()
            .chain(&evidence)
            .fold(Guarded::default(), |guarded, path| guarded.closed(path));
        let guarded = guarded.closed(&pins::base());
        let guarded = self.central.iter().fold(guarded, |guarded, central| {
            let guarded = guarded.closed(&central.folder);
            guarded.closed(&central.files.key)
        });
        let guarded = self
            .bell
            .iter()
            .fold(guarded, |guarded, bell| guarded.closed(&bell.key));
        let headers = self.otlp.iter().filter_map(|otlp| otlp.headers.as_ref());
        let guarded = headers.fold(guarded, |guarded, path| guarded.closed(path));
        let guarded = self
            .kubernetes
            .iter()
            .fold(guarded, |guarded, api| guarded.closed(&api.account));
        let guarded = self
            .policies()
            .iter()
            .fold(guarded, |guarded, path| guarded.unchanged(path));
        // Who writes them says where names lead.
        let guarded = guarded
            .unchanged(&self.names.servers)
            .unchanged(&self.names.hosts);
        match std::env::current_exe() {
            Ok(program) => guarded.unchanged(&program),
            Err(_) => guarded,
        }
    }
}

//! Containers: which cgroup is whose, and what their runtime tells of them.
//!
//! The kernel programs know a container by the path of its cgroup, which carries its number. Whose it is
//! its runtime knows, and is asked over a socket that nobody in a container can reach. Nothing that a
//! container could have written counts.

mod cgroup;
mod cri;

pub use cgroup::{Cgroup, all};
pub use cri::CriError;

use crate::kubernetes::Pods;
use agent_evidence::record::Container;
use cri::Cri;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where runtimes listen unless told otherwise: containerd, CRI-O, the containerd of k3s.
pub const SOCKETS: [&str; 3] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
];

/// The socket of a container runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime(PathBuf);

impl Runtime {
    /// The one that listens there.
    pub fn at(socket: PathBuf) -> Self {
        Self(socket)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// How containers are recognised on this node.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The runtimes that are asked; those of [`SOCKETS`] that are there, where none is named.
    pub runtimes: Vec<Runtime>,
    /// What becomes of a new container while no daemon is there to ask.
    pub when_away: WhenAway,
}

/// What becomes of a new container while no daemon is there to ask whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WhenAway {
    /// Its programs are not executed.
    Deny,
    /// They are, in no session; a daemon that comes later adopts them.
    Release,
}

/// What a runtime tells of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is a container of a pod.
    Container(Box<Known>),
    /// It is what holds a pod together, and runs nothing of anybody's.
    Sandbox,
    /// No runtime knows it.
    Unknown,
}

/// A container, for people and for policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// For people.
    pub container: Container,
    /// For policies.
    pub selected: agent_policy::Container,
}

/// The runtimes of this node, and the Kubernetes API where it is asked, too.
#[derive(Debug)]
pub struct Runtimes {
    named: Vec<Runtime>,
    pods: Option<Pods>,
}

impl Runtimes {
    /// Those that are named, or those that are there when somebody asks.
    pub fn new(settings: &Settings, pods: Option<Pods>) -> Self {
        Self {
            named: settings.runtimes.clone(),
            pods,
        }
    }

    /// Whether something of a pod has changed since the last time somebody asked.
    pub fn have_changed(&self) -> bool {
        self.pods.as_ref().is_some_and(Pods::have_changed)
    }

    fn there(&self) -> Vec<Runtime> {
        if !self.named.is_empty() {
            return self.named.clone();
        }
        let there = SOCKETS.iter().map(PathBuf::from).filter(|it| it.exists());
        there.map(Runtime::at).collect()
    }

    /// Asks one after the other whose a container is. An error where none of them knew it and one did
    /// not answer.
    pub async fn ask(&self, id: &str) -> Result<Told, CriError> {
        let mut failed = None;
        for runtime in self.there() {
            match tell(&runtime, id).await {
                Ok(Told::Unknown) => {}
                Ok(Told::Container(mut known)) => {
                    self.add_pod(&mut known).await;
                    return Ok(Told::Container(known));
                }
                Ok(told) => return Ok(told),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Told::Unknown), Err)
    }

    /// What the API tells of a container's pod counts more: labels change, and a runtime hears nothing of it.
    async fn add_pod(&self, known: &mut Known) {
        let Some(pods) = &self.pods else {
            return;
        };
        let Container {
            uid,
            namespace,
            pod,
            ..
        } = &known.container;
        if let Some(pod) = pods.find(uid, namespace, pod).await {
            known.selected.labels = pod.labels;
            known.selected.annotations = pod.annotations;
            known.selected.service_account = Some(pod.service_account);
        }
    }
}

async fn tell(runtime: &Runtime, id: &str) -> Result<Told, CriError> {
    let cri = Cri::new(runtime)?;
    let Some(container) = cri.container(id).await? else {
        return Ok(match cri.pod(id).await? {
            Some(_) => Told::Sandbox,
            None => Told::Unknown,
        });
    };
    let status = cri.status(id).await?;
    let Some(pod) = cri.pod(&container.pod_sandbox_id).await? else {
        return Ok(Told::Unknown);
    };
    Ok(Told::Container(Box::new(known(container, status, pod))))
}

fn known(container: cri::Container, status: cri::ContainerStatus, pod: cri::PodSandbox) -> Known {
    let made = container.image.unwrap_or_default();
    let image = [made.user_specified_image, made.image];
    let mut image = image
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    // The kubelet names the image by its digest here once it has pulled it.
    let shown = status.image.unwrap_or_default().image;
    if is_digest(&image) && !shown.is_empty() {
        image = shown;
    }
    let refs = [container.image_ref, status.image_ref];
    let mut digests: Vec<String> = refs
        .iter()
        .map(|name| name.rsplit('@').next().unwrap_or(name).to_owned())
        .filter(|digest| is_digest(digest))
        .collect();
    digests.sort();
    digests.dedup();
    let name = container.metadata.unwrap_or_default().name;
    let metadata = pod.metadata.unwrap_or_default();
    let ordered =
        |pairs: std::collections::HashMap<_, _>| pairs.into_iter().collect::<BTreeMap<_, _>>();
    Known {
        selected: agent_policy::Container {
            namespace: metadata.namespace.clone(),
            labels: ordered(pod.labels),
            annotations: ordered(pod.annotations),
            name: name.clone(),
            image: image.clone(),
            digests: digests.clone(),
            service_account: None,
        },
        container: Container {
            id: container.id,
            name,
            image,
            digests,
            pod: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
        },
    }
}

fn is_digest(text: &str) -> bool {
    text.starts_with("sha256:")
}

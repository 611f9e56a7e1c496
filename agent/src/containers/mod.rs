//! Containers: which cgroup is whose, and what their runtime tells of them.
//!
//! The kernel programs know a container by the path of its cgroup, which carries its number. Whose it is
//! its runtime knows, and is asked over a socket that nobody in a container can reach: those of pods over
//! CRI, Docker and podman over Docker's interface. Nothing that a container could have written counts.

mod cgroup;
mod cri;
mod engine;

pub use cgroup::{Cgroup, Kind, all, unseen};
pub use cri::CriError;
pub use engine::EngineError;

use crate::kubernetes::Pods;
use agent_common::recognise::WhenAway;
use agent_evidence::record::Container;
use cri::Cri;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where runtimes of pods listen unless told otherwise: containerd, CRI-O, the containerd of k3s.
pub const SOCKETS: [&str; 3] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
];
/// Where Docker listens unless told otherwise.
pub const DOCKER: &str = "/run/docker.sock";
/// Where podman listens unless told otherwise.
pub const PODMAN: &str = "/run/podman/podman.sock";

/// What runtimes are asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// As the kubelet asks them.
    Cri,
    /// As `docker` asks.
    Docker,
}

/// The socket of a container runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    socket: PathBuf,
    interface: Interface,
}

/// It is no runtime's.
#[derive(Debug, thiserror::Error)]
#[error(
    "found `{0}`, expected SOCKET or cri:SOCKET for a runtime of pods, docker:SOCKET for Docker or podman"
)]
pub struct NoRuntime(String);

impl Runtime {
    fn at(interface: Interface, socket: &str) -> Self {
        Self {
            socket: socket.into(),
            interface,
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl FromStr for Runtime {
    type Err = NoRuntime;

    fn from_str(text: &str) -> Result<Self, NoRuntime> {
        let (interface, socket) = match text.split_once(':') {
            Some(("docker", socket)) => (Interface::Docker, socket),
            Some(("cri", socket)) => (Interface::Cri, socket),
            _ => (Interface::Cri, text),
        };
        if !socket.starts_with('/') {
            return Err(NoRuntime(text.to_owned()));
        }
        Ok(Self::at(interface, socket))
    }
}

/// Why a runtime does not tell.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// One of pods.
    #[error(transparent)]
    Cri(#[from] CriError),
    /// Docker or podman.
    #[error("the container engine at {}", socket.display())]
    Engine {
        /// Where it should listen.
        socket: PathBuf,
        /// Why.
        #[source]
        source: EngineError,
    },
}

/// How containers are recognised on this node.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The runtimes that are asked; where none is named that is asked in an interface, those of [`SOCKETS`]
    /// that are there, [`DOCKER`] for Docker's containers, [`PODMAN`] for podman's.
    pub runtimes: Vec<Runtime>,
    /// What becomes of a new container while no daemon is there to ask, where nothing is known of its pod.
    pub when_away: WhenAway,
}

/// What a runtime tells of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is a container that somebody has made.
    Container(Box<Known>),
    /// It is what holds a pod together, and runs nothing of anybody's.
    Sandbox(Pod),
    /// No policy could select it, and nobody was asked.
    Unasked,
    /// No runtime knows it.
    Unknown,
}

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its number everywhere.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
}

/// A container, for people and for policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// For people.
    pub container: Container,
    /// For policies.
    pub selected: agent_policy::Container,
}

impl Known {
    /// The pod that it is of; without a number, where it is of none.
    pub fn pod(&self) -> Pod {
        Pod {
            uid: self.container.uid.clone(),
            namespace: self.container.namespace.clone(),
        }
    }
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

    /// Who may know a container of a kind.
    fn there(&self, kind: Kind) -> Vec<Runtime> {
        let interface = kind.interface();
        let named = self.named.iter().filter(|it| it.interface == interface);
        let named: Vec<Runtime> = named.cloned().collect();
        if !named.is_empty() {
            return named;
        }
        let sockets: Vec<&str> = match kind {
            // Any of them, and which cannot be said.
            Kind::Pod => SOCKETS
                .into_iter()
                .filter(|it| Path::new(it).exists())
                .collect(),
            Kind::Docker => vec![DOCKER],
            Kind::Podman => vec![PODMAN],
        };
        let at = |socket| Runtime::at(interface, socket);
        sockets.into_iter().map(at).collect()
    }

    /// Asks one after the other whose a container is. An error where none of them knew it and one did
    /// not answer.
    pub async fn ask(&self, cgroup: &Cgroup) -> Result<Told, RuntimeError> {
        let mut failed = None;
        for runtime in self.there(cgroup.kind) {
            match tell(&runtime, &cgroup.id).await {
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
        let Container {
            uid,
            namespace,
            pod,
            ..
        } = &known.container;
        let Some(pods) = self.pods.as_ref().filter(|_| !uid.is_empty()) else {
            // It is of no pod, or nobody asks.
            return;
        };
        if let Some(pod) = pods.find(uid, namespace, pod).await {
            known.selected.labels = pod.labels;
            known.selected.annotations = pod.annotations;
            known.selected.service_account = Some(pod.service_account);
        }
    }
}

async fn tell(runtime: &Runtime, id: &str) -> Result<Told, RuntimeError> {
    match runtime.interface {
        Interface::Cri => Ok(tell_of_pod(runtime, id).await?),
        Interface::Docker => {
            engine::tell(&runtime.socket, id)
                .await
                .map_err(|source| RuntimeError::Engine {
                    socket: runtime.socket.clone(),
                    source,
                })
        }
    }
}

async fn tell_of_pod(runtime: &Runtime, id: &str) -> Result<Told, CriError> {
    let cri = Cri::new(runtime)?;
    let Some(container) = cri.container(id).await? else {
        return Ok(match cri.pod(id).await? {
            Some(pod) => {
                let metadata = pod.metadata.unwrap_or_default();
                Told::Sandbox(Pod {
                    uid: metadata.uid,
                    namespace: metadata.namespace,
                })
            }
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
            namespace: Some(metadata.namespace.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_a_socket_and_how_it_is_asked() {
        for (text, interface, socket) in [
            ("/run/a.sock", Interface::Cri, "/run/a.sock"),
            ("cri:/run/a.sock", Interface::Cri, "/run/a.sock"),
            ("docker:/run/a:b.sock", Interface::Docker, "/run/a:b.sock"),
        ] {
            let runtime: Runtime = text.parse().expect("a runtime");
            assert_eq!(runtime, Runtime::at(interface, socket));
        }
        for text in ["", "docker", "docker:", "podman:/run/a.sock", "a.sock"] {
            assert!(text.parse::<Runtime>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_named_takes_the_place_of_those_that_are_known_for_its_interface_alone() {
        let runtimes = |named: &[&str]| {
            let settings = Settings {
                runtimes: named.iter().map(|it| it.parse().expect("one")).collect(),
                when_away: WhenAway::Deny,
            };
            Runtimes::new(&settings, None)
        };
        let sockets = |runtimes: &Runtimes, kind| {
            let there = runtimes.there(kind).into_iter();
            there.map(|it| it.socket).collect::<Vec<_>>()
        };
        let usual = runtimes(&["cri:/run/a.sock"]);
        assert_eq!(sockets(&usual, Kind::Pod), [PathBuf::from("/run/a.sock")]);
        assert_eq!(sockets(&usual, Kind::Docker), [PathBuf::from(DOCKER)]);
        assert_eq!(sockets(&usual, Kind::Podman), [PathBuf::from(PODMAN)]);
        let named = runtimes(&["docker:/run/b.sock", "docker:/run/c.sock"]);
        let both = ["/run/b.sock", "/run/c.sock"].map(PathBuf::from);
        assert_eq!(sockets(&named, Kind::Docker), both);
        assert_eq!(sockets(&named, Kind::Podman), both);
    }
}

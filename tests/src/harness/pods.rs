//! Pods on a real containerd, with an image made here, in the node's network or each in its own.

use super::cri::{
    ContainerConfig, ContainerMetadata, ContainerSecurityContext, ContainerStatus,
    ContainerStatusResponse, CreateContainerRequest, Cri, EXITED, ExecSyncRequest,
    ExecSyncResponse, Id, ImageSpec, LinuxContainerConfig, LinuxPodSandboxConfig, Mount, NODE,
    NamespaceOption, Nothing, OWN, PodSandboxConfig, PodSandboxMetadata, RunPodSandboxRequest,
    SOCKET, SandboxSecurityContext, StopContainerRequest,
};
use super::image::IMAGE;
use super::{given, image};
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where the runtime's programs lie: `cargo xtask test` gives them to machines that test containers.
const PROGRAMS: &str = "/with/containers";
/// Its log.
const LOG: &str = "/run/containerd.log";
/// How long the runtime, or a container, may take.
const PATIENCE: Duration = Duration::from_secs(120);
const CONFIGURATION: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.test/agents/demo:1"
  disable_apparmor = true
  restrict_oom_score_adj = false
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/with/containers/usr/lib/cni"
"#;

/// How a pod gets a network: a cable to the node, and an address.
const NETWORK: &str = r#"
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {
  "type": "host-local", "subnet": "203.0.113.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}]}
"#;

/// Whether the machine was given a runtime.
pub(crate) fn unless_there() -> Option<String> {
    given::unless_there(PROGRAMS)
}

/// A node with containerd.
pub(crate) struct Node {
    cri: Cri,
}

/// A pod.
pub(crate) struct Pod {
    id: String,
    config: PodSandboxConfig,
}

/// What a pod is made with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spec<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) labels: &'a [(&'a str, &'a str)],
    pub(crate) annotations: &'a [(&'a str, &'a str)],
    pub(crate) privileged: bool,
    /// It has a network of its own.
    pub(crate) network: bool,
    /// Its name and its number, where somebody else has given them.
    pub(crate) identity: Option<(&'a str, &'a str)>,
}

/// A container of a pod.
pub(crate) struct Container {
    pub(crate) id: String,
}

impl Node {
    /// The node, with its runtime running.
    pub(crate) fn get() -> Result<Self> {
        if !Path::new(SOCKET).exists() {
            begin()?;
        }
        Ok(Self {
            cri: Cri::at(SOCKET)?,
        })
    }

    /// Makes a pod, and starts what holds it together.
    pub(crate) fn pod(&self, spec: Spec<'_>) -> Result<Pod> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let made = format!("pod-{}-{number}", std::process::id());
        let number = format!("uid-{made}");
        let (name, uid) = spec.identity.unwrap_or((&made, &number));
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect::<HashMap<_, _>>()
        };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                uid: uid.to_owned(),
                namespace: spec.namespace.to_owned(),
                name: name.to_owned(),
            }),
            labels: pairs(spec.labels),
            annotations: pairs(spec.annotations),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("/kubepods/besteffort/pod{uid}"),
                security_context: Some(SandboxSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        network: if spec.network { OWN } else { NODE },
                        ..NamespaceOption::default()
                    }),
                    privileged: spec.privileged,
                }),
            }),
        };
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let made: Id = self.cri.ask("RunPodSandbox", request)?;
        Ok(Pod {
            id: made.id,
            config,
        })
    }

    /// Makes a container that will run a command.
    pub(crate) fn create(&self, pod: &Pod, name: &str, command: &[&str]) -> Result<Container> {
        let context = pod.config.linux.as_ref();
        let context = context.and_then(|linux| linux.security_context.clone());
        let context = context.unwrap_or_default();
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(ContainerConfig {
                metadata: Some(ContainerMetadata {
                    name: name.to_owned(),
                }),
                image: Some(ImageSpec {
                    image: IMAGE.to_owned(),
                }),
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                mounts: vec![Mount {
                    container_path: "/usr".into(),
                    host_path: "/usr".into(),
                    readonly: true,
                }],
                linux: Some(LinuxContainerConfig {
                    security_context: Some(ContainerSecurityContext {
                        privileged: context.privileged,
                        namespace_options: context.namespace_options,
                    }),
                }),
            }),
            sandbox_config: Some(pod.config.clone()),
        };
        let made: Id = self.cri.ask("CreateContainer", request)?;
        Ok(Container { id: made.id })
    }

    /// Starts a container.
    pub(crate) fn start(&self, container: &Container) -> Result<()> {
        let request = Id {
            id: container.id.clone(),
        };
        self.cri.ask::<_, Nothing>("StartContainer", request)?;
        Ok(())
    }

    /// Makes a container and starts it.
    pub(crate) fn run(&self, pod: &Pod, name: &str, command: &[&str]) -> Result<Container> {
        let container = self.create(pod, name, command)?;
        self.start(&container)?;
        Ok(container)
    }

    /// What has become of a container.
    pub(crate) fn status(&self, container: &Container) -> Result<ContainerStatus> {
        let request = Id {
            id: container.id.clone(),
        };
        let found: ContainerStatusResponse = self.cri.ask("ContainerStatus", request)?;
        found.status.context("a container without a state")
    }

    /// Waits until a container has ended.
    pub(crate) fn ended(&self, container: &Container) -> Result<ContainerStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(container)?;
            if status.state == EXITED {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "it does not end: {status:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a command in a container, as `kubectl exec` does.
    pub(crate) fn exec(&self, container: &Container, command: &[&str]) -> Result<ExecSyncResponse> {
        let request = ExecSyncRequest {
            container_id: container.id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 60,
        };
        self.cri.ask("ExecSync", request)
    }

    /// Ends a container at once.
    pub(crate) fn stop(&self, container: &Container) -> Result<()> {
        let request = StopContainerRequest {
            id: container.id.clone(),
            timeout: 0,
        };
        self.cri.ask::<_, Nothing>("StopContainer", request)?;
        Ok(())
    }

    /// Removes a container that has ended.
    pub(crate) fn forget(&self, container: Container) -> Result<()> {
        let request = Id { id: container.id };
        self.cri.ask::<_, Nothing>("RemoveContainer", request)?;
        Ok(())
    }

    /// Ends a pod and all in it.
    pub(crate) fn remove(&self, pod: Pod) -> Result<()> {
        let Pod { id, .. } = pod;
        let id = || Id { id: id.clone() };
        self.cri.ask::<_, Nothing>("StopPodSandbox", id())?;
        self.cri.ask::<_, Nothing>("RemovePodSandbox", id())?;
        Ok(())
    }
}

fn begin() -> Result<()> {
    given::install(PROGRAMS)?;
    fs::create_dir_all("/etc/containerd")?;
    fs::write("/etc/containerd/config.toml", CONFIGURATION)?;
    fs::create_dir_all("/etc/cni/net.d")?;
    fs::write("/etc/cni/net.d/10-pods.conflist", NETWORK)?;
    let _ = Command::new("modprobe")
        .args(["-a", "overlay", "veth"])
        .status();
    given::begin(&Command::new("containerd"), LOG)?;
    image::load(&["ctr", "-n", "k8s.io", "images", "import"], LOG)
}

//! What a kubelet asks of a container runtime, as far as tests do, and what Interlock does: a few messages of
//! `runtime.v1`.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// Where containerd listens, whose word the daemon takes without being told of it.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";
/// How long one answer may take, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

macro_rules! messages {
    ($($name:ident { $($(#[$field:meta])+ $part:ident: $type:ty,)* })+) => {
        $(#[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct $name { $($(#[$field])+ pub(crate) $part: $type,)* })+
    };
}

messages! {
    RunPodSandboxRequest {
        #[prost(message, optional, tag = "1")] config: Option<PodSandboxConfig>,
    }
    PodSandboxConfig {
        #[prost(message, optional, tag = "1")] metadata: Option<PodSandboxMetadata>,
        #[prost(map = "string, string", tag = "6")] labels: HashMap<String, String>,
        #[prost(map = "string, string", tag = "7")] annotations: HashMap<String, String>,
        #[prost(message, optional, tag = "8")] linux: Option<LinuxPodSandboxConfig>,
    }
    PodSandboxMetadata {
        #[prost(string, tag = "1")] name: String,
        #[prost(string, tag = "2")] uid: String,
        #[prost(string, tag = "3")] namespace: String,
    }
    LinuxPodSandboxConfig {
        #[prost(string, tag = "1")] cgroup_parent: String,
        #[prost(message, optional, tag = "2")] security_context: Option<SandboxSecurityContext>,
    }
    SandboxSecurityContext {
        #[prost(message, optional, tag = "1")] namespace_options: Option<NamespaceOption>,
        #[prost(bool, tag = "6")] privileged: bool,
    }
    NamespaceOption {
        #[prost(int32, tag = "1")] network: i32,
        #[prost(int32, tag = "2")] pid: i32,
    }
    CreateContainerRequest {
        #[prost(string, tag = "1")] pod_sandbox_id: String,
        #[prost(message, optional, tag = "2")] config: Option<ContainerConfig>,
        #[prost(message, optional, tag = "3")] sandbox_config: Option<PodSandboxConfig>,
    }
    ContainerConfig {
        #[prost(message, optional, tag = "1")] metadata: Option<ContainerMetadata>,
        #[prost(message, optional, tag = "2")] image: Option<ImageSpec>,
        #[prost(string, repeated, tag = "3")] command: Vec<String>,
        #[prost(message, repeated, tag = "7")] mounts: Vec<Mount>,
        #[prost(message, optional, tag = "15")] linux: Option<LinuxContainerConfig>,
    }
    ContainerMetadata {
        #[prost(string, tag = "1")] name: String,
    }
    ImageSpec {
        #[prost(string, tag = "1")] image: String,
    }
    Mount {
        #[prost(string, tag = "1")] container_path: String,
        #[prost(string, tag = "2")] host_path: String,
        #[prost(bool, tag = "3")] readonly: bool,
    }
    LinuxContainerConfig {
        #[prost(message, optional, tag = "2")] security_context: Option<ContainerSecurityContext>,
    }
    ContainerSecurityContext {
        #[prost(bool, tag = "2")] privileged: bool,
        #[prost(message, optional, tag = "3")] namespace_options: Option<NamespaceOption>,
    }
    Id {
        #[prost(string, tag = "1")] id: String,
    }
    Nothing {
    }
    ListRequest {
        #[prost(message, optional, tag = "1")] filter: Option<Id>,
    }
    ListContainersResponse {
        #[prost(message, repeated, tag = "1")] containers: Vec<ListedContainer>,
    }
    ListedContainer {
        #[prost(string, tag = "1")] id: String,
        #[prost(string, tag = "2")] pod_sandbox_id: String,
        #[prost(message, optional, tag = "3")] metadata: Option<ContainerMetadata>,
        #[prost(message, optional, tag = "4")] image: Option<ImageSpec>,
    }
    ListPodSandboxResponse {
        #[prost(message, repeated, tag = "1")] items: Vec<ListedPod>,
    }
    ListedPod {
        #[prost(string, tag = "1")] id: String,
        #[prost(message, optional, tag = "2")] metadata: Option<PodSandboxMetadata>,
        #[prost(map = "string, string", tag = "5")] labels: HashMap<String, String>,
    }
    StopContainerRequest {
        #[prost(string, tag = "1")] id: String,
        #[prost(int64, tag = "2")] timeout: i64,
    }
    ExecSyncRequest {
        #[prost(string, tag = "1")] container_id: String,
        #[prost(string, repeated, tag = "2")] cmd: Vec<String>,
        #[prost(int64, tag = "3")] timeout: i64,
    }
    ExecSyncResponse {
        #[prost(bytes, tag = "1")] stdout: Vec<u8>,
        #[prost(bytes, tag = "2")] stderr: Vec<u8>,
        #[prost(int32, tag = "3")] exit_code: i32,
    }
    ContainerStatusResponse {
        #[prost(message, optional, tag = "1")] status: Option<ContainerStatus>,
    }
    ContainerStatus {
        #[prost(int32, tag = "3")] state: i32,
        #[prost(int32, tag = "7")] exit_code: i32,
        #[prost(string, tag = "11")] message: String,
    }
}

/// A state of a container: it has ended.
pub(crate) const EXITED: i32 = 2;

/// A namespace that is the pod's own.
pub(crate) const OWN: i32 = 0;
/// A namespace that is the node's.
pub(crate) const NODE: i32 = 2;

/// A way to a runtime.
pub(crate) struct Cri {
    runtime: Runtime,
    channel: Channel,
}

impl Cri {
    /// The one behind a socket.
    pub(crate) fn at(socket: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let channel = {
            let _within = runtime.enter();
            Endpoint::from_shared(format!("unix://{socket}"))?
                .timeout(PATIENCE)
                .connect_lazy()
        };
        Ok(Self { runtime, channel })
    }

    /// Asks for something, and waits for it. May be called by several threads at once.
    pub(crate) fn ask<Q, A>(&self, what: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let channel = self.channel.clone();
        let path = format!("/runtime.v1.RuntimeService/{what}").parse::<PathAndQuery>()?;
        self.runtime.block_on(async move {
            let mut grpc = Grpc::new(channel);
            grpc.ready()
                .await
                .with_context(|| format!("{what}: no runtime"))?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(tonic::Request::new(request), path, codec).await;
            Ok(answer
                .map_err(|status| anyhow::anyhow!("{what}: {}", status.message()))?
                .into_inner())
        })
    }
}

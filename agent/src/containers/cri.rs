//! The Container Runtime Interface, as far as it tells whose a container is: the few messages of
//! `runtime.v1` that are asked for, with the numbers that its fields have there. The kubelet speaks it
//! with containerd and CRI-O, over a Unix socket that is root's.

use super::Runtime;
use std::collections::HashMap;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a runtime does not tell.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// It does not answer.
    #[error("the container runtime cannot be reached")]
    Unreachable(#[from] tonic::transport::Error),
    /// It answers with an error.
    #[error("the container runtime answers: {}", .0.message())]
    Refused(#[source] Box<tonic::Status>),
}

impl From<tonic::Status> for CriError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// Makes a message of its fields, and those it is made of.
macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field:meta])+ $part:ident: $type:ty,)* })+) => {
        $($(#[$meta])* #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct $name { $($(#[$field])+ pub(super) $part: $type,)* })+
    };
}

messages! {
    /// Asks for containers.
    ListContainersRequest {
        /// Which; all otherwise.
        #[prost(message, optional, tag = "1")] filter: Option<Filter>,
    }
    /// Asks for pods.
    ListPodSandboxRequest {
        /// Which; all otherwise.
        #[prost(message, optional, tag = "1")] filter: Option<Filter>,
    }
    /// One of them, by its number: `ContainerFilter` and `PodSandboxFilter` begin alike.
    Filter {
        /// The number.
        #[prost(string, tag = "1")] id: String,
    }
    /// The containers asked for.
    ListContainersResponse {
        /// All of them.
        #[prost(message, repeated, tag = "1")] containers: Vec<Container>,
    }
    /// A container.
    Container {
        /// Its number.
        #[prost(string, tag = "1")] id: String,
        /// Its pod's.
        #[prost(string, tag = "2")] pod_sandbox_id: String,
        /// Its name.
        #[prost(message, optional, tag = "3")] metadata: Option<ContainerMetadata>,
        /// Its image, as whoever made the pod named it.
        #[prost(message, optional, tag = "4")] image: Option<ImageSpec>,
        /// What the runtime knows that image by.
        #[prost(string, tag = "5")] image_ref: String,
    }
    /// The name of a container.
    ContainerMetadata {
        /// The name in its pod.
        #[prost(string, tag = "1")] name: String,
    }
    /// An image.
    ImageSpec {
        /// Its reference.
        #[prost(string, tag = "1")] image: String,
        /// The same as the pod's maker wrote it, where the runtime keeps that.
        #[prost(string, tag = "18")] user_specified_image: String,
    }
    /// The pods asked for.
    ListPodSandboxResponse {
        /// All of them.
        #[prost(message, repeated, tag = "1")] items: Vec<PodSandbox>,
    }
    /// A pod.
    PodSandbox {
        /// Its number here.
        #[prost(string, tag = "1")] id: String,
        /// Its name.
        #[prost(message, optional, tag = "2")] metadata: Option<PodSandboxMetadata>,
        /// Its labels.
        #[prost(map = "string, string", tag = "5")] labels: HashMap<String, String>,
        /// Its annotations.
        #[prost(map = "string, string", tag = "6")] annotations: HashMap<String, String>,
    }
    /// The name of a pod.
    PodSandboxMetadata {
        /// Its name.
        #[prost(string, tag = "1")] name: String,
        /// Its number everywhere.
        #[prost(string, tag = "2")] uid: String,
        /// Its namespace.
        #[prost(string, tag = "3")] namespace: String,
    }
    /// Asks for more of one container.
    ContainerStatusRequest {
        /// Its number.
        #[prost(string, tag = "1")] container_id: String,
    }
    /// More of one container.
    ContainerStatusResponse {
        /// All that is asked for.
        #[prost(message, optional, tag = "1")] status: Option<ContainerStatus>,
    }
    /// More of one container.
    ContainerStatus {
        /// Its image, as the runtime has it.
        #[prost(message, optional, tag = "8")] image: Option<ImageSpec>,
        /// The image by its digest, with or without its repository.
        #[prost(string, tag = "9")] image_ref: String,
    }
}

/// A way to one runtime.
#[derive(Debug, Clone)]
pub(super) struct Cri {
    channel: Channel,
}

impl Cri {
    /// The runtime behind a socket. It is connected to when it is asked, and again when it was away.
    pub(super) fn new(runtime: &Runtime) -> Result<Self, CriError> {
        let uri = format!("unix://{}", runtime.socket().display());
        let endpoint = Endpoint::from_shared(uri)?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        Ok(Self {
            channel: endpoint.connect_lazy(),
        })
    }

    /// The container of a number.
    pub(super) async fn container(&self, id: &str) -> Result<Option<Container>, CriError> {
        let request = ListContainersRequest { filter: by(id) };
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/ListContainers");
        let found: ListContainersResponse = self.ask(path, request).await?;
        Ok(found.containers.into_iter().find(|found| found.id == id))
    }

    /// The pod of a number.
    pub(super) async fn pod(&self, id: &str) -> Result<Option<PodSandbox>, CriError> {
        let request = ListPodSandboxRequest { filter: by(id) };
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/ListPodSandbox");
        let found: ListPodSandboxResponse = self.ask(path, request).await?;
        Ok(found.items.into_iter().find(|found| found.id == id))
    }

    /// More of a container.
    pub(super) async fn status(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
        };
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/ContainerStatus");
        let found: ContainerStatusResponse = self.ask(path, request).await?;
        Ok(found.status.unwrap_or_default())
    }

    async fn ask<Q, A>(&self, path: PathAndQuery, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc
            .unary(tonic::Request::new(request), path, codec)
            .await?;
        Ok(answer.into_inner())
    }
}

fn by(id: &str) -> Option<Filter> {
    Some(Filter { id: id.to_owned() })
}

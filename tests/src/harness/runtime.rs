//! A container runtime that tells of pods and runs none: a test makes their cgroups beside it. Real ones are asked in
//! `long.containers`.

use super::cri::{
    ContainerMetadata, ContainerStatus, ContainerStatusResponse, Id, ImageSpec,
    ListContainersResponse, ListPodSandboxResponse, ListRequest, ListedContainer, ListedPod,
    PodSandboxMetadata, SOCKET,
};
use anyhow::{Context as _, Result};
use std::convert::Infallible;
use std::fs;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio::runtime::{self, Runtime};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// A pod of which it tells, by the number that the kubelet gave it.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) uid: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) labels: &'static [(&'static str, &'static str)],
    /// The runtime's number of what holds it together.
    pub(crate) sandbox: String,
    /// The numbers of its containers.
    pub(crate) containers: Vec<String>,
}

/// One that tells, until this is dropped.
pub(crate) struct Telling {
    _runtime: Runtime,
}

impl Telling {
    /// Of these pods.
    pub(crate) fn of(pods: &[Pod]) -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let folder = Path::new(SOCKET).parent().context(SOCKET)?;
        fs::create_dir_all(folder)?;
        let _ = fs::remove_file(SOCKET);
        let incoming = {
            let _within = runtime.enter();
            UnixListenerStream::new(UnixListener::bind(SOCKET).context(SOCKET)?)
        };
        let answers = Answers(Arc::from(pods));
        runtime.spawn(
            Server::builder()
                .add_service(answers)
                .serve_with_incoming(incoming),
        );
        Ok(Self { _runtime: runtime })
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = fs::remove_file(SOCKET);
    }
}

/// What it is asked by Interlock, and answers.
#[derive(Clone)]
struct Answers(Arc<[Pod]>);

impl NamedService for Answers {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl Service<http::Request<Body>> for Answers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let pods = Arc::clone(&self.0);
        match request.uri().path().rsplit('/').next() {
            Some("ListContainers") => answer(request, move |asked| containers(&pods, asked)),
            Some("ListPodSandbox") => answer(request, move |asked| sandboxes(&pods, asked)),
            Some("ContainerStatus") => answer(request, |_: Id| {
                Ok(ContainerStatusResponse {
                    status: Some(ContainerStatus::default()),
                })
            }),
            _ => answer(request, |_: Id| {
                Err::<Id, _>(Status::unimplemented("it runs nothing"))
            }),
        }
    }
}

fn answer<Q, A>(
    request: http::Request<Body>,
    tell: impl Fn(Q) -> Result<A, Status> + Send + Sync + 'static,
) -> BoxFuture<http::Response<Body>, Infallible>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + 'static,
{
    let tell =
        service_fn(move |asked: Request<Q>| ready(tell(asked.into_inner()).map(Response::new)));
    Box::pin(async move {
        let codec = ProstCodec::<A, Q>::default();
        Ok(Grpc::new(codec).unary(tell, request).await)
    })
}

fn containers(pods: &[Pod], asked: ListRequest) -> Result<ListContainersResponse, Status> {
    let asked = asked.filter.unwrap_or_default().id;
    let listed = |pod: &Pod| {
        pod.containers.contains(&asked).then(|| ListedContainer {
            id: asked.clone(),
            pod_sandbox_id: pod.sandbox.clone(),
            metadata: Some(ContainerMetadata {
                name: "main".to_owned(),
            }),
            image: Some(ImageSpec {
                image: "demo:1".to_owned(),
            }),
        })
    };
    Ok(ListContainersResponse {
        containers: pods.iter().filter_map(listed).collect(),
    })
}

fn sandboxes(pods: &[Pod], asked: ListRequest) -> Result<ListPodSandboxResponse, Status> {
    let asked = asked.filter.unwrap_or_default().id;
    let listed = |pod: &Pod| ListedPod {
        id: pod.sandbox.clone(),
        metadata: Some(PodSandboxMetadata {
            name: format!("{}-0", pod.namespace),
            uid: pod.uid.to_owned(),
            namespace: pod.namespace.to_owned(),
        }),
        labels: pod
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let found = pods.iter().filter(|pod| pod.sandbox == asked);
    Ok(ListPodSandboxResponse {
        items: found.map(listed).collect(),
    })
}

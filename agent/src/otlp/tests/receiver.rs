//! A collector on loopback, which can be away, slow, or refuse.

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, async_trait};

/// What it does with events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Manner {
    #[default]
    Takes,
    /// All but so many of each message.
    TakesBut(i64),
    Refuses(Code),
    /// Never answers.
    Stalls,
}

/// What it heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) manner: Mutex<Manner>,
    pub(super) events: Mutex<Vec<ExportLogsServiceRequest>>,
    pub(super) metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    /// The headers of the last message.
    pub(super) headers: Mutex<MetadataMap>,
}

/// A collector. Dropped, it is gone, with all its connections.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) heard: Arc<Heard>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// One that listens anywhere.
    pub(super) fn begin() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), None)
    }

    /// One at an address, with the certificate of a folder.
    pub(super) fn at(address: SocketAddr, certificates: Option<&Path>) -> Self {
        let listener = TcpListener::bind(address).expect("an address");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let mut server = Server::builder();
        if let Some(folder) = certificates {
            let read = |name| std::fs::read(folder.join(name)).expect("a certificate");
            let identity = Identity::from_pem(read("controller.pem"), read("controller.key"));
            let tls = ServerTlsConfig::new().identity(identity);
            server = server.tls_config(tls).expect("TLS");
        }
        let heard = Arc::new(Heard::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let own = Arc::clone(&heard);
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let serving = server
                    .add_service(LogsServiceServer::new(Service(Arc::clone(&own))))
                    .add_service(MetricsServiceServer::new(Service(own)))
                    .serve_with_incoming(TcpIncoming::from(listener));
                tokio::select! {
                    served = serving => served.expect("a server"),
                    _ = stopped => {}
                }
            });
        };
        Self {
            address,
            heard,
            stop: Some(stop),
            thread: Some(std::thread::spawn(serve)),
        }
    }

    /// From now on it does this with events.
    pub(super) fn set(&self, manner: Manner) {
        *self.heard.manner.lock().expect("it") = manner;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().expect("a thread").join().expect("it");
    }
}

struct Service(Arc<Heard>);

#[async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let manner = *self.0.manner.lock().expect("it");
        let rejected_log_records = match manner {
            Manner::Takes => 0,
            Manner::TakesBut(few) => few,
            Manner::Refuses(code) => return Err(Status::new(code, "not this")),
            Manner::Stalls => return std::future::pending().await,
        };
        *self.0.headers.lock().expect("it") = request.metadata().clone();
        self.0.events.lock().expect("it").push(request.into_inner());
        let partial_success = Some(ExportLogsPartialSuccess {
            rejected_log_records,
            error_message: "too old".to_owned(),
        });
        Ok(Response::new(ExportLogsServiceResponse { partial_success }))
    }
}

#[async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0
            .metrics
            .lock()
            .expect("it")
            .push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

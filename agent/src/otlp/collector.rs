//! The way to the collector.

use super::event::attribute;
use super::headers::headers;
use super::settings::{OtlpError, Settings, read};
use crate::chain::chain;
use crate::names::Finder;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::error::Error as _;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Request, Response, Status};
use tower::service_fn;

/// What we call ourselves.
const NAME: &str = "interlock";

/// Why the collector did not take something.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error(transparent)]
    Settings(#[from] OtlpError),
    /// In the words of the connection; the status says them all in one, and more.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("it says: {} ({:?})", .0.message(), .0.code())]
    Status(Box<Status>),
    #[error("it did not answer in {0:?}")]
    Silent(Duration),
}

impl From<Status> for SendError {
    fn from(status: Status) -> Self {
        // One that came over the wire has no cause here.
        match status.source() {
            Some(error) => Self::Unreachable(chain(error)),
            None => Self::Status(status.into()),
        }
    }
}

impl SendError {
    /// Whether the same would be refused again, as the protocol has it. A token that is not good may be renewed.
    pub(super) fn is_final(&self) -> bool {
        use Code::{
            Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, PermissionDenied,
            ResourceExhausted, Unauthenticated, Unavailable,
        };
        match self {
            Self::Status(status) => !matches!(
                status.code(),
                Aborted
                    | Cancelled
                    | DataLoss
                    | DeadlineExceeded
                    | OutOfRange
                    | PermissionDenied
                    | ResourceExhausted
                    | Unauthenticated
                    | Unavailable
            ),
            _ => false,
        }
    }
}

/// What was refused of what was taken otherwise: how much, and why.
pub(super) type Refused = Option<(u64, String)>;

/// The collector, as far as it can be reached.
pub(super) struct Collector {
    settings: Settings,
    resource: Resource,
    /// Nothing after something failed: what the files say then is what counts.
    channel: Option<Channel>,
}

impl Collector {
    /// The collector for what happens on a node. What the files say must make sense now.
    pub(super) fn new(settings: Settings, node: &str) -> Result<Self, OtlpError> {
        let collector = Self {
            settings,
            resource: resource(node),
            channel: None,
        };
        collector.endpoint()?;
        collector.request(())?;
        Ok(collector)
    }

    /// Sends log records.
    pub(super) async fn take_records(
        &mut self,
        log_records: Vec<LogRecord>,
    ) -> Result<Refused, SendError> {
        let scope_logs = ScopeLogs {
            scope: Some(scope()),
            log_records,
            ..ScopeLogs::default()
        };
        let resource_logs = ResourceLogs {
            resource: Some(self.resource.clone()),
            scope_logs: vec![scope_logs],
            ..ResourceLogs::default()
        };
        let message = ExportLogsServiceRequest {
            resource_logs: vec![resource_logs],
        };
        let send = async |channel, message| LogsServiceClient::new(channel).export(message).await;
        let answer = self.send(message, send).await?;
        let partly = answer.partial_success;
        Ok(partly.and_then(|part| refused(part.rejected_log_records, part.error_message)))
    }

    /// Sends metrics.
    pub(super) async fn take_metrics(
        &mut self,
        metrics: Vec<Metric>,
    ) -> Result<Refused, SendError> {
        let scope_metrics = ScopeMetrics {
            scope: Some(scope()),
            metrics,
            ..ScopeMetrics::default()
        };
        let resource_metrics = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        };
        let message = ExportMetricsServiceRequest {
            resource_metrics: vec![resource_metrics],
        };
        let send =
            async |channel, message| MetricsServiceClient::new(channel).export(message).await;
        let answer = self.send(message, send).await?;
        let partly = answer.partial_success;
        Ok(partly.and_then(|part| refused(part.rejected_data_points, part.error_message)))
    }

    async fn send<Message, Answer>(
        &mut self,
        message: Message,
        send: impl AsyncFnOnce(Channel, Request<Message>) -> Result<Response<Answer>, Status>,
    ) -> Result<Answer, SendError> {
        let request = self.request(message)?;
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => {
                let finder = self.settings.finder.clone();
                let reach = service_fn(move |uri| reach(finder.clone(), uri));
                self.endpoint()?.connect_with_connector_lazy(reach)
            }
        };
        let patience = self.settings.bounds.patience;
        let sent = timeout(patience, send(channel.clone(), request)).await;
        let answer = sent.map_err(|_| SendError::Silent(patience))??;
        self.channel = Some(channel);
        Ok(answer.into_inner())
    }

    fn request<Message>(&self, message: Message) -> Result<Request<Message>, OtlpError> {
        let mut request = Request::new(message);
        if let Some(path) = &self.settings.headers {
            *request.metadata_mut() = headers(path)?;
        }
        Ok(request)
    }

    fn endpoint(&self) -> Result<Endpoint, OtlpError> {
        let uri = self.settings.uri()?;
        let is_secret = uri.scheme_str() == Some("https");
        let endpoint = Endpoint::from(uri).connect_timeout(self.settings.bounds.patience);
        if !is_secret {
            return Ok(endpoint);
        }
        let path = &self.settings.authorities;
        let pem = read(path)?;
        if CertificateDer::pem_slice_iter(&pem)
            .flatten()
            .next()
            .is_none()
        {
            return Err(OtlpError::NoAuthority(path.clone()));
        }
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint
            .tls_config(tls)
            .map_err(|source| OtlpError::Authorities {
                path: path.clone(),
                source,
            })
    }
}

/// Connects to where an URL says. What is said there the caller knows.
async fn reach(finder: Finder, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    let secret = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secret { 443 } else { 80 });
    let host = uri.host().unwrap_or_default();
    let stream = finder.connect(&format!("{host}:{port}")).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

fn refused(count: i64, why: String) -> Refused {
    let count = u64::try_from(count).unwrap_or(0);
    (count > 0).then_some((count, why))
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Who speaks. A node has one daemon, so its name is the instance's: with another for each start, each would begin
/// new series of every metric.
fn resource(node: &str) -> Resource {
    let pairs = [
        ("service.name", NAME),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", node),
        ("host.name", node),
    ];
    Resource {
        attributes: pairs.map(|(key, value)| attribute(key, value)).to_vec(),
        ..Resource::default()
    }
}

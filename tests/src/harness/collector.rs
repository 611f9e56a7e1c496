//! A collector of OpenTelemetry on this machine.

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, async_trait};

/// Where it listens.
const ADDRESS: &str = "127.0.0.1:4317";
/// What daemons are told.
pub(crate) const URL: &str = "http://127.0.0.1:4317";
/// How long something may take to arrive: two readings of the metrics, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Attributes, as names and texts.
type Said<'a> = &'a [(&'a str, &'a str)];

/// What it heard.
#[derive(Default)]
struct Heard {
    events: Vec<LogRecord>,
    /// Points of sums of whole numbers, each with its metric's name.
    counts: Vec<(String, NumberDataPoint)>,
}

/// The collector. It ends with the test.
#[derive(Clone)]
pub(crate) struct Collector(Arc<Mutex<Heard>>);

impl Collector {
    /// Begins to listen.
    pub(crate) fn begin() -> Result<Self> {
        let collector = Self(Arc::default());
        let (logs, metrics) = (collector.clone(), collector.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let incoming = {
            let _inside = runtime.enter();
            TcpIncoming::bind(ADDRESS.parse()?).context(ADDRESS)?
        };
        let serving = Server::builder()
            .add_service(LogsServiceServer::new(logs))
            .add_service(MetricsServiceServer::new(metrics))
            .serve_with_incoming(incoming);
        thread::spawn(move || runtime.block_on(serving));
        Ok(collector)
    }

    /// Waits for an event of this name of which this is said: its sentence.
    pub(crate) fn hears_event(&self, name: &str, said: Said<'_>) -> Result<String> {
        let find = |heard: &Heard| {
            let mut events = heard.events.iter();
            let event = events.find(|it| it.event_name == name && says(&it.attributes, said))?;
            text(event.body.as_ref()?.value.as_ref()?)
        };
        self.wait(find)
            .with_context(|| format!("no event {name} with {said:?} was heard"))
    }

    /// Waits for a count of this name with these labels, which is not zero: since when it counts, in nanoseconds
    /// since 1970.
    pub(crate) fn hears_count(&self, name: &str, labels: Said<'_>) -> Result<u64> {
        let find = |heard: &Heard| {
            let mut counts = heard.counts.iter().rev();
            let is_it = |point: &NumberDataPoint| says(&point.attributes, labels);
            let (_, point) = counts.find(|(metric, point)| metric == name && is_it(point))?;
            match point.value {
                Some(Value::AsInt(count)) if count > 0 => Some(point.start_time_unix_nano),
                _ => None,
            }
        };
        self.wait(find)
            .with_context(|| format!("no count {name} with {labels:?} was heard"))
    }

    fn wait<Found>(&self, find: impl Fn(&Heard) -> Option<Found>) -> Result<Found> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.heard()) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "not in {PATIENCE:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(value: &Any) -> Option<String> {
    match value {
        Any::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn says(attributes: &[KeyValue], said: Said<'_>) -> bool {
    said.iter().all(|(key, expected)| {
        let found = attributes.iter().find(|pair| pair.key == *key);
        let value = found.and_then(|pair| pair.value.as_ref()?.value.as_ref());
        value.and_then(text).as_deref() == Some(expected)
    })
}

#[async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resources = request.into_inner().resource_logs.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        let records = scopes.flat_map(|scope| scope.log_records);
        self.heard().events.extend(records);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            if let Some(Data::Sum(sum)) = metric.data {
                let points = sum.data_points.into_iter();
                let named = points.map(|point| (metric.name.clone(), point));
                self.heard().counts.extend(named);
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

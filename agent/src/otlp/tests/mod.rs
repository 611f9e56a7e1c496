//! Against a collector on loopback, whose services are those of OpenTelemetry's own contract.

mod receiver;
mod telling;
mod way;

use super::{Bounds, Exporter, OtlpInfo, Settings};
use crate::events::journal::Journal;
use crate::events::line::{Line, Loss};
use crate::health::{Wanted, wishes};
use crate::names::Finder;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use receiver::{Heard, Receiver};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Times and sizes for who has no hour.
fn bounds() -> Bounds {
    Bounds {
        patience: Duration::from_secs(5),
        pauses: (Duration::from_millis(10), Duration::from_millis(50)),
        ..Bounds::default()
    }
}

fn settings(url: String, bounds: Bounds) -> Settings {
    Settings {
        url,
        finder: Finder::Host,
        authorities: PathBuf::new(),
        headers: None,
        bounds,
    }
}

/// Tells a collector, for a daemon that never says its figures.
fn tell(receiver: &Receiver, bounds: Bounds) -> (Exporter, mpsc::Receiver<Wanted>) {
    let settings = settings(format!("http://{}", receiver.address), bounds);
    begin(settings)
}

fn begin(settings: Settings) -> (Exporter, mpsc::Receiver<Wanted>) {
    let (wish, wishes) = wishes();
    let exporter = Exporter::begin(settings, "n1", wish).expect("a thread");
    (exporter, wishes)
}

/// So many lines, numbered from 1, as the journal has them.
fn lines(count: u64) -> Vec<u8> {
    let loss = |events| {
        Line::Loss(Loss {
            time: "2026-03-02T10:00:00Z".into(),
            session: None,
            agent: None,
            events,
            total: events,
        })
    };
    let lines: Vec<_> = (1..=count).map(loss).collect();
    text(&lines)
}

fn text(lines: &[Line]) -> Vec<u8> {
    Journal::nowhere(Path::new("/nowhere")).append(lines).0
}

/// Waits until something is so.
fn until(exporter: &Exporter, what: &str, is_so: impl Fn(&OtlpInfo) -> bool) -> OtlpInfo {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let info = exporter.queue().info();
        if is_so(&info) {
            return info;
        }
        assert!(Instant::now() < deadline, "not {what}: {info:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every log record that was heard, in order.
fn records(heard: &Heard) -> Vec<LogRecord> {
    let events = heard.events.lock().expect("them");
    let resources = events.iter().flat_map(|message| &message.resource_logs);
    let scopes = resources.flat_map(|resource| &resource.scope_logs);
    scopes.flat_map(|scope| scope.log_records.clone()).collect()
}

/// The events' numbers.
fn numbers(heard: &Heard) -> Vec<i64> {
    let number = |record: &LogRecord| match get(&record.attributes, "interlock.number") {
        Some(Any::IntValue(number)) => *number,
        other => panic!("found {other:?}, expected a number"),
    };
    records(heard).iter().map(number).collect()
}

/// An attribute.
fn get<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Any> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

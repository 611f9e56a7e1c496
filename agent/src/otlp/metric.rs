//! Figures as metrics, with the names and labels of `/metrics`.

use super::event::{attribute, nanos};
use crate::health::Reading;
use crate::health::metrics::{Kind, Metric as Described};
use crate::health::reading::{Figure, Sample};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, Sum,
};
use std::time::SystemTime;

/// Of what was read at a moment.
pub(super) fn metrics(reading: &Reading, now: SystemTime) -> Vec<Metric> {
    let families = reading.families();
    families
        .map(|(metric, samples)| Metric {
            name: metric.sample_name(),
            description: format!("{}.", metric.help),
            unit: unit(metric).to_owned(),
            data: Some(data(reading, metric, samples, now)),
            ..Metric::default()
        })
        .collect()
}

fn unit(metric: &Described) -> &'static str {
    match metric.name.ends_with("_seconds") {
        true => "s",
        false => "",
    }
}

fn data(reading: &Reading, metric: &Described, samples: &[Sample], now: SystemTime) -> Data {
    let points = |start: Option<SystemTime>| {
        let point = |sample| point(metric, sample, start.map_or(0, nanos), nanos(now));
        samples.iter().map(point).collect()
    };
    match metric.kind {
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: points(None),
        }),
        Kind::Counter(since) => Data::Sum(Sum {
            data_points: points(reading.starts.of(since)),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
    }
}

fn point(metric: &Described, (labels, figure): &Sample, start: u64, now: u64) -> NumberDataPoint {
    let labels = metric.labels.iter().zip(labels);
    NumberDataPoint {
        attributes: labels.map(|(key, value)| attribute(key, value)).collect(),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(match *figure {
            Figure::Whole(whole) => Value::AsInt(i64::try_from(whole).unwrap_or(i64::MAX)),
            Figure::Part(part) => Value::AsDouble(part),
        }),
        ..NumberDataPoint::default()
    }
}

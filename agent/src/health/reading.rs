//! All figures at one moment, and how they are written down.

use super::metrics::{ALL, Kind, Metric};
use super::starts::Starts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// Counted.
    Whole(u64),
    /// Measured.
    Part(f64),
}

impl From<u64> for Figure {
    fn from(whole: u64) -> Self {
        Self::Whole(whole)
    }
}

impl From<usize> for Figure {
    fn from(whole: usize) -> Self {
        Self::Whole(whole as u64)
    }
}

impl From<bool> for Figure {
    fn from(is_so: bool) -> Self {
        Self::Whole(is_so.into())
    }
}

impl From<Duration> for Figure {
    fn from(time: Duration) -> Self {
        Self::Part(time.as_secs_f64())
    }
}

/// A figure, with a value for each label of its metric.
pub type Sample = (Vec<String>, Figure);

/// All figures at one moment.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Since when its counters count.
    pub starts: Starts,
    samples: BTreeMap<&'static str, Vec<Sample>>,
}

impl Reading {
    /// Nothing yet, of counters that began then.
    pub fn since(starts: Starts) -> Self {
        let samples = BTreeMap::new();
        Self { starts, samples }
    }

    /// Adds one figure of a metric, with a value for each of its labels.
    pub fn add(&mut self, metric: &'static Metric, labels: &[&str], figure: impl Into<Figure>) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let of = self.samples.entry(metric.name).or_default();
        of.push((labels, figure.into()));
    }

    /// Every metric that has a figure, in the order in which they are shown.
    pub fn families(&self) -> impl Iterator<Item = (&'static Metric, &[Sample])> {
        let of =
            |metric: &&'static Metric| Some((*metric, self.samples.get(metric.name)?.as_slice()));
        ALL.iter().filter_map(of)
    }

    /// In the text format of OpenMetrics.
    pub fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("writing to a string");
        text
    }
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in self.families() {
            let kind = match metric.kind {
                Kind::Counter(_) => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let help = format!("{}.", metric.help);
            let mut encoder = encoder.encode_descriptor(metric.name, &help, None, kind)?;
            for (labels, figure) in samples {
                let values = labels.iter().map(String::as_str);
                let labels: Vec<_> = metric.labels.iter().copied().zip(values).collect();
                if labels.is_empty() {
                    sample(&mut encoder, metric.kind, *figure)?;
                } else {
                    let mut one = encoder.encode_family(&labels)?;
                    sample(&mut one, metric.kind, *figure)?;
                }
            }
        }
        Ok(())
    }
}

fn sample(encoder: &mut MetricEncoder<'_>, kind: Kind, figure: Figure) -> fmt::Result {
    match (kind, figure) {
        (Kind::Counter(_), Figure::Whole(whole)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(&whole, None)
        }
        (Kind::Counter(_), Figure::Part(part)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(&part, None)
        }
        (Kind::Gauge, Figure::Whole(whole)) => encoder.encode_gauge(&whole),
        (Kind::Gauge, Figure::Part(part)) => encoder.encode_gauge(&part),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{ACTIONS, CANARY_AGE, DEGRADED, SESSIONS};
    use super::*;

    #[test]
    fn figures_in_the_format_of_open_metrics() {
        let mut reading = Reading::default();
        reading.add(&SESSIONS, &["a\"b"], 2_usize);
        reading.add(&ACTIONS, &["allow"], 7_u64);
        reading.add(&ACTIONS, &["deny"], 3_u64);
        reading.add(&DEGRADED, &[], false);
        reading.add(&CANARY_AGE, &[], Duration::from_millis(1500));
        assert_eq!(
            reading.text(),
            "# HELP interlock_canary_age_seconds How long ago the canary was last denied all that it should be.\n\
             # TYPE interlock_canary_age_seconds gauge\n\
             interlock_canary_age_seconds 1.5\n\
             # HELP interlock_degraded Whether this kernel lets less be enforced, because BPF LSM is missing.\n\
             # TYPE interlock_degraded gauge\n\
             interlock_degraded 0\n\
             # HELP interlock_sessions Sessions in force.\n\
             # TYPE interlock_sessions gauge\n\
             interlock_sessions{agent=\"a\\\"b\"} 2\n\
             # HELP interlock_actions Actions of sessions, by what the kernel decided.\n\
             # TYPE interlock_actions counter\n\
             interlock_actions_total{verdict=\"allow\"} 7\n\
             interlock_actions_total{verdict=\"deny\"} 3\n\
             # EOF\n"
        );
    }
}

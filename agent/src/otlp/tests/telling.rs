//! What is told, and in which words.

use super::receiver::Receiver;
use super::{Bounds, bounds, get, records, tell, text, until};
use crate::events::line::{Canary, Denial, Line, Object, Process, Rule};
use crate::health::metrics::{ACTIONS, CANARY_AGE, DENIALS, PROVEN, SESSIONS};
use crate::health::{Reading, Starts};
use crate::ids::SessionId;
use crate::kernel::pins::Pins;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn process(pid: u32, args: &[&str]) -> Process {
    Process {
        pid,
        exe: Some("/usr/bin/curl".into()),
        comm: "curl".into(),
        args: args.iter().map(|&word| word.to_owned()).collect(),
        args_cut: false,
        started: "2026-03-02T09:59:59Z".into(),
    }
}

fn denial(verdict: &'static str) -> Line {
    Line::Denial(Box::new(Denial {
        time: "2026-03-02T10:00:00.000000007Z".into(),
        boot_ns: 7,
        session: SessionId(0xff),
        agent: Some("ci".into()),
        tid: 10,
        uid: 1000,
        process: process(9, &["curl", "x"]),
        ancestry: vec![process(8, &[])],
        action: "connect",
        object: Object::Endpoint {
            address: "192.0.2.7".into(),
            port: 443,
            protocol: "tcp".into(),
            host: None,
        },
        facts: vec!["pii".into()],
        rule: Some(Rule {
            file: "ci.yaml".into(),
            line: 4,
            text: "deny egress".into(),
            id: None,
            step: None,
        }),
        reason: "rule",
        because: None,
        step: None,
        missing: Vec::new(),
        verdict,
        policy: Some("ab".into()),
        hold: None,
        tool: None,
    }))
}

#[test]
fn an_event_is_a_log_record() {
    let receiver = Receiver::begin();
    let (exporter, _wishes) = tell(&receiver, bounds());
    let before = SystemTime::now();
    exporter.queue().put(&text(&[denial("deny")]));
    until(&exporter, "sent", |info| info.sent == 1);
    let record = records(&receiver.heard).remove(0);
    // 2026-03-02T10:00:00Z.
    assert_eq!(record.time_unix_nano, 1_772_445_600_000_000_007);
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).expect("a time").as_nanos();
    let observed = u128::from(record.observed_time_unix_nano);
    assert!((since(before)..=since(SystemTime::now())).contains(&observed));
    assert_eq!(
        (record.severity_number, record.severity_text.as_str()),
        (13, "WARN")
    );
    assert_eq!(record.event_name, "interlock.denial");
    let body = record.body.as_ref().and_then(|body| body.value.clone());
    let sentence = "denial, agent ci: deny: connect 192.0.2.7:443/tcp (rule, ci.yaml:4)";
    assert_eq!(body, Some(Any::StringValue(sentence.into())));
    let of = |key: &str| get(&record.attributes, key);
    for (key, expected) in [
        ("interlock.session", "00000000000000ff"),
        ("interlock.agent", "ci"),
        ("interlock.verdict", "deny"),
        ("interlock.action", "connect"),
        ("interlock.object.address", "192.0.2.7"),
        ("interlock.rule.file", "ci.yaml"),
        ("interlock.reason", "rule"),
        ("interlock.exe", "/usr/bin/curl"),
        ("interlock.policy", "ab"),
    ] {
        assert_eq!(of(key), Some(&Any::StringValue(expected.into())), "{key}");
    }
    assert_eq!(of("interlock.object.port"), Some(&Any::IntValue(443)));
    assert_eq!(of("interlock.number"), Some(&Any::IntValue(1)));
    for key in ["interlock.because", "interlock.time", "interlock.kind"] {
        assert_eq!(of(key), None, "{key}");
    }
    let Some(Any::ArrayValue(ancestry)) = of("interlock.ancestry") else {
        panic!("found {:?}, expected an array", of("interlock.ancestry"));
    };
    let Some(Any::KvlistValue(parent)) = &ancestry.values[0].value else {
        panic!("found {:?}, expected an ancestor", ancestry.values);
    };
    assert_eq!(get(&parent.values, "pid"), Some(&Any::IntValue(8)));
    let events = receiver.heard.events.lock().expect("them");
    let resource = events[0].resource_logs[0]
        .resource
        .as_ref()
        .expect("who speaks");
    for (key, expected) in [
        ("service.name", "interlock"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", "n1"),
        ("host.name", "n1"),
    ] {
        let found = get(&resource.attributes, key);
        assert_eq!(found, Some(&Any::StringValue(expected.into())), "{key}");
    }
}

#[test]
fn what_should_not_be_is_more_severe_than_what_was_denied() {
    let receiver = Receiver::begin();
    let (exporter, _wishes) = tell(&receiver, bounds());
    let canary = |proven| {
        Line::Canary(Canary {
            time: "2026-03-02T10:00:00Z".into(),
            proven,
            error: None,
        })
    };
    let told = [
        denial("audit"),
        denial("deny"),
        denial("kill"),
        canary(false),
        canary(true),
    ];
    exporter.queue().put(&text(&told));
    until(&exporter, "sent", |info| info.sent == 5);
    let heard = records(&receiver.heard);
    let severities: Vec<_> = heard.iter().map(|it| it.severity_text.as_str()).collect();
    assert_eq!(severities, ["INFO", "WARN", "ERROR", "ERROR", "INFO"]);
}

/// Every sample of what `/metrics` shows, by its name and labels as they are written there.
fn shown(reading: Reading) -> BTreeMap<String, f64> {
    let text = reading.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    samples.collect()
}

/// The same of what was sent.
fn sent(metrics: &[Metric]) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for metric in metrics {
        let points = match metric.data.as_ref().expect("figures") {
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Sum(sum) => &sum.data_points,
            other => panic!("found {other:?}, expected a gauge or a sum"),
        };
        for point in points {
            let labels = point.attributes.iter().map(|pair| {
                let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
                let Some(Any::StringValue(value)) = value else {
                    panic!("found {value:?}, expected a text");
                };
                format!("{}=\"{value}\"", pair.key)
            });
            let labels: Vec<_> = labels.collect();
            let labels = match labels.is_empty() {
                true => String::new(),
                false => format!("{{{}}}", labels.join(",")),
            };
            let value = match point.value.expect("a value") {
                Value::AsInt(whole) => f64::from(u32::try_from(whole).expect("a small number")),
                Value::AsDouble(part) => part,
            };
            samples.insert(format!("{}{labels}", metric.name), value);
        }
    }
    samples
}

#[test]
fn metrics_are_those_that_are_shown() {
    let receiver = Receiver::begin();
    let interval = Duration::from_millis(20);
    let (exporter, mut wishes) = tell(
        &receiver,
        Bounds {
            interval,
            ..bounds()
        },
    );
    // No kernel programs are in force here: since when they count is not known.
    let starts = Starts::read(&Pins::in_preparation(), "none");
    let began = SystemTime::now();
    let mut reading = Reading::since(starts);
    reading.add(&PROVEN, &[], true);
    reading.add(&SESSIONS, &["ci"], 2_usize);
    reading.add(&ACTIONS, &["allow"], 70_u64);
    reading.add(&ACTIONS, &["deny"], 3_u64);
    reading.add(&DENIALS, &["ci", "connect", "deny"], 3_u64);
    reading.add(&CANARY_AGE, &[], Duration::from_millis(1500));
    for _ in 0..2 {
        let wanted = wishes.blocking_recv().expect("somebody who wants it");
        wanted.send(reading.clone()).expect("heard");
    }
    until(&exporter, "connected", |info| info.connected);
    let heard = receiver.heard.metrics.lock().expect("them");
    let metrics = &heard[0].resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(sent(metrics), shown(reading));
    let of = |name: &str| {
        metrics
            .iter()
            .find(|metric| metric.name == name)
            .expect(name)
    };
    let Some(Data::Sum(denials)) = &of("interlock_denials_total").data else {
        panic!("found no sum of denials");
    };
    assert!(denials.is_monotonic);
    let cumulative = AggregationTemporality::Cumulative as i32;
    assert_eq!(denials.aggregation_temporality, cumulative);
    let start = Duration::from_nanos(denials.data_points[0].start_time_unix_nano);
    let started = UNIX_EPOCH + start;
    assert!(began.duration_since(started).expect("earlier") < Duration::from_secs(1));
    let Some(Data::Sum(actions)) = &of("interlock_actions_total").data else {
        panic!("found no sum of actions");
    };
    assert_eq!(actions.data_points[0].start_time_unix_nano, 0);
    assert_eq!(of("interlock_canary_age_seconds").unit, "s");
}

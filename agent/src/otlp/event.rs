//! An event as a log record: its attributes have the names of the event's JSON.

use super::queue::Line;
use crate::show::{events, word};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use serde_json::Value;
use std::time::SystemTime;

/// What all names of ours begin with.
const OURS: &str = "interlock";

/// Of a line of the journal.
pub(super) fn record(line: &Line) -> LogRecord {
    let event: Value = serde_json::from_slice(&line.text).unwrap_or_default();
    let severity = severity(&event);
    let time = word(&event, "time").parse::<jiff::Timestamp>();
    let mut attributes = Vec::new();
    flatten(OURS, &event, &mut attributes);
    LogRecord {
        time_unix_nano: time.map_or(0, |time| nanos(time.into())),
        observed_time_unix_nano: nanos(line.observed),
        severity_number: severity.into(),
        severity_text: text(severity).to_owned(),
        event_name: format!("{OURS}.{}", name(word(&event, "kind"))),
        body: Some(any(Any::StringValue(events::sentence(&event)))),
        attributes,
        ..LogRecord::default()
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// An attribute whose value is a text.
pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    pair(key.to_owned(), Any::StringValue(value.to_owned()))
}

fn pair(key: String, value: Any) -> KeyValue {
    KeyValue {
        key,
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// How much somebody should care: an error is what should not be, or could not be held to anything.
fn severity(event: &Value) -> SeverityNumber {
    use SeverityNumber::{Error, Info, Warn};
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    match (
        word(event, "kind"),
        word(event, "verdict"),
        word(event, "outcome"),
    ) {
        ("denial" | "handoff", "kill", _) | ("released" | "loss" | "garbled", _, _) => Error,
        ("canary", _, _) if event["proven"] != true => Error,
        ("revoked", _, _) if !is_empty(&event["left"]) => Error,
        ("denial" | "handoff", "deny" | "hold", _) | ("revoked" | "notReady", _, _) => Warn,
        ("ended", _, "failed" | "revoked") | ("grant", _, "refused") => Warn,
        _ => Info,
    }
}

fn text(severity: SeverityNumber) -> &'static str {
    match severity {
        SeverityNumber::Error => "ERROR",
        SeverityNumber::Warn => "WARN",
        _ => "INFO",
    }
}

/// What an object says, one attribute each: what is in an object below has both names. What is nothing is left out,
/// and so is what a record says in fields of its own.
fn flatten(prefix: &str, object: &Value, attributes: &mut Vec<KeyValue>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let key = format!("{prefix}.{}", name(key));
        match value {
            _ if key == "interlock.kind" || key == "interlock.time" => {}
            Value::Object(_) => flatten(&key, value, attributes),
            value => attributes.extend(converted(value).map(|value| pair(key, value))),
        }
    }
}

fn converted(value: &Value) -> Option<Any> {
    let whole = |number: &serde_json::Number| number.as_i64().map(Any::IntValue);
    Some(match value {
        Value::Null => return None,
        Value::Bool(is_so) => Any::BoolValue(*is_so),
        // What does not fit stays exact as text.
        Value::Number(number) => {
            whole(number).unwrap_or_else(|| Any::StringValue(number.to_string()))
        }
        Value::String(text) => Any::StringValue(text.clone()),
        Value::Array(list) => {
            let values = list.iter().filter_map(converted).map(any).collect();
            Any::ArrayValue(ArrayValue { values })
        }
        Value::Object(fields) => {
            let pairs = fields.iter();
            let pairs = pairs.filter_map(|(key, value)| Some(pair(name(key), converted(value)?)));
            let values = pairs.collect();
            Any::KvlistValue(KeyValueList { values })
        }
    })
}

/// A name as OpenTelemetry writes names: `peerAgent` is `peer_agent`.
fn name(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

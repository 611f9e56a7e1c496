//! `interlock policy simulate`: recorded events held against a policy.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read;
use crate::cli::Simulate;
use agent_policy::{Explanation, Recorded, simulate};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Simulated {
    agent: String,
    allowed: usize,
    refused: Vec<Refused>,
    skipped: Vec<Skipped>,
    /// Lines of the daemon that are no actions: beginnings and ends of sessions.
    no_actions: usize,
}

/// What would not have been allowed.
#[derive(Serialize)]
struct Refused {
    line: usize,
    #[serde(flatten)]
    explanation: Explanation,
}

/// What could not be tried.
#[derive(Serialize)]
struct Skipped {
    line: usize,
    why: String,
}

/// A line of a recording.
enum Line {
    Action(Recorded),
    NoAction,
    Skipped(String),
}

pub(super) fn run(options: &Simulate) -> Result<Answer, Fault> {
    let file = read::policies(&options.file, &options.reading.profiles)?;
    let (policy, compiled) = file.one(options.agent.as_deref())?;
    let mut simulated = Simulated {
        agent: policy.name.clone(),
        allowed: 0,
        refused: Vec::new(),
        skipped: Vec::new(),
        no_actions: 0,
    };
    let mut events = Vec::new();
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text(options)?.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        match line(options, number, text)? {
            Line::Action(event) => {
                events.push(event);
                lines.push(number);
            }
            Line::NoAction => simulated.no_actions += 1,
            Line::Skipped(why) => simulated.skipped.push(Skipped { line: number, why }),
        }
    }
    let found = simulate(policy, &compiled, &events);
    // Events count from 1.
    let line_of = |event: usize| lines.get(event.wrapping_sub(1)).copied().unwrap_or(0);
    simulated.allowed = found.allowed;
    let refused = found
        .refused
        .into_iter()
        .map(|(event, explanation)| Refused {
            line: line_of(event),
            explanation,
        });
    simulated.refused.extend(refused);
    let skipped = found.skipped.into_iter().map(|(event, why)| Skipped {
        line: line_of(event),
        why,
    });
    simulated.skipped.extend(skipped);
    simulated.skipped.sort_by_key(|skipped| skipped.line);
    let findings = !simulated.refused.is_empty() || !simulated.skipped.is_empty();
    let outcome = Outcome::findings(findings);
    if options.reading.json {
        return Answer::json(&simulated, outcome);
    }
    Ok(Answer::text(in_words(&simulated), outcome))
}

fn text(options: &Simulate) -> Result<String, Fault> {
    let mut text = String::new();
    let outcome = if options.events.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(&options.events)
    };
    outcome.map_err(|source| Fault::Read {
        path: options.events.clone(),
        source,
    })
}

fn line(options: &Simulate, number: usize, text: &str) -> Result<Line, Fault> {
    let wrong = |error: serde_json::Error| {
        Fault::unexpected(
            format!("{}:{number}", options.events.display()),
            format!("no event ({error})"),
            "one JSON object a line with at least \"action\"",
        )
    };
    let value: Value = serde_json::from_str(text).map_err(wrong)?;
    match value.get("kind").and_then(Value::as_str) {
        None => serde_json::from_value(value)
            .map(Line::Action)
            .map_err(wrong),
        Some("denial") => match in_notation(value) {
            Ok(value) => serde_json::from_value(value)
                .map(Line::Action)
                .map_err(wrong),
            Err(why) => Ok(Line::Skipped(why)),
        },
        Some("started" | "ended") => Ok(Line::NoAction),
        Some(other) => Ok(Line::Skipped(format!("a line of kind \"{other}\""))),
    }
}

/// A line of the daemon with its action in the notation of cases. To the rules, sending a datagram
/// is connecting to its address.
fn in_notation(mut value: Value) -> Result<Value, String> {
    let part = |name: &str| value.get("object").and_then(|object| object.get(name));
    let (Some(address), Some(port), Some(protocol)) = (
        part("address").and_then(Value::as_str),
        part("port").and_then(Value::as_u64),
        part("protocol").and_then(Value::as_str),
    ) else {
        return Err("its object is no address and port".to_owned());
    };
    let address = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    let action = format!("connect {address}:{port}/{protocol}");
    value["action"] = Value::String(action);
    Ok(value)
}

fn in_words(simulated: &Simulated) -> String {
    let mut text = String::new();
    for Refused { line, explanation } in &simulated.refused {
        let _ = writeln!(text, "line {line}: {explanation}");
    }
    for Skipped { line, why } in &simulated.skipped {
        let _ = writeln!(text, "line {line} not tried: {why}");
    }
    let _ = write!(
        text,
        "{} allowed, {} not allowed, {} not tried",
        simulated.allowed,
        simulated.refused.len(),
        simulated.skipped.len()
    );
    text
}

//! `interlock policy simulate`: recorded events held against a policy.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read;
use crate::cli::Simulate;
use agent_policy::{Explanation, Recorded, Simulation};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// Bytes of a line. An exec with many arguments fits.
const MAX_LINE: u64 = 65_536;

/// Refusals that are told one by one, and as many lines that could not be tried; of more, how many
/// there are.
const MAX_TOLD: usize = 1_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Simulated {
    agent: String,
    allowed: u64,
    /// How many would not have been allowed, and the first of them.
    not_allowed: u64,
    refused: Vec<Refused>,
    /// How many lines could not be tried, and the first of them.
    not_tried: u64,
    skipped: Vec<Skipped>,
    /// Lines of the daemon that are no actions: beginnings and ends of sessions.
    no_actions: u64,
}

/// What would not have been allowed.
#[derive(Serialize)]
struct Refused {
    line: u64,
    #[serde(flatten)]
    explanation: Explanation,
}

/// What could not be tried.
#[derive(Serialize)]
struct Skipped {
    line: u64,
    why: String,
}

/// A line of a recording.
enum Line {
    Action(Recorded),
    Ended(Option<String>),
    NoAction,
    Skipped(String),
}

impl Simulated {
    fn refuse(&mut self, line: u64, explanation: Explanation) {
        self.not_allowed += 1;
        if self.refused.len() < MAX_TOLD {
            self.refused.push(Refused { line, explanation });
        }
    }

    fn skip(&mut self, line: u64, why: String) {
        self.not_tried += 1;
        if self.skipped.len() < MAX_TOLD {
            self.skipped.push(Skipped { line, why });
        }
    }
}

pub(super) fn run(options: &Simulate) -> Result<Answer, Fault> {
    let file = read::policies(&options.file, &options.reading.profiles)?;
    let (policy, compiled) = file.one(options.agent.as_deref())?;
    let mut simulated = Simulated {
        agent: policy.name.clone(),
        allowed: 0,
        not_allowed: 0,
        refused: Vec::new(),
        not_tried: 0,
        skipped: Vec::new(),
        no_actions: 0,
    };
    let mut simulation = Simulation::new(policy, &compiled);
    let mut events = open(options)?;
    let mut text = Vec::new();
    let mut number = 0;
    while next_line(options, &mut events, &mut text, number + 1)? {
        number += 1;
        if text.trim_ascii().is_empty() {
            continue;
        }
        match line(options, number, &text)? {
            Line::Action(event) => match simulation.hold(&event) {
                Ok(None) => simulated.allowed += 1,
                Ok(Some(explanation)) => simulated.refuse(number, explanation),
                Err(error) => simulated.skip(number, error.to_string()),
            },
            Line::Ended(session) => {
                simulated.no_actions += 1;
                simulation.end(session.as_deref());
            }
            Line::NoAction => simulated.no_actions += 1,
            Line::Skipped(why) => simulated.skip(number, why),
        }
    }
    let findings = simulated.not_allowed + simulated.not_tried > 0;
    let outcome = Outcome::findings(findings);
    if options.reading.json {
        return Answer::json(&simulated, outcome);
    }
    Ok(Answer::text(in_words(&simulated), outcome))
}

fn open(options: &Simulate) -> Result<Box<dyn BufRead>, Fault> {
    if options.events.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(&options.events) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(source) => Err(unreadable(options, source)),
    }
}

fn unreadable(options: &Simulate, source: io::Error) -> Fault {
    Fault::Read {
        path: options.events.clone(),
        source,
    }
}

/// Reads the next line; false where there is none.
fn next_line(
    options: &Simulate,
    events: &mut dyn BufRead,
    text: &mut Vec<u8>,
    number: u64,
) -> Result<bool, Fault> {
    text.clear();
    let read = events.take(MAX_LINE + 1).read_until(b'\n', text);
    let length = read.map_err(|source| unreadable(options, source))? as u64;
    if length > MAX_LINE {
        return Err(Fault::unexpected(
            place(options, number),
            format!("a line of more than {MAX_LINE} bytes"),
            "one event a line",
        ));
    }
    Ok(length > 0)
}

fn place(options: &Simulate, number: u64) -> String {
    format!("{}:{number}", options.events.display())
}

fn line(options: &Simulate, number: u64, text: &[u8]) -> Result<Line, Fault> {
    let wrong = |error: serde_json::Error| {
        Fault::unexpected(
            place(options, number),
            format!("no event ({error})"),
            "one JSON object a line with at least \"action\"",
        )
    };
    let value: Value = serde_json::from_slice(text).map_err(wrong)?;
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
        Some("started") => Ok(Line::NoAction),
        Some("ended") => Ok(Line::Ended(
            value
                .get("session")
                .and_then(Value::as_str)
                .map(str::to_owned),
        )),
        Some(other) => Ok(Line::Skipped(format!("a line of kind \"{other}\""))),
    }
}

/// A line of the daemon with its action in the notation of cases. To the rules, sending a datagram
/// is connecting to its address.
fn in_notation(mut value: Value) -> Result<Value, String> {
    let part = |name: &str| value.get("object").and_then(|object| object.get(name));
    if let Some(privilege) = part("privilege").and_then(Value::as_str) {
        let action = format!("privilege {privilege}");
        value["action"] = Value::String(action);
        return Ok(value);
    }
    let local = ["unix", "handoff"].map(|name| part(name).and_then(Value::as_str));
    let local = match local {
        [Some(socket), _] => Some(format!("connect unix:{socket}")),
        [_, Some(agent)] => Some(format!("connect agent:{agent}")),
        _ => None,
    };
    if let Some(action) = local {
        value["action"] = Value::String(action);
        return Ok(value);
    }
    let (Some(address), Some(port), Some(protocol)) = (
        part("address").and_then(Value::as_str),
        part("port").and_then(Value::as_u64),
        part("protocol").and_then(Value::as_str),
    ) else {
        return Err("its object is no address and port, and no privilege".to_owned());
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
    for (what, all, told) in [
        (
            "not allowed",
            simulated.not_allowed,
            simulated.refused.len(),
        ),
        ("not tried", simulated.not_tried, simulated.skipped.len()),
    ] {
        let more = all - told as u64;
        if more > 0 {
            let _ = writeln!(text, "and {more} more {what}");
        }
    }
    let _ = write!(
        text,
        "{} allowed, {} not allowed, {} not tried",
        simulated.allowed, simulated.not_allowed, simulated.not_tried
    );
    text
}

//! `interlock why`: a denial in sentences.

use super::{object, refused, word};
use crate::cli::Why;
use crate::control::client;
use crate::control::protocol::{Request, Response};
use crate::events::journal::Filter;
use crate::report::ReportError;
use serde_json::Value;
use std::str::FromStr;

/// Of what somebody wants to know why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The last denial of a process.
    Process(u32),
    /// An event.
    Event(u64),
}

/// A text that names neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a process's id such as 1234, or an event's number such as e57")]
pub struct NoWhat;

impl FromStr for What {
    type Err = NoWhat;

    fn from_str(text: &str) -> Result<Self, NoWhat> {
        match text.strip_prefix('e') {
            Some(number) => number.parse().map(Self::Event).map_err(|_| NoWhat),
            None => text.parse().map(Self::Process).map_err(|_| NoWhat),
        }
    }
}

/// Explains. False when there is nothing to explain.
pub fn run(options: &Why) -> Result<bool, ReportError> {
    let filter = match options.what {
        What::Process(pid) => Filter {
            pid: Some(pid),
            newest: true,
            ..Filter::default()
        },
        What::Event(number) => Filter {
            number: Some(number),
            ..Filter::default()
        },
    };
    let Some(line) = newest(options, filter)? else {
        match options.what {
            What::Process(pid) => {
                eprintln!("interlock: no denial of process {pid} is in the journal");
            }
            What::Event(number) => eprintln!("interlock: no event e{number} is in the journal"),
        }
        return Ok(false);
    };
    if options.ask.json {
        println!("{line}");
    } else {
        let event: Value = serde_json::from_str(&line)?;
        println!("{}", explain(&event));
    }
    Ok(true)
}

fn newest(options: &Why, mut filter: Filter) -> Result<Option<String>, ReportError> {
    let mut newest = None;
    loop {
        let request = Request::Events(filter.clone());
        let mut selection = match client::ask(&options.ask.socket, &request)? {
            Response::Events(selection) => selection,
            other => return Err(refused(other)),
        };
        newest = selection.lines.pop().or(newest);
        filter.after = selection.last;
        if !selection.more {
            return Ok(newest);
        }
    }
}

/// An event in sentences.
fn explain(event: &Value) -> String {
    if word(event, "kind") != "denial" {
        return format!(
            "Event e{} is no denial but `{}`: {event}",
            event["number"],
            word(event, "kind")
        );
    }
    let mut lines = vec![
        format!(
            "Process {} ({}) of session {} of agent {} attempted: {} {}.",
            event["pid"],
            event["exe"].as_str().unwrap_or_else(|| word(event, "comm")),
            word(event, "session"),
            word(event, "agent"),
            word(event, "action"),
            object(&event["object"])
        ),
        format!(
            "Verdict: {}, at {} (event e{}).",
            word(event, "verdict"),
            word(event, "time"),
            event["number"]
        ),
    ];
    lines.push(cause(event));
    if let Some(because) = event["because"].as_str() {
        lines.push(format!("The author says: {because}"));
    }
    let facts: Vec<&str> = event["facts"]
        .as_array()
        .map(|facts| facts.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if facts.is_empty() {
        lines.push("No fact held.".to_owned());
    } else {
        lines.push(format!("These facts held: {}.", facts.join(", ")));
    }
    if let Some(ancestry) = event["ancestry"].as_array().filter(|list| !list.is_empty()) {
        let names: Vec<String> = ancestry
            .iter()
            .map(|process| {
                let exe = process["exe"].as_str();
                let name = exe.unwrap_or_else(|| word(process, "comm"));
                format!("{} {name}", process["pid"])
            })
            .collect();
        lines.push(format!("It descends from {}.", names.join(", from ")));
    }
    lines.push(change(event));
    lines.join("\n")
}

/// Who decided, and by what.
fn cause(event: &Value) -> String {
    let rule = &event["rule"];
    let by = if rule.is_object() {
        format!(
            "{}:{}: {}",
            word(rule, "file"),
            rule["line"],
            word(rule, "text")
        )
    } else {
        String::new()
    };
    match (word(event, "reason"), by.is_empty()) {
        ("rule", false) => format!("This rule says so: {by}"),
        ("no rule", _) => {
            "No rule of its policy names it, and what no rule names is denied.".into()
        }
        (reason, false) => format!("A rule speaks of it, but: {reason}. The rule: {by}"),
        (reason, true) => format!("The reason: {reason}."),
    }
}

/// What would change the verdict.
fn change(event: &Value) -> String {
    match word(event, "reason") {
        "rule" => "To allow it, the rule would have to be changed, or a more specific one added that \
                   allows it.",
        "no rule" => "To allow it, the policy would need a rule that names it.",
        "fact missing" => "To allow it, the session must first do what sets the facts that the rule \
                           requires.",
        "fact forbidden" => "To allow it, the session must first do what clears the facts that the \
                             rule forbids.",
        "approval missing" => "To allow it, somebody whom the rule names must approve it.",
        "limit reached" => "To allow it, time must pass, or the limit would have to be raised.",
        "outside hours" => "It is allowed within the rule's hours.",
        "revoked" => "Nothing is allowed to this session any more: its permission has ended. A new \
                      session may do it again.",
        "address family" => "No policy can allow it: this version enforces egress by IPv4 and IPv6 \
                             only.",
        _ => "Something that the decision needs could not be had. `interlock doctor` tells what this \
              kernel lacks.",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_an_event_are_told_apart() {
        assert_eq!("1234".parse(), Ok(What::Process(1234)));
        assert_eq!("e57".parse(), Ok(What::Event(57)));
        for text in ["", "e", "x", "-1", "57e", "4294967296"] {
            assert_eq!(text.parse::<What>(), Err(NoWhat), "{text}");
        }
    }

    #[test]
    fn a_denial_is_explained_in_sentences() {
        let event = serde_json::json!({
            "number": 57, "kind": "denial", "time": "2026-11-21T05:15:31Z", "session": "00ff",
            "agent": "reporter", "pid": 152, "exe": "/usr/bin/curl", "comm": "curl",
            "action": "connect", "reason": "fact missing", "verdict": "deny",
            "object": {"address": "10.4.1.7", "port": 443, "protocol": "tcp"},
            "rule": {"file": "reporter.yaml", "line": 13, "text": "allow egress to 10.4.1.7"},
            "facts": [], "ancestry": [{"pid": 147, "exe": null, "comm": "sh"}],
        });
        assert_eq!(
            explain(&event),
            "Process 152 (/usr/bin/curl) of session 00ff of agent reporter attempted: connect \
             10.4.1.7:443/tcp.\n\
             Verdict: deny, at 2026-11-21T05:15:31Z (event e57).\n\
             A rule speaks of it, but: fact missing. The rule: reporter.yaml:13: allow egress to \
             10.4.1.7\n\
             No fact held.\n\
             It descends from 147 sh.\n\
             To allow it, the session must first do what sets the facts that the rule requires."
        );
    }
}

//! `interlock why`: a denial in sentences.

use super::{command_line, object, refused, word};
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
    if let Some(step) = event["rule"]["step"].as_str() {
        lines.push(format!("It would have performed step {step}."));
    }
    if let Some(step) = event["step"].as_str() {
        lines.push(format!("Of the chain, step {step} was performed last."));
    }
    let facts = texts(&event["facts"]);
    if facts.is_empty() {
        lines.push("No fact held, before and after it.".to_owned());
    } else {
        let facts = facts.join(", ");
        lines.push(format!("These facts held, before and after it: {facts}."));
    }
    let missing = texts(&event["missing"]);
    if !missing.is_empty() {
        lines.push(format!("The rule also requires: {}.", missing.join(", ")));
    }
    lines.push("The process, and those that it descends from:".to_owned());
    lines.push(process(event));
    lines.extend(
        event["ancestry"]
            .as_array()
            .into_iter()
            .flatten()
            .map(process),
    );
    lines.push(change(event));
    lines.join("\n")
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

/// A process in a line.
fn process(process: &Value) -> String {
    let started = word(process, "started");
    let exe = process["exe"].as_str();
    let name = exe.unwrap_or_else(|| word(process, "comm"));
    format!(
        "{:>9}  {}Z  {name}  {}",
        process["pid"].to_string(),
        started.get(..19).unwrap_or(started),
        command_line(process)
    )
    .trim_end()
    .to_owned()
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
        "approval refused" => "A person said no to exactly this. That stands for a minute; then it can be asked \
                               again.",
        "approval pending" => "A person is asked: `interlock holds`. It could not wait for the answer, and can be \
                               tried again after it.",
        "no answer in time" => "A person was asked, and nobody answered. In a minute it can be asked again.",
        "too many open questions" => "To be asked, it must wait until others of the session are answered.",
        "privilege missing" => "To allow it, the policy would have to name the privilege, or one of its tools would.",
        "limit reached" => "To allow it, time must pass, or the rate would have to be raised.",
        "budget spent" => "To allow it, the budget would have to be raised, or a new session begun.",
        "outside hours" => "It is allowed within the rule's hours.",
        "revoked" => "Nothing is allowed to this session any more: its permission has ended. A new \
                      session may do it again.",
        "address family" => "No policy can allow it: no rule can speak of where it leads.",
        "protected" => "No policy can allow it: it is the enforcer's own.",
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
            "because": "Read the ledger first.", "missing": ["ledger-read"], "step": "open",
            "started": "2026-11-21T05:15:30Z", "args": ["curl", "--data", "it's"],
            "facts": [], "ancestry": [
                {"pid": 147, "exe": null, "comm": "sh", "started": "2026-11-21T05:15:29.1Z"},
                {"pid": 1, "exe": "/init", "comm": "x", "started": "2026-11-21T05:15:00Z",
                 "args": ["/init", "x".repeat(100)], "argsCut": true},
            ],
        });
        assert_eq!(
            explain(&event),
            "Process 152 (/usr/bin/curl) of session 00ff of agent reporter attempted: connect \
             10.4.1.7:443/tcp.\n\
             Verdict: deny, at 2026-11-21T05:15:31Z (event e57).\n\
             A rule speaks of it, but: fact missing. The rule: reporter.yaml:13: allow egress to \
             10.4.1.7\n\
             The author says: Read the ledger first.\n\
             Of the chain, step open was performed last.\n\
             No fact held, before and after it.\n\
             The rule also requires: ledger-read.\n\
             The process, and those that it descends from:\n      \
             152  2026-11-21T05:15:30Z  /usr/bin/curl  curl --data 'it'\\''s'\n      \
             147  2026-11-21T05:15:29Z  sh\n        \
             1  2026-11-21T05:15:00Z  /init  /init xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
             xxxxxxxxxxxxxxxxxxxxxxxxxxxx…\n\
             To allow it, the session must first do what sets the facts that the rule requires."
        );
    }
}

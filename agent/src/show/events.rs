//! `interlock events`: the newest events, as a table or as they are.

use super::{object, refused, word};
use crate::cli::Events;
use crate::control::client;
use crate::control::protocol::{Request, Response};
use crate::events::journal::Filter;
use crate::report::ReportError;
use serde_json::Value;
use std::time::Duration;

/// How often the daemon is asked for what is new.
const PAUSE: Duration = Duration::from_millis(500);

/// Prints events, until they end or for ever.
pub fn run(options: &Events) -> Result<(), ReportError> {
    let mut filter = Filter {
        since: options.since.map(moment),
        agent: options.agent.clone(),
        verdict: options.verdict.clone(),
        ..Filter::default()
    };
    if !options.ask.json {
        println!(
            "{:>7}  {:<20}  {:<16}  {:<8}  {:<7}  WHAT",
            "EVENT", "TIME", "AGENT", "KIND", "PID"
        );
    }
    loop {
        let request = Request::Events(filter.clone());
        let selection = match client::ask(&options.ask.socket, &request)? {
            Response::Events(selection) => selection,
            other => return Err(refused(other)),
        };
        for line in &selection.lines {
            if options.ask.json {
                println!("{line}");
            } else {
                let event: Value = serde_json::from_str(line)?;
                println!("{}", row(&event));
            }
        }
        filter.after = selection.last;
        if !selection.more {
            if !options.follow {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn row(event: &Value) -> String {
    let time = word(event, "time");
    let time = time.get(..19).unwrap_or(time);
    let pid = event["pid"]
        .as_u64()
        .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    format!(
        "{:>7}  {time}Z  {:<16}  {:<8}  {pid:<7}  {}",
        format!("e{}", event["number"]),
        word(event, "agent"),
        word(event, "kind"),
        what(event)
    )
}

/// An event in a sentence, for who sees no table.
pub(crate) fn sentence(event: &Value) -> String {
    let (kind, what) = (word(event, "kind"), what(event));
    match event["agent"].as_str() {
        Some(agent) => format!("{kind}, agent {agent}: {what}"),
        None => format!("{kind}: {what}"),
    }
}

fn what(event: &Value) -> String {
    match word(event, "kind") {
        "denial" => format!(
            "{}: {} {} ({}{})",
            word(event, "verdict"),
            word(event, "action"),
            object(&event["object"]),
            word(event, "reason"),
            place(&event["rule"])
        ),
        "revoked" => format!(
            "{}, {} killed, {} left",
            word(event, "cause"),
            event["killed"],
            event["left"].as_array().map_or(0, Vec::len)
        ),
        "handoff" => format!(
            "{}: {} {} {}",
            word(event, "verdict"),
            word(event, "action"),
            word(event, "direction"),
            word(event, "peerAgent"),
        ),
        "ended" => format!("{}, {}", word(event, "outcome"), word(event, "cause")),
        "canary" if event["proven"] == true => "enforcement is proven again".to_owned(),
        "canary" => format!("NOT READY: {}", word(event, "error")),
        "loss" => format!("{} events were lost", event["events"]),
        "garbled" => word(event, "error").to_owned(),
        _ => word(event, "session").to_owned(),
    }
}

/// Where a rule stands, if one spoke.
fn place(rule: &Value) -> String {
    match rule["file"].as_str() {
        Some(file) => format!(", {file}:{}", rule["line"]),
        None => String::new(),
    }
}

/// The moment that lies so far back.
fn moment(back: Duration) -> String {
    let now = jiff::Timestamp::now();
    let back = jiff::SignedDuration::try_from(back).unwrap_or(jiff::SignedDuration::MAX);
    now.checked_sub(back)
        .unwrap_or(jiff::Timestamp::MIN)
        .to_string()
}

/// Reads a span of time as the policy language writes it.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("found {text:?}, expected a time such as 30s, 10m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_span("10m"), Ok(Duration::from_secs(600)));
        for text in ["", "m", "10", "-1s", "1w", "10é", "99999999999999999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_denial_fits_a_row() {
        let event = serde_json::json!({
            "number": 57, "kind": "denial", "time": "2026-11-21T05:15:31.86649195Z",
            "agent": "demo", "pid": 152, "action": "send", "reason": "no rule", "verdict": "deny",
            "object": {"address": "127.0.0.1", "port": 7, "protocol": "udp"},
            "rule": null,
        });
        assert_eq!(
            row(&event),
            "    e57  2026-11-21T05:15:31Z  demo              denial    152      \
             deny: send 127.0.0.1:7/udp (no rule)"
        );
    }
}

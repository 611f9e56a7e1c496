//! What people are shown of sessions, one file a verb.

pub mod conns;
pub mod events;
pub mod holds;
pub mod ps;
pub mod revoke;
pub mod why;

use crate::control::protocol::Response;
use crate::report::ReportError;

/// What the daemon said instead of an answer.
fn refused(response: Response) -> ReportError {
    ReportError::Refused(match response {
        Response::Error(error) => error,
        other => format!("{other:?}"),
    })
}

/// What an event says of something, or a dash.
pub(crate) fn word<'a>(event: &'a serde_json::Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or("-")
}

/// Characters of a command line that fit into a sentence.
const WORDS: usize = 80;

/// The words of a command line, as a person would type them, as far as they fit.
fn command_line(process: &serde_json::Value) -> String {
    let args = process["args"].as_array().map_or(&[][..], Vec::as_slice);
    let plain = |word: &str| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
        !word.is_empty() && word.chars().all(plain)
    };
    let words = args.iter().filter_map(|word| word.as_str());
    let words = words.map(|word| match plain(word) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None if process["argsCut"] == true => format!("{line}…"),
        None => line,
    }
}

/// What an action was attempted on, in a few words.
pub(crate) fn object(object: &serde_json::Value) -> String {
    if let Some(address) = object["address"].as_str() {
        let port = &object["port"];
        let protocol = word(object, "protocol");
        let place = if address.contains(':') {
            format!("[{address}]:{port}/{protocol}")
        } else {
            format!("{address}:{port}/{protocol}")
        };
        return match object["host"].as_str() {
            Some(host) => format!("{place} ({host})"),
            None => place,
        };
    }
    if let Some(host) = object["host"].as_str() {
        return format!("{host} ({})", word(object, "records"));
    }
    if let Some(socket) = object["unix"].as_str() {
        return format!("unix:{socket}");
    }
    if object.get("handoff").is_some() {
        return format!("agent:{}", word(object, "handoff"));
    }
    if let Some(privilege) = object["privilege"].as_str() {
        return match object["target"].as_u64() {
            Some(pid) => format!("{privilege} (process {pid})"),
            None => privilege.to_owned(),
        };
    }
    if let Some(family) = object["family"].as_u64() {
        return match object["name"].as_str() {
            Some("unix") => "a Unix socket".to_owned(),
            Some(name) => format!("a {name} socket"),
            None => format!("address family {family}"),
        };
    }
    object.to_string()
}

//! What people are shown of sessions, one file a verb.

pub mod events;
pub mod ps;
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
fn word<'a>(event: &'a serde_json::Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or("-")
}

/// What an action was attempted on, in a few words.
fn object(object: &serde_json::Value) -> String {
    if let Some(address) = object["address"].as_str() {
        let port = &object["port"];
        let protocol = word(object, "protocol");
        return if address.contains(':') {
            format!("[{address}]:{port}/{protocol}")
        } else {
            format!("{address}:{port}/{protocol}")
        };
    }
    if let Some(privilege) = object["privilege"].as_str() {
        return match object["target"].as_u64() {
            Some(pid) => format!("{privilege} (process {pid})"),
            None => privilege.to_owned(),
        };
    }
    if let Some(family) = object["family"].as_u64() {
        return format!("address family {family}");
    }
    object.to_string()
}

//! `interlock conns`: the connections of sessions.

use super::refused;
use crate::cli::Conns;
use crate::control::client;
use crate::control::protocol::{ConnectionInfo, Request, Response};
use crate::report::{ReportError, print_json};

/// Prints the connections.
pub fn run(options: &Conns) -> Result<(), ReportError> {
    let connections = match client::ask(&options.ask.socket, &Request::Connections)? {
        Response::Connections(connections) => connections,
        other => return Err(refused(other)),
    };
    let wanted = |one: &ConnectionInfo| options.session.is_none_or(|id| id == one.session);
    let mut connections: Vec<_> = connections.into_iter().filter(wanted).collect();
    connections.sort_by_key(|one| (one.session, one.remote, one.local));
    if options.ask.json {
        return print_json(&connections);
    }
    if connections.is_empty() {
        println!("no connections");
    }
    let mut session = None;
    for one in &connections {
        if session.replace(one.session) != Some(one.session) {
            let agent = one.agent.as_deref().unwrap_or("?");
            println!("session {} of {agent}", one.session);
            println!(
                "  {:<24} {:<24} {:<22} {:>12} {:>12}  {:<12} STEP",
                "LOCAL", "REMOTE", "STATE", "SENT", "RECEIVED", "TOOL"
            );
        }
        let mut state = one.state.clone();
        for (note, is_so) in [(" (left)", !one.held), (" (diverted)", one.diverted)] {
            if is_so {
                state += note;
            }
        }
        println!(
            "  {:<24} {:<24} {:<22} {:>12} {:>12}  {:<12} {}",
            one.local.to_string(),
            one.remote.to_string(),
            state,
            one.sent,
            one.received,
            one.tool.as_deref().unwrap_or("-"),
            one.step.as_deref().unwrap_or("-")
        );
    }
    Ok(())
}

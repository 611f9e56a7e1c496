//! `interlock revoke`: ends one session, or all, and shows the proof.

use super::refused;
use crate::cli;
use crate::control::client;
use crate::control::protocol::{Request, Response, Revoke, Revoked};
use crate::ids::SessionId;
use crate::report::{ReportError, print_json};
use std::path::Path;
use std::time::Duration;

/// Obeys. True when nothing is left.
pub fn run(options: cli::Revoke) -> Result<bool, ReportError> {
    let (socket, json, reason) = (&options.ask.socket, options.ask.json, options.reason);
    let Some(session) = options.session else {
        return all(socket, json, reason.as_ref());
    };
    let revoked = one(socket, session, reason)?;
    if json {
        print_json(&revoked)?;
    } else {
        print(&revoked);
    }
    Ok(revoked.is_over())
}

/// How long an end may take. The daemon tells after eight seconds what is left; where a session keeps
/// every processor busy it may come late to that.
const PATIENCE: Duration = Duration::from_secs(60);

fn one(socket: &Path, session: SessionId, reason: Option<String>) -> Result<Revoked, ReportError> {
    let order = Revoke { session, reason };
    match client::ask_within(PATIENCE, socket, &Request::Revoke(order))? {
        Response::Revoked(revoked) => Ok(revoked),
        other => Err(refused(other)),
    }
}

/// Ends every session. All are denied everything before the first is waited for.
fn all(socket: &Path, json: bool, reason: Option<&String>) -> Result<bool, ReportError> {
    let order = Request::RevokeAll {
        reason: reason.cloned(),
    };
    let sessions = match client::ask_within(PATIENCE, socket, &order)? {
        Response::Revoking(sessions) => sessions,
        other => return Err(refused(other)),
    };
    let count = sessions.len();
    eprintln!("{count} sessions: everything is denied to them");
    let mut ends = Vec::new();
    let mut over = true;
    for (number, session) in (1..).zip(sessions) {
        // One that cannot be ended must not keep the others from being waited for.
        match one(socket, session, reason.cloned()) {
            Ok(revoked) => {
                over &= revoked.is_over();
                if !json {
                    println!("{}", summary(number, count, &revoked));
                }
                ends.push(revoked);
            }
            Err(error) => {
                over = false;
                eprintln!("{number} of {count}: session {session} STILL RUNS, PERHAPS: {error}");
            }
        }
    }
    if json {
        print_json(&ends)?;
    } else if over {
        println!("nothing is left");
    } else {
        println!("SOMETHING IS LEFT: the daemon goes on trying");
    }
    Ok(over)
}

/// An end in one line.
fn summary(number: usize, count: usize, revoked: &Revoked) -> String {
    let (session, agent) = (revoked.session, &revoked.agent);
    let done = format!("killed {}, cut {}", revoked.killed, revoked.cut);
    match revoked.empty_after_us {
        Some(us) if revoked.left.is_empty() => format!(
            "{number} of {count}: session {session} of {agent}: empty after {}; {done}",
            milliseconds(us)
        ),
        _ => format!(
            "{number} of {count}: session {session} of {agent}: NOT EMPTY, {} left; {done}",
            revoked.left.len()
        ),
    }
}

fn print(revoked: &Revoked) {
    println!("session      {} of {}", revoked.session, revoked.agent);
    println!("cause        {}", revoked.cause);
    if let Some(us) = revoked.denied_after_us {
        println!("denied after {}", milliseconds(us));
    }
    if let Some(time) = &revoked.last_action {
        println!("last action  {time}");
    }
    if let Some(time) = &revoked.revoked_at {
        println!("revoked at   {time}");
    }
    match revoked.first_denial_after_us {
        Some(us) => println!("first denial {} afterwards", milliseconds(us)),
        None => println!("first denial none: nothing was attempted"),
    }
    match revoked.cut_after_us {
        Some(us) => println!("cut          {}, after {}", revoked.cut, milliseconds(us)),
        None => println!("cut          {}", revoked.cut),
    }
    if let Some(us) = revoked.killed_after_us {
        println!("killed after {}", milliseconds(us));
    }
    match revoked.empty_after_us {
        Some(us) => println!(
            "empty after  {}, proven by {} looks",
            milliseconds(us),
            revoked.looks
        ),
        None => println!("empty        NOT YET: the daemon goes on trying"),
    }
    println!("killed       {}", revoked.killed);
    for left in &revoked.left {
        println!("left         {} ({}): {}", left.pid, left.comm, left.why);
    }
    for left in &revoked.not_cut {
        match (left.local, left.remote) {
            (Some(local), Some(remote)) => {
                println!("not cut      {local} to {remote}, silent: {}", left.why);
            }
            _ => println!("not cut      perhaps all, silent: {}", left.why),
        }
    }
}

/// A time for people.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn milliseconds(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1000.0)
}

//! What a process does for one action of a case, and what the kernel is asked meanwhile.

use super::script::Side;
use super::stage::{self, Stage};
use agent_common::egress::UDP;
use agent_common::path::Access;
use agent_policy::{Action, Outcome};
use anyhow::Result;

/// An action as a process does it.
#[derive(Debug)]
pub(super) struct Step {
    /// The order that the actor gets.
    pub(super) order: String,
    /// What the kernel is asked, one after the other, until something is not allowed.
    pub(super) asked: Vec<Action>,
}

impl Step {
    /// How an action is done, or why it cannot be.
    pub(super) fn of(action: &Action, side: &Side) -> Result<Self, &'static str> {
        let file = |verb: &str, path: &str| format!("file {verb} {path}");
        let mut asked = vec![action.clone()];
        let order = match action {
            Action::Connect(endpoint) => {
                let way = if endpoint.protocol == UDP {
                    "udp"
                } else {
                    "tcp"
                };
                format!("way {way} {}", stage::address(endpoint))
            }
            Action::Listen(endpoint) => {
                let kind = if endpoint.protocol == UDP { 2 } else { 1 };
                format!("listen {kind} {}", stage::address(endpoint))
            }
            Action::Host { .. } => return Err("a name leads nowhere before it was looked up"),
            Action::Agent(_) => return Err("the peer of a handoff is not played"),
            Action::Privilege(_) => return Err("the tests of privileges do this"),
            Action::File { path, access } => match access {
                Access::Read => file("read", path),
                Access::Write => file("write", path),
                // Not `open`, which asks whether the file may be written as well.
                Access::Create => file("make", path),
                Access::Delete => file("unlink", path),
                // To its own name: both names are asked for.
                Access::Rename => {
                    asked.push(action.clone());
                    file("rename", &format!("{path} {path}"))
                }
                Access::Link => {
                    let other = format!("{path}.link");
                    asked.push(Action::File {
                        path: other.clone(),
                        access: Access::Create,
                    });
                    file("link", &format!("{path} {other}"))
                }
                // What is mapped is open.
                Access::Map => {
                    let path = path.clone();
                    asked.insert(
                        0,
                        Action::File {
                            path,
                            access: Access::Read,
                        },
                    );
                    file("map", action_path(action))
                }
                Access::Connect => format!("unix {path}"),
                Access::Exec => return Err("programs are executed by `exec`"),
            },
            Action::Exec {
                path, arguments, ..
            } => {
                let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
                asked = vec![side.exec(path, &words)];
                let rest = words.get(1..).unwrap_or_default().join(" ");
                format!("execute execve {path} {rest}")
            }
        };
        Ok(Self { order, asked })
    }

    /// The order for the exec that begins a tool, which goes on to do what it is told.
    pub(super) fn begin(tool: &str, path: &str, arguments: &[String]) -> String {
        let rest = arguments.get(1..).unwrap_or_default().join(" ");
        format!("start {tool} {path} {rest}")
    }

    /// Makes what the action needs in the machine.
    pub(super) fn prepare(&self, stage: &mut Stage) -> Result<()> {
        for action in &self.asked {
            match action {
                Action::Connect(endpoint) => drop(stage.server(endpoint)?),
                Action::File {
                    path,
                    access: Access::Connect,
                } => stage.listener(path)?,
                Action::File {
                    path,
                    access: Access::Create,
                } => stage.room(path)?,
                Action::File { path, .. } => stage.file(path)?,
                Action::Exec { path, .. } => stage.program(path)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn action_path(action: &Action) -> &str {
    match action {
        Action::File { path, .. } | Action::Exec { path, .. } => path,
        _ => "",
    }
}

/// What an event says of an action: its word and where it went.
pub(super) fn told_as(action: &Action) -> (&'static str, String) {
    let path = action_path(action).to_owned();
    match action {
        Action::Connect(endpoint) if endpoint.protocol == UDP => {
            ("send", stage::address(endpoint).to_string())
        }
        Action::Connect(endpoint) => ("connect", stage::address(endpoint).to_string()),
        Action::File { access, .. } => match access {
            Access::Read => ("read", path),
            Access::Write => ("write", path),
            Access::Create => ("create", path),
            Access::Delete => ("delete", path),
            Access::Rename => ("rename", path),
            Access::Link => ("link", path),
            Access::Map => ("map", path),
            Access::Exec => ("exec", path),
            Access::Connect => ("connect", path),
        },
        Action::Exec { .. } => ("exec", path),
        Action::Listen(endpoint) => ("listen", stage::address(endpoint).to_string()),
        Action::Host { .. } | Action::Agent(_) | Action::Privilege(_) => ("", path),
    }
}

/// A decision in the words of an event: verdict, reason, and the place of the rule.
pub(super) type Told = (String, String, Option<(String, u32)>);

/// What `policy test` says, in the words of an event.
pub(super) fn said(side: &Side, outcome: &Outcome) -> Told {
    let decision = outcome.decision;
    (
        decision.verdict.to_string(),
        decision.reason.to_string(),
        side.place(decision.number),
    )
}

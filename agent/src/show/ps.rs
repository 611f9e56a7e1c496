//! `interlock ps`: the processes of sessions, as trees.

use super::refused;
use crate::cli::Ps;
use crate::control::client;
use crate::control::protocol::{ProcessInfo, Request, Response, SessionInfo};
use crate::events::process::readable;
use crate::report::ReportError;
use serde::Serialize;
use std::collections::BTreeSet;

/// A process with what this side can learn of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    process: ProcessInfo,
    /// Its program, if it could be learned.
    exe: Option<String>,
    /// Its arguments, the program's name first. A process can change what is shown here.
    args: Vec<String>,
    /// How deep it lies in its session's tree.
    depth: usize,
}

/// Prints the processes.
pub fn run(options: &Ps) -> Result<(), ReportError> {
    let processes = match client::ask(&options.ask.socket, &Request::Processes)? {
        Response::Processes(processes) => processes,
        other => return Err(refused(other)),
    };
    let wanted = |process: &ProcessInfo| {
        options
            .session
            .is_none_or(|session| session == process.session)
    };
    let wanted: Vec<_> = processes.into_iter().filter(wanted).collect();
    let shown = trees(&wanted);
    if options.ask.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    let sessions = match client::ask(&options.ask.socket, &Request::Sessions)? {
        Response::Sessions(sessions) => sessions,
        other => return Err(refused(other)),
    };
    let mut session = None;
    for one in &shown {
        let process = &one.process;
        if session.replace(process.session) != Some(process.session) {
            let agent = process.agent.as_deref().unwrap_or("?");
            println!("session {} of {agent}", process.session);
            let own = sessions.iter().find(|it| it.session == process.session);
            for line in own.into_iter().flat_map(SessionInfo::whereabouts) {
                println!("{line}");
            }
            println!("{:>7}  {:>3}  {:<20}  PROGRAM", "PID", "THR", "STARTED");
        }
        let words = if one.args.is_empty() {
            format!("[{}]", process.comm)
        } else {
            one.args.join(" ")
        };
        let started = process.started.get(..19).unwrap_or(&process.started);
        println!(
            "{:>7}  {:>3}  {started}Z  {}{words}",
            process.pid,
            process.threads,
            "  ".repeat(one.depth)
        );
    }
    if shown.is_empty() {
        println!("no processes");
    }
    Ok(())
}

/// Puts every process behind its parent, sessions one after the other.
fn trees(processes: &[ProcessInfo]) -> Vec<Shown> {
    let known: BTreeSet<_> = processes
        .iter()
        .map(|process| (process.session, process.pid))
        .collect();
    let sessions: BTreeSet<_> = known.iter().map(|(session, _)| *session).collect();
    let mut shown = Vec::new();
    for session in sessions {
        let (mut roots, mut others): (Vec<_>, Vec<_>) = processes
            .iter()
            .filter(|process| process.session == session)
            .partition(|process| !known.contains(&(session, process.parent)));
        roots.sort_by_key(|process| std::cmp::Reverse(process.start_ns));
        others.sort_by_key(|process| std::cmp::Reverse(process.start_ns));
        let mut open: Vec<(usize, &ProcessInfo)> =
            roots.into_iter().map(|root| (0, root)).collect();
        while let Some((depth, process)) = open.pop() {
            let (children, rest) = others
                .into_iter()
                .partition(|other| other.parent == process.pid);
            others = rest;
            open.extend(
                children
                    .into_iter()
                    .map(|child: &ProcessInfo| (depth + 1, child)),
            );
            shown.push(look(process.clone(), depth));
        }
    }
    shown
}

/// Adds what /proc tells, if the process is still the one that is meant.
fn look(process: ProcessInfo, depth: usize) -> Shown {
    use std::os::unix::ffi::OsStrExt;
    let ticks = process.start_ns / (1_000_000_000 / procfs::ticks_per_second());
    let found = i32::try_from(process.pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .filter(|found| found.stat().is_ok_and(|stat| stat.starttime == ticks));
    let exe = found
        .as_ref()
        .and_then(|found| found.exe().ok())
        .map(|path| readable(path.as_os_str().as_bytes()));
    let args = found
        .and_then(|found| found.cmdline().ok())
        .unwrap_or_default();
    Shown {
        process,
        exe,
        args: args.iter().map(|arg| readable(arg.as_bytes())).collect(),
        depth,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;

    #[test]
    fn children_stand_behind_their_parents() {
        let process = |session, pid, parent| ProcessInfo {
            session: SessionId(session),
            agent: None,
            pid,
            parent,
            started: String::new(),
            start_ns: u64::from(pid),
            comm: String::new(),
            threads: 1,
        };
        let shown = trees(&[
            process(2, 900, 1),
            process(1, 803, 801),
            process(1, 802, 801),
            process(1, 801, 700),
            process(1, 804, 802),
            // Its parent is gone.
            process(1, 805, 1),
        ]);
        let order: Vec<_> = shown
            .iter()
            .map(|one| (one.process.pid, one.depth))
            .collect();
        assert_eq!(
            order,
            [(801, 0), (802, 1), (804, 2), (803, 1), (805, 0), (900, 0)]
        );
    }
}

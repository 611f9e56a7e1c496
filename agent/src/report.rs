//! Answers of the daemon, for people.

use crate::central::ControllerInfo;
use crate::control::client::{self, AskError};
use crate::control::protocol::{EvidenceInfo, Request, Response, SessionInfo, Status};
use crate::kernel::loader::Mode;
use crate::kubernetes::KubernetesInfo;
use crate::otlp::OtlpInfo;
use serde::Serialize;
use std::path::Path;

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The daemon cannot be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The daemon says no.
    #[error("the daemon says: {0}")]
    Refused(String),
    /// The answer cannot be written as JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

/// Prints the daemon's state. True when enforcement is in force and whole, and sessions are
/// recognised wherever they should be.
pub fn status(socket: &Path, json: bool) -> Result<bool, ReportError> {
    let status = match client::ask(socket, &Request::Status)? {
        Response::Status(status) => status,
        other => return Err(refused(other)),
    };
    if json {
        print_json(&status)?;
    } else {
        print_status(&status);
    }
    Ok(status.is_whole())
}

/// Prints the sessions.
pub fn sessions(socket: &Path, json: bool) -> Result<(), ReportError> {
    let sessions = match client::ask(socket, &Request::Sessions)? {
        Response::Sessions(sessions) => sessions,
        other => return Err(refused(other)),
    };
    if json {
        return print_json(&sessions);
    }
    if sessions.is_empty() {
        println!("no sessions");
    } else {
        println!(
            "{:<16}  {:<24}  {:>6}  {:<24}  POLICY",
            "SESSION", "AGENT", "TASKS", "FACTS"
        );
    }
    for info in &sessions {
        let SessionInfo {
            session,
            agent,
            file,
            policy,
            facts,
            tasks,
            ..
        } = info;
        let digest = policy.get(..12).unwrap_or(policy);
        let facts = match facts.join(" ") {
            none if none.is_empty() => "-".to_owned(),
            facts => facts,
        };
        println!("{session}  {agent:<24}  {tasks:>6}  {facts:<24}  {digest}  {file}");
        for line in info.whereabouts() {
            println!("                  {line}");
        }
    }
    Ok(())
}

fn print_status(status: &Status) {
    match &status.enforcement {
        Mode::Full => println!("enforcement  in force"),
        Mode::Degraded(reason) => println!("enforcement  DEGRADED: {reason}"),
    }
    if let Some(why) = &status.not_proven {
        println!("NOT READY    no session is started: {why}");
    }
    println!("version      {}", status.version);
    match status.programs.reason() {
        None => println!("programs     {}", status.programs.build),
        Some(reason) => println!(
            "programs     DEGRADED: those of another build, {}, are in force: {reason}",
            status.programs.build
        ),
    }
    if !status.missing.is_empty() {
        println!("not attached {}", status.missing.join(", "));
    }
    println!("sessions     {}", status.sessions);
    println!("allowed      {}", status.allowed);
    println!(
        "denied       {} (of these in doubt {})",
        status.denied, status.doubts
    );
    println!("forks failed {}", status.labels_refused);
    println!("events lost  {}", status.events_lost);
    for (program, count) in &status.skipped {
        println!("skipped      {program}, {count} times: see docs/operations.md");
    }
    println!("probes       {}", status.probes);
    println!("not ready    {}", status.not_ready);
    if let Some(kubernetes) = &status.kubernetes {
        print_kubernetes(kubernetes);
    }
    if let Some(controller) = &status.controller {
        print_controller(controller);
    }
    print_evidence(&status.evidence);
    if let Some(otlp) = &status.otlp {
        print_otlp(otlp);
    }
    print_ways(status);
    print_policies(status);
    for hook in &status.hooks_missing {
        println!("not here     {hook}: see `interlock doctor`");
    }
}

fn print_kubernetes(kubernetes: &KubernetesInfo) {
    let KubernetesInfo {
        server,
        node,
        heard,
        errors,
        leads,
    } = kubernetes;
    let leads = if *leads { ", counts for all nodes" } else { "" };
    match heard {
        Some(heard) => println!("Kubernetes   {server} as {node}, heard since {heard}{leads}"),
        None => {
            println!("Kubernetes   {server} as {node}: NOT HEARD yet: what was known before holds");
        }
    }
    for (wanted, error) in errors {
        println!("             {wanted}: {error}");
    }
}

fn print_controller(controller: &ControllerInfo) {
    let ControllerInfo {
        address,
        node,
        since,
        error,
        ..
    } = controller;
    match (controller.connected, error) {
        (true, _) => println!("controller   {address} as {node}, connected since {since}"),
        (false, Some(error)) => {
            println!("controller   {address}: NOT CONNECTED since {since}: {error}");
        }
        (false, None) => println!("controller   {address}: not connected yet"),
    }
    println!(
        "             directive {}; records waiting {}, countersigned up to {}",
        controller.epoch, controller.waiting, controller.countersigned
    );
    if let Some(forked) = &controller.forked {
        println!("FORKED       the controller takes no records of this node: {forked}");
    }
    if let Some(why) = &controller.held_up {
        println!("HELD UP      records wait here, orders still come: {why}");
    }
    if let Some(why) = &controller.unsaved {
        println!("NOT KEPT     what it said last holds until this daemon ends: {why}");
    }
    for barred in &controller.barred {
        println!("BARRED       {barred}");
    }
    if let Some(warning) = &controller.warning {
        println!("WARNING      {warning}");
    }
}

fn print_evidence(evidence: &EvidenceInfo) {
    println!(
        "evidence     up to record {} in {}; waiting {}, lost {}",
        evidence.recorded,
        evidence.folder.display(),
        evidence.waiting,
        evidence.lost
    );
    if let Some(why) = &evidence.degraded {
        println!("DEGRADED     evidence: {why}");
    }
    for repaired in &evidence.repaired {
        println!("REPAIRED     evidence: {repaired}");
    }
}

fn print_otlp(otlp: &OtlpInfo) {
    let OtlpInfo { url, since, .. } = otlp;
    let error = otlp.error.as_ref().map(|error| format!(": {error}"));
    let error = error.unwrap_or_default();
    match (otlp.connected, error.is_empty()) {
        (true, _) => println!("collector    {url}, connected since {since}{error}"),
        (false, true) => println!("collector    {url}: not connected yet"),
        (false, false) => println!("collector    {url}: NOT CONNECTED since {since}{error}"),
    }
    println!(
        "             events sent {}, waiting {}, lost {}",
        otlp.sent, otlp.waiting, otlp.lost
    );
}

fn print_ways(status: &Status) {
    for way in &status.ways {
        let (agent, by) = (&way.agent, &way.recognised);
        match (&way.error, way.ready) {
            (Some(error), _) => println!("NOT IN FORCE {agent} by {by}: {error}"),
            (None, 0) => println!("NONE READY   {agent} by {by}: who comes now is denied"),
            (None, ready) => println!("recognised   {agent} by {by}: {ready} lie ready"),
        }
        if let Some(last) = &way.last_not_ready {
            println!(
                "             none lay ready {} times, last {last}",
                way.not_ready
            );
        }
    }
}

fn print_policies(status: &Status) {
    for policy in &status.policies {
        let digest = policy.policy.get(..12).unwrap_or(&policy.policy);
        println!(
            "policy       {} generation {} since {}: {digest} {}",
            policy.agent, policy.generation, policy.since, policy.file
        );
        println!(
            "             on change {}; sessions {}, under earlier versions {}{}",
            policy.on_change,
            policy.sessions,
            policy.sessions_before,
            if policy.rejected {
                "; A NEWER VERSION WAS REJECTED"
            } else {
                ""
            }
        );
    }
    for rejected in &status.rejected {
        println!("REJECTED     {} since {}", rejected.file, rejected.since);
        for line in rejected.error.lines() {
            println!("             {line}");
        }
    }
}

pub(crate) fn print_json(value: &impl Serialize) -> Result<(), ReportError> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn refused(response: Response) -> ReportError {
    ReportError::Refused(match response {
        Response::Error(error) => error,
        other => format!("{other:?}"),
    })
}

//! An empty field, a missing one, an unknown one (red team T7): none is read as permission.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{ALLOWED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::session::{Place, own_program};
use anyhow::{Result, ensure};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.t7.empty",
            "an empty or missing list of rules denies everything that it could allow",
            empty,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.t7.unknown",
            "an unknown word, a value that is none and a field without one start no session",
            unknown,
        ),
    ]
}

/// What a policy could say of files and programs to allow all.
const FILES: &str = "  files:\n    allow:\n      - {access: [read, map], paths: [\"/**\"]}\n";
const EXEC: &str = "  exec:\n    allow:\n      - {programs: [\"/**\"]}\n";

fn empty() -> Result<()> {
    Daemon::shared()?;
    let to = at(ALLOWED4, PORT)?;
    let egress = format!(
        "  egress:\n    allow:\n      - {{to: [{}], ports: [{PORT}]}}\n",
        to.ip()
    );
    let bare = |name: &str, spec: &str| {
        Policy::named(name)
            .without_files()
            .without_exec()
            .with(&spec.replace("ALL_EGRESS\n", &egress))
    };
    let probe = ["way", "udp", &to.to_string()].map(str::to_owned);
    let probe: Vec<&str> = probe.iter().map(String::as_str).collect();
    // The control: with all three it goes.
    let policy = bare("t7-control", &format!("ALL_EGRESS\n{FILES}{EXEC}"));
    let answer = Place::Inside(&policy).act(&probe)?;
    ensure!(answer == "ok", "the control: {answer}");
    for spec in [
        "  egress: {}\n",
        "  egress: {allow: []}\n",
        "  egress: {deny: [{to: [192.0.2.1]}]}\n",
        "  egress: {allow: [], deny: [], kill: []}\n",
    ] {
        let policy = bare("t7-egress", &format!("{spec}{FILES}{EXEC}"));
        let events = Events::from_now()?;
        let answer = Place::Inside(&policy).act(&probe)?;
        ensure!(answer == "EPERM", "{spec:?}: {answer}, expected EPERM");
        let told = events.wait("t7-egress", 1)?;
        ensure!(told[0].reason == "no rule", "{spec:?}: {told:?}");
    }
    for (spec, actions) in [
        (EXEC.to_owned(), &["read", "map"][..]),
        (format!("{EXEC}  files: {{}}\n"), &["read", "map"]),
        (format!("{EXEC}  files: {{allow: []}}\n"), &["read", "map"]),
        (FILES.to_owned(), &["exec"]),
        (format!("{FILES}  exec: {{}}\n"), &["exec"]),
        (format!("{FILES}  exec: {{allow: []}}\n"), &["exec"]),
        (String::new(), &["exec"]),
    ] {
        let policy = bare("t7-rest", &format!("ALL_EGRESS\n{spec}"));
        let events = Events::from_now()?;
        let output = Place::Inside(&policy).run(&["/usr/bin/true"])?;
        ensure!(!output.status.success(), "{spec:?}: a program ran");
        let told = events.wait("t7-rest", 1)?;
        ensure!(
            actions.contains(&told[0].action.as_str()) && told[0].reason == "no rule",
            "{spec:?}: {told:?}"
        );
    }
    Ok(())
}

fn unknown() -> Result<()> {
    Daemon::shared()?;
    let own = own_program()?;
    for spec in [
        "  egress: {alow: [{to: [10.0.0.0/8]}]}\n",
        "  egress: {allow: }\n",
        "  egress: {allow: [{}]}\n",
        "  egress: {allow: [{to: []}]}\n",
        "  egress: {allow: [{to: [10.0.0.0/8], ports: []}]}\n",
        "  egress: {allow: [{to: [10.0.0.0/8], protocol: any}]}\n",
        "  egress: {allow: [{to: [\"*\"]}]}\n",
        "  egress: {allow: [{to: [10.0.0.0/8], requires: []}]}\n",
        "  egress: null\n",
        "  exec: {allow: [{programs: []}]}\n",
        "  exec: {allow: [{args: [{is: x}]}]}\n",
        "  files: {allow: [{paths: [\"/**\"]}]}\n",
        "  files: {allow: [{access: [], paths: [\"/**\"]}]}\n",
        "  files: {allow: [{access: [all], paths: [\"/**\"]}]}\n",
        "  privileges: [all]\n",
        "  privileges: \n",
        "  mode: off\n",
        "  mode: \n",
        "  unknown: {}\n",
    ] {
        let policy = Policy::named("t7-unknown").with(spec);
        let output = Place::Inside(&policy).run(&[own.as_str(), "act", "exit", "0"])?;
        ensure!(
            output.status.code() == Some(2),
            "{spec:?}, expected exit code 2: {}",
            said(&output)
        );
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            why.contains("error") && why.contains("expected"),
            "{spec:?}: no word on what is wrong: {why}"
        );
    }
    let policy = Policy::named("t7-known");
    let output = Place::Inside(&policy).run(&[own.as_str(), "act", "exit", "0"])?;
    ensure!(output.status.success(), "the control: {}", said(&output));
    println!("HELD refused");
    Ok(())
}

//! The report for people.

use super::check::{Check, Group, State, Weight};
use super::verdict::Report;
use std::fmt::Write as _;

pub(super) fn of(report: &Report) -> String {
    let mut out = String::new();
    write(&mut out, report).expect("writing to a string cannot fail");
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "interlock {} on kernel {}",
        report.interlock, report.kernel
    )?;
    for (group, title) in [
        (Group::Host, "Host"),
        (Group::Map, "Maps, by creating one"),
        (
            Group::Program,
            "Programs, by loading and attaching one that changes nothing",
        ),
        (
            Group::Privilege,
            "Privileges: what a session may not do unless its policy names it",
        ),
    ] {
        let mut checks = report
            .checks
            .iter()
            .filter(|check| check.group == group)
            .peekable();
        if checks.peek().is_some() {
            writeln!(out, "\n{title}")?;
        }
        for check in checks {
            let mark = mark(check);
            writeln!(out, "  {mark:<8} {:<29} {}", check.id, check.purpose)?;
            if check.state != State::Ok || check.found != "tried" {
                writeln!(out, "{:>12}{}", "", check.found)?;
            }
        }
    }
    section(out, "What that means", report, |check| {
        check.without.as_deref()
    })?;
    section(out, "How to change it", report, |check| {
        check.remedy.as_deref()
    })?;
    writeln!(out, "\nNot enforced by this version, on any kernel")?;
    for entry in report.not_enforced {
        writeln!(out, "  - {entry}")?;
    }
    writeln!(out, "\n{}", report.summary)
}

fn mark(check: &Check) -> &'static str {
    match (check.state, check.weight) {
        (State::Ok, _) => "ok",
        (State::Unknown, _) => "unknown",
        (State::Missing, Weight::Informing | Weight::InPlaceOfLsm) => "absent",
        (State::Missing, _) => "MISSING",
    }
}

/// What several checks share is said once.
fn section<'a>(
    out: &mut String,
    title: &str,
    report: &'a Report,
    text: impl Fn(&'a Check) -> Option<&'a str>,
) -> std::fmt::Result {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in &report.checks {
        if let Some(line) = text(check) {
            match said.iter_mut().find(|(other, _)| *other == line) {
                Some((_, ids)) => ids.push(&check.id),
                None => said.push((line, vec![&check.id])),
            }
        }
    }
    if !said.is_empty() {
        writeln!(out, "\n{title}")?;
    }
    for (line, ids) in said {
        writeln!(out, "  {}\n      {line}", ids.join(", "))?;
    }
    Ok(())
}

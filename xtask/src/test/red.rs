//! `cargo xtask test red --report`: the red team's catalogue by kernel, from tests that have just
//! run. A row says what its tests have shown, and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::report::Tally;
use crate::workspace;

/// What every test of the catalogue is called like.
pub(super) const FILTER: &str = "red.";

const PAGE: &str = "docs/redteam.md";
const JSON: &str = "target/redteam.json";

/// The rows that this piece of work is held to, each with its technique. Rows that have tests beside
/// these are shown as well.
const ROWS: &[(&str, &str)] = &[
    (
        "X1",
        "another name or a copy of a program; a program of its own",
    ),
    ("X2", "the loader run as a program"),
    ("X3", "memory, deleted and nameless files executed"),
    ("X4", "scripts, interpreters, shells"),
    ("X5", "anonymous executable memory"),
    (
        "X6",
        "into processes outside: ptrace, process_vm, /proc/PID/mem",
    ),
    ("X7", "others run it: systemd, cron, D-Bus"),
    ("X8", "container runtimes' sockets"),
    ("X9", "BASH_ENV, LD_PRELOAD"),
    ("X10", "a trusted file that was absent"),
    (
        "X11",
        "core_pattern, modprobe and other knobs of the kernel",
    ),
    ("X12", "other entries into the kernel: i386, x32"),
    ("F1", "symbolic links, x/../y"),
    ("F2", "hard links"),
    ("F3", "user namespaces, bind mounts, chroot, pivot_root"),
    ("F4", "open_tree(CLONE)"),
    ("F5", "open_by_handle_at"),
    ("F6", "paths too long or too deep"),
    ("F7", "names that are no text"),
    ("F8", "what is mapped; descriptors opened before"),
    ("F9", "rename of a parent, attributes"),
    ("F10", "overlay and tmpfs"),
    ("F11", "arguments changed after the check"),
    ("F12", "/proc/PID of others"),
    ("P1", "forks that race the label"),
    ("P2", "other cgroups"),
    ("P3", "other namespaces"),
    ("P4", "a pid that is given again"),
    ("P5", "processes that ran before"),
    ("P6", "a fork bomb against the end of a session"),
    ("T1", "signals to the daemon, and to others"),
    ("T2", "bpf(), bpffs, the pins"),
    ("T3", "a kernel without bpf among its LSMs"),
    ("T7", "an empty or missing field read as permission"),
    ("E2", "full maps"),
    ("E3", "the clock set"),
];

/// What one test has shown on one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    test: String,
    kernel: String,
    /// `blocked`, `killed`, `not possible` or `FAILED`.
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    technique: Option<&'static str>,
    shown: Vec<Shown>,
}

/// Writes the page, and the same as JSON if that is wanted.
pub(super) fn write(tallies: &[Tally], json: bool) -> Result<()> {
    let rows = rows(tallies);
    if rows.iter().all(|row| row.shown.is_empty()) {
        bail!("no test of the red team ran");
    }
    let places: Vec<&str> = tallies.iter().map(|tally| tally.place.as_str()).collect();
    put(PAGE, &page(&rows, &places))?;
    if json {
        put(JSON, &(serde_json::to_string_pretty(&rows)? + "\n"))?;
    }
    Ok(())
}

fn put(path: &str, text: &str) -> Result<()> {
    let path = workspace::root().join(path);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written: {}", workspace::shown(&path));
    Ok(())
}

fn rows(tallies: &[Tally]) -> Vec<Row> {
    let mut by_id: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
    let mut add = |name: &str, kernel: &str, outcome: &str, why: Option<&str>| {
        let Some(id) = name
            .strip_prefix(FILTER)
            .and_then(|rest| rest.split('.').next())
        else {
            return;
        };
        by_id.entry(id.to_uppercase()).or_default().push(Shown {
            test: name.to_owned(),
            kernel: kernel.to_owned(),
            outcome: outcome.to_owned(),
            why: why.map(str::to_owned),
        });
    };
    for tally in tallies {
        for (name, how) in &tally.held {
            add(name, &tally.place, how, None);
        }
        for (name, why) in &tally.skipped {
            add(name, &tally.place, "not possible", Some(why));
        }
        for name in &tally.failed {
            add(name, &tally.place, "FAILED", None);
        }
    }
    let mut rows: Vec<Row> = ROWS
        .iter()
        .map(|(id, technique)| Row {
            id: (*id).to_owned(),
            technique: Some(technique),
            shown: by_id.remove(*id).unwrap_or_default(),
        })
        .collect();
    rows.extend(by_id.into_iter().map(|(id, shown)| Row {
        id,
        technique: None,
        shown,
    }));
    rows
}

fn page(rows: &[Row], places: &[&str]) -> String {
    let mut text = String::from(
        "# The red team's catalogue, by kernel\n\n\
         Written by `cargo xtask test red --report` from the tests whose names begin with `red.`; do not edit. Behind each\n\
         word stands how many tests of the row came out so. *Blocked*: the attempt failed before it took effect. *Killed*: the\n\
         processes that attempted it were killed. *Not possible*: the kernel cannot do it, or the test does not run there; the\n\
         reasons stand below. *Observed only* would be a row that is told and not prevented; no test may pass that way.\n\n",
    );
    let mut reasons: Vec<&str> = Vec::new();
    let heads: Vec<&str> = places
        .iter()
        .map(|place| place.strip_prefix("kernel ").unwrap_or(place))
        .collect();
    line(
        &mut text,
        &format!("| | technique | {} |", heads.join(" | ")),
    );
    line(
        &mut text,
        &format!("|---|---|{}", "---|".repeat(places.len())),
    );
    for row in rows {
        let cells: Vec<String> = places
            .iter()
            .map(|place| cell(row, place, &mut reasons))
            .collect();
        line(
            &mut text,
            &format!(
                "| {} | {} | {} |",
                row.id,
                row.technique.unwrap_or(""),
                cells.join(" | ")
            ),
        );
    }
    if !reasons.is_empty() {
        text.push('\n');
        for (number, reason) in reasons.iter().enumerate() {
            line(&mut text, &format!("{}. {reason}", number + 1));
        }
    }
    text
}

/// What a row's tests have shown on one kernel. Reasons get numbers.
fn cell<'a>(row: &'a Row, place: &str, reasons: &mut Vec<&'a str>) -> String {
    let shown: Vec<&Shown> = row.shown.iter().filter(|one| one.kernel == place).collect();
    if shown.is_empty() {
        return "no test".to_owned();
    }
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    for one in shown {
        let mut word = one.outcome.clone();
        if let Some(why) = &one.why {
            let number = reasons.iter().position(|reason| reason == why);
            let number = number.unwrap_or_else(|| {
                reasons.push(why);
                reasons.len() - 1
            });
            word = format!("{word} ({})", number + 1);
        }
        *counted.entry(word).or_default() += 1;
    }
    let words = counted
        .iter()
        .map(|(word, count)| format!("{word} {count}"));
    words.collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, what: &str) {
    writeln!(text, "{what}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::super::report::Line;
    use super::*;

    fn tally(place: &str, lines: &[&str]) -> Tally {
        let mut tally = Tally::new(place);
        for text in lines {
            tally.count(&Line::parse(text));
        }
        tally
    }

    #[test]
    fn a_row_says_what_its_tests_have_shown_on_each_kernel() {
        let tallies = [
            tally(
                "kernel 6.1",
                &[
                    "HELD red.x1.alias blocked",
                    "TEST red.x1.alias ok",
                    "HELD red.x1.own killed",
                    "TEST red.n1.openat FAILED",
                    "TEST chain.once ok",
                ],
            ),
            tally("kernel 7.x", &["TEST red.x1.alias skipped: no cat here"]),
        ];
        let rows = rows(&tallies);
        let page = page(&rows, &["kernel 6.1", "kernel 7.x"]);
        for expected in [
            "| X1 | another name or a copy of a program; a program of its own | blocked 1, killed 1 | not possible (1) 1 |",
            "| X2 | the loader run as a program | no test | no test |",
            "| N1 |  | FAILED 1 | no test |",
            "1. no cat here",
        ] {
            assert!(page.lines().any(|line| line == expected), "{page}");
        }
    }
}

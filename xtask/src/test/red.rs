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

/// The rows each of which has a test, with its technique.
const ROWS: &[(&str, &str)] = &[
    (
        "X1",
        "another name or a copy of a program; a program of its own",
    ),
    ("X2", "the loader run as a program"),
    ("X3", "memory, deleted and nameless files executed"),
    ("X4", "scripts, interpreters, shells, registered formats"),
    ("X5", "memory that becomes code"),
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
    (
        "T4",
        "policy reloads under load (here 60, 1,000 in the long tests)",
    ),
    ("T6", "a session that asks the daemon, or changes its files"),
    ("T7", "an empty or missing field read as permission"),
    ("T8", "precedence of rules"),
    ("E1", "a flood of events that hides a denial"),
    ("E2", "full maps"),
    ("E3", "the clock set, and a clock that jumps"),
    ("N1", "io_uring in place of system calls"),
    ("N2", "MSG_FASTOPEN connects without connect"),
    ("N3", "unconnected UDP, sendmmsg"),
    ("N4", "AF_UNSPEC; an IPv6 socket with an IPv4 address"),
    ("N5", "IPv6, v4-mapped and NAT64 addresses"),
    ("N6", "MPTCP, SCTP, UDP-Lite"),
    ("N7", "raw, packet, vsock, netlink and AF_ALG sockets"),
    ("N8", "tunnels through DNS"),
    ("N9", "shared addresses, another site there, DoH"),
    ("N10", "names and addresses spelled in other ways"),
    ("N11", "relays on loopback, the metadata service"),
    (
        "N12",
        "connections from before the policy, and from before a step",
    ),
    ("N13", "connected sockets handed over"),
    ("N14", "the address changed after the check"),
    ("A1", "the agent approves itself, or replays an approval"),
    ("A2", "approve one thing, run another"),
    ("A3", "arguments rewritten while held"),
];

/// The rows that are not or not wholly shown yet.
const LATER: &[(&str, &str)] = &[("T5", "kill -9 in a loop, upgrade")];

/// What one test has shown on one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    test: String,
    kernel: String,
    /// `blocked`, `killed`, `refused`, `not held`, `not possible` or `FAILED`.
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    technique: &'static str,
    /// Whether it is to be shown, but for what its tests show, later.
    is_later: bool,
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
            let (how, why) = match how.split_once(": ") {
                Some((how, why)) => (how, Some(why)),
                None => (how.as_str(), None),
            };
            add(name, &tally.place, how, why);
        }
        for (name, why) in &tally.skipped {
            add(name, &tally.place, "not possible", Some(why));
        }
        for name in &tally.failed {
            add(name, &tally.place, "FAILED", None);
        }
    }
    let row = |is_later: bool| {
        move |(id, technique): &(&'static str, &'static str)| Row {
            id: (*id).to_owned(),
            technique,
            is_later,
            shown: Vec::new(),
        }
    };
    let mut rows: Vec<Row> = ROWS
        .iter()
        .map(row(false))
        .chain(LATER.iter().map(row(true)))
        .collect();
    for row in &mut rows {
        row.shown = by_id.remove(&row.id).unwrap_or_default();
    }
    // A test of a row that the catalogue has not.
    rows.extend(by_id.into_iter().map(|(id, shown)| Row {
        id,
        technique: "",
        is_later: false,
        shown,
    }));
    rows
}

fn page(rows: &[Row], places: &[&str]) -> String {
    let mut text = String::from(
        "# The red team's catalogue, by kernel\n\n\
         Written by `cargo xtask test red --report` from the tests whose names begin with `red.`; do not edit. Behind each\n\
         word stands how many tests of the row came out so; each has a control that shows the attempt at work where no policy\n\
         forbids it. *Blocked*: the attempt failed before it took effect, and was told. *Killed*: the processes that attempted\n\
         it were killed. *Refused*: a policy, a request or a kernel was turned down, and the answer says why. *Observed only*:\n\
         told and not prevented. *Not held*: neither; the note says what is open. *Not possible*: the kernel cannot do it, or\n\
         has no hook there. *Not yet*: not shown by a test of this page so far.\n\n",
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
            &format!("| {} | {} | {} |", row.id, row.technique, cells.join(" | ")),
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
    // How many there are of each outcome, and the notes to them.
    let mut counted: BTreeMap<&str, (u32, Vec<usize>)> = BTreeMap::new();
    for one in shown {
        let (count, notes) = counted.entry(&one.outcome).or_default();
        *count += 1;
        if let Some(why) = &one.why {
            let known = reasons.iter().position(|reason| reason == why);
            let number = known.unwrap_or_else(|| {
                reasons.push(why);
                reasons.len() - 1
            });
            if !notes.contains(&(number + 1)) {
                notes.push(number + 1);
            }
        }
    }
    let mut words: Vec<String> = counted
        .iter()
        .map(|(outcome, (count, notes))| {
            let notes: Vec<String> = notes.iter().map(usize::to_string).collect();
            match notes.as_slice() {
                [] => format!("{outcome} {count}"),
                notes => format!("{outcome} {count} (note {})", notes.join(", ")),
            }
        })
        .collect();
    match (row.is_later, words.is_empty()) {
        (true, true) => words.push("not yet".to_owned()),
        (true, false) => words.push("the rest not yet".to_owned()),
        (false, true) => words.push("no test".to_owned()),
        (false, false) => {}
    }
    words.join(", ")
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
                    "HELD red.x5.open not held: a heap",
                    "TEST red.x5.open ok",
                    "TEST red.n1.openat FAILED",
                    "TEST chain.once ok",
                ],
            ),
            tally("kernel 7.x", &["TEST red.x1.alias skipped: no cat here"]),
        ];
        let rows = rows(&tallies);
        let page = page(&rows, &["kernel 6.1", "kernel 7.x"]);
        for expected in [
            "| X1 | another name or a copy of a program; a program of its own | blocked 1, killed 1 | not possible 1 (note 1) |",
            "| X2 | the loader run as a program | no test | no test |",
            "| X5 | memory that becomes code | not held 1 (note 2) | no test |",
            "| N1 | io_uring in place of system calls | FAILED 1 | no test |",
            "| A1 | the agent approves itself, or replays an approval | no test | no test |",
            "1. no cat here",
            "2. a heap",
        ] {
            assert!(page.lines().any(|line| line == expected), "{page}");
        }
    }
}

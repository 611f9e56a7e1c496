//! Figures as a person reads them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Row, goal};

/// The figures of system calls, a line for each operation and situation, with the goals that they
/// meet or miss; and how many are missed.
pub(super) fn calls(rows: &[Row]) -> (String, usize) {
    let mut text = String::new();
    let mut missed = 0;
    for kernel in distinct(rows, "kernel") {
        let here = rows
            .iter()
            .filter(|row| shown(row.get("kernel")) == kernel && row.contains_key("relative"))
            .collect::<Vec<_>>();
        let heading = [
            "operation",
            "where",
            "rules",
            "daemon",
            "instructions",
            "without",
            "ratio",
            "goal",
            "to 1 rule",
            "",
        ];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for op in distinct(here.iter().copied(), "op") {
            for row in here.iter().filter(|row| shown(row.get("op")) == op) {
                let Some(judged) = goal::judge(row, &here) else {
                    continue;
                };
                missed += usize::from(judged.met == Some(false));
                let ratio = |ratio: Option<f64>, digits: usize| {
                    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.digits$}"))
                };
                let cell = |name: &str| shown(row.get(name));
                lines.push(vec![
                    op.clone(),
                    cell("label"),
                    cell("rules"),
                    cell("daemon"),
                    whole(row.get("instructions")),
                    whole(row.get("without")),
                    ratio(row.get("relative").and_then(Value::as_f64), 3),
                    ratio(judged.goal, 2),
                    ratio(judged.growth, 3),
                    match judged.met {
                        Some(true) => "met".to_owned(),
                        Some(false) => "MISSED".to_owned(),
                        None => String::new(),
                    },
                ]);
            }
        }
        let _ = writeln!(
            text,
            "{kernel}: instructions an operation; goal: ratio to the same without Interlock, and at \
             most {:.2} to 1 rule",
            goal::GROWTH
        );
        text.push_str(&aligned(&lines));
        text.push('\n');
    }
    (text, missed)
}

fn whole(value: Option<&Value>) -> String {
    value
        .and_then(Value::as_f64)
        .map_or("-".to_owned(), |value| format!("{value:.0}"))
}

/// What maps take, in KiB: a line for each map, a column for each number of sessions.
pub(super) fn memory(rows: &[Row]) -> String {
    let mut text = String::new();
    for kernel in distinct(rows, "kernel") {
        let here = rows
            .iter()
            .filter(|row| shown(row.get("kernel")) == kernel)
            .collect::<Vec<_>>();
        let numbers = distinct(here.iter().copied(), "sessions");
        let heading = numbers.iter().map(|number| format!("{number} sessions"));
        let mut lines = vec![
            [format!("KiB on {kernel}")]
                .into_iter()
                .chain(heading)
                .collect::<Vec<_>>(),
        ];
        for map in distinct(here.iter().copied(), "map") {
            let size = |number: &String| {
                here.iter()
                    .find(|row| {
                        shown(row.get("map")) == map && shown(row.get("sessions")) == *number
                    })
                    .and_then(|row| Some(row.get("bytes")?.as_u64()?.div_ceil(1024).to_string()))
                    .unwrap_or_else(|| "-".to_owned())
            };
            let sizes = numbers.iter().map(size).collect::<Vec<_>>();
            lines.push([map].into_iter().chain(sizes).collect());
        }
        text.push_str(&aligned(&lines));
        text.push('\n');
    }
    text
}

/// Any figures: a line for each row, the columns in the order of what names the row.
pub(super) fn plain(rows: &[Row]) -> String {
    let mut columns = ["kernel", "program", "kind", "hook"]
        .into_iter()
        .filter(|name| rows.iter().any(|row| row.contains_key(*name)))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    for name in rows.iter().flat_map(Row::keys) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    let mut lines = vec![columns.clone()];
    for row in rows {
        lines.push(columns.iter().map(|name| shown(row.get(name))).collect());
    }
    aligned(&lines)
}

/// The distribution of each figure of revocations under load, by kernel, in milliseconds.
pub(super) fn revoke(rows: &[Row]) -> String {
    distributions(
        rows,
        &["first denial", "last byte", "cut", "empty"],
        "revocations",
    )
}

/// The same of holds, and what many at once cost.
pub(super) fn hold(rows: &[Row]) -> String {
    let (each, many): (Vec<Row>, Vec<Row>) = rows
        .iter()
        .cloned()
        .partition(|row| row.contains_key("run"));
    let figures = ["hold to event", "answer to continuation"];
    distributions(&each, &figures, "holds") + &plain(&many)
}

fn distributions(rows: &[Row], figures: &[&str], of: &str) -> String {
    let mut text = String::new();
    for kernel in distinct(rows, "kernel") {
        let here = || rows.iter().filter(|row| shown(row.get("kernel")) == kernel);
        let heading = ["", "least", "median", "90 of 100", "99 of 100", "most"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for figure in figures {
            let mut all: Vec<u64> = here()
                .filter_map(|row| row.get(*figure)?.as_u64())
                .collect();
            all.sort_unstable();
            let Some(last) = all.len().checked_sub(1) else {
                continue;
            };
            let at = |percent: usize| {
                let us = all.get(last * percent / 100).copied().unwrap_or(0);
                format!("{}.{}", us / 1000, us % 1000 / 100)
            };
            let cells = [0, 50, 90, 99, 100].map(at);
            lines.push([(*figure).to_owned()].into_iter().chain(cells).collect());
        }
        let count = here().count();
        text.push_str(&format!("{count} {of} on {kernel}, milliseconds\n"));
        text.push_str(&aligned(&lines));
    }
    text
}

fn distinct<'a>(rows: impl IntoIterator<Item = &'a Row>, column: &str) -> Vec<String> {
    let mut values = Vec::new();
    for row in rows {
        let value = shown(row.get(column));
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// The first column to the left, figures to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let figure = cell.starts_with(|c: char| c.is_ascii_digit());
            let gap = if column == 0 { "" } else { "  " };
            shown.push_str(gap);
            shown.push_str(&if figure && column > 0 {
                format!("{cell:>width$}")
            } else {
                format!("{cell:width$}")
            });
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        serde_json::from_str(text).expect("a row")
    }

    #[test]
    fn goals_stand_beside_figures() {
        let figures = [
            ("inside", 1, 1100),
            ("inside", 10_000, 1200),
            ("denied", 1, 1400),
        ];
        let rows = figures.map(|(label, rules, figure)| {
            row(&format!(
                r#"{{"kernel":"6.1","op":"open_close","label":"{label}","rules":{rules},
                    "daemon":"stopped","instructions":{figure}.0,"without":1000.0,
                    "relative":{}}}"#,
                f64::from(figure) / 1000.0
            ))
        });
        let (text, missed) = calls(&rows);
        assert_eq!(
            text.split_once('\n').expect("a heading").1,
            "operation   where   rules  daemon   instructions  without  ratio  goal  to 1 rule\n\
             open_close  inside      1  stopped          1100     1000  1.100  1.11  -          met\n\
             open_close  inside  10000  stopped          1200     1000  1.200  1.11      1.091  MISSED\n\
             open_close  denied      1  stopped          1400     1000  1.400  1.50  -          met\n\n"
        );
        assert_eq!(missed, 1);
    }

    #[test]
    fn memory_by_sessions() {
        let rows =
            [("A", 1, 1024), ("all", 1, 1025), ("A", 100, 4096)].map(|(map, sessions, bytes)| {
                row(&format!(
                    r#"{{"kernel":"6.1","map":"{map}","sessions":{sessions},"bytes":{bytes}}}"#
                ))
            });
        assert_eq!(
            memory(&rows),
            "KiB on 6.1  1 sessions  100 sessions\n\
             A                    1             4\n\
             all                  2  -\n\n"
        );
    }

    #[test]
    fn rows_may_differ() {
        let rows = [
            row(r#"{"instructions":51,"kernel":"6.1","program":"connect4"}"#),
            row(r#"{"kernel":"6.1","program":"task_alloc","unavailable":"no task storage"}"#),
        ];
        assert_eq!(
            plain(&rows),
            "kernel  program     instructions  unavailable\n\
             6.1     connect4              51  -\n\
             6.1     task_alloc  -             no task storage\n"
        );
    }
}

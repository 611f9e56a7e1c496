//! Figures as a person reads them.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Row;

/// The figures of system calls: a line for each operation, a column for each situation, and
/// beside each figure its ratio to the one without Interlock.
pub(super) fn calls(rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    for kernel in distinct(rows, "kernel") {
        let here = rows
            .iter()
            .filter(|row| shown(row.get("kernel")) == kernel)
            .collect::<Vec<_>>();
        let labels = distinct(here.iter().copied(), "label");
        let base = labels
            .first()
            .context("figures name their situation (`label`)")?;
        let mut lines = vec![
            [format!("instructions on {kernel}")]
                .into_iter()
                .chain(labels.iter().cloned())
                .collect::<Vec<_>>(),
        ];
        for op in distinct(here.iter().copied(), "op") {
            let median = |label: &str| {
                here.iter()
                    .find(|row| shown(row.get("op")) == op && shown(row.get("label")) == label)
                    .and_then(|row| row.get("median")?.as_f64())
            };
            let without = median(base);
            let cells = labels.iter().map(|label| match (median(label), without) {
                (None, _) => "-".to_owned(),
                (Some(figure), Some(without)) if label != base && without > 0.0 => {
                    format!("{figure:.0} ({:.3})", figure / without)
                }
                (Some(figure), _) => format!("{figure:.0}"),
            });
            let cells = cells.collect::<Vec<_>>();
            lines.push([op].into_iter().chain(cells).collect());
        }
        text.push_str(&aligned(&lines));
        text.push('\n');
    }
    Ok(text)
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

fn shown(value: Option<&Value>) -> String {
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
    fn ratios_to_the_first_situation() {
        let rows = [
            row(r#"{"kernel":"6.1","label":"none","op":"getppid","median":200}"#),
            row(r#"{"kernel":"6.1","label":"none","op":"udp connect","median":1800.4}"#),
            row(r#"{"kernel":"6.1","label":"inside","op":"udp connect","median":2340.5}"#),
        ];
        assert_eq!(
            calls(&rows).expect("a table"),
            "instructions on 6.1  none  inside\n\
             getppid               200  -\n\
             udp connect          1800  2340 (1.300)\n\n"
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

//! Tables for people.

/// Prints columns under their names, as wide as what is in them.
pub(super) fn print<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    for line in lines(head, rows) {
        println!("{line}");
    }
}

fn lines<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let clean = |cell: &String| {
        // What others have written must not move the cursor.
        let visible = cell.chars().map(|c| if c.is_control() { '?' } else { c });
        let visible: String = visible.collect();
        if visible.is_empty() {
            "-".to_owned()
        } else {
            visible
        }
    };
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| std::array::from_fn(|i| clean(&row[i])))
        .collect();
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([head[i].len()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let first = line(head);
    let rest = rows
        .iter()
        .map(|row| line(std::array::from_fn(|i| row[i].as_str())));
    std::iter::once(first).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_nothing_moves_the_cursor() {
        let rows = [
            ["a".into(), "long one".into()],
            ["\u{1b}[2J".into(), String::new()],
        ];
        assert_eq!(
            lines(["X", "NAME"], &rows),
            ["X     NAME", "a     long one", "?[2J  -"]
        );
    }
}

//! Whether a run counts.

use super::NONE;
use super::measure::Figure;
use anyhow::{Result, bail};
use serde_json::json;

/// Operations without a hook, which must not move.
const CONTROLS: [&str; 2] = ["getppid", "stat"];
/// How far a control may move before the run is void, in percent.
const CONTROL_LIMIT: f64 = 1.0;

/// How far two runs may differ, in percent.
fn limit(op: &str) -> f64 {
    match op {
        _ if op.starts_with("fork") => 5.0,
        _ if op.contains("connect") => 2.0,
        _ => 1.0,
    }
}

/// A running daemon keeps house on the one processor whenever its second is over, so its figures
/// are stated and not held to this; the kernel's own cost is measured with the daemon stopped.
///
/// Prints each figure, the mean of both runs, beside the one without Interlock, and refuses a run
/// that does not count.
pub(super) fn judge(first: &[Figure], second: &[Figure]) -> Result<()> {
    let mut faults = Vec::new();
    for (one, other) in first.iter().zip(second) {
        let (Some(before), Some(again)) = (base_of(one, first), base_of(other, second)) else {
            continue;
        };
        let figure = f64::midpoint(one.median, other.median);
        let without = f64::midpoint(before, again);
        let apart = (other.median / one.median - 1.0).abs() * 100.0;
        println!(
            "{}",
            json!({
                "op": one.op, "label": one.label, "rules": one.rules, "daemon": one.daemon,
                "instructions": figure.round(), "without": without.round(),
                "relative": (figure / without * 1000.0).round() / 1000.0,
                "apart": (apart * 100.0).round() / 100.0,
            })
        );
        if one.daemon == "running" {
            continue;
        }
        let what = format!(
            "{} ({} {:?} daemon {})",
            one.op, one.label, one.rules, one.daemon
        );
        let moved = (figure / without - 1.0) * 100.0;
        if CONTROLS.contains(&one.op.as_str()) && moved.abs() > CONTROL_LIMIT {
            faults.push(format!("the control {what} moved by {moved:.1} %"));
        }
        if apart > limit(&one.op) {
            faults.push(format!("two runs of {what} are {apart:.1} % apart"));
        }
    }
    for fault in &faults {
        println!("{}", json!({ "void": fault }));
    }
    if !faults.is_empty() {
        bail!("the run is void: {}", faults.join("; "));
    }
    Ok(())
}

/// The figure with nothing loaded, of the same run.
fn base_of(figure: &Figure, run: &[Figure]) -> Option<f64> {
    run.iter()
        .find(|base| base.label == NONE && base.op == figure.op)
        .map(|base| base.median)
}

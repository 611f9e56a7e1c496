//! Whether a run counts.

use super::measure::Figure;
use anyhow::{Result, bail};
use serde_json::json;

/// Operations without a hook, which must not move.
const CONTROLS: [&str; 2] = ["getppid", "stat"];
/// How far a control may move before the run is void, in percent.
const CONTROL_LIMIT: f64 = 1.0;

/// How far two runs may differ, in percent.
fn limit(op: &str) -> f64 {
    if op.starts_with("fork") { 5.0 } else { 1.0 }
}

/// A running daemon keeps house on the one processor whenever its second is over, so its figures
/// are stated and not held to this; the kernel's own cost is measured with the daemon stopped.
///
/// Prints what the figures are relative to nothing, and refuses a run that does not count.
pub(super) fn judge(first: &[Figure], second: &[Figure]) -> Result<()> {
    let mut faults = Vec::new();
    for figure in first.iter().chain(second) {
        let Some(base) = base_of(figure, first, second) else {
            continue;
        };
        let moved = (figure.median / base - 1.0) * 100.0;
        if figure.daemon != "running"
            && CONTROLS.contains(&figure.op.as_str())
            && moved.abs() > CONTROL_LIMIT
        {
            faults.push(format!(
                "the control {} moved by {moved:.1} % ({} {:?} daemon {} run {})",
                figure.op, figure.label, figure.rules, figure.daemon, figure.run
            ));
        }
    }
    for (one, other) in first.iter().zip(second) {
        let apart = (other.median / one.median - 1.0).abs() * 100.0;
        if one.daemon != "running" && apart > limit(&one.op) {
            faults.push(format!(
                "two runs of {} ({} {:?} daemon {}) are {apart:.1} % apart",
                one.op, one.label, one.rules, one.daemon
            ));
        }
        if let Some(base) = base_of(one, first, second) {
            println!(
                "{}",
                json!({
                    "relative": (one.median / base * 1000.0).round() / 1000.0,
                    "op": one.op, "label": one.label, "rules": one.rules, "daemon": one.daemon,
                    "apart": (apart * 100.0).round() / 100.0,
                })
            );
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
fn base_of(figure: &Figure, first: &[Figure], second: &[Figure]) -> Option<f64> {
    let run = if figure.run == 1 { first } else { second };
    let op = figure.op.trim_end_matches("_denied");
    run.iter()
        .find(|base| base.label == "none" && base.op == op)
        .map(|base| base.median)
}

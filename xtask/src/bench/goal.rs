//! What Interlock is to cost, and whether it does.

use super::Row;
use super::table::shown;

/// What the largest number of rules may cost, relative to one rule.
pub(super) const GROWTH: f64 = 1.05;

/// What an operation may cost, relative to the same without Interlock: what we must beat, and what
/// nobody should notice.
fn goal(op: &str, label: &str) -> Option<f64> {
    // Outside every session; inside and allowed, whatever the number of rules; inside and denied,
    // and told.
    let [outside, inside, denied] = match op {
        "open_close" => [Some(1.03), Some(1.11), Some(1.5)],
        "open_relative" => [Some(1.04), Some(1.15), None],
        "stat" => [Some(1.00), Some(1.00), None],
        "create_unlink" => [Some(1.03), Some(1.06), None],
        "udp_connect" => [Some(1.15), Some(1.35), Some(2.0)],
        "tcp_bulk_64k" => [Some(1.01), Some(1.02), None],
        "tcp_connect_accept_close" => [Some(1.01), Some(1.03), None],
        "fork_exec_wait" => [Some(1.01), Some(1.03), None],
        _ => [None, None, None],
    };
    match label {
        "outside" => outside,
        "inside" => inside,
        "denied" => denied,
        _ => None,
    }
}

/// How far a figure repeats on this bench: what is less than this past a goal has met it.
fn noise(op: &str) -> f64 {
    match op {
        _ if op.starts_with("fork") => 0.05,
        _ if op.contains("connect") => 0.01,
        _ => 0.005,
    }
}

/// A figure beside its goals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    /// The ratio to the same without Interlock that it should have at most.
    pub(super) goal: Option<f64>,
    /// Its ratio to the same with one rule.
    pub(super) growth: Option<f64>,
    /// Whether all goals are met that there are; nothing where there is none.
    pub(super) met: Option<bool>,
}

/// Judges the figure of a row among the others. With the daemon running there is no goal: on one
/// processor its own work shows in every figure.
pub(super) fn judge(row: &Row, rows: &[&Row]) -> Option<Judged> {
    let number = |row: &Row, name: &str| row.get(name)?.as_f64();
    let [op, label, daemon] = ["op", "label", "daemon"].map(|name| shown(row.get(name)));
    let ratio = number(row, "relative")?;
    let rules = number(row, "rules");
    let goal = goal(&op, &label).filter(|_| daemon != "running");
    let same = |other: &&&Row| {
        ["kernel", "op", "label", "daemon"]
            .iter()
            .all(|name| other.get(*name) == row.get(*name))
            && number(other, "rules") == Some(1.0)
    };
    let growth = rows
        .iter()
        .find(same)
        .filter(|_| rules != Some(1.0))
        .and_then(|one| Some(number(row, "instructions")? / number(one, "instructions")?));
    let slack = noise(&op);
    let met = [(Some(ratio), goal), (growth, Some(GROWTH))]
        .into_iter()
        .filter_map(|(figure, goal)| Some(figure? <= goal? + slack))
        .reduce(|one, other| one && other);
    Some(Judged { goal, growth, met })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, rules: u32, daemon: &str, instructions: u32) -> Row {
        let text = serde_json::json!({
            "kernel": "6.1", "op": "open_close", "label": label, "rules": rules,
            "daemon": daemon, "instructions": instructions, "without": 1000,
            "relative": f64::from(instructions) / 1000.0,
        });
        text.as_object().expect("an object").clone()
    }

    fn met(row: &Row, others: &[&Row]) -> Option<bool> {
        judge(row, others).expect("a figure").met
    }

    #[test]
    fn a_goal_is_met_up_to_what_repeats() {
        assert_eq!(met(&row("outside", 1, "stopped", 1034), &[]), Some(true));
        assert_eq!(met(&row("outside", 1, "stopped", 1036), &[]), Some(false));
        assert_eq!(met(&row("inside", 1, "stopped", 1036), &[]), Some(true));
        assert_eq!(met(&row("denied", 1, "stopped", 1600), &[]), Some(false));
    }

    #[test]
    fn cost_may_not_grow_with_the_rules() {
        let one = row("inside", 1, "stopped", 1000);
        let other = row("inside", 1, "running", 10);
        let others = [&other, &one];
        let many = row("inside", 10_000, "stopped", 1060);
        assert_eq!(met(&many, &others), Some(false), "6 % more than one rule");
        let many = row("inside", 10_000, "stopped", 1050);
        let judged = judge(&many, &others).expect("a figure");
        assert_eq!((judged.growth, judged.met), (Some(1.05), Some(true)));
    }

    #[test]
    fn a_running_daemon_has_no_goal() {
        assert_eq!(met(&row("denied", 1, "running", 9000), &[]), None);
    }
}

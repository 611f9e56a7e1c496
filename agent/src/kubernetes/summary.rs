//! What all nodes together make of a policy.

use super::reports::{BEAT, Stands};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nodes that are named with a reason; the others are counted.
const NAMED: usize = 5;

/// Beats that a node may miss before what it said last counts no more.
const MISSED: i32 = 3;

/// What one node says.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) node: String,
    /// It was heard of lately.
    pub(super) is_fresh: bool,
    pub(super) policies: Vec<Stands>,
}

#[derive(Deserialize)]
struct Spec {
    heard: jiff::Timestamp,
    #[serde(default)]
    policies: Vec<Stands>,
}

impl Report {
    /// What a NodeReport says; nothing where it is none of ours.
    pub(super) fn read(object: &DynamicObject, now: jiff::Timestamp) -> Option<Self> {
        let spec: Spec = serde_json::from_value(object.data.get("spec")?.clone()).ok()?;
        let beat = jiff::SignedDuration::try_from(BEAT).ok()?;
        Some(Self {
            node: object.name_any(),
            is_fresh: now.duration_since(spec.heard) < beat * MISSED,
            policies: spec.policies,
        })
    }
}

/// A policy's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    /// The generation that is spoken of.
    observed_generation: i64,
    /// Nodes that report.
    nodes: usize,
    /// Those on which it is in force.
    in_force: usize,
    /// Those that did not take it.
    refused: usize,
    /// Those that have not been heard of lately.
    silent: usize,
    /// All of this, in a line.
    summary: String,
    /// Why it was refused, the most frequent reason first.
    refusals: Vec<Refusal>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Refusal {
    reason: String,
    nodes: usize,
    /// Some of them.
    among: Vec<String>,
}

/// Counts the nodes' reports of a policy.
pub(super) fn of(name: &str, generation: i64, reports: &[Report]) -> Status {
    let fresh = || reports.iter().filter(|report| report.is_fresh);
    let stands = |report: &Report| {
        let mut policies = report.policies.iter();
        policies.find(|stands| stands.name == name).cloned()
    };
    let is_in_force =
        |report: &&Report| stands(report).is_some_and(|it| it.in_force == Some(generation));
    let in_force = fresh().filter(is_in_force).count();
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for report in fresh() {
        let refused = stands(report).filter(|stands| stands.refused == Some(generation));
        if let Some(reason) = refused.map(|stands| stands.reason.unwrap_or_default()) {
            reasons.entry(reason).or_default().push(report.node.clone());
        }
    }
    let mut refusals: Vec<Refusal> = reasons
        .into_iter()
        .map(|(reason, mut among)| {
            let nodes = among.len();
            among.sort();
            among.truncate(NAMED);
            Refusal {
                reason,
                nodes,
                among,
            }
        })
        .collect();
    refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.nodes));
    let silent = reports.len() - fresh().count();
    Status {
        observed_generation: generation,
        nodes: reports.len(),
        in_force,
        refused: refusals.iter().map(|refusal| refusal.nodes).sum(),
        silent,
        summary: sentence(in_force, reports.len(), silent, &refusals),
        refusals,
    }
}

fn sentence(in_force: usize, nodes: usize, silent: usize, refusals: &[Refusal]) -> String {
    let mut sentence = format!("in force on {in_force} of {nodes}");
    for Refusal { reason, nodes, .. } in refusals {
        sentence += &format!(", refused on {nodes}: {reason}");
    }
    if silent > 0 {
        sentence += &format!(", not heard of {silent}");
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(node: usize, stands: &[(&str, Option<i64>, Option<i64>, &str)]) -> Report {
        let stands = stands
            .iter()
            .map(|(name, in_force, refused, reason)| Stands {
                name: (*name).to_owned(),
                in_force: *in_force,
                refused: *refused,
                reason: refused.map(|_| (*reason).to_owned()),
            });
        Report {
            node: format!("node-{node:03}"),
            is_fresh: true,
            policies: stands.collect(),
        }
    }

    #[test]
    fn every_node_is_counted_once() {
        let mut reports: Vec<Report> = (0..415)
            .map(|node| match node {
                7 | 9 | 300 => report(node, &[("a", Some(1), Some(2), "no BPF LSM")]),
                _ => report(node, &[("b", Some(9), None, ""), ("a", Some(2), None, "")]),
            })
            .collect();
        let status = of("a", 2, &reports);
        let expected = "in force on 412 of 415, refused on 3: no BPF LSM";
        assert_eq!(status.summary, expected);
        assert_eq!(
            status.refusals[0].among,
            ["node-007", "node-009", "node-300"]
        );
        // Those that have yet to look are neither.
        assert_eq!(of("a", 3, &reports).summary, "in force on 0 of 415");
        reports[1].is_fresh = false;
        let expected = "in force on 411 of 415, refused on 3: no BPF LSM, not heard of 1";
        assert_eq!(of("a", 2, &reports).summary, expected);
    }

    #[test]
    fn a_node_that_has_not_been_heard_of_is_silent() {
        let heard: jiff::Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let object = json!({
            "metadata": {"name": "n"},
            "spec": {"heard": heard.to_string(), "policies": [{"name": "a", "inForce": 1}]}
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let after = |s| Report::read(&object, heard + jiff::SignedDuration::from_secs(s)).unwrap();
        assert!(after(179).is_fresh && !after(181).is_fresh);
        assert_eq!(of("a", 1, &[after(0)]).summary, "in force on 1 of 1");
    }
}

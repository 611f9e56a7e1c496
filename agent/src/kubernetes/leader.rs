//! On one node at a time: counts what all nodes say of each policy, and writes it down as the policy's status.

use super::lease::Candidate;
use super::summary::{self, Report};
use super::{Shown, resources};
use agent_policy::KIND;
use kube::Client;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often the lease is renewed and the nodes are counted.
const ROUND: Duration = Duration::from_secs(10);

/// What it is called in messages.
const WANTED: &str = "the nodes' reports";

/// Counts while this node holds the lease, for good.
pub(super) async fn lead(client: &Client, (namespace, node): (&str, &str), shown: &Shown) {
    let mut candidate = Candidate::new(client, namespace, node);
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let leads = candidate.try_to_lead().await;
        shown.change(|info| info.leads = matches!(leads, Ok(true)));
        let counted = match leads {
            Ok(true) => count(client).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        shown.heard(WANTED, counted);
    }
}

async fn count(client: &Client) -> kube::Result<()> {
    let listed = resources::reports(client)
        .list(&ListParams::default())
        .await?;
    let now = jiff::Timestamp::now();
    let reports = listed.items.iter();
    let reports: Vec<Report> = reports.filter_map(|it| Report::read(it, now)).collect();
    let policies = resources::all(client, KIND);
    for policy in policies.list(&ListParams::default()).await?.items {
        let Some((name, generation)) = named(&policy) else {
            continue;
        };
        let status = json!(summary::of(name, generation, &reports));
        if policy.data.get("status") != Some(&status) {
            write(client, name, &status).await?;
        }
    }
    Ok(())
}

fn named(policy: &DynamicObject) -> Option<(&str, i64)> {
    let metadata = &policy.metadata;
    Some((metadata.name.as_deref()?, metadata.generation?))
}

/// All of it: what is not there any more must not stay.
async fn write(client: &Client, name: &str, status: &Value) -> kube::Result<()> {
    let policies = resources::all(client, KIND);
    let replace = json!([{"op": "add", "path": "/status", "value": status}]);
    let patch: Patch<Value> =
        Patch::Json(serde_json::from_value(replace).map_err(kube::Error::SerdeError)?);
    policies
        .patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

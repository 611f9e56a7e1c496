//! What this node says of its policies: one NodeReport of its name, written whenever something changes, and
//! every minute so that others see that it is alive.

use super::{Shown, files, policies, resources};
use crate::library::Library;
use agent_policy::{API_VERSION, REPORT_KIND};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How often a report is written at least.
pub(super) const BEAT: Duration = Duration::from_secs(60);

/// Changes that come in one go make one report.
const CALM: Duration = Duration::from_millis(500);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// How a node and the policies on it stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// How far this kernel enforces, in words.
    pub enforcement: String,
    /// The policies of the API.
    pub policies: Vec<Stands>,
}

/// How a policy stands on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stands {
    /// Its name.
    pub name: String,
    /// The generation that is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force: Option<i64>,
    /// The generation that was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<i64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Standing {
    /// How the policies that the API gave stand in a library.
    pub(super) fn of(library: &Library, folder: &Path, enforcement: &str) -> Self {
        let mut policies: BTreeMap<String, Stands> = BTreeMap::new();
        let mut of = |path: &Path, set: &dyn Fn(&mut Stands)| {
            if let Some(name) = policies::name_of(folder, path) {
                set(policies.entry(name.to_owned()).or_default());
            }
        };
        for loaded in library.iter() {
            let generation = files::generation(&loaded.start.policy);
            of(&loaded.path, &|stands| stands.in_force = generation);
        }
        for (path, rejected) in library.rejected() {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            of(path, &|stands| {
                stands.refused = files::generation(&text);
                stands.reason = Some(reason(path, &rejected.error));
            });
        }
        let named = policies
            .into_iter()
            .map(|(name, stands)| Stands { name, ..stands });
        Self {
            enforcement: enforcement.to_owned(),
            policies: named.collect(),
        }
    }
}

/// The first line of an error, without the file, which is another one on each node.
fn reason(path: &Path, error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let file = path.display().to_string();
    let line = line.strip_prefix(&file).unwrap_or(line);
    line.trim_start_matches(':').trim().to_owned()
}

/// Reports, for good.
pub(super) async fn send(
    client: &Client,
    node: &str,
    mut stands: watch::Receiver<Option<Standing>>,
    shown: &Shown,
) {
    loop {
        let Ok(standing) = stands.wait_for(Option::is_some).await.as_deref().cloned() else {
            // The daemon has ended.
            return;
        };
        let Some(standing) = standing else {
            continue;
        };
        let sent = send_one(client, node, &standing).await;
        if shown.heard(REPORT_KIND, sent).is_none() {
            sleep(PAUSE).await;
            continue;
        }
        if let Ok(Err(_)) = timeout(BEAT, stands.changed()).await {
            // The daemon has ended.
            return;
        }
        sleep(CALM).await;
    }
}

async fn send_one(client: &Client, node: &str, standing: &Standing) -> kube::Result<()> {
    let owner: Api<Node> = Api::all(client.clone());
    let owner = owner.get(node).await?.uid().unwrap_or_default();
    let report = report(node, &owner, standing);
    let how = PatchParams::apply("interlock").force();
    let reports = resources::reports(client);
    reports.patch(node, &how, &Patch::Apply(report)).await?;
    Ok(())
}

/// The report of a node. It goes when the node goes.
fn report(node: &str, uid: &str, standing: &Standing) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": REPORT_KIND,
        "metadata": {
            "name": node,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}]
        },
        "spec": {
            "version": env!("CARGO_PKG_VERSION"),
            "enforcement": standing.enforcement,
            "heard": jiff::Timestamp::now().to_string(),
            "policies": standing.policies
        }
    })
}

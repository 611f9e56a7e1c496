//! What operators see.

use super::Operators;
use crate::fleet::{self, Fleet, Known};
use agent_proto::seal::Purpose;
use agent_proto::wire::directive::What;
use agent_proto::wire::revocation::Scope;
use agent_proto::wire::{
    AuditResponse, EventsRequest, EventsResponse, ListNodesResponse, ListPoliciesRequest,
    ListPoliciesResponse, ListSessionsRequest, ListSessionsResponse, NodeOutcome, PolicyVersion,
    State, WatchResponse,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// The most records that are looked back.
const MOST: u32 = 100_000;

/// Entries of the audit at a time.
const ENTRIES: u32 = 5_000;

/// How often somebody who watches is told at most.
const PAUSE: Duration = Duration::from_millis(50);

/// Nodes in one message.
const NODES: usize = 1_000;

impl Operators {
    pub(super) async fn nodes(&self) -> Result<ListNodesResponse, Status> {
        let (mut nodes, outcomes) = self
            .read(|store| {
                let nodes = store.nodes()?;
                let mut outcomes = BTreeMap::new();
                for node in &nodes {
                    outcomes.insert(node.name.clone(), store.outcomes_at(&node.name)?);
                }
                Ok((nodes, outcomes))
            })
            .await?;
        let all = self.fleet.all();
        for node in &mut nodes {
            node.connected = self.fleet.is_connected(&node.name);
            let labels = node.labels.clone().into_iter().collect();
            let answered = &outcomes[&node.name];
            // What stands and is in force is not waited for.
            let holds: Vec<u64> = answered.keys().copied().collect();
            let lacking = fleet::lacking(&all, (&node.name, &labels), &holds, answered);
            node.waiting = lacking.len() as u64;
        }
        Ok(ListNodesResponse { nodes })
    }

    pub(super) async fn sessions(
        &self,
        asked: ListSessionsRequest,
    ) -> Result<ListSessionsResponse, Status> {
        let found = self.read(move |store| store.sessions(&asked.node, &asked.agent));
        let mut sessions = found.await?;
        for session in &mut sessions {
            session.connected = self.fleet.is_connected(&session.node);
        }
        Ok(ListSessionsResponse { sessions })
    }

    pub(super) async fn audited(&self, last: u32) -> Result<AuditResponse, Status> {
        let last = if last == 0 {
            ENTRIES
        } else {
            last.min(ENTRIES)
        };
        let entries = self.read(move |store| store.audited(last)).await?;
        let newest = entries
            .last()
            .map(|entry| entry.hash.clone())
            .unwrap_or_default();
        Ok(AuditResponse {
            signature: self.fleet.key.sign(Purpose::Audit, &newest),
            keys: vec![self.fleet.key.public()],
            entries,
        })
    }

    pub(super) async fn policies(
        &self,
        asked: ListPoliciesRequest,
    ) -> Result<ListPoliciesResponse, Status> {
        let uploaded = self.read(move |store| store.policies(&asked.agent)).await?;
        let all = self.fleet.all();
        let mut versions = Vec::new();
        for uploaded in uploaded {
            let policy = uploaded.policy;
            let mut version = PolicyVersion {
                agent: policy.agent.clone(),
                version: policy.version,
                digest: policy.digest,
                file: policy.file,
                by: uploaded.by,
                time_ms: uploaded.time_ms,
                ..PolicyVersion::default()
            };
            let rolled_out = all.iter().rev().find(|known| {
                matches!(&known.directive.what, Some(What::Policy(out))
                    if out.agent == policy.agent && out.version == policy.version)
            });
            if let Some(known) = rolled_out {
                version.epoch = known.issued.epoch;
                let nodes = look(&self.fleet, known).await?;
                let count = |state: State| {
                    let there = nodes.iter().filter(|node| node.state() == state);
                    u32::try_from(there.count()).unwrap_or(u32::MAX)
                };
                version.nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
                version.in_force = count(State::InForce);
                version.refused = count(State::Refused);
            }
            versions.push(version);
        }
        Ok(ListPoliciesResponse { versions })
    }
}

/// What became of a directive, at every node that is meant.
pub(super) async fn look(fleet: &Fleet, known: &Known) -> Result<Vec<NodeOutcome>, Status> {
    let epoch = known.issued.epoch;
    let found = fleet
        .desk
        .read(move |store| Ok((store.labels()?, store.outcomes(epoch)?)));
    let (labels, outcomes) = found.await.map_err(crate::node::unavailable)?;
    let mut by_node: BTreeMap<String, NodeOutcome> = outcomes
        .into_iter()
        .map(|outcome| (outcome.node.clone(), outcome))
        .collect();
    // Nothing that names one session is told to nodes that come later.
    let of_session = matches!(&known.directive.what, Some(What::Revocation(revocation))
        if matches!(revocation.scope, Some(Scope::Session(_))));
    for (node, labels) in &labels {
        let meant = fleet::selects(&known.issued.nodes, node, labels);
        if meant && !(of_session && known.issued.nodes.names.is_empty()) {
            by_node.entry(node.clone()).or_insert_with(|| NodeOutcome {
                node: node.clone(),
                ..NodeOutcome::default()
            });
        }
    }
    let whole = |outcome: NodeOutcome| NodeOutcome {
        connected: fleet.is_connected(&outcome.node),
        issued_ms: known.directive.issued_ms,
        ..outcome
    };
    Ok(by_node.into_values().map(whole).collect())
}

/// Tells what becomes of a directive: all nodes first, then those of which there is news.
pub(super) async fn watch(
    fleet: Arc<Fleet>,
    known: Arc<Known>,
    once: bool,
    sender: mpsc::Sender<Result<WatchResponse, Status>>,
) {
    let mut answers = fleet.answers();
    let mut told: BTreeMap<String, NodeOutcome> = BTreeMap::new();
    loop {
        answers.mark_unchanged();
        let nodes = match look(&fleet, &known).await {
            Ok(nodes) => nodes,
            Err(status) => {
                let _ = sender.send(Err(status)).await;
                return;
            }
        };
        let complete = nodes.iter().all(|node| fleet::is_final(&known, node));
        let news: Vec<NodeOutcome> = nodes
            .into_iter()
            .filter(|node| told.get(&node.node) != Some(node))
            .collect();
        told.extend(news.iter().map(|node| (node.node.clone(), node.clone())));
        let parts = news
            .chunks(NODES)
            .map(<[NodeOutcome]>::to_vec)
            .collect::<Vec<_>>();
        let count = parts.len();
        for (i, nodes) in parts.into_iter().enumerate() {
            let complete = complete && i + 1 == count;
            if sender
                .send(Ok(WatchResponse { nodes, complete }))
                .await
                .is_err()
            {
                return;
            }
        }
        if complete && count == 0 {
            let _ = sender
                .send(Ok(WatchResponse {
                    nodes: Vec::new(),
                    complete,
                }))
                .await;
        }
        if complete || once {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            changed = answers.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

/// Tells records, and goes on with what comes.
pub(super) async fn events(
    fleet: Arc<Fleet>,
    asked: EventsRequest,
    sender: mpsc::Sender<Result<EventsResponse, Status>>,
) {
    let mut arrivals = fleet.arrivals();
    let last = asked.last.min(MOST) as usize;
    let filter = asked.clone();
    let begin = fleet
        .desk
        .read(move |store| store.before_newest(&filter, last));
    let mut after = match begin.await {
        Ok(after) => after,
        Err(error) => {
            let _ = sender.send(Err(crate::node::unavailable(error))).await;
            return;
        }
    };
    loop {
        arrivals.mark_unchanged();
        let filter = asked.clone();
        let found = fleet.desk.read(move |store| store.events(&filter, after));
        let found = match found.await {
            Ok(found) => found,
            Err(error) => {
                let _ = sender.send(Err(crate::node::unavailable(error))).await;
                return;
            }
        };
        after = found.events.last().map_or(after, |newest| newest.id);
        for event in found.events {
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if found.more {
            continue;
        }
        if !asked.follow {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            changed = arrivals.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

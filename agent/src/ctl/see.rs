//! What operators see.

use super::{Asker, CtlError, print_json, table, time};
use crate::evidence::sentence::sentence;
use agent_evidence::checkpoint::Countersigned;
use agent_proto::seal::{self, Purpose};
use agent_proto::wire::{
    AuditRequest, CheckpointsRequest, EventsRequest, EventsResponse, ListAgentsRequest,
    ListNodesRequest, ListSessionsRequest, NodeInfo,
};
use clap::Args;
use serde_json::{Value, json};

/// Options of `ctl sessions`.
#[derive(Debug, Args)]
pub struct Sessions {
    /// Only this node's
    #[arg(long, value_name = "NAME", default_value = "")]
    pub node: String,
    /// Only this agent's
    #[arg(long, value_name = "NAME", default_value = "")]
    pub agent: String,
}

/// Options of `ctl events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Only this node's
    #[arg(long, value_name = "NAME", default_value = "")]
    pub node: String,
    /// Only this agent's
    #[arg(long, value_name = "NAME", default_value = "")]
    pub agent: String,
    /// Only this session's
    #[arg(long, value_name = "SESSION", default_value = "")]
    pub session: String,
    /// Only this kind, such as decision, lifecycle, policy or approval
    #[arg(long, value_name = "KIND", default_value = "")]
    pub kind: String,
    /// How many to look back
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub last: u32,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
}

/// Options of `ctl checkpoints`.
#[derive(Debug, Args)]
pub struct Checkpoints {
    /// Only this node's
    #[arg(long, value_name = "NAME", default_value = "")]
    pub node: String,
}

/// Options of `ctl audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// How many to look back
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub last: u32,
}

/// What a node says of its enforcement, in one word.
fn enforcement(node: &NodeInfo) -> String {
    let said: Value = serde_json::from_slice(&node.status).unwrap_or_default();
    let mode = said["enforcement"]["mode"].as_str();
    mode.unwrap_or("unknown").to_owned()
}

impl Asker {
    pub(super) async fn nodes(&mut self) -> Result<(), CtlError> {
        let nodes = self
            .client
            .list_nodes(ListNodesRequest {})
            .await?
            .into_inner()
            .nodes;
        if self.json {
            let list = nodes.iter().map(|node| {
                json!({
                    "node": node.name, "connected": node.connected,
                    "enforcement": enforcement(node), "sessions": node.sessions,
                    "kernel": node.kernel, "version": node.agent_version, "labels": node.labels,
                    "boot": node.boot, "firstSeen": time(node.first_seen_ms),
                    "lastSeen": time(node.last_seen_ms), "records": node.records,
                    "recordsMissing": node.missing, "forks": node.forks,
                    "directivesWaiting": node.waiting,
                    "status": serde_json::from_slice::<Value>(&node.status).unwrap_or_default(),
                })
            });
            return print_json(&list.collect());
        }
        let rows: Vec<_> = nodes
            .iter()
            .map(|node| {
                [
                    node.name.clone(),
                    if node.connected { "connected" } else { "AWAY" }.to_owned(),
                    enforcement(node),
                    node.sessions.to_string(),
                    node.records.to_string(),
                    node.missing.to_string(),
                    node.forks.to_string(),
                    node.waiting.to_string(),
                    node.kernel.clone(),
                    time(node.last_seen_ms),
                ]
            })
            .collect();
        table::print(
            [
                "NODE",
                "STATE",
                "ENFORCEMENT",
                "SESSIONS",
                "RECORDS",
                "MISSING",
                "FORKS",
                "WAITING",
                "KERNEL",
                "LAST SEEN",
            ],
            &rows,
        );
        Ok(())
    }

    pub(super) async fn sessions(&mut self, what: &Sessions) -> Result<(), CtlError> {
        let asked = ListSessionsRequest {
            node: what.node.clone(),
            agent: what.agent.clone(),
        };
        let found = self
            .client
            .list_sessions(asked)
            .await?
            .into_inner()
            .sessions;
        let whole = found
            .into_iter()
            .filter_map(|there| Some((there.node, there.connected, there.session?)));
        if self.json {
            let list = whole.map(|(node, connected, session)| {
                json!({
                    "node": node, "connected": connected, "session": session.session,
                    "agent": session.agent, "task": session.task, "grant": session.grant,
                    "policy": session.policy, "tasks": session.tasks, "facts": session.facts,
                    "recognised": session.recognised, "entered": session.entered,
                })
            });
            return print_json(&list.collect());
        }
        let rows = whole.map(|(node, connected, session)| {
            [
                session.session,
                session.agent,
                if connected {
                    node
                } else {
                    format!("{node} (AWAY)")
                },
                session.task,
                session.tasks.to_string(),
                session.facts.join(" "),
                session.policy.get(..12).unwrap_or_default().to_owned(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        table::print(
            [
                "SESSION", "AGENT", "NODE", "TASK", "TASKS", "FACTS", "POLICY",
            ],
            &rows,
        );
        Ok(())
    }

    pub(super) async fn agents(&mut self) -> Result<(), CtlError> {
        let found = self
            .client
            .list_agents(ListAgentsRequest {})
            .await?
            .into_inner()
            .agents;
        let whole = found
            .into_iter()
            .filter_map(|known| Some((known.agent?, known.nodes, known.last_use_ms)));
        if self.json {
            let list = whole.map(|(agent, nodes, used)| {
                json!({
                    "agent": agent.name, "owner": agent.owner, "contact": agent.contact,
                    "purpose": agent.purpose, "version": agent.version, "spiffe": agent.spiffe,
                    "models": agent.models, "tools": agent.tools,
                    "permissions": agent.permissions, "policy": agent.policy, "nodes": nodes,
                    "lastUse": time(used),
                })
            });
            return print_json(&list.collect());
        }
        let rows = whole.map(|(agent, nodes, used)| {
            [
                agent.name,
                agent.owner,
                agent.contact,
                nodes.len().to_string(),
                agent.tools.join(" "),
                agent.permissions.join(" "),
                time(used),
            ]
        });
        let rows: Vec<_> = rows.collect();
        table::print(
            [
                "AGENT",
                "OWNER",
                "CONTACT",
                "NODES",
                "TOOLS",
                "PERMISSIONS",
                "LAST USE",
            ],
            &rows,
        );
        Ok(())
    }

    pub(super) async fn events(&mut self, what: &Events) -> Result<(), CtlError> {
        let asked = EventsRequest {
            node: what.node.clone(),
            agent: what.agent.clone(),
            session: what.session.clone(),
            kind: what.kind.clone(),
            last: what.last,
            follow: what.follow,
        };
        let mut events = self.client.events(asked).await?.into_inner();
        while let Some(event) = events.message().await? {
            self.print_event(&event)?;
        }
        Ok(())
    }

    fn print_event(&self, event: &EventsResponse) -> Result<(), CtlError> {
        let Some(record) = &event.record else {
            return Ok(());
        };
        let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
        if self.json {
            let line = json!({
                "id": event.id, "node": event.node, "boot": record.boot,
                "sequence": record.sequence, "hash": hex::encode(&record.hash),
                "arrived": time(event.arrived_ms), "record": body,
            });
            println!("{}", serde_json::to_string(&line)?);
            return Ok(());
        }
        // What a later version tells in another form is shown as it came.
        let said = match agent_evidence::record::Record::decode(&record.body) {
            Ok(record) => sentence(record),
            Err(_) => body.to_string(),
        };
        let words = [
            time(record.time_ms),
            event.node.clone(),
            record.session.clone(),
            record.agent.clone(),
            said,
        ];
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        println!(
            "{}",
            words.join("  ").replace(|c: char| c.is_control(), "?")
        );
        Ok(())
    }

    pub(super) async fn checkpoints(&mut self, what: &Checkpoints) -> Result<(), CtlError> {
        let asked = CheckpointsRequest {
            node: what.node.clone(),
            key: Vec::new(),
        };
        let chains = self.client.checkpoints(asked).await?.into_inner().chains;
        if self.json {
            for countersigned in chains.iter().flat_map(|chain| &chain.countersigned) {
                println!("{}", String::from_utf8_lossy(countersigned));
            }
            return Ok(());
        }
        let rows = chains.into_iter().map(|chain| {
            let newest = chain.countersigned.last();
            let newest: Option<Countersigned> =
                newest.and_then(|text| serde_json::from_slice(text).ok());
            let newest = newest.map_or(0, |it| it.checkpoint.sequence);
            let stored = chain.stored.unwrap_or_default();
            [
                chain.node,
                time(chain.since_ms),
                stored.sequence.to_string(),
                newest.to_string(),
                chain
                    .cut
                    .map_or_else(|| "-".to_owned(), |cut| cut.sequence.to_string()),
                hex::encode(&stored.hash),
                hex::encode(&chain.key),
            ]
        });
        let rows: Vec<_> = rows.collect();
        table::print(
            [
                "NODE", "SINCE", "STORED", "SIGNED", "REMOVED", "HASH", "KEY",
            ],
            &rows,
        );
        Ok(())
    }

    pub(super) async fn audit(&mut self, what: &Audit) -> Result<bool, CtlError> {
        let asked = AuditRequest { last: what.last };
        let answer = self.client.audit(asked).await?.into_inner();
        let fault = seal::audit_fault(&answer.entries);
        let newest = answer
            .entries
            .last()
            .map(|entry| entry.hash.clone())
            .unwrap_or_default();
        let signed = seal::is_signed(&answer.keys, Purpose::Audit, &newest, &answer.signature);
        let whole = fault.is_none() && signed;
        if self.json {
            let list = answer.entries.iter().map(|entry| {
                json!({
                    "sequence": entry.sequence, "time": time(entry.time_ms), "who": entry.who,
                    "action": entry.action, "object": entry.object, "outcome": entry.outcome,
                    "hash": hex::encode(&entry.hash),
                })
            });
            let list: Vec<Value> = list.collect();
            print_json(&json!({"entries": list, "whole": whole, "fault": fault}))?;
            return Ok(whole);
        }
        let rows = answer.entries.into_iter().map(|entry| {
            [
                entry.sequence.to_string(),
                time(entry.time_ms),
                entry.who,
                entry.action,
                entry.object,
                entry.outcome,
            ]
        });
        let rows: Vec<_> = rows.collect();
        table::print(["#", "TIME", "WHO", "ACTION", "OBJECT", "OUTCOME"], &rows);
        match fault {
            Some(entry) => println!("CHANGED: entry {entry} is not what was written"),
            None if !signed => {
                println!("CHANGED: the newest entry is not signed by the controller");
            }
            None => println!("whole: each entry follows from the one before it"),
        }
        Ok(whole)
    }
}

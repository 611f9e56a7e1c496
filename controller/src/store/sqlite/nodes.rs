//! Nodes and what they say of themselves.

use super::{Sqlite, int, records};
use crate::store::{Enrolled, Nodes, Result};
use agent_proto::wire::{
    Agent, EnrolRequest, InventoryRequest, NodeAgent, NodeInfo, NodeSession, Session,
};
use prost::Message as _;
use rusqlite::{Row, params};
use std::collections::BTreeMap;

impl Nodes for Sqlite {
    fn enrol(
        &mut self,
        node: &str,
        request: &EnrolRequest,
        now_ms: u64,
    ) -> Result<Option<Enrolled>> {
        let labels = serde_json::to_string(&request.labels.iter().collect::<BTreeMap<_, _>>())
            .map_err(|error| self.garbled(error.to_string()))?;
        let mut chains = std::mem::take(&mut self.chains);
        let enrolled = self.change(|tables| {
            tables.execute(
                "INSERT INTO nodes (name, first_seen_ms, last_seen_ms, boot, agent_version, kernel, labels)
                 VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE SET
                 last_seen_ms = ?2, boot = ?3, agent_version = ?4, kernel = ?5, labels = ?6",
                params![node, int(now_ms), request.boot, request.agent_version, request.kernel, labels],
            )?;
            let evidence = request.evidence.as_ref();
            let enrol = |evidence| records::enrol(tables, &mut chains, node, evidence, now_ms);
            evidence.map(enrol).transpose()
        });
        if enrolled.is_ok() {
            self.chains = chains;
        }
        enrolled
    }

    fn take_inventory(&mut self, node: &str, there: &InventoryRequest, now_ms: u64) -> Result<()> {
        let sessions = InventoryRequest {
            sessions: there.sessions.clone(),
            ..InventoryRequest::default()
        };
        self.change(|tables| {
            tables
                .prepare_cached(
                    "UPDATE nodes SET last_seen_ms = ?2, status = ?3, sessions = ?4 WHERE name = ?1",
                )?
                .execute(params![node, int(now_ms), there.status, sessions.encode_to_vec()])?;
            let mut keep = tables.prepare_cached(
                "INSERT INTO agents VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
                 body = ?3, last_use_ms = max(last_use_ms, ?4)",
            )?;
            for agent in &there.agents {
                let used = if agent.sessions > 0 { int(now_ms) } else { 0 };
                keep.execute(params![agent.name, node, agent.encode_to_vec(), used])?;
            }
            Ok(())
        })
    }

    fn nodes(&mut self) -> Result<Vec<NodeInfo>> {
        self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT name, first_seen_ms, last_seen_ms, boot, agent_version, kernel, labels,
                        status, sessions, coalesce(stored - removed, 0),
                        iif(stored > 0, last - first + 1 - stored, 0), coalesce(forks, 0)
                 FROM nodes LEFT JOIN chains ON id = (SELECT max(id) FROM chains WHERE node = name)
                 ORDER BY name",
            )?;
            let rows = found.query_map([], node_info)?;
            rows.collect()
        })
    }

    fn labels(&mut self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.ask(|tables| {
            let mut found = tables.prepare_cached("SELECT name, labels FROM nodes")?;
            let rows = found.query_map([], |row| Ok((row.get(0)?, labels(row, 1)?)))?;
            rows.collect()
        })
    }

    fn sessions(&mut self, node: &str, agent: &str) -> Result<Vec<NodeSession>> {
        let said: Vec<(String, Vec<u8>)> = self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT name, sessions FROM nodes WHERE ?1 = '' OR name = ?1 ORDER BY name",
            )?;
            let rows = found.query_map(params![node], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        let mut sessions = Vec::new();
        for (node, said) in said {
            for session in there(&said) {
                if agent.is_empty() || session.agent == agent {
                    sessions.push(NodeSession {
                        node: node.clone(),
                        session: Some(session),
                        connected: false,
                    });
                }
            }
        }
        Ok(sessions)
    }

    fn agents(&mut self) -> Result<Vec<NodeAgent>> {
        let mut agents: BTreeMap<String, NodeAgent> = BTreeMap::new();
        let found: Vec<(String, Vec<u8>, u64)> = self.ask(|tables| {
            let mut found = tables
                .prepare_cached("SELECT node, body, last_use_ms FROM agents ORDER BY node")?;
            let rows = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })?;
        for (node, body, used) in found {
            let Ok(agent) = Agent::decode(&body[..]) else {
                return Err(self.garbled(format!("an agent of node {node}")));
            };
            let known = agents.entry(agent.name.clone()).or_default();
            known.nodes.push(node);
            known.last_use_ms = known.last_use_ms.max(used);
            known.agent = Some(agent);
        }
        Ok(agents.into_values().collect())
    }
}

fn node_info(row: &Row<'_>) -> rusqlite::Result<NodeInfo> {
    let sessions: Vec<u8> = row.get(8)?;
    Ok(NodeInfo {
        name: row.get(0)?,
        connected: false,
        first_seen_ms: row.get(1)?,
        last_seen_ms: row.get(2)?,
        boot: row.get(3)?,
        agent_version: row.get(4)?,
        kernel: row.get(5)?,
        labels: labels(row, 6)?.into_iter().collect(),
        status: row.get(7)?,
        sessions: there(&sessions).len() as u64,
        records: row.get(9)?,
        missing: row.get(10)?,
        forks: row.get(11)?,
        waiting: 0,
    })
}

/// The sessions that a node has told of.
fn there(said: &[u8]) -> Vec<Session> {
    InventoryRequest::decode(said).unwrap_or_default().sessions
}

fn labels(row: &Row<'_>, column: usize) -> rusqlite::Result<BTreeMap<String, String>> {
    let text: String = row.get(column)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

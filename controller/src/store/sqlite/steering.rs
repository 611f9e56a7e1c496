//! What nodes are told, and what became of it.

use super::{Sqlite, int};
use crate::store::{Issued, Result, Steering, Uploaded};
use agent_proto::wire::{Grant, NodeOutcome, Outcome, Policy, Selector, SignedDirective, State};
use prost::Message as _;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

impl Steering for Sqlite {
    fn controller(&mut self) -> Result<String> {
        self.ask(|tables| {
            tables.query_row(
                "SELECT value FROM meta WHERE name = 'controller'",
                [],
                |row| row.get(0),
            )
        })
    }

    fn epoch(&mut self) -> Result<u64> {
        self.ask(epoch)
    }

    fn raise_epoch(&mut self, to: u64) -> Result<()> {
        self.change(|tables| set_epoch(tables, epoch(tables)?.max(to)))
    }

    fn issue(
        &mut self,
        nodes: &Selector,
        make: &mut dyn FnMut(u64) -> SignedDirective,
    ) -> Result<Issued> {
        let selector = serde_json::to_string(&(&nodes.names, &nodes.labels))
            .map_err(|error| self.garbled(error.to_string()))?;
        self.change(|tables| {
            let epoch = epoch(tables)? + 1;
            set_epoch(tables, epoch)?;
            let signed = make(epoch);
            tables.execute(
                "INSERT INTO directives VALUES (?1, ?2, ?3, ?4)",
                params![int(epoch), signed.body, signed.signature, selector],
            )?;
            Ok(Issued {
                epoch,
                signed,
                nodes: nodes.clone(),
            })
        })
    }

    fn directives(&mut self) -> Result<Vec<Issued>> {
        let found: Vec<(Issued, String)> = self.ask(|tables| {
            let mut found = tables
                .prepare("SELECT epoch, body, signature, nodes FROM directives ORDER BY epoch")?;
            let rows = found.query_map([], |row| {
                let issued = Issued {
                    epoch: row.get(0)?,
                    signed: SignedDirective {
                        body: row.get(1)?,
                        signature: row.get(2)?,
                    },
                    nodes: Selector::default(),
                };
                Ok((issued, row.get(3)?))
            })?;
            rows.collect()
        })?;
        let whole = |(issued, nodes): (Issued, String)| {
            let (names, labels) = serde_json::from_str(&nodes)
                .map_err(|error| self.garbled(format!("directive {}: {error}", issued.epoch)))?;
            Ok(Issued {
                nodes: Selector { names, labels },
                ..issued
            })
        };
        found.into_iter().map(whole).collect()
    }

    fn note_outcomes(&mut self, outcomes: &[(String, Outcome)], now_ms: u64) -> Result<()> {
        self.change(|tables| {
            for (node, outcome) in outcomes {
                note(tables, node, outcome, now_ms)?;
            }
            Ok(())
        })
    }

    fn outcomes(&mut self, epoch: u64) -> Result<Vec<NodeOutcome>> {
        self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT node, received_ms, in_force_ms, empty_ms, refused, ends, epoch
                 FROM outcomes WHERE epoch = ?1 ORDER BY node",
            )?;
            let rows = found.query_map(params![int(epoch)], outcome)?;
            rows.collect()
        })
    }

    fn outcomes_at(&mut self, node: &str) -> Result<BTreeMap<u64, NodeOutcome>> {
        self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT node, received_ms, in_force_ms, empty_ms, refused, ends, epoch
                 FROM outcomes WHERE node = ?1",
            )?;
            let rows = found.query_map(params![node], |row| Ok((row.get(6)?, outcome(row)?)))?;
            rows.collect()
        })
    }

    fn upload(&mut self, policy: Policy, by: &str, now_ms: u64) -> Result<Uploaded> {
        let known = self.policies(&policy.agent)?;
        let text = |policy: &Policy| Policy {
            version: 0,
            ..policy.clone()
        };
        if let Some(same) = known
            .iter()
            .find(|known| text(&known.policy) == text(&policy))
        {
            return Ok(same.clone());
        }
        let last = known.last().map_or(0, |last| last.policy.version);
        let policy = Policy {
            version: last + 1,
            ..policy
        };
        self.change(|tables| {
            tables.execute(
                "INSERT INTO policies VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    policy.agent,
                    policy.version,
                    policy.digest,
                    policy.encode_to_vec(),
                    by,
                    int(now_ms)
                ],
            )?;
            Ok(())
        })?;
        Ok(Uploaded {
            policy,
            by: by.to_owned(),
            time_ms: now_ms,
        })
    }

    fn policies(&mut self, agent: &str) -> Result<Vec<Uploaded>> {
        let found: Vec<(Vec<u8>, String, u64)> = self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT body, uploaded_by, time_ms FROM policies
                 WHERE ?1 = '' OR agent = ?1 ORDER BY agent, version",
            )?;
            let rows = found.query_map(params![agent], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect()
        })?;
        let whole = |(body, by, time_ms): (Vec<u8>, String, u64)| {
            let policy = Policy::decode(&body[..])
                .map_err(|error| self.garbled(format!("a policy: {error}")))?;
            Ok(Uploaded {
                policy,
                by,
                time_ms,
            })
        };
        found.into_iter().map(whole).collect()
    }

    fn keep_grant(&mut self, grant: &Grant, now_ms: u64) -> Result<()> {
        self.change(|tables| {
            tables.execute(
                "INSERT INTO grants VALUES (?1, ?2, ?3)",
                params![grant.id, grant.encode_to_vec(), int(now_ms)],
            )?;
            Ok(())
        })
    }
}

fn epoch(tables: &Connection) -> rusqlite::Result<u64> {
    tables.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| {
        row.get(0)
    })
}

fn set_epoch(tables: &Connection, epoch: u64) -> rusqlite::Result<()> {
    tables.execute(
        "UPDATE meta SET value = ?1 WHERE name = 'epoch'",
        params![int(epoch)],
    )?;
    Ok(())
}

/// Each state is noted once, with the time when it was first heard of.
fn note(tables: &Connection, node: &str, outcome: &Outcome, now_ms: u64) -> rusqlite::Result<()> {
    let column = match outcome.state() {
        State::Received => "received_ms",
        State::InForce => "in_force_ms",
        State::TreeEmpty => "empty_ms",
        State::Refused | State::Unspecified => {
            tables
                .prepare_cached(
                    "INSERT INTO outcomes (epoch, node, refused) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET refused = ?3",
                )?
                .execute(params![int(outcome.epoch), node, outcome.reason])?;
            return Ok(());
        }
    };
    let ends = Outcome {
        ends: outcome.ends.clone(),
        ..Outcome::default()
    };
    let ends = if outcome.ends.is_empty() {
        Vec::new()
    } else {
        ends.encode_to_vec()
    };
    tables
        .prepare_cached(&format!(
            "INSERT INTO outcomes (epoch, node, {column}, ends) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET
                 {column} = iif({column} = 0, ?3, {column}),
                 ends = iif(length(?4) = 0, ends, ?4)"
        ))?
        .execute(params![int(outcome.epoch), node, int(now_ms), ends])?;
    Ok(())
}

fn outcome(row: &Row<'_>) -> rusqlite::Result<NodeOutcome> {
    let (received_ms, in_force_ms, empty_ms): (u64, u64, u64) =
        (row.get(1)?, row.get(2)?, row.get(3)?);
    let refused: Option<String> = row.get(4)?;
    let ends: Vec<u8> = row.get(5)?;
    let state = match () {
        () if empty_ms > 0 => State::TreeEmpty,
        () if refused.is_some() => State::Refused,
        () if in_force_ms > 0 => State::InForce,
        () if received_ms > 0 => State::Received,
        () => State::Unspecified,
    };
    Ok(NodeOutcome {
        node: row.get(0)?,
        connected: false,
        state: state.into(),
        issued_ms: 0,
        received_ms,
        in_force_ms,
        empty_ms,
        reason: refused.unwrap_or_default(),
        ends: Outcome::decode(&ends[..]).unwrap_or_default().ends,
    })
}

//! Records and checkpoints.

use super::{Sqlite, int};
use crate::store::{Batch, Kept, Records, Result};
use agent_proto::wire::{
    Checkpoint, CheckpointsResponse, EventsRequest, EventsResponse, Record, StoredCheckpoint,
};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::HashMap;

/// One boot of one node.
#[derive(Debug, Clone)]
pub(super) struct Source {
    id: i64,
    first: u64,
    last: u64,
    hash: Vec<u8>,
    stored: u64,
    conflicts: u64,
}

type Sources = HashMap<(String, String), Source>;

impl Records for Sqlite {
    fn keep(&mut self, batches: &[Batch], now_ms: u64) -> Result<Vec<Kept>> {
        // What is known of the sources changes only with the tables.
        let mut sources = std::mem::take(&mut self.sources);
        let kept = self.change(|tables| {
            batches
                .iter()
                .map(|batch| keep(tables, &mut sources, batch, now_ms))
                .collect()
        });
        if kept.is_ok() {
            self.sources = sources;
        }
        kept
    }

    fn keep_checkpoint(
        &mut self,
        node: &str,
        point: &Checkpoint,
        signature: &[u8],
        now_ms: u64,
    ) -> Result<bool> {
        self.change(|tables| {
            let hash: Option<Vec<u8>> = tables
                .prepare_cached(
                    "SELECT hash FROM records JOIN sources ON source = sources.id
                     WHERE node = ?1 AND boot = ?2 AND sequence = ?3",
                )?
                .query_row(params![node, point.boot, int(point.sequence)], |row| {
                    row.get(0)
                })
                .optional()?;
            if hash.as_ref() != Some(&point.hash) {
                return Ok(false);
            }
            tables
                .prepare_cached(
                    "INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    node,
                    point.boot,
                    int(point.sequence),
                    point.encode_to_vec(),
                    signature,
                    int(now_ms)
                ])?;
            Ok(true)
        })
    }

    fn checkpoints(&mut self, node: &str, boot: &str) -> Result<CheckpointsResponse> {
        self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT node, body, countersignature, arrived_ms, max(sequence) FROM checkpoints
                 WHERE (?1 = '' OR node = ?1) AND (?2 = '' OR boot = ?2) GROUP BY node, boot",
            )?;
            let rows = found.query_map(params![node, boot], |row| {
                let body: Vec<u8> = row.get(1)?;
                Ok(StoredCheckpoint {
                    node: row.get(0)?,
                    checkpoint: Checkpoint::decode(&body[..]).ok(),
                    countersignature: row.get(2)?,
                    arrived_ms: row.get(3)?,
                })
            })?;
            Ok(CheckpointsResponse {
                checkpoints: rows.collect::<rusqlite::Result<_>>()?,
            })
        })
    }

    fn events(
        &mut self,
        filter: &EventsRequest,
        after: Option<u64>,
        most: usize,
    ) -> Result<Vec<EventsResponse>> {
        let order = if after.is_some() { "ASC" } else { "DESC" };
        let query = format!(
            "SELECT records.id, node, boot, sequence, time_ms, arrived_ms, hash, kind, session,
                    agent, verdict, body
             FROM records JOIN sources ON source = sources.id
             WHERE records.id > ?1 AND (?2 = '' OR node = ?2) AND (?3 = '' OR agent = ?3)
               AND (?4 = '' OR session = ?4) AND (?5 = '' OR kind = ?5)
             ORDER BY records.id {order} LIMIT ?6"
        );
        self.ask(|tables| {
            let mut found = tables.prepare_cached(&query)?;
            let rows = found.query_map(
                params![
                    int(after.unwrap_or(0)),
                    filter.node,
                    filter.agent,
                    filter.session,
                    filter.kind,
                    int(most as u64)
                ],
                |row| {
                    Ok(EventsResponse {
                        id: row.get(0)?,
                        node: row.get(1)?,
                        boot: row.get(2)?,
                        record: Some(Record {
                            sequence: row.get(3)?,
                            time_ms: row.get(4)?,
                            hash: row.get(6)?,
                            kind: row.get(7)?,
                            session: row.get(8)?,
                            agent: row.get(9)?,
                            verdict: row.get(10)?,
                            body: row.get(11)?,
                        }),
                        arrived_ms: row.get(5)?,
                    })
                },
            )?;
            let mut all: Vec<EventsResponse> = rows.collect::<rusqlite::Result<_>>()?;
            if after.is_none() {
                all.reverse();
            }
            Ok(all)
        })
    }
}

fn keep(
    tables: &Connection,
    sources: &mut Sources,
    batch: &Batch,
    now_ms: u64,
) -> rusqlite::Result<Kept> {
    let key = (batch.node.clone(), batch.boot.clone());
    let mut source = match sources.remove(&key) {
        Some(source) => source,
        None => find(tables, batch)?,
    };
    let mut conflicts = Vec::new();
    for record in &batch.records {
        let fresh = tables
            .prepare_cached(
                "INSERT INTO records (source, sequence, time_ms, arrived_ms, hash, kind, session,
                                      agent, verdict, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                source.id,
                int(record.sequence),
                int(record.time_ms),
                int(now_ms),
                record.hash,
                record.kind,
                record.session,
                record.agent,
                record.verdict,
                record.body
            ])?;
        if fresh == 1 {
            source.stored += 1;
            source.first = source.first.min(record.sequence);
        } else if hash_of(tables, source.id, record.sequence)? != record.hash {
            conflicts.push(record.sequence);
            source.conflicts += 1;
        }
        if fresh == 1 && record.sequence >= source.last {
            source.last = record.sequence;
            source.hash.clone_from(&record.hash);
        }
    }
    tables
        .prepare_cached(
            "UPDATE sources SET first = ?2, last = ?3, last_hash = ?4, stored = ?5, conflicts = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            source.id,
            int(source.first),
            int(source.last),
            source.hash,
            int(source.stored),
            int(source.conflicts)
        ])?;
    let kept = Kept {
        sequence: source.last,
        hash: source.hash.clone(),
        conflicts,
    };
    sources.insert(key, source);
    Ok(kept)
}

fn hash_of(tables: &Connection, source: i64, sequence: u64) -> rusqlite::Result<Vec<u8>> {
    tables
        .prepare_cached("SELECT hash FROM records WHERE source = ?1 AND sequence = ?2")?
        .query_row(params![source, int(sequence)], |row| row.get(0))
}

fn find(tables: &Connection, batch: &Batch) -> rusqlite::Result<Source> {
    let first = batch.records.first().map_or(0, |record| record.sequence);
    tables
        .prepare_cached(
            "INSERT INTO sources (node, boot, first, last, last_hash, stored, conflicts)
             VALUES (?1, ?2, ?3, 0, x'', 0, 0) ON CONFLICT DO NOTHING",
        )?
        .execute(params![batch.node, batch.boot, int(first)])?;
    tables
        .prepare_cached(
            "SELECT id, first, last, last_hash, stored, conflicts FROM sources
             WHERE node = ?1 AND boot = ?2",
        )?
        .query_row(params![batch.node, batch.boot], |row| {
            Ok(Source {
                id: row.get(0)?,
                first: row.get(1)?,
                last: row.get(2)?,
                hash: row.get(3)?,
                stored: row.get(4)?,
                conflicts: row.get(5)?,
            })
        })
}

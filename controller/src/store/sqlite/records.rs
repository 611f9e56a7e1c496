//! The records of nodes and the checkpoints over them.

use super::{Sqlite, int};
use crate::store::{Batch, Cut, Enrolled, Holes, Kept, Page, Records, Result};
use agent_proto::wire::{
    Chain as Told, CheckpointsRequest, CheckpointsResponse, EventsRequest, EventsResponse,
    Evidence, Position, Record,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::HashMap;

/// Checkpoints of a chain that are kept: the newest speaks for all records before it, the others
/// narrow down where somebody has been at them.
const CHECKPOINTS: u32 = 100;

/// Records that are read at a time, and about how many bytes of them: who reads slowly holds so much.
const PAGE: (usize, usize) = (500, 512 * 1024);

/// What is known of a chain.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    id: i64,
    first: u64,
    last: Position,
    stored: u64,
    forks: u64,
    /// The last record that was removed.
    cut: Position,
}

pub(super) type Chains = HashMap<i64, Chain>;

impl Records for Sqlite {
    fn keep(&mut self, batches: &[Batch], now_ms: u64) -> Result<Vec<Kept>> {
        // What is known of the chains changes only with the tables.
        let mut chains = std::mem::take(&mut self.chains);
        let kept = self.change(|tables| {
            batches
                .iter()
                .map(|batch| keep(tables, &mut chains, batch, now_ms))
                .collect()
        });
        if kept.is_ok() {
            self.chains = chains;
        }
        kept
    }

    fn keep_checkpoint(
        &mut self,
        chain: i64,
        of: &Position,
        countersigned: &[u8],
    ) -> Result<Option<String>> {
        self.change(|tables| {
            let stored = match hash_of(tables, chain, of.sequence)? {
                Some(stored) => Some(stored),
                None => known(tables, &by_id(tables, chain)?, of.sequence)?,
            };
            if stored.as_ref() != Some(&of.hash) {
                let sequence = of.sequence;
                return Ok(Some(match stored {
                    Some(_) => format!("the checkpoint is over another record {sequence}"),
                    None => format!("the checkpoint is over record {sequence}, which never came"),
                }));
            }
            tables
                .prepare_cached("INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2, ?3)")?
                .execute(params![chain, int(of.sequence), countersigned])?;
            tables
                .prepare_cached(
                    "DELETE FROM checkpoints WHERE chain = ?1 AND sequence <= (
                         SELECT sequence FROM checkpoints WHERE chain = ?1
                         ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![chain, CHECKPOINTS])?;
            Ok(None)
        })
    }

    fn checkpoints(&mut self, asked: &CheckpointsRequest) -> Result<CheckpointsResponse> {
        self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT id, node, key, since_ms, last, last_hash, cut, cut_hash FROM chains
                 WHERE (?1 = '' OR node = ?1) AND (length(?2) = 0 OR key = ?2) ORDER BY node, id",
            )?;
            let rows = found.query_map(params![asked.node, asked.key], |row| {
                let chain = Told {
                    node: row.get(1)?,
                    key: row.get(2)?,
                    since_ms: row.get(3)?,
                    stored: Some(position(row, 4)?),
                    countersigned: Vec::new(),
                    cut: Some(position(row, 6)?).filter(|cut| cut.sequence > 0),
                };
                Ok((row.get::<_, i64>(0)?, chain))
            })?;
            let mut chains = Vec::new();
            for row in rows {
                let (id, mut chain) = row?;
                let mut found = tables.prepare_cached(
                    "SELECT body FROM checkpoints WHERE chain = ?1 ORDER BY sequence",
                )?;
                let bodies = found.query_map(params![id], |row| row.get(0))?;
                chain.countersigned = bodies.collect::<rusqlite::Result<_>>()?;
                chains.push(chain);
            }
            Ok(CheckpointsResponse { chains })
        })
    }

    fn cut(&mut self, before_ms: u64) -> Result<Vec<Cut>> {
        // What is remembered of the chains is read anew.
        self.chains.clear();
        self.change(|tables| super::cut::all(tables, before_ms))
    }

    fn oldest(&mut self) -> Result<Option<u64>> {
        self.oldest_ms()
    }

    fn used(&mut self) -> Result<u64> {
        self.used_bytes()
    }

    fn before_newest(&mut self, filter: &EventsRequest, count: usize) -> Result<u64> {
        self.ask(|tables| {
            // What comes later is found later, so the end is asked for first.
            let end: u64 = tables
                .prepare_cached("SELECT coalesce(max(id), 0) FROM records")?
                .query_row([], |row| row.get(0))?;
            let first: Option<u64> = tables
                .prepare_cached(
                    "SELECT min(id) FROM (
                         SELECT records.id AS id FROM records JOIN chains ON chain = chains.id
                         WHERE (?1 = '' OR node = ?1) AND (?2 = '' OR agent = ?2)
                           AND (?3 = '' OR session = ?3) AND (?4 = '' OR kind = ?4)
                         ORDER BY records.id DESC LIMIT ?5)",
                )?
                .query_row(
                    params![
                        filter.node,
                        filter.agent,
                        filter.session,
                        filter.kind,
                        int(count as u64)
                    ],
                    |row| row.get(0),
                )?;
            Ok(first.map_or(end, |first| first.saturating_sub(1).min(end)))
        })
    }

    fn events(&mut self, filter: &EventsRequest, after: u64) -> Result<Page> {
        self.ask(|tables| {
            let mut found = tables.prepare_cached(
                "SELECT records.id, node, arrived_ms, sequence, hash, body, boot, time_ms, kind,
                        session, agent, verdict
                 FROM records JOIN chains ON chain = chains.id
                 WHERE records.id > ?1 AND (?2 = '' OR node = ?2) AND (?3 = '' OR agent = ?3)
                   AND (?4 = '' OR session = ?4) AND (?5 = '' OR kind = ?5)
                 ORDER BY records.id LIMIT ?6",
            )?;
            let mut rows = found.query(params![
                int(after),
                filter.node,
                filter.agent,
                filter.session,
                filter.kind,
                int(PAGE.0 as u64)
            ])?;
            let (mut page, mut bytes) = (Page::default(), 0);
            while let Some(row) = rows.next()? {
                let event = event(row)?;
                bytes += event.record.as_ref().map_or(0, |record| record.body.len());
                page.events.push(event);
                if page.events.len() == PAGE.0 || bytes > PAGE.1 {
                    page.more = true;
                    break;
                }
            }
            Ok(page)
        })
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<EventsResponse> {
    Ok(EventsResponse {
        id: row.get(0)?,
        node: row.get(1)?,
        arrived_ms: row.get(2)?,
        record: Some(Record {
            sequence: row.get(3)?,
            hash: row.get(4)?,
            body: row.get(5)?,
            boot: row.get(6)?,
            time_ms: row.get(7)?,
            kind: row.get(8)?,
            session: row.get(9)?,
            agent: row.get(10)?,
            verdict: row.get(11)?,
        }),
    })
}

/// Keeps a batch, if it goes on where the chain stops.
fn keep(
    tables: &Connection,
    chains: &mut Chains,
    batch: &Batch,
    now_ms: u64,
) -> rusqlite::Result<Kept> {
    let mut chain = match chains.remove(&batch.chain) {
        Some(chain) => chain,
        None => by_id(tables, batch.chain)?,
    };
    let (holes, forked) = match fits(tables, &chain, batch)? {
        Ok(holes) => (holes, None),
        Err(why) => (Holes::default(), Some(why)),
    };
    let last = chain.last.sequence;
    let fresh = batch.records.iter().filter(|_| forked.is_none());
    for record in fresh.filter(|record| record.sequence > last) {
        insert(tables, chain.id, record, now_ms)?;
        if chain.stored == 0 {
            chain.first = record.sequence;
        }
        chain.stored += 1;
        chain.last = Position {
            sequence: record.sequence,
            hash: record.hash.clone(),
        };
    }
    chain.forks += u64::from(forked.is_some());
    save(tables, &chain)?;
    let kept = Kept {
        stored: chain.last.clone(),
        forked,
        holes,
    };
    chains.insert(chain.id, chain);
    Ok(kept)
}

/// Whether records go on where the chain stops, or begin earlier and are the same; why it is another
/// chain.
fn fits(
    tables: &Connection,
    chain: &Chain,
    batch: &Batch,
) -> rusqlite::Result<Result<Holes, String>> {
    let last = &chain.last;
    for record in &batch.records {
        if record.sequence > last.sequence {
            break;
        }
        let sequence = record.sequence;
        if sequence < chain.cut.sequence {
            // It was removed; what follows it, and is known, says whether it is the same.
            continue;
        }
        match known(tables, chain, sequence)? {
            Some(stored) if stored == record.hash => {}
            Some(_) => {
                return Ok(Err(format!(
                    "record {sequence} is stored with another hash"
                )));
            }
            None => {
                return Ok(Err(format!(
                    "record {sequence} comes after {}",
                    last.sequence
                )));
            }
        }
    }
    let Some(first) = batch.records.first().map(|record| record.sequence) else {
        return Ok(Ok(Holes::default()));
    };
    let before = &batch.before;
    if first <= last.sequence {
        return Ok(Ok(Holes::default()));
    }
    let holes = Holes {
        lost: span(last.sequence + 1, first - 1),
        forgotten: span(before.sequence + 1, last.sequence),
    };
    let sequence = before.sequence;
    if before == last || sequence > last.sequence {
        return Ok(Ok(holes));
    }
    let stored = match sequence {
        0 => Some(vec![0; 32]),
        sequence => known(tables, chain, sequence)?,
    };
    Ok(match stored {
        // The node has lost records that are stored here, and says so in the one that follows.
        Some(stored) if stored == before.hash => Ok(holes),
        Some(_) => Err(format!(
            "record {first} follows a record {sequence} that is stored with another hash"
        )),
        None if sequence < chain.cut.sequence => Err(format!(
            "record {first} follows record {sequence}, which is not kept any more"
        )),
        None => Err(format!(
            "record {first} follows record {sequence}, which never came"
        )),
    })
}

fn span(first: u64, last: u64) -> Option<(u64, u64)> {
    Some((first, last)).filter(|(first, last)| first <= last)
}

fn insert(tables: &Connection, chain: i64, record: &Record, now_ms: u64) -> rusqlite::Result<()> {
    tables
        .prepare_cached(
            "INSERT INTO records (chain, sequence, boot, time_ms, arrived_ms, hash, kind, session,
                                  agent, verdict, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            chain,
            int(record.sequence),
            record.boot,
            int(record.time_ms),
            int(now_ms),
            record.hash,
            record.kind,
            record.session,
            record.agent,
            record.verdict,
            record.body
        ])?;
    Ok(())
}

fn save(tables: &Connection, chain: &Chain) -> rusqlite::Result<()> {
    tables
        .prepare_cached(
            "UPDATE chains SET first = ?2, last = ?3, last_hash = ?4, stored = ?5, forks = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            chain.id,
            int(chain.first),
            int(chain.last.sequence),
            chain.last.hash,
            int(chain.stored),
            int(chain.forks)
        ])?;
    Ok(())
}

fn hash_of(tables: &Connection, chain: i64, sequence: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    tables
        .prepare_cached("SELECT hash FROM records WHERE chain = ?1 AND sequence = ?2")?
        .query_row(params![chain, int(sequence)], |row| row.get(0))
        .optional()
}

/// The hash of a record that is stored, or was the last to be removed.
fn known(tables: &Connection, chain: &Chain, sequence: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    if sequence == chain.cut.sequence && sequence > 0 {
        return Ok(Some(chain.cut.hash.clone()));
    }
    hash_of(tables, chain.id, sequence)
}

fn position(row: &Row<'_>, column: usize) -> rusqlite::Result<Position> {
    Ok(Position {
        sequence: row.get(column)?,
        hash: row.get(column + 1)?,
    })
}

fn by_id(tables: &Connection, id: i64) -> rusqlite::Result<Chain> {
    tables
        .prepare_cached(
            "SELECT id, first, last, last_hash, stored, forks, cut, cut_hash FROM chains
             WHERE id = ?1",
        )?
        .query_row(params![id], |row| {
            Ok(Chain {
                id: row.get(0)?,
                first: row.get(1)?,
                last: position(row, 2)?,
                stored: row.get(4)?,
                forks: row.get(5)?,
                cut: position(row, 6)?,
            })
        })
}

/// What a node that enrols says of its record, held against what is stored of it.
pub(super) fn enrol(
    tables: &Connection,
    chains: &mut Chains,
    node: &str,
    evidence: &Evidence,
    now_ms: u64,
) -> rusqlite::Result<Enrolled> {
    let earlier: u32 = tables.query_row(
        "SELECT count(*) FROM chains WHERE node = ?1 AND key <> ?2",
        params![node, evidence.key],
        |row| row.get(0),
    )?;
    let fresh = tables.execute(
        "INSERT INTO chains (node, key, since_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![node, evidence.key, int(now_ms)],
    )? == 1;
    let id = tables.query_row(
        "SELECT id FROM chains WHERE node = ?1 AND key = ?2",
        params![node, evidence.key],
        |row| row.get(0),
    )?;
    let mut chain = by_id(tables, id)?;
    let newest = evidence.newest.clone().unwrap_or_default();
    let last = chain.last.sequence;
    let forked = if newest.sequence < last {
        Some(format!(
            "the node's record ends with {}, and {last} is stored: it was rolled back",
            newest.sequence
        ))
    } else if newest.sequence == last && last > 0 && newest.hash != chain.last.hash {
        Some(format!("record {last} is stored with another hash"))
    } else {
        None
    };
    if forked.is_some() {
        chain.forks += 1;
        save(tables, &chain)?;
    }
    let enrolled = Enrolled {
        chain: id,
        stored: chain.last.clone(),
        forked,
        renewed: fresh && earlier > 0,
        forgotten: evidence.countersigned.saturating_sub(last),
    };
    chains.insert(id, chain);
    Ok(enrolled)
}

//! Records that are removed, and what stays known of them.

use super::{Sqlite, int};
use crate::store::Cut;
use agent_proto::wire::Position;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Records of one chain that are removed in one go, and those that are looked at from the oldest on.
const SOME: u32 = 1_000;

/// Removes the oldest records of a chain that arrived before a time and are countersigned.
fn one(tables: &Connection, chain: i64, before_ms: u64) -> rusqlite::Result<Option<Cut>> {
    // Arrivals are in the order of numbers, so the first that must stay ends it.
    let last: Option<(u64, Vec<u8>)> = tables
        .prepare_cached(
            "SELECT sequence, hash FROM (
                 SELECT sequence, hash, arrived_ms FROM records WHERE chain = ?1
                 ORDER BY sequence LIMIT ?3)
             WHERE arrived_ms < ?2 AND sequence <= (
                 SELECT max(sequence) FROM checkpoints WHERE chain = ?1)
             ORDER BY sequence DESC LIMIT 1",
        )?
        .query_row(params![chain, int(before_ms), SOME], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((sequence, hash)) = last else {
        return Ok(None);
    };
    let records = tables
        .prepare_cached("DELETE FROM records WHERE chain = ?1 AND sequence <= ?2")?
        .execute(params![chain, int(sequence)])? as u64;
    let node = tables
        .prepare_cached(
            "UPDATE chains SET cut = ?2, cut_hash = ?3, removed = removed + ?4 WHERE id = ?1
             RETURNING node",
        )?
        .query_row(params![chain, int(sequence), hash, int(records)], |row| {
            row.get(0)
        })?;
    let last = Position { sequence, hash };
    Ok(Some(Cut {
        node,
        last,
        records,
    }))
}

/// Removes some of every chain.
pub(super) fn all(tables: &Connection, before_ms: u64) -> rusqlite::Result<Vec<Cut>> {
    let chains: Vec<i64> = tables
        .prepare_cached("SELECT id FROM chains")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut cuts = Vec::new();
    for chain in chains {
        cuts.extend(one(tables, chain, before_ms)?);
    }
    Ok(cuts)
}

impl Sqlite {
    /// When the last of the oldest arrived, and a millisecond more.
    pub(super) fn oldest_ms(&self) -> super::Result<Option<u64>> {
        self.ask(|tables| {
            tables
                .prepare_cached(
                    "SELECT max(arrived_ms) + 1 FROM (
                         SELECT arrived_ms FROM records ORDER BY id LIMIT ?1)",
                )?
                .query_row(params![SOME], |row| row.get(0))
        })
    }

    /// Bytes in pages that hold something.
    pub(super) fn used_bytes(&self) -> super::Result<u64> {
        self.ask(|tables| {
            let of = |name| tables.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
            Ok((of("page_count")? - of("freelist_count")?) * of("page_size")?)
        })
    }
}

//! What operators did, each entry bound to the one before it.

use super::{Sqlite, int};
use crate::store::{Audit, Deed, Result};
use agent_proto::{seal, wire::AuditEntry};
use prost::Message as _;
use rusqlite::{OptionalExtension as _, params};

impl Audit for Sqlite {
    fn audit(&mut self, deed: &Deed, now_ms: u64) -> Result<()> {
        self.change(|tables| {
            let last: Option<Vec<u8>> = tables
                .prepare_cached("SELECT body FROM audit ORDER BY sequence DESC LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            let last = last
                .and_then(|body| AuditEntry::decode(&body[..]).ok())
                .unwrap_or_default();
            let mut entry = AuditEntry {
                sequence: last.sequence + 1,
                time_ms: now_ms,
                who: deed.who.clone(),
                action: deed.action.clone(),
                object: deed.object.clone(),
                outcome: deed.outcome.clone(),
                hash_before: last.hash,
                hash: Vec::new(),
            };
            entry.hash = seal::audit_hash(&entry);
            tables
                .prepare_cached("INSERT INTO audit VALUES (?1, ?2)")?
                .execute(params![int(entry.sequence), entry.encode_to_vec()])?;
            Ok(())
        })
    }

    fn audited(&mut self, last: u32) -> Result<Vec<AuditEntry>> {
        let bodies: Vec<Vec<u8>> = self.ask(|tables| {
            let mut found =
                tables.prepare_cached("SELECT body FROM audit ORDER BY sequence DESC LIMIT ?1")?;
            let rows = found.query_map(params![last], |row| row.get(0))?;
            rows.collect()
        })?;
        let decode = |body: &Vec<u8>| AuditEntry::decode(&body[..]);
        let entries: std::result::Result<Vec<_>, _> = bodies.iter().rev().map(decode).collect();
        entries.map_err(|error| self.garbled(format!("the audit: {error}")))
    }
}

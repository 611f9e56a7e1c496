//! The store in one SQLite file, with a write-ahead log.
//!
//! What is written is on the disk when a transaction returns (`synchronous = FULL`): an
//! acknowledged record survives a power cut.

mod audit;
mod cut;
mod nodes;
mod records;
mod steering;

use super::{Result, Store, StoreError};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What leads from each version of the tables to the next. Never changed, only added to.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("cut.sql")];

/// How long one way to the database waits for another.
const PATIENCE: Duration = Duration::from_secs(10);

/// A database.
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
    /// The chains that were written to, as they are in the table of them.
    chains: records::Chains,
}

impl Sqlite {
    /// Opens a database, makes it if it is not there, and brings it up to date.
    pub fn open(path: &Path) -> Result<Self> {
        let mut store = Self::connect(path, OpenFlags::default())?;
        store.migrate()?;
        Ok(store)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self> {
        let failed = |source| StoreError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        let set = || {
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "foreign_keys", "on")?;
            connection.set_prepared_statement_cache_capacity(64);
            Ok(())
        };
        set().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            chains: HashMap::new(),
        })
    }

    fn migrate(&mut self) -> Result<()> {
        let known = u32::try_from(MIGRATIONS.len()).expect("there are few");
        let version = |connection: &Connection| {
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        };
        let found = self.ask(|connection| version(connection))?;
        if found > known {
            return Err(StoreError::Newer {
                path: self.path.clone(),
                found,
                known,
            });
        }
        self.change(|tables| {
            let found = version(tables)?;
            for migration in &MIGRATIONS[found as usize..] {
                tables.execute_batch(migration)?;
            }
            tables.pragma_update(None, "user_version", known)?;
            if found == 0 {
                let mut id = [0; 16];
                ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
                    .map_err(|_| rusqlite::Error::InvalidQuery)?;
                let id = hex::encode(id);
                tables.execute("INSERT INTO meta VALUES ('controller', ?1)", params![id])?;
                tables.execute("INSERT INTO meta VALUES ('epoch', 0)", [])?;
            }
            Ok(())
        })
    }

    /// Looks something up.
    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        ask(&self.connection).map_err(|source| StoreError::Sqlite {
            path: self.path.clone(),
            source,
        })
    }

    /// Changes something, whole or not at all.
    fn change<T>(&mut self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let failed = |source| StoreError::Sqlite {
            path: self.path.clone(),
            source,
        };
        let begun = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let done = change(&begun).map_err(failed)?;
        begun.commit().map_err(failed)?;
        Ok(done)
    }

    fn garbled(&self, what: impl Into<String>) -> StoreError {
        StoreError::Garbled {
            path: self.path.clone(),
            what: what.into(),
        }
    }
}

/// SQLite's integers have a sign. Nothing here counts that far.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Store for Sqlite {
    fn reader(&self) -> Result<Box<dyn Store>> {
        Ok(Box::new(Self::connect(&self.path, OpenFlags::default())?))
    }

    fn back_up(&mut self, to: &Path) -> Result<()> {
        self.ask(|connection| {
            connection.execute("VACUUM INTO ?1", params![to.to_string_lossy()])?;
            Ok(())
        })
    }
}

//! `fjall` 3, a log-structured merge tree: one write batch per append, durable with `SyncData`.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};

use crate::store::{Outcome, Store};

/// A database with one keyspace, whose keys are the entries' numbers, the highest byte first.
pub struct Fjall {
    database: Database,
    log: Keyspace,
}

impl fmt::Debug for Fjall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fjall").finish_non_exhaustive()
    }
}

impl Store for Fjall {
    type Batch = (u64, Vec<Bytes>);
    /// Values share what was read from the disk with the cache.
    type Entries = Vec<Slice>;

    fn open(folder: &Path) -> Outcome<Self> {
        let database = Database::builder(folder).open()?;
        let log = database.keyspace("log", KeyspaceCreateOptions::default)?;
        Ok(Self { database, log })
    }

    fn read_all(&mut self) -> Outcome<Vec<Slice>> {
        self.log.iter().map(|guard| Ok(guard.value()?)).collect()
    }

    fn payloads(entries: &Vec<Slice>) -> impl Iterator<Item = &[u8]> {
        entries.iter().map(|value| &**value)
    }

    fn batch(first: u64, payloads: Vec<Bytes>) -> Self::Batch {
        (first, payloads)
    }

    fn append(&mut self, (first, payloads): Self::Batch) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (number, payload) in (first..).zip(&payloads) {
            batch.insert(&self.log, number.to_be_bytes(), &**payload);
        }
        Ok(batch.commit()?)
    }
}

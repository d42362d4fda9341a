//! `redb` 4, a B-tree that copies on write: one transaction per append, durable at once.

use std::path::Path;

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::{Outcome, Store};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// A database with one table, whose keys are the entries' numbers.
#[derive(Debug)]
pub struct Redb {
    database: Database,
}

impl Store for Redb {
    type Batch = (u64, Vec<Bytes>);
    type Entries = Vec<Vec<u8>>;

    fn open(folder: &Path) -> Outcome<Self> {
        Ok(Self { database: Database::create(folder.join("log.redb"))? })
    }

    fn read_all(&mut self) -> Outcome<Vec<Vec<u8>>> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(LOG) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        table.iter()?.map(|entry| Ok(entry?.1.value().to_vec())).collect()
    }

    fn payloads(entries: &Vec<Vec<u8>>) -> impl Iterator<Item = &[u8]> {
        entries.iter().map(|payload| &**payload)
    }

    fn batch(first: u64, payloads: Vec<Bytes>) -> Self::Batch {
        (first, payloads)
    }

    fn append(&mut self, (first, payloads): Self::Batch) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut table = transaction.open_table(LOG)?;
        for (number, payload) in (first..).zip(&payloads) {
            table.insert(number, &**payload)?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}

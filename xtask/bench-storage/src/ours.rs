//! `FileStorage` of `raft-core`, as a driver uses it: load once, then one call of `save` per batch.

use std::path::Path;

use bytes::Bytes;
use raft_core::{
    ClusterId, Entry, FileStorage, Index, Payload, Recovered, Save, SaveNumber, ServerId, Storage,
    Term,
};

use crate::store::{Outcome, Store};

/// The storage of one server.
#[derive(Debug)]
pub struct Ours {
    storage: FileStorage,
}

impl Store for Ours {
    type Batch = Save;
    type Entries = Recovered;

    fn open(folder: &Path) -> Outcome<Self> {
        let server_id = ServerId(1);
        let storage = FileStorage::open(folder, ClusterId(1), server_id, &[server_id])?;
        Ok(Self { storage })
    }

    fn read_all(&mut self) -> Outcome<Recovered> {
        Ok(self.storage.load()?)
    }

    fn payloads(recovered: &Recovered) -> impl Iterator<Item = &[u8]> {
        recovered.entries.iter().map(|entry| match &entry.payload {
            Payload::Proposal(payload) => &**payload,
            other => unreachable!("{other:?} was not appended"),
        })
    }

    fn batch(first: u64, payloads: Vec<Bytes>) -> Save {
        let entry = |(index, payload)| Entry {
            term: Term(1),
            index: Index(index),
            payload: Payload::Proposal(payload),
        };
        let entries = (first..).zip(payloads).map(entry).collect();
        Save { number: SaveNumber(first), entries, ..Save::default() }
    }

    fn append(&mut self, save: Save) -> Outcome<()> {
        Ok(self.storage.save(&[save])?)
    }
}

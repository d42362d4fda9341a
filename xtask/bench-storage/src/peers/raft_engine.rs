//! `raft-engine` 0.4: a log with its index in memory; its entries are those of `raft` 0.7.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use raft::eraftpb::Entry;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::store::{Outcome, Store};

/// One engine has the logs of many groups; ours is this one.
const GROUP: u64 = 1;

/// An engine with one group.
pub struct RaftEngine {
    engine: Engine,
}

impl fmt::Debug for RaftEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftEngine").finish_non_exhaustive()
    }
}

/// Tells the engine where an entry keeps its index.
#[derive(Clone, Copy, Debug)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

impl Store for RaftEngine {
    type Batch = Vec<Entry>;
    type Entries = Vec<Entry>;

    fn open(folder: &Path) -> Outcome<Self> {
        let config = Config {
            dir: folder.display().to_string(),
            // The payload cannot be compressed, and nobody else tries.
            batch_compression_threshold: ReadableSize(0),
            target_file_size: ReadableSize::mb(64),
            ..Config::default()
        };
        Ok(Self { engine: Engine::open(config)? })
    }

    /// Its index is read when it is opened; only this reads the entries.
    fn read_all(&mut self) -> Outcome<Vec<Entry>> {
        let mut entries = Vec::new();
        if let Some(last) = self.engine.last_index(GROUP) {
            self.engine.fetch_entries_to::<Entries>(GROUP, 1, last + 1, None, &mut entries)?;
        }
        Ok(entries)
    }

    fn payloads(entries: &Vec<Entry>) -> impl Iterator<Item = &[u8]> {
        entries.iter().map(|entry| &*entry.data)
    }

    fn batch(first: u64, payloads: Vec<Bytes>) -> Vec<Entry> {
        let entry = |(index, data)| Entry { index, data, term: 1, ..Entry::default() };
        (first..).zip(payloads).map(entry).collect()
    }

    fn append(&mut self, entries: Vec<Entry>) -> Outcome<()> {
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(GROUP, &entries)?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }
}

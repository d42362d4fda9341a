//! `raft-log` 0.4: a log in chunks, with a thread that syncs it and calls back.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, Types};

use crate::store::{Outcome, Store};

/// A term and an index.
type LogId = (u64, u64);

/// The log.
pub struct RaftLog {
    log: raft_log::RaftLog<OurTypes>,
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLog").finish_non_exhaustive()
    }
}

/// What its users decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OurTypes;

impl Types for OurTypes {
    type LogId = LogId;
    type LogPayload = Vec<u8>;
    type Vote = (u64, u64);
    type UserData = String;
    type Callback = SyncSender<io::Result<()>>;

    fn log_index(log_id: &LogId) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Vec<u8>) -> u64 {
        payload.len() as u64
    }
}

impl Store for RaftLog {
    type Batch = Vec<(LogId, Vec<u8>)>;
    type Entries = Vec<Vec<u8>>;

    fn open(folder: &Path) -> Outcome<Self> {
        let mut config = Config::new(folder.display().to_string());
        config.wal.chunk_max_size = Some(64 << 20);
        // With one writer nobody else comes while the thread waits for company.
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        Ok(Self { log: raft_log::RaftLog::open(Arc::new(config))? })
    }

    /// Opening reads everything already, but keeps only what its cache holds.
    fn read_all(&mut self) -> Outcome<Vec<Vec<u8>>> {
        let Some(last) = self.log.log_state().last().map(|log_id| log_id.1) else {
            return Ok(Vec::new());
        };
        self.log.read(1, last + 1).map(|entry| Ok(entry?.1)).collect()
    }

    fn payloads(entries: &Vec<Vec<u8>>) -> impl Iterator<Item = &[u8]> {
        entries.iter().map(|payload| &**payload)
    }

    fn batch(first: u64, payloads: Vec<Bytes>) -> Self::Batch {
        (first..).zip(payloads).map(|(index, payload)| ((1, index), payload.to_vec())).collect()
    }

    fn append(&mut self, batch: Self::Batch) -> Outcome<()> {
        self.log.append(batch)?;
        let (done, is_done) = sync_channel(1);
        self.log.flush(true, Some(done))?;
        Ok(is_done.recv()??)
    }
}

//! State Machine Safety as far as it is about the log (Raft §5.3, Fig. 3).

use std::collections::BTreeMap;
use std::hash::Hash as _;

use raft_core::{Entry, Index, Log, LogId, Payload, ServerId, StepError};

use crate::fingerprint::StateHasher;

use super::{Fact, Monitor};

/// Everything any server says is committed agrees with everything any server ever said was: the same
/// entry at the same place, growing only; what is applied and what clients are told is committed
/// (Raft §5.3, State Machine Safety).
#[derive(Clone, Debug, Default, Hash)]
pub struct CommittedPrefix {
    committed: Vec<Entry>,
    /// The commit index of each server that runs.
    commit_index: BTreeMap<ServerId, Index>,
}

impl CommittedPrefix {
    fn committed_at(&self, index: Index) -> Option<&Entry> {
        self.committed.get(usize::try_from(index.previous().0).ok()?)
    }

    fn commit(&mut self, server: ServerId, index: Index, log: &Log) -> Result<(), String> {
        let before = self.commit_index.insert(server, index).unwrap_or(Index::ZERO);
        if index <= before {
            return Err(format!("{server} committed {index} after {before}"));
        }
        if index > log.last_index() {
            let last = log.last_index();
            return Err(format!("{server} committed {index}, but its log ends at {last}"));
        }
        if before < log.start().index {
            self.compact(server, log.start())?;
        }
        for entry in log.from(before.next()).take_while(|entry| entry.index <= index) {
            match self.committed_at(entry.index) {
                None => self.committed.push(entry.clone()),
                Some(known) if known == entry => {}
                Some(known) => {
                    return Err(format!("{server} committed {entry}, but {known} was before"));
                }
            }
        }
        Ok(())
    }

    /// What a snapshot stands for must have been committed before.
    fn compact(&self, server: ServerId, last: LogId) -> Result<(), String> {
        match self.committed_at(last.index).map(Entry::log_id) {
            Some(known) if known == last => Ok(()),
            Some(known) => {
                Err(format!("{server} has a snapshot up to {last}, but {known} is committed there"))
            }
            None => Err(format!("{server} has a snapshot up to {last}, which nobody committed")),
        }
    }
}

impl Monitor for CommittedPrefix {
    fn property(&self) -> &'static str {
        "committed-prefix"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
    }

    fn begin(&mut self) {
        self.committed.clear();
        self.commit_index.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { server, index, log, .. } => self.commit(server, index, log),
            Fact::Restored { server, last, .. } => self.compact(server, last),
            Fact::Applied { server, entry, .. } => match self.committed_at(entry.index) {
                Some(committed) if committed == entry => Ok(()),
                Some(committed) => {
                    Err(format!("{server} applied {entry}, but {committed} is committed there"))
                }
                None => Err(format!("{server} applied {entry} before it was committed")),
            },
            Fact::Answered { client, sequence_number, log_id, .. } => {
                let is_committed = self.committed_at(log_id.index).is_some_and(|entry| {
                    entry.log_id() == log_id
                        && matches!(&entry.payload, Payload::Command(request)
                            if request.client_id == client
                                && request.sequence_number == sequence_number)
                });
                if is_committed {
                    return Ok(());
                }
                Err(format!("{client}{sequence_number} was answered at {log_id}, where it is not"))
            }
            Fact::Refused { server, error: error @ StepError::CommittedConflict { .. } } => {
                Err(format!("{server} was asked to forget: {error}"))
            }
            Fact::Crashed { server } => {
                // The commit index is volatile (Raft, Fig. 2): it starts again from 0.
                self.commit_index.remove(&server);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

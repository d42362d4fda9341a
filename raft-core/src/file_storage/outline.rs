//! What a log comes to without its payloads: what must be known of it to go on writing (feature
//! `file-storage`).
//!
//! Guarantees: it refuses what leaves a gap, and compacts, as [`Recovered::replay`] does.

use std::collections::VecDeque;

use super::record::Compaction;
use crate::effect::Save;
use crate::snapshot::SnapshotId;
use crate::storage::{HardState, Recovered, StorageError};
use crate::types::{Index, LogId, Term};

/// What is stored, without the entries themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotId>,
    /// The place before the first entry.
    pub(super) start: LogId,
    pub(super) last: LogId,
    /// Where the entries of a term begin, in order; those up to `start` may be named, too.
    runs: VecDeque<(Index, Term)>,
}

impl Outline {
    pub(super) fn of(recovered: &Recovered) -> Self {
        let mut outline = Self {
            hard_state: recovered.hard_state,
            snapshot: recovered.snapshot.as_ref().map(|snapshot| snapshot.id()),
            start: recovered.start,
            last: recovered.start,
            runs: VecDeque::new(),
        };
        recovered.entries.iter().for_each(|entry| outline.push(entry.log_id()));
        outline
    }

    /// Adds a save, and says what its compaction does, if it does anything.
    ///
    /// # Errors
    ///
    /// If its entries would leave a gap. Nothing changes then.
    pub(super) fn take(&mut self, save: &Save) -> Result<Option<Compaction>, StorageError> {
        let compaction = save.compacted.filter(|to| to.index > self.start.index);
        let compaction =
            compaction.map(|to| Compaction { to, clears: self.term_at(to.index) != Some(to.term) });
        let (start, last) = match compaction {
            None => (self.start, self.last),
            Some(Compaction { to, clears: true }) => (to, to),
            Some(Compaction { to, clears: false }) => (to, self.last),
        };
        if let Some(first) = save.entries.first()
            && (first.index <= start.index || first.index > last.index.next())
        {
            return Err(StorageError::Gap { last: last.index, found: first.index });
        }
        (self.start, self.last) = (start, last);
        match compaction {
            Some(Compaction { clears: true, .. }) => self.runs.clear(),
            _ => {
                while self.runs.get(1).is_some_and(|&(from, _)| from <= start.index.next()) {
                    self.runs.pop_front();
                }
            }
        }
        self.hard_state = save.hard_state.unwrap_or(self.hard_state);
        self.snapshot = save.snapshot.as_ref().map(|snapshot| snapshot.id()).or(self.snapshot);
        if let Some(first) = save.entries.first() {
            while self.runs.back().is_some_and(|&(from, _)| from >= first.index) {
                self.runs.pop_back();
            }
        }
        save.entries.iter().for_each(|entry| self.push(entry.log_id()));
        Ok(compaction)
    }

    fn push(&mut self, entry: LogId) {
        if self.runs.back().is_none_or(|&(_, term)| term != entry.term) {
            self.runs.push_back((entry.index, entry.term));
        }
        self.last = entry;
    }

    /// The term of an entry that the log holds.
    fn term_at(&self, index: Index) -> Option<Term> {
        if index <= self.start.index || index > self.last.index {
            return None;
        }
        let after = self.runs.partition_point(|&(from, _)| from <= index);
        Some(self.runs.get(after.checked_sub(1)?)?.1)
    }
}

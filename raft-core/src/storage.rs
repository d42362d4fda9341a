//! What survives a crash, and the door to where it is kept.
//!
//! Elsewhere: which promise waits for which save is in [`crate::durability`]; storage in files is in
//! `file_storage` (feature `file-storage`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::effect::Save;
use crate::log::Entry;
use crate::snapshot::Snapshot;
use crate::types::{Index, LogId, ServerId, Term};

/// What a server must never forget besides its log ("persistent state on all servers", Raft, Fig. 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term the server has seen.
    pub current_term: Term,
    /// Who got its vote in `current_term`.
    pub voted_for: Option<ServerId>,
}

impl fmt::Display for HardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term={} voted_for=", self.current_term)?;
        match self.voted_for {
            Some(candidate) => candidate.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// What a server finds in its storage when it starts; the default is a server that never ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// The last hard state saved.
    pub hard_state: HardState,
    /// The last snapshot saved.
    pub snapshot: Option<Snapshot>,
    /// Where the log was compacted to: the place before the first entry.
    pub start: LogId,
    /// All entries saved, contiguous from the place after `start`.
    pub entries: Vec<Entry>,
}

impl Recovered {
    /// Replays one save on top of what was saved before it.
    ///
    /// # Errors
    ///
    /// If the entries of `save` would leave a gap. Nothing changes then.
    pub fn replay(&mut self, save: Save) -> Result<(), StorageError> {
        let compacted = save.compacted.map(|to| (to, self.kept_behind(to)));
        // Where the log begins and ends once it is compacted.
        let (start, last) = match compacted {
            None => (self.start.index, self.last_index()),
            Some((to, None)) => (to.index, to.index),
            Some((to, Some(_))) => (to.index.max(self.start.index), self.last_index()),
        };
        if let Some(first) = save.entries.first()
            && (first.index <= start || first.index > last.next())
        {
            return Err(StorageError::Gap { last, found: first.index });
        }
        if let Some(hard_state) = save.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = save.snapshot {
            self.snapshot = Some(snapshot);
        }
        match compacted {
            None => {}
            Some((to, None)) => {
                self.start = to;
                self.entries.clear();
            }
            Some((to, Some(gone))) => {
                if to.index > self.start.index {
                    self.start = to;
                }
                self.entries.drain(..gone);
            }
        }
        if let Some(first) = save.entries.first() {
            let kept = first.index.previous() - self.start.index;
            self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            self.entries.extend_from_slice(&save.entries);
        }
        Ok(())
    }

    /// The last entry saved, or where the log was compacted to.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.start.index + self.entries.len() as u64
    }

    /// The entry at `index`, if it is there.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let place = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// How many entries to delete so that the log begins behind `to`; `None` if it does not hold that
    /// entry, so that all of them go.
    pub(crate) fn kept_behind(&self, to: LogId) -> Option<usize> {
        if to.index <= self.start.index {
            return Some(0);
        }
        let is_there = self.entry(to.index).is_some_and(|entry| entry.term == to.term);
        is_there.then(|| usize::try_from(to.index - self.start.index).unwrap_or(usize::MAX))
    }
}

/// Keeps one server's hard state and log.
///
/// A save is durable when [`Storage::save`] returns; the driver then confirms it to the server.
pub trait Storage: Send + 'static {
    /// Reads back everything saved so far.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is damaged where a torn last write does not explain it. The server
    /// must not start then: it may have made promises that it would forget.
    fn load(&mut self) -> Result<Recovered, StorageError>;

    /// Makes these saves durable, in this order, at the price of one (group commit).
    ///
    /// # Errors
    ///
    /// If one of them may not be durable. The server must stop, and start again from
    /// [`Storage::load`]: a failed write is never tried again on the same file.
    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError>;

    /// True if [`Storage::save`] never waits, so that a driver may call it from an async task.
    fn is_instant(&self) -> bool {
        false
    }
}

/// Why storage could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process holds this storage.
    #[error("{path} is in use: a server is already running on it")]
    InUse {
        /// The folder.
        path: String,
    },
    /// What is stored is not what was written.
    #[error(
        "{path} is damaged at byte {offset}: {reason}; nothing was changed; a server must not start \
         with less than it has promised, so replace it by one with a new id"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// Where the damaged record starts.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The storage belongs to another server or cluster, or to a cluster of other voters.
    #[error("{path} belongs to {found}, not to {expected}")]
    Foreign {
        /// The file.
        path: String,
        /// Whom it was written for.
        found: String,
        /// Who wants to read it.
        expected: String,
    },
    /// Entries do not follow those saved before.
    #[error("entries from {found} on do not follow the last one saved, {last}")]
    Gap {
        /// The last index saved.
        last: Index,
        /// The first index of the new entries.
        found: Index,
    },
}

/// Storage that lives as long as the value: for tests, simulations, and clusters that may forget.
///
/// A server whose `MemoryStorage` is dropped has lost its disk. It must not come back under the same
/// id: it could vote twice in one term.
///
/// ```
/// use raft_core::{HardState, MemoryStorage, Save, SaveNumber, Storage, Term};
///
/// let mut storage = MemoryStorage::new();
/// let hard_state = HardState { current_term: Term(3), voted_for: None };
/// let save = Save { number: SaveNumber(1), hard_state: Some(hard_state), ..Save::default() };
/// storage.save(&[save])?;
/// assert_eq!(storage.load()?.hard_state, hard_state);
/// # Ok::<(), raft_core::StorageError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemoryStorage {
    saved: Recovered,
}

impl MemoryStorage {
    /// Empty storage, as of a server that never ran.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Storage for MemoryStorage {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        Ok(self.saved.clone())
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        saves.iter().try_for_each(|save| self.saved.replay(save.clone()))
    }

    fn is_instant(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Payload;
    use crate::types::SaveNumber;

    fn save(terms_from: &[(u64, u64)]) -> Save {
        let entry = |&(index, term)| Entry {
            term: Term(term),
            index: Index(index),
            payload: Payload::Noop,
        };
        let entries = terms_from.iter().map(entry).collect();
        Save { number: SaveNumber(1), entries, ..Save::default() }
    }

    #[test]
    fn later_entries_replace_the_tail_from_their_first_index_on() {
        let mut storage = MemoryStorage::new();
        storage.save(&[save(&[(1, 1), (2, 1), (3, 1)]), save(&[(2, 2)])]).unwrap();
        let terms: Vec<_> = storage.load().unwrap().entries.iter().map(|e| e.term.0).collect();
        assert_eq!(terms, [1, 2]);
    }

    #[test]
    fn a_gap_is_refused_and_changes_nothing() {
        let mut storage = MemoryStorage::new();
        let mut with_gap = save(&[(2, 1)]);
        with_gap.hard_state = Some(HardState { current_term: Term(9), voted_for: None });
        let error = storage.save(&[with_gap]).unwrap_err();
        assert!(matches!(error, StorageError::Gap { last: Index(0), found: Index(2) }));
        assert_eq!(storage, MemoryStorage::new());
    }
}

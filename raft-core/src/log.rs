//! The replicated log in memory (Raft §5.3).
//!
//! Guarantees: two logs that hold the same [`LogId`] are identical up to it (Log Matching), as long
//!             as entries come only from [`Log::append`] and [`Log::append_new`].
//! Relies on:  leaders making at most one entry per index and term.
//! Elsewhere:  what of it is durable is in [`crate::durability`].

use std::fmt;

use crate::message::{ClientRequest, ConflictHint};
use crate::types::{Index, LogId, Term};

/// One place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Where the entry stands.
    pub index: Index,
    /// What the entry is for.
    pub payload: Payload,
}

/// What an entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: the first entry of each leader, which commits what earlier terms left behind
    /// (Raft §8; dissertation §6.4).
    Noop,
    /// A client's command, for the state machine.
    Command(ClientRequest),
}

impl Entry {
    /// Where the entry stands, and in which term it was made.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        LogId::new(self.term, self.index)
    }

    /// The bytes the entry takes in a message or a file, within a few: payload and fixed fields.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        /// Term, index, tag, client, sequence number and length, as [`crate::codec`] writes them.
        const FIXED_BYTES: usize = 48;
        match &self.payload {
            Payload::Noop => FIXED_BYTES,
            Payload::Command(request) => FIXED_BYTES + request.command.len(),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.payload {
            Payload::Noop => write!(f, "{} noop", self.log_id()),
            Payload::Command(request) => {
                let ClientRequest { client_id, sequence_number, command } = request;
                write!(f, "{} {client_id}{sequence_number} ", self.log_id())?;
                // A command is the application's; print what reads as a word, else its size.
                match std::str::from_utf8(command) {
                    Ok(text) if text.len() <= 32 && text.chars().all(|c| c.is_ascii_graphic()) => {
                        f.write_str(text)
                    }
                    _ => write!(f, "({} bytes)", command.len()),
                }
            }
        }
    }
}

/// The entries of one server, contiguous from index 1.
///
/// Invariants:
/// - The entry at index `i` says that its index is `i`.
/// - Terms never decrease, and the first is at least 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    entries: Vec<Entry>,
}

impl Log {
    /// The index and term of the last entry; [`LogId::ZERO`] if there is none.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(LogId::ZERO, Entry::log_id)
    }

    /// The index of the last entry; [`Index::ZERO`] if there is none.
    #[must_use]
    pub fn last_index(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// The term of the last entry; 0 if there is none.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.last().term
    }

    /// The entry at `index`, if the log reaches that far.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let position = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.entries.get(position)
    }

    /// The term of the entry at `index`: 0 before the first entry, `None` after the last.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == Index::ZERO {
            return Some(Term(0));
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// True if the log holds an entry with this index and this term.
    #[must_use]
    pub fn matches(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries from `first` on; empty if the log ends before.
    #[must_use]
    pub fn from(&self, first: Index) -> &[Entry] {
        let start = usize::try_from(first.previous().0).unwrap_or(usize::MAX);
        self.entries.get(start..).unwrap_or_default()
    }

    /// Appends an entry of this server's own making.
    ///
    /// # Panics
    ///
    /// If the entry would break an invariant of the log.
    pub(crate) fn append(&mut self, term: Term, payload: Payload) -> Index {
        assert!(term >= self.last_term() && term > Term(0), "terms never decrease");
        let index = self.last_index().next();
        self.entries.push(Entry { term, index, payload });
        index
    }

    /// The place in `entries` of the first one that is not yet in the log, because the log ends
    /// there or because it holds an entry of another term there; `None` if the log has them all.
    ///
    /// `entries` must start at most one past the end of the log.
    pub(crate) fn first_new(&self, entries: &[Entry]) -> Option<usize> {
        entries.iter().position(|entry| !self.matches(entry.log_id()))
    }

    /// The first of `entries` that the log holds with the same index and term, but with another
    /// payload: only if a leader made two entries in one place, or a disk came back with another log.
    pub(crate) fn first_other_payload(&self, entries: &[Entry]) -> Option<LogId> {
        let is_other = |entry: &&Entry| {
            let known = self.entry(entry.index).filter(|known| known.term == entry.term);
            known.is_some_and(|known| known.payload != entry.payload)
        };
        entries.iter().find(is_other).map(Entry::log_id)
    }

    /// Appends a leader's `entries`, of which the first is not in the log, and deletes whatever
    /// stood there and after it (Raft §5.3: "delete the existing entry and all that follow it").
    ///
    /// # Panics
    ///
    /// If the entries would break an invariant of the log.
    pub(crate) fn append_new(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut entries = entries.into_iter();
        let Some(first) = entries.next() else { return };
        let keep = first.index.previous();
        assert!(keep <= self.last_index(), "entries leave no gap");
        self.entries.truncate(usize::try_from(keep.0).expect("the log is in memory"));
        for entry in std::iter::once(first).chain(entries) {
            assert!(entry.index == self.last_index().next(), "entries are contiguous");
            assert!(entry.term >= self.last_term() && entry.term > Term(0), "terms never decrease");
            self.entries.push(entry);
        }
    }

    /// Where a leader should look after this log did not match at `prev_log_index`.
    ///
    /// Source: Raft §5.3: "the follower can include the term of the conflicting entry and the
    /// first index it stores for that term".
    pub(crate) fn conflict_hint(&self, prev_log_index: Index) -> ConflictHint {
        match self.entry(prev_log_index) {
            None => ConflictHint { term: None, index: self.last_index().next() },
            Some(entry) => {
                let first = self.entries.partition_point(|earlier| earlier.term < entry.term);
                ConflictHint { term: Some(entry.term), index: Index(first as u64 + 1) }
            }
        }
    }

    /// The last place at or before `limit` whose entry has at most this term; [`Index::ZERO`] if
    /// there is none.
    pub(crate) fn last_index_with_term_at_most(&self, term: Term, limit: Index) -> Index {
        let count = self.entries.partition_point(|entry| entry.term <= term) as u64;
        Index(count).min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with entries of these terms.
    fn log(terms: &[u64]) -> Log {
        let mut log = Log::default();
        for &term in terms {
            log.append(Term(term), Payload::Noop);
        }
        log
    }

    #[test]
    fn before_the_first_entry_is_term_zero_and_after_the_last_is_nothing() {
        let log = log(&[1, 1, 3]);
        assert_eq!(log.term_at(Index(0)), Some(Term(0)));
        assert_eq!(log.term_at(Index(3)), Some(Term(3)));
        assert_eq!(log.term_at(Index(4)), None);
        assert_eq!(log.last(), LogId::new(Term(3), Index(3)));
        assert_eq!(Log::default().last(), LogId::ZERO);
    }

    #[test]
    fn a_slice_past_the_end_is_empty() {
        let log = log(&[1, 1, 3]);
        assert_eq!(log.from(Index(3)).len(), 1);
        assert_eq!(log.from(Index(4)).len(), 0);
        assert_eq!(log.from(Index(u64::MAX)).len(), 0);
        assert_eq!(log.from(Index::ZERO).len(), 3);
    }

    #[test]
    fn the_hint_names_the_first_index_of_the_conflicting_term() {
        let log = log(&[1, 1, 2, 2, 2]);
        let hint = |prev| log.conflict_hint(Index(prev));
        assert_eq!(hint(5), ConflictHint { term: Some(Term(2)), index: Index(3) });
        assert_eq!(hint(3), ConflictHint { term: Some(Term(2)), index: Index(3) });
        assert_eq!(hint(2), ConflictHint { term: Some(Term(1)), index: Index(1) });
        assert_eq!(hint(9), ConflictHint { term: None, index: Index(6) });
    }

    #[test]
    fn the_last_index_of_a_term_is_found_below_a_limit() {
        let log = log(&[1, 1, 3, 3]);
        let last = |term, limit| log.last_index_with_term_at_most(Term(term), Index(limit)).0;
        assert_eq!(last(0, 4), 0);
        assert_eq!(last(1, 4), 2);
        assert_eq!(last(2, 4), 2);
        assert_eq!(last(3, 4), 4);
        assert_eq!(last(3, 1), 1);
    }

    #[test]
    fn new_entries_replace_the_conflicting_tail_and_nothing_before_it() {
        let mut follower = log(&[1, 1, 2, 2]);
        let leader = log(&[1, 1, 3]);
        let entries = leader.from(Index(2));
        let new = follower.first_new(entries).expect("the third entry differs");
        assert_eq!(new, 1);
        follower.append_new(entries[new..].iter().cloned());
        assert_eq!(follower, leader);
        assert_eq!(follower.first_new(leader.entries()), None);
    }
}

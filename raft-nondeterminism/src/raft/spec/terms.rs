//! A log as the specification sees it: the term of each entry, as runs of equal terms.
//!
//! Guarantees: comparing, copying and cutting a log costs as much as it has terms, not as it has
//!             entries.
//! Relies on:  one leader per term making one entry per index, so that index and term name an entry
//!             (Raft §5.3, Log Matching). That payloads agree is checked where entries are handed on.

use raft_core::{Index, Log, LogId, Term};

/// The terms of a log, from its last compaction on.
///
/// Invariants:
/// - Each run begins after the one before it, the first just after `start`, and no run is empty.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Terms {
    start: LogId,
    last: Index,
    /// Where each run begins, and its term.
    runs: Vec<(Index, Term)>,
}

impl Clone for Terms {
    fn clone(&self) -> Self {
        Self { start: self.start, last: self.last, runs: self.runs.clone() }
    }

    fn clone_from(&mut self, other: &Self) {
        (self.start, self.last) = (other.start, other.last);
        self.runs.clone_from(&other.runs);
    }
}

impl Terms {
    /// Nothing, after what a snapshot stands for.
    pub(super) fn restart_at(&mut self, start: LogId) {
        (self.start, self.last) = (start, start.index);
        self.runs.clear();
    }

    pub(super) fn start(&self) -> LogId {
        self.start
    }

    pub(super) fn last_index(&self) -> Index {
        self.last
    }

    pub(super) fn last(&self) -> LogId {
        let term = self.runs.last().map_or(self.start.term, |&(_, term)| term);
        LogId::new(term, self.last)
    }

    /// The term of an entry that the log has, or of the one it was compacted to.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last || index < self.start.index {
            return None;
        }
        let run = self.runs.iter().rev().find(|&&(first, _)| first <= index);
        Some(run.map_or(self.start.term, |&(_, term)| term))
    }

    /// True if the log has this entry, or had it before it was compacted: only what is committed is.
    pub(super) fn matches(&self, log_id: LogId) -> bool {
        log_id.index < self.start.index || self.term_at(log_id.index) == Some(log_id.term)
    }

    /// The first entry of the run of equal terms that reaches `index`.
    fn run_start(&self, index: Index) -> Index {
        let run = self.runs.iter().rev().find(|&&(first, _)| first <= index);
        run.map_or(self.start.index, |&(first, _)| first)
    }

    /// The first entry of this term, which the log has at `index`.
    pub(super) fn first_of_term_at(&self, index: Index) -> Index {
        self.run_start(index).max(self.start.index.next())
    }

    pub(super) fn push(&mut self, term: Term) {
        self.last = self.last.next();
        if self.runs.last().is_none_or(|&(_, last)| last != term) {
            self.runs.push((self.last, term));
        }
    }

    /// Deletes everything after `keep`.
    pub(super) fn truncate(&mut self, keep: Index) {
        self.last = self.last.min(keep.max(self.start.index));
        while self.runs.last().is_some_and(|&(first, _)| first > self.last) {
            self.runs.pop();
        }
    }

    /// Forgets everything up to `through`, which a snapshot stands for.
    pub(super) fn compact(&mut self, through: Index) {
        let Some(term) = self.term_at(through).filter(|_| through > self.start.index) else {
            return;
        };
        self.start = LogId::new(term, through);
        if self.last == through {
            return self.runs.clear();
        }
        let next = through.next();
        let after = self.runs.partition_point(|&(first, _)| first <= next);
        self.runs.drain(..after.saturating_sub(1));
        if let Some((first, _)) = self.runs.first_mut() {
            *first = next.max(*first);
        }
    }

    /// The last entry that two logs have in common; by Log Matching, with all before it.
    pub(super) fn last_common(&self, other: &Self) -> Index {
        let mut index = self.last.min(other.last);
        while let (Some(one), Some(two)) = (self.term_at(index), other.term_at(index)) {
            if one == two {
                break;
            }
            // The run with the higher term cannot end before the other one begins.
            let later = if one > two { self } else { other };
            let first = later.run_start(index);
            if first == Index::ZERO {
                return first;
            }
            index = first.previous();
        }
        index
    }

    /// The first place from which on a server's log is another one, if it is.
    pub(super) fn first_difference(&self, log: &Log, from: Index) -> Option<Index> {
        let from = from.max(self.start.index).max(log.start().index);
        let last = self.last.max(log.last_index());
        let mut index = from;
        while index <= last {
            if self.term_at(index) != log.term_at(index) {
                return Some(index);
            }
            index = index.next();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log whose entries, from 1, have these terms.
    fn terms(list: &[u64]) -> Terms {
        let mut terms = Terms::default();
        list.iter().for_each(|&term| terms.push(Term(term)));
        terms
    }

    fn list(terms: &Terms) -> Vec<u64> {
        let indices = terms.start.index.0 + 1..=terms.last.0;
        indices.map(|index| terms.term_at(Index(index)).unwrap().0).collect()
    }

    #[test]
    fn a_log_of_runs_is_the_log_of_its_entries() {
        let all = [1, 1, 2, 2, 2, 5];
        for length in 0..=all.len() {
            let mut cut = terms(&all);
            cut.truncate(Index(length as u64));
            assert_eq!(cut, terms(&all[..length]));
            assert_eq!(list(&cut), all[..length]);
            let mut rest = terms(&all);
            rest.compact(Index(length as u64));
            assert_eq!(list(&rest), all[length..], "after {length}");
            assert_eq!(rest.last(), terms(&all).last());
            rest.push(Term(5));
            assert_eq!(list(&rest).last(), Some(&5));
        }
    }

    #[test]
    fn logs_have_in_common_what_comes_before_the_first_other_term() {
        let cases: [(&[u64], &[u64], u64); 7] = [
            (&[1, 1, 2], &[1, 1, 2], 3),
            (&[1, 1, 2, 2], &[1, 1, 3], 2),
            (&[1, 1, 1], &[1, 4], 1),
            (&[2, 2], &[1, 1, 1], 0),
            (&[], &[1], 0),
            (&[1, 2, 3], &[1, 2, 4, 4], 2),
            (&[1, 3, 3], &[1, 2, 2, 2], 1),
        ];
        for (one, two, expected) in cases {
            assert_eq!(terms(one).last_common(&terms(two)), Index(expected), "{one:?} {two:?}");
            assert_eq!(terms(two).last_common(&terms(one)), Index(expected), "{two:?} {one:?}");
        }
        let mut compacted = terms(&[1, 1, 2]);
        compacted.compact(Index(2));
        assert_eq!(compacted.last_common(&terms(&[1, 1, 3])), Index(2));
        assert_eq!(terms(&[1, 1, 3]).last_common(&compacted), Index(2));
    }

    #[test]
    fn what_is_compacted_still_matches() {
        let mut log = terms(&[1, 1, 2]);
        log.compact(Index(2));
        assert!(log.matches(LogId::new(Term(1), Index(1))));
        assert!(log.matches(LogId::new(Term(1), Index(2))));
        assert!(!log.matches(LogId::new(Term(2), Index(2))));
        assert!(!log.matches(LogId::new(Term(2), Index(4))));
        assert_eq!(log.first_of_term_at(Index(3)), Index(3));
    }
}

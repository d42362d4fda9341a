//! The replicated log in memory (Raft §5.3), from the last compaction on (Raft §7).
//!
//! Guarantees: two logs that hold the same [`LogId`] are identical up to it (Log Matching), as long
//!             as entries come only from [`Log::append`] and [`Log::append_new`].
//! Relies on:  leaders making at most one entry per index and term.
//! Elsewhere:  what of it is durable is in [`crate::durability`].

#[cfg(test)]
mod model;

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use crate::entries::Entries;
use crate::membership::Configuration;
use crate::message::{ClientRequest, ConflictHint};
use crate::types::{ClientId, Index, LogId, SequenceNumber, Term};

/// One place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Where the entry stands.
    pub index: Index,
    /// What the entry is for.
    pub payload: Payload,
}

/// What an entry is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing: the first entry of each leader, which commits what earlier terms left behind
    /// (Raft §8; dissertation §6.4).
    Noop,
    /// A client's command, for the state machine.
    Command(Arc<ClientRequest>),
    /// A command of the application that embeds the server, for the state machine. It belongs to no
    /// session, so whoever proposes it twice runs it twice.
    Proposal(Bytes),
    /// Opens a session for a client (dissertation §6.3).
    RegisterClient {
        /// Whose.
        client_id: ClientId,
        /// Which registration of this client it is, so that a late copy opens no second session.
        registration: SequenceNumber,
        /// How many sessions the cluster keeps from here on. It stands in the log, so that every
        /// server ends the same sessions at the same place, whatever its own settings say.
        sessions_max: u32,
    },
    /// Which servers form the cluster, from this place on (Raft §6).
    Configuration(Arc<Configuration>),
}

impl Payload {
    /// True for what the state machine is to run.
    #[must_use]
    pub fn is_command(&self) -> bool {
        match self {
            Self::Command(_) | Self::Proposal(_) => true,
            Self::Noop | Self::RegisterClient { .. } | Self::Configuration(_) => false,
        }
    }

    /// The command for the state machine, if it is one.
    #[must_use]
    pub fn command(&self) -> Option<&Bytes> {
        match self {
            Self::Command(request) => Some(&request.command),
            Self::Proposal(command) => Some(command),
            Self::Noop | Self::RegisterClient { .. } | Self::Configuration(_) => None,
        }
    }

    /// [`Entry::size_bytes`] of an entry with this payload.
    pub(crate) fn entry_bytes(&self) -> usize {
        /// Term, index, tag, and what a client's command has besides its bytes, as
        /// [`crate::codec`] writes them.
        const FIXED_BYTES: usize = 56;
        let payload = match self {
            Self::Noop | Self::RegisterClient { .. } => 0,
            Self::Command(request) => request.command.len(),
            Self::Proposal(command) => command.len(),
            Self::Configuration(configuration) => 8 * configuration.size(),
        };
        FIXED_BYTES + payload
    }
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
        self.payload.entry_bytes()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A command is the application's; print what reads as a word, else its size.
        fn write_command(f: &mut fmt::Formatter<'_>, command: &[u8]) -> fmt::Result {
            match std::str::from_utf8(command) {
                Ok(text) if text.len() <= 32 && text.chars().all(|c| c.is_ascii_graphic()) => {
                    f.write_str(text)
                }
                _ => write!(f, "({} bytes)", command.len()),
            }
        }

        write!(f, "{} ", self.log_id())?;
        match &self.payload {
            Payload::Noop => f.write_str("noop"),
            Payload::Command(request) => {
                write!(f, "{}{} ", request.client_id, request.sequence_number)?;
                write_command(f, &request.command)
            }
            Payload::Proposal(command) => write_command(f, command),
            Payload::RegisterClient { client_id, registration, .. } => {
                write!(f, "register {client_id}{registration}")
            }
            Payload::Configuration(configuration) => configuration.fmt(f),
        }
    }
}

/// A list shorter than this is small: many of them in a row become one.
const SMALL: usize = 32;
/// How many small lists may stand in a row. Merging copies each entry once, which most logs are spared
/// because they are compacted before; without it, a log of single entries would take twice the memory.
const SMALL_IN_A_ROW: usize = if cfg!(test) { 64 } else { 1 << 14 };

/// The entries of one server, contiguous from the place after [`Log::start`] on.
///
/// They are kept as they came, in shared lists: what a leader appended in one step, or what one
/// request brought. Nothing is copied on its way to the disk or to a follower.
///
/// Invariants:
/// - The entry at index `i` says that its index is `i`.
/// - Terms never decrease, and the first is at least 1.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The place before the first entry: what was compacted ends there.
    start: LogId,
    last: LogId,
    /// All entries from here on are of the last term; or from an earlier place.
    last_term_from: Index,
    /// None is empty.
    lists: VecDeque<Entries>,
    /// How many lists at the end are small.
    small: usize,
    /// Appended since the last [`Log::seal`]; nobody shares them yet.
    tail: Vec<Entry>,
}

/// By what stands in it, not by how it is kept.
impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.start.hash(state);
        self.last.hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl Log {
    /// A log that was compacted up to `start`, and nothing after it yet.
    pub(crate) fn starting_at(start: LogId) -> Self {
        Self { start, last: start, last_term_from: start.index, ..Self::default() }
    }

    /// The place before the first entry: [`LogId::ZERO`], or where the log was compacted to.
    #[must_use]
    pub fn start(&self) -> LogId {
        self.start
    }

    /// The index and term of the last entry; [`Log::start`] if there is none.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.last
    }

    /// The index of the last entry.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.last.index
    }

    /// The term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.last.term
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.last.index - self.start.index
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry at `index`, if the log has it.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        if index <= self.start.index || index > self.last.index {
            return None;
        }
        let (list, place) = self.locate(index);
        match self.lists.get(list) {
            Some(list) => list.get(place),
            None => self.tail.get(place),
        }
    }

    /// The term of the entry at `index`, also at [`Log::start`]; `None` before it and after the last.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last.index {
            None
        } else if index >= self.last_term_from {
            Some(self.last.term)
        } else {
            self.term_at_listed(index)
        }
    }

    /// The term of the entry at `index`, as the entry says.
    fn term_at_listed(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// True if the log holds this entry. What was compacted is committed, so every leader has it too
    /// and it is the same there.
    #[must_use]
    pub fn matches(&self, log_id: LogId) -> bool {
        log_id.index < self.start.index || self.term_at(log_id.index) == Some(log_id.term)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> + '_ {
        self.lists.iter().flat_map(|list| list.iter()).chain(&self.tail)
    }

    /// The entries from `first` on, as far as the log has them.
    pub fn from(&self, first: Index) -> impl Iterator<Item = &Entry> + '_ {
        let (list, place) = self.locate(first.max(self.start.index.next()));
        let list = list.min(self.lists.len());
        let lists = self.lists.range(list..).flat_map(|list| list.iter());
        lists.chain(&self.tail).skip(place)
    }

    /// Which list, and which place in it; the number of lists stands for the tail. `index` is not
    /// before the first entry.
    #[inline]
    fn locate(&self, index: Index) -> (usize, usize) {
        let first_of = |list: &Entries| list[0].index;
        if let Some(list) = self.lists.back().filter(|_| self.tail.is_empty()) {
            let first = first_of(list);
            if first <= index {
                let place = usize::try_from(index - first).unwrap_or(usize::MAX);
                return (self.lists.len() - 1, place);
            }
        }
        self.locate_further(index, first_of)
    }

    fn locate_further(&self, index: Index, first_of: impl Fn(&Entries) -> Index) -> (usize, usize) {
        let place = |first: Index| usize::try_from(index - first).unwrap_or(usize::MAX);
        if let Some(first) = self.tail.first().filter(|first| first.index <= index) {
            return (self.lists.len(), place(first.index));
        }
        // Most questions are about the end.
        for list in (self.lists.len().saturating_sub(4)..self.lists.len()).rev() {
            let first = first_of(&self.lists[list]);
            if first <= index {
                return (list, place(first));
            }
        }
        let after = self.lists.partition_point(|list| first_of(list) <= index);
        let list = after.saturating_sub(1);
        let first = self.lists.get(list).map_or(self.start.index.next(), &first_of);
        (list, place(first))
    }

    /// Appends an entry as a leader does (Raft §5.3); its index is returned. [`Log::seal`] makes it
    /// one to share.
    pub(crate) fn append(&mut self, term: Term, payload: Payload) -> Index {
        assert!(term >= self.last.term && term > Term(0), "terms never decrease");
        if term > self.last.term {
            self.last_term_from = self.last.index.next();
        }
        self.last = LogId::new(term, self.last.index.next());
        self.tail.push(Entry { term, index: self.last.index, payload });
        self.last.index
    }

    /// Makes what was appended since the last call a list to share.
    #[inline]
    pub(crate) fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.seal_tail();
        }
    }

    fn seal_tail(&mut self) {
        let list = Entries::share(&mut self.tail);
        self.push_list(list);
    }

    fn push_list(&mut self, list: Entries) {
        self.small = if list.len() < SMALL { self.small + 1 } else { 0 };
        self.lists.push_back(list);
        if self.small >= SMALL_IN_A_ROW {
            // Each entry is copied once for this, and finding one stays fast.
            let first = self.lists.len() - self.small;
            let merged = self.lists.range(first..).flat_map(|list| list.iter()).cloned();
            let merged: Vec<_> = merged.collect();
            self.lists.truncate(first);
            self.lists.push_back(merged.into());
            self.small = 0;
        }
    }

    /// The place of the first of `entries` that the log does not hold, if there is one. They follow
    /// on an entry that the log holds.
    pub(crate) fn first_new(&self, entries: &[Entry]) -> Option<usize> {
        let first = entries.first()?;
        if first.index > self.last.index {
            return Some(0);
        }
        entries.iter().position(|entry| !self.matches(entry.log_id()))
    }

    /// The first of `entries` that the log holds with the same index and term, but with another
    /// payload: only if a leader made two entries in one place, or a disk came back with another log.
    pub(crate) fn first_other_payload(&self, entries: &[Entry]) -> Option<LogId> {
        if entries.first()?.index > self.last.index {
            return None;
        }
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
    pub(crate) fn append_new(&mut self, entries: Entries) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let keep = first.index.previous();
        assert!(keep <= self.last_index() && keep >= self.start.index, "entries leave no gap");
        self.truncate(keep);
        let last = last.log_id();
        let are_contiguous = last.index - keep == entries.len() as u64;
        assert!(are_contiguous && first.index == keep.next(), "entries are contiguous");
        let is_later = first.term >= self.last_term() && last.term >= first.term;
        assert!(is_later && first.term > Term(0), "terms never decrease");
        if last.term > self.last.term {
            let is_last = |entry: &Entry| entry.term < last.term;
            let earlier = entries.partition_point(is_last) as u64;
            self.last_term_from = keep.next() + earlier;
        }
        self.last = last;
        self.push_list(entries);
    }

    /// Deletes all entries after `keep`.
    fn truncate(&mut self, keep: Index) {
        self.seal();
        if keep >= self.last.index {
            return;
        }
        let term = self.term_at(keep).expect("what is kept is in the log");
        while let Some(list) = self.lists.pop_back() {
            let kept = usize::try_from(keep.next() - list[0].index).expect("it is in memory");
            if kept > 0 {
                self.lists.push_back(list.slice(0..kept.min(list.len())));
                break;
            }
        }
        let is_small = |list: &&Entries| list.len() < SMALL;
        self.small = self.lists.iter().rev().take_while(is_small).count();
        self.last = LogId::new(term, keep);
        // A safe guess; where the run really starts is not worth a search.
        self.last_term_from = self.last_term_from.min(keep);
        if self.term_at_listed(self.last_term_from) != Some(term) {
            self.last_term_from = keep;
        }
    }

    /// Forgets all entries up to `through`, which a snapshot stands for (Raft §7).
    pub(crate) fn compact(&mut self, through: Index) {
        self.seal();
        if through <= self.start.index {
            return;
        }
        let term = self.term_at(through).expect("only what is in the log is compacted");
        while let Some(list) = self.lists.pop_front() {
            let gone = usize::try_from(through.next() - list[0].index).expect("it is in memory");
            if gone < list.len() {
                self.lists.push_front(list.slice(gone..list.len()).without_the_rest());
                break;
            }
        }
        self.small = self.small.min(self.lists.len());
        self.start = LogId::new(term, through);
        self.last_term_from = self.last_term_from.max(through);
    }

    /// Some entries from `first` on, for one request, and their size in bytes: not more than these, but
    /// always one. They are shared if they stand in one list, and copied together if the lists are
    /// small.
    pub(crate) fn batch(&self, first: Index, count_max: u64, bytes_max: usize) -> (Entries, usize) {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        let (list, place) = self.locate(first);
        let Some(entries) = self.lists.get(list) else { return (Entries::new(), 0) };
        let rest = entries.get(place..).unwrap_or_default();
        let is_last = list + 1 == self.lists.len();
        let mut bytes = 0;
        let mut fits = |(count, entry): (usize, &Entry)| {
            let more = bytes + entry.size_bytes();
            let is_fitting = count == 0 || count < count_max && more <= bytes_max;
            if is_fitting {
                bytes = more;
            }
            is_fitting
        };
        if is_last || rest.len() >= SMALL {
            let count = rest.iter().enumerate().take_while(|&it| fits(it)).count();
            return (entries.slice(place..place + count), bytes);
        }
        let fitting = self.from(first).enumerate().take_while(|&it| fits(it));
        let entries = fitting.map(|(_, entry)| entry.clone()).collect();
        (entries, bytes)
    }

    /// Entries from `first` to `through`, but not always all of them: they are shared as far as they
    /// stand in one list, and copied together if the lists are small. The log has them.
    pub(crate) fn stretch(&self, first: Index, through: Index) -> Entries {
        let (list, place) = self.locate(first);
        let entries = &self.lists[list];
        let count = usize::try_from(through - first.previous()).unwrap_or(usize::MAX);
        let shared = count.min(entries.len() - place);
        if shared == count || shared >= SMALL {
            return entries.slice(place..place + shared);
        }
        self.from(first).take(count.min(64 * SMALL)).cloned().collect()
    }

    /// The first index whose entry has at least this term; the one after the last if there is none.
    fn first_index_of(&self, term: Term) -> Index {
        let (mut low, mut high) = (self.start.index.0 + 1, self.last.index.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.term_at(Index(middle)).is_some_and(|found| found < term) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Index(low)
    }

    /// Where a leader should look after this log did not match at `prev_log_index`.
    ///
    /// Source: Raft §5.3: "the follower can include the term of the conflicting entry and the
    /// first index it stores for that term".
    pub(crate) fn conflict_hint(&self, prev_log_index: Index) -> ConflictHint {
        match self.entry(prev_log_index) {
            None => ConflictHint { term: None, index: self.last_index().next() },
            Some(entry) => {
                ConflictHint { term: Some(entry.term), index: self.first_index_of(entry.term) }
            }
        }
    }

    /// The last place at or before `limit` whose entry has at most this term; [`Index::ZERO`], or a
    /// place that is compacted, if there is none.
    pub(crate) fn last_index_with_term_at_most(&self, term: Term, limit: Index) -> Index {
        if self.start.term > term {
            return Index::ZERO;
        }
        self.first_index_of(term.next()).previous().min(limit)
    }
}

/// How the entries are kept does not matter.
impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        (self.start, self.last) == (other.start, other.last) && self.iter().eq(other.iter())
    }
}

impl Eq for Log {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with entries of these terms.
    fn log(terms: &[u64]) -> Log {
        let mut log = Log::default();
        for &term in terms {
            log.append(Term(term), Payload::Noop);
        }
        log.seal();
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
        assert_eq!(log.from(Index(3)).count(), 1);
        assert_eq!(log.from(Index(4)).count(), 0);
        assert_eq!(log.from(Index(u64::MAX)).count(), 0);
        assert_eq!(log.from(Index::ZERO).count(), 3);
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
        let entries = leader.stretch(Index(2), leader.last_index());
        let new = follower.first_new(&entries).expect("the third entry differs");
        assert_eq!(new, 1);
        follower.append_new(entries.slice(new..entries.len()));
        assert_eq!(follower, leader);
        assert_eq!(follower.first_new(&leader.stretch(Index(1), leader.last_index())), None);
    }
}

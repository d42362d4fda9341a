//! Entries that many hands hold at once: the log, a save on its way to the disk, and a request to each
//! follower share one list instead of copying it.
//!
//! Guarantees: a clone copies no entry, and nobody can change what another one holds.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::log::Entry;

/// A shared list of entries, or a part of one; cheap to clone.
///
/// ```
/// use raft_core::{Entries, Entry, Index, Payload, Term};
///
/// let noop = |index| Entry { term: Term(1), index: Index(index), payload: Payload::Noop };
/// let entries: Entries = (1..=3).map(noop).collect();
/// let tail = entries.slice(1..3);
/// assert_eq!(tail.first(), entries.get(1));
/// ```
#[derive(Clone, Default)]
pub struct Entries {
    /// `None` if there are none: then there is nothing to allocate either.
    list: Option<Arc<[Entry]>>,
    start: u32,
    end: u32,
}

impl Entries {
    /// No entries.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: None, start: 0, end: 0 }
    }

    /// The entries at these places of the list, still shared.
    ///
    /// # Panics
    ///
    /// If the list has no such places.
    #[must_use]
    pub fn slice(&self, places: Range<usize>) -> Self {
        assert!(places.start <= places.end && places.end <= self.len(), "no such places");
        if places.is_empty() {
            return Self::new();
        }
        let at = |place: usize| self.start + u32::try_from(place).expect("it is in the list");
        Self { list: self.list.clone(), start: at(places.start), end: at(places.end) }
    }

    /// The same entries, in a list of their own if they are a small part of this one: so few must not
    /// keep all the others in memory.
    pub(crate) fn without_the_rest(self) -> Self {
        let is_small = self.list.as_ref().is_some_and(|list| 2 * self.len() < list.len());
        if is_small { self.iter().cloned().collect() } else { self }
    }

    /// Shares what is in `entries`, and leaves the buffer empty.
    pub(crate) fn share(entries: &mut Vec<Entry>) -> Self {
        if entries.is_empty() {
            return Self::new();
        }
        Self::whole(entries.drain(..).collect())
    }

    fn whole(list: Arc<[Entry]>) -> Self {
        let end = u32::try_from(list.len()).expect("more entries than any memory holds");
        if end == 0 { Self::new() } else { Self { list: Some(list), start: 0, end } }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    #[inline]
    fn deref(&self) -> &[Entry] {
        let places = self.start as usize..self.end as usize;
        self.list.as_deref().and_then(|list| list.get(places)).unwrap_or_default()
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        Self::whole(entries.into())
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self::whole(entries.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

/// By what is in it, not by what it shares.
impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Payload;
    use crate::types::{Index, Term};

    fn entries(count: u64) -> Entries {
        let noop = |index| Entry { term: Term(1), index: Index(index), payload: Payload::Noop };
        (1..=count).map(noop).collect()
    }

    #[test]
    fn a_part_of_a_part_is_the_same_entries() {
        let tail = entries(9).slice(2..8).slice(1..3);
        assert_eq!(tail.iter().map(|entry| entry.index.0).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(tail, entries(5).slice(3..5), "how they are shared does not matter");
        assert_ne!(tail, entries(5));
    }

    #[test]
    fn no_entries_hold_no_list() {
        assert!(entries(0).list.is_none());
        assert!(entries(3).slice(2..2).list.is_none());
        assert!(Entries::share(&mut Vec::new()).list.is_none());
    }

    #[test]
    fn a_small_part_does_not_keep_the_rest_in_memory() {
        let whole = entries(9);
        let [large, small] = [0..5, 6..9].map(|part| whole.slice(part));
        assert_eq!(large.clone().without_the_rest().list.unwrap().len(), 9);
        let kept = small.clone().without_the_rest();
        assert_eq!((kept.list.as_ref().unwrap().len(), &kept), (3, &small));
    }

    #[test]
    fn a_buffer_that_was_shared_is_empty_and_keeps_its_memory() {
        let mut buffer = entries(4).to_vec();
        let capacity = buffer.capacity();
        assert_eq!(Entries::share(&mut buffer), entries(4));
        assert_eq!((buffer.len(), buffer.capacity()), (0, capacity));
    }
}

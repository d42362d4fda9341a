//! What of a server is durable already, and which promises wait for the rest.
//!
//! A granted vote and an acknowledged append are promises: if the server forgot them in a crash, it
//! could give them again to someone else (Raft §5.2; Fig. 2: "updated on stable storage before
//! responding to RPCs"). Saves may take long and overlap with further steps, so promises queue here.
//!
//! Guarantees: a promise leaves after the save it depends on and never in a later term.
//! Relies on:  saves becoming durable in the order of their numbers.

use std::collections::VecDeque;
use std::time::Duration;

use crate::message::Envelope;
use crate::types::{Index, SaveNumber, Term, Timestamp};

/// The saves under way.
///
/// Invariants:
/// - `saved <= issued`, and `pending` holds exactly the saves between them, in order.
/// - Every entry up to `durable_index` is durable as it stands in the log now.
/// - Every waiting promise depends on a pending save.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Durability {
    issued: SaveNumber,
    saved: SaveNumber,
    pending: VecDeque<Pending>,
    durable_index: Index,
    promises: VecDeque<Promise>,
    /// How long the last save took.
    latency: Option<Duration>,
}

/// One save under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    number: SaveNumber,
    issued_at: Timestamp,
    has_hard_state: bool,
    /// The first and the last index of its entries.
    entries: Option<(Index, Index)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Promise {
    after: SaveNumber,
    /// The sender's term when it promised.
    term: Term,
    envelope: Envelope,
}

impl Durability {
    /// Everything up to `durable_index` was recovered from storage.
    pub(crate) fn recovered(durable_index: Index) -> Self {
        Self { durable_index, ..Self::default() }
    }

    /// The last entry that is durable, with all before it.
    pub(crate) fn durable_index(&self) -> Index {
        self.durable_index
    }

    /// The last save asked for.
    pub(crate) fn issued(&self) -> SaveNumber {
        self.issued
    }

    /// The last save confirmed.
    pub(crate) fn saved(&self) -> SaveNumber {
        self.saved
    }

    /// True if a change of hard state is on its way to the disk.
    pub(crate) fn is_hard_state_pending(&self) -> bool {
        self.pending.iter().any(|save| save.has_hard_state)
    }

    /// When the oldest save under way was asked for.
    pub(crate) fn pending_since(&self) -> Option<Timestamp> {
        self.pending.front().map(|save| save.issued_at)
    }

    /// How long the last save took.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Numbers a new save. An installed snapshot counts as all entries that it stands for.
    pub(crate) fn issue(
        &mut self,
        now: Timestamp,
        has_hard_state: bool,
        entries: Option<(Index, Index)>,
    ) -> SaveNumber {
        self.issued = self.issued.next();
        if let Some((first, _)) = entries {
            // What stood there was replaced in memory, so its old copy on disk counts no more.
            self.durable_index = self.durable_index.min(first.previous());
        }
        let (number, issued_at) = (self.issued, now);
        self.pending.push_back(Pending { number, issued_at, has_hard_state, entries });
        self.issued
    }

    /// Numbers a new save that is durable as soon as it is asked for.
    pub(crate) fn issue_durable(&mut self, entries: Option<(Index, Index)>) -> SaveNumber {
        assert!(self.pending.is_empty(), "saves are durable in the order of their numbers");
        self.issued = self.issued.next();
        self.saved = self.issued;
        if let Some((_, last)) = entries {
            self.durable_index = last;
        }
        self.latency = Some(Duration::ZERO);
        self.issued
    }

    /// Queues a promise behind every save issued so far, or gives it back if there is none.
    pub(crate) fn promise(&mut self, term: Term, envelope: Envelope) -> Option<Envelope> {
        if self.saved == self.issued {
            return Some(envelope);
        }
        self.promises.push_back(Promise { after: self.issued, term, envelope });
        None
    }

    /// Confirms all saves up to `number`. False if no such save was issued.
    pub(crate) fn confirm(&mut self, now: Timestamp, number: SaveNumber) -> bool {
        if number > self.issued {
            return false;
        }
        while self.pending.front().is_some_and(|save| save.number <= number) {
            let save = self.pending.pop_front().expect("the front was just seen");
            self.saved = save.number;
            self.latency = Some(now.since(save.issued_at));
            if let Some((_, last)) = save.entries {
                self.durable_index = last;
            }
        }
        // A save still under way may replace entries that an earlier one just made durable.
        for (first, _) in self.pending.iter().filter_map(|save| save.entries) {
            self.durable_index = self.durable_index.min(first.previous());
        }
        true
    }

    /// Takes the next promise whose save is confirmed.
    pub(crate) fn next_kept_promise(&mut self, current_term: Term) -> Option<Envelope> {
        while self.promises.front().is_some_and(|promise| promise.after <= self.saved) {
            let promise = self.promises.pop_front().expect("the front was just seen");
            // Nobody needs a promise of an old term any more, and not sending is always safe.
            if promise.term == current_term {
                return Some(promise.envelope);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(durability: &mut Durability, first: u64, last: u64) -> SaveNumber {
        durability.issue(Timestamp::ZERO, false, Some((Index(first), Index(last))))
    }

    fn confirm(durability: &mut Durability, number: SaveNumber) -> bool {
        durability.confirm(Timestamp::ZERO, number)
    }

    #[test]
    fn entries_are_durable_once_their_save_is_confirmed() {
        let mut durability = Durability::default();
        let first = issue(&mut durability, 1, 3);
        let second = issue(&mut durability, 4, 4);
        assert_eq!(durability.durable_index(), Index(0));
        assert!(confirm(&mut durability, first));
        assert_eq!(durability.durable_index(), Index(3));
        assert!(confirm(&mut durability, second));
        assert_eq!(durability.durable_index(), Index(4));
    }

    #[test]
    fn one_confirmation_covers_all_saves_before_it() {
        let mut durability = Durability::default();
        issue(&mut durability, 1, 3);
        let second = issue(&mut durability, 4, 4);
        assert!(confirm(&mut durability, second));
        assert_eq!(durability.durable_index(), Index(4));
        assert!(confirm(&mut durability, SaveNumber(1)), "a late confirmation changes nothing");
        assert_eq!(durability.durable_index(), Index(4));
    }

    #[test]
    fn a_replaced_entry_is_not_durable_when_its_old_version_is_confirmed() {
        let mut durability = Durability::recovered(Index(2));
        let old = issue(&mut durability, 3, 6);
        let new = issue(&mut durability, 5, 5);
        assert!(confirm(&mut durability, old));
        assert_eq!(durability.durable_index(), Index(4));
        assert!(confirm(&mut durability, new));
        assert_eq!(durability.durable_index(), Index(5));
    }

    #[test]
    fn a_replaced_entry_that_was_durable_is_so_no_more() {
        let mut durability = Durability::recovered(Index(9));
        let new = issue(&mut durability, 4, 5);
        assert_eq!(durability.durable_index(), Index(3));
        assert!(confirm(&mut durability, new));
        assert_eq!(durability.durable_index(), Index(5));
    }

    #[test]
    fn a_save_nobody_issued_cannot_be_confirmed() {
        let mut durability = Durability::default();
        assert!(!confirm(&mut durability, SaveNumber(1)));
    }
}

//! What a leader knows of one follower's log (Raft, Fig. 2: `nextIndex`, `matchIndex`; Raft §5.3).
//!
//! Guarantees: `match_index` only grows, and `next_index` stays above it, whatever arrives late,
//!             twice or never.

use crate::types::{Index, Timestamp};

/// How a leader sends to one follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressState {
    /// The leader is looking for the place where the logs match, with one request under way at a
    /// time.
    Probe {
        /// True while a request is under way; the next heartbeat replaces a lost one.
        is_waiting: bool,
    },
    /// The logs match up to `next_index - 1` if nothing was lost: requests are pipelined.
    Replicate,
}

/// What a leader knows of one follower's log.
///
/// Invariants:
/// - `next_index > match_index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last entry known to be durable on the follower and equal to the leader's.
    pub match_index: Index,
    /// The next entry to send.
    pub next_index: Index,
    /// How to send it.
    pub state: ProgressState,
    /// When the follower was last heard of in this term, on the leader's clock.
    pub heard_at: Timestamp,
}

impl Progress {
    /// A follower of whom nothing is known: try just after the leader's last entry first (Raft §5.3).
    pub(crate) fn new(last_index: Index, now: Timestamp) -> Self {
        Self {
            match_index: Index::ZERO,
            next_index: last_index.next(),
            state: ProgressState::Probe { is_waiting: false },
            heard_at: now,
        }
    }

    /// True if entries may be sent now, with this many under way at most.
    pub(crate) fn may_send(&self, in_flight_max: u64) -> bool {
        match self.state {
            ProgressState::Probe { is_waiting } => !is_waiting,
            ProgressState::Replicate => {
                self.next_index.previous() - self.match_index < in_flight_max
            }
        }
    }

    /// Entries up to `last_index` are on their way.
    pub(crate) fn sent(&mut self, last_index: Index) {
        match &mut self.state {
            ProgressState::Probe { is_waiting } => *is_waiting = true,
            ProgressState::Replicate => self.next_index = self.next_index.max(last_index.next()),
        }
    }

    /// The follower holds everything up to `match_index`.
    pub(crate) fn succeeded(&mut self, match_index: Index) {
        // An answer to an earlier request may come late: it is true, but no news.
        self.match_index = self.match_index.max(match_index);
        self.next_index = self.next_index.max(self.match_index.next());
        self.state = ProgressState::Replicate;
    }

    /// True if a conflict at `prev_log_index` tells something new: it answers a request that may be
    /// under way, and does not contradict what the follower confirmed.
    pub(crate) fn is_news(&self, prev_log_index: Index) -> bool {
        // A follower never loses what it confirmed, so anything else is a late answer.
        let is_unconfirmed = prev_log_index > self.match_index;
        let is_under_way = match self.state {
            ProgressState::Probe { .. } => prev_log_index == self.next_index.previous(),
            ProgressState::Replicate => prev_log_index < self.next_index,
        };
        is_unconfirmed && is_under_way
    }

    /// True if a conflict at `prev_log_index`, with a hint at `hint_index`, says that the follower
    /// lacks what it confirmed. A late answer from before it confirmed says the same.
    pub(crate) fn contradicts(&self, prev_log_index: Index, hint_index: Index) -> bool {
        prev_log_index.max(hint_index) <= self.match_index
    }

    /// The logs differ: go back to `next_index` and probe from there.
    pub(crate) fn conflicted(&mut self, next_index: Index) {
        self.next_index = next_index.max(self.match_index.next());
        self.state = ProgressState::Probe { is_waiting: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicating(match_index: u64, next_index: u64) -> Progress {
        Progress {
            match_index: Index(match_index),
            next_index: Index(next_index),
            state: ProgressState::Replicate,
            heard_at: Timestamp::ZERO,
        }
    }

    #[test]
    fn a_probe_waits_for_its_answer() {
        let mut progress = Progress::new(Index(4), Timestamp::ZERO);
        assert!(progress.may_send(8));
        progress.sent(Index(5));
        assert!(!progress.may_send(8));
        assert_eq!(progress.next_index, Index(5), "a probe assumes nothing");
        progress.succeeded(Index(5));
        assert_eq!(progress, replicating(5, 6));
    }

    #[test]
    fn a_pipeline_stops_at_its_limit() {
        let mut progress = replicating(5, 6);
        progress.sent(Index(13));
        assert!(!progress.may_send(8));
        progress.succeeded(Index(6));
        assert!(progress.may_send(8));
    }

    #[test]
    fn a_late_success_is_true_but_no_news() {
        let mut progress = replicating(5, 9);
        progress.succeeded(Index(3));
        assert_eq!(progress, replicating(5, 9));
    }

    #[test]
    fn a_late_conflict_is_ignored() {
        assert!(!replicating(5, 9).is_news(Index(5)), "the follower confirmed 5 since");
        assert!(!replicating(5, 9).is_news(Index(9)), "nothing after 9 was ever sent");
        assert!(replicating(5, 9).is_news(Index(8)));
        let mut progress = replicating(5, 9);
        progress.conflicted(Index(7));
        assert!(!progress.is_news(Index(8)), "the answer to an earlier request");
        assert!(progress.is_news(Index(6)));
    }

    #[test]
    fn a_follower_that_lacks_what_it_confirmed_contradicts_itself() {
        assert!(replicating(5, 9).contradicts(Index(5), Index(1)));
        assert!(replicating(5, 9).contradicts(Index(1), Index(5)));
        assert!(!replicating(5, 9).contradicts(Index(6), Index(1)), "6 is not confirmed");
        assert!(!replicating(5, 9).contradicts(Index(5), Index(6)), "it lacks only what is new");
    }

    #[test]
    fn next_never_falls_to_match() {
        let mut progress = replicating(5, 9);
        progress.conflicted(Index(2));
        assert_eq!(progress.next_index, Index(6));
    }
}

//! What a leader knows of one follower's log (Raft, Fig. 2: `nextIndex`, `matchIndex`; Raft §5.3).
//!
//! Guarantees: `match_index` only grows, and `next_index` stays above it, whatever arrives late,
//!             twice or never.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Config;
use crate::snapshot::Snapshot;
use crate::types::{Index, Round, Timestamp};

/// How a leader sends to one follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// The leader is looking for the place where the logs match, with one request under way at a
    /// time.
    Probe {
        /// True while a request is under way; heartbeats find out if it was lost.
        is_waiting: bool,
    },
    /// The logs match up to `next_index - 1` if nothing was lost: requests are pipelined.
    Replicate,
    /// The follower needs entries that are gone, so it gets a snapshot, one chunk at a time.
    Snapshot(Transfer),
}

impl ProgressState {
    /// The state's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Probe { .. } => "probe",
            Self::Replicate => "replicate",
            Self::Snapshot(_) => "snapshot",
        }
    }
}

/// A snapshot on its way to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// What is sent.
    pub snapshot: Snapshot,
    /// The next byte to send, or the first of the chunk under way.
    pub offset: u64,
    /// True while a chunk is under way.
    pub is_waiting: bool,
    /// The round in which it was sent: who answers a later one has got it or never will.
    pub(crate) sent_in: Round,
}

impl Transfer {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, offset: 0, is_waiting: false, sent_in: Round::default() }
    }

    /// The follower said in this round that it has all bytes before `offset`.
    ///
    /// Of the answers that come twice or late, none makes the leader send a chunk twice: the same
    /// answer again finds its chunk on its way, and one that goes back counts only if it is newer
    /// than the chunk under way, since the follower has lost what it had then.
    pub(crate) fn answered(&mut self, round: Round, offset: u64) {
        let is_known = self.is_waiting && offset == self.offset;
        let is_late = offset < self.offset && round < self.sent_in;
        if !is_known && !is_late {
            (self.offset, self.is_waiting) = (offset, false);
        }
    }
}

/// What a leader knows of one follower's log.
///
/// Invariants:
/// - `next_index > match_index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The last entry known to be durable on the follower and equal to the leader's.
    pub match_index: Index,
    /// The next entry to send.
    pub next_index: Index,
    /// How to send it.
    pub state: ProgressState,
    /// When the follower was last heard of in this term, on the leader's clock.
    pub heard_at: Timestamp,
    /// True if the follower was caught saying that it lacks what it confirmed: it came back without
    /// its log. It confirms no entry and no read any more, is sent nothing but heartbeats, and neither
    /// gets leadership nor a vote, until it was removed and added again.
    ///
    /// Only this leader knows: a later one takes it for a server that is behind, and a candidate counts
    /// its vote like any other. So remove it soon. In the term in which it hears this leader it votes for
    /// nobody, whatever it may have forgotten.
    pub has_lost_log: bool,
    /// The last round of heartbeats that the follower answered.
    pub(crate) round: Round,
    /// The round in which `match_index` last grew.
    matched_in: Round,
    /// The commit index that the follower was told.
    pub(crate) told_commit: Index,
    /// Requests under way while replicating: their last entries and their sizes in bytes.
    under_way: VecDeque<(Index, usize)>,
    bytes_under_way: usize,
}

impl Progress {
    /// A follower of whom nothing is known: try just after the leader's last entry first (Raft §5.3).
    pub(crate) fn new(last_index: Index, now: Timestamp) -> Self {
        Self {
            match_index: Index::ZERO,
            next_index: last_index.next(),
            state: ProgressState::Probe { is_waiting: false },
            heard_at: now,
            has_lost_log: false,
            round: Round::default(),
            matched_in: Round::default(),
            told_commit: Index::ZERO,
            under_way: VecDeque::new(),
            bytes_under_way: 0,
        }
    }

    /// True if the follower needs entries up to `start`, which are gone, and gets no snapshot that
    /// stands for them. The one on its way does not if the follower was not heard of for so long that
    /// the log did not wait for it.
    pub(crate) fn needs_snapshot(&self, start: Index) -> bool {
        match &self.state {
            ProgressState::Snapshot(transfer) => transfer.snapshot.last().index < start,
            ProgressState::Probe { .. } | ProgressState::Replicate => self.next_index <= start,
        }
    }

    /// True while the follower receives a snapshot.
    pub(crate) fn is_in_snapshot(&self) -> bool {
        matches!(self.state, ProgressState::Snapshot(_))
    }

    /// True if the follower was heard of less than `patience` ago.
    pub(crate) fn is_heard(&self, now: Timestamp, patience: Duration) -> bool {
        now < self.heard_at + patience
    }

    /// The last entry that counts towards a commit.
    pub(crate) fn counted_index(&self) -> Index {
        if self.has_lost_log { Index::ZERO } else { self.match_index }
    }

    /// How many entries, and how many bytes of them, may be sent now. No entries if it is not the
    /// time.
    pub(crate) fn room(&self, config: &Config) -> (u64, usize) {
        match &self.state {
            ProgressState::Probe { is_waiting: true } | ProgressState::Snapshot(_) => (0, 0),
            // A probe has nothing else under way, whatever is not confirmed yet.
            ProgressState::Probe { is_waiting: false } => {
                (config.in_flight_entries_max, config.append_bytes_max)
            }
            ProgressState::Replicate => {
                let entries = self.next_index.previous() - self.match_index;
                let entries = config.in_flight_entries_max.saturating_sub(entries);
                let bytes = config.in_flight_bytes_max.saturating_sub(self.bytes_under_way);
                let is_full = bytes == 0 || self.under_way.len() >= config.in_flight_messages_max;
                if is_full { (0, 0) } else { (entries, bytes.min(config.append_bytes_max)) }
            }
        }
    }

    /// Entries up to `last_index`, of so many bytes, are on their way.
    pub(crate) fn sent(&mut self, last_index: Index, bytes: usize) {
        match &mut self.state {
            ProgressState::Probe { is_waiting } => *is_waiting = true,
            ProgressState::Replicate if last_index >= self.next_index => {
                self.next_index = last_index.next();
                self.under_way.push_back((last_index, bytes));
                self.bytes_under_way += bytes;
            }
            ProgressState::Replicate | ProgressState::Snapshot(_) => {}
        }
    }

    /// The follower answered a request of this round.
    pub(crate) fn heard(&mut self, now: Timestamp, round: Round) {
        self.heard_at = now;
        self.round = self.round.max(round);
        // The chunk was sent before this round, and has arrived by now or never will.
        if let ProgressState::Snapshot(transfer) = &mut self.state
            && round > transfer.sent_in
        {
            transfer.is_waiting = false;
        }
    }

    /// The follower holds everything up to `match_index`; it said so in the leader's round `now_in`.
    pub(crate) fn succeeded(&mut self, match_index: Index, now_in: Round) {
        // An answer to an earlier request may come late: it is true, but no news.
        if match_index > self.match_index {
            self.match_index = match_index;
            self.matched_in = now_in;
        }
        self.next_index = self.next_index.max(self.match_index.next());
        while let Some(&(last, bytes)) = self.under_way.front() {
            if last > self.match_index {
                break;
            }
            self.bytes_under_way -= bytes;
            self.under_way.pop_front();
        }
        match &self.state {
            // What it holds does not reach the entries that are still there.
            ProgressState::Snapshot(transfer)
                if self.match_index < transfer.snapshot.last().index => {}
            _ => self.state = ProgressState::Replicate,
        }
    }

    /// True if a conflict at `prev_log_index` tells something new: it answers a request that may be
    /// under way, and does not contradict what the follower confirmed.
    pub(crate) fn is_news(&self, prev_log_index: Index) -> bool {
        // A follower never loses what it confirmed, so anything else is a late answer.
        let is_unconfirmed = prev_log_index > self.match_index;
        let is_under_way = match self.state {
            ProgressState::Probe { .. } => prev_log_index == self.next_index.previous(),
            ProgressState::Replicate => prev_log_index < self.next_index,
            ProgressState::Snapshot(_) => false,
        };
        is_unconfirmed && is_under_way
    }

    /// True if a conflict at `prev_log_index`, with a hint at `hint_index`, says that the follower
    /// lacks what it confirmed. A late answer from before it confirmed says the same; only
    /// [`Progress::is_proof_of_loss`] can tell.
    pub(crate) fn contradicts(&self, prev_log_index: Index, hint_index: Index) -> bool {
        prev_log_index.max(hint_index) <= self.match_index
    }

    /// True if an answer to a request of this round cannot be from before the follower confirmed.
    pub(crate) fn is_proof_of_loss(&self, round: Round) -> bool {
        round > self.matched_in
    }

    /// The logs differ: go back to `next_index` and probe from there.
    pub(crate) fn conflicted(&mut self, next_index: Index) {
        self.next_index = next_index.max(self.match_index.next());
        self.state = ProgressState::Probe { is_waiting: false };
        self.under_way.clear();
        self.bytes_under_way = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::membership::Configuration;
    use crate::session::Sessions;
    use crate::types::{LogId, ServerId, Term};

    fn config() -> Config {
        let config = Config::new(ServerId(1), [ServerId(1)]);
        Config { in_flight_entries_max: 8, in_flight_bytes_max: 1000, ..config }
    }

    fn replicating(match_index: u64, next_index: u64) -> Progress {
        let mut progress = Progress::new(Index(next_index - 1), Timestamp::ZERO);
        progress.succeeded(Index(match_index), Round(1));
        progress
    }

    fn may_send(progress: &Progress) -> bool {
        progress.room(&config()).0 > 0
    }

    #[test]
    fn a_probe_waits_for_its_answer() {
        let mut progress = Progress::new(Index(4), Timestamp::ZERO);
        assert!(may_send(&progress));
        progress.sent(Index(5), 10);
        assert!(!may_send(&progress));
        assert_eq!(progress.next_index, Index(5), "a probe assumes nothing");
        progress.succeeded(Index(5), Round(1));
        assert_eq!(progress, replicating(5, 6));
    }

    #[test]
    fn a_pipeline_stops_at_its_limit_of_entries() {
        let mut progress = replicating(5, 6);
        progress.sent(Index(13), 10);
        assert!(!may_send(&progress));
        progress.succeeded(Index(6), Round(1));
        assert!(may_send(&progress));
    }

    #[test]
    fn a_pipeline_stops_at_its_limits_of_bytes_and_of_messages() {
        let mut progress = replicating(5, 6);
        progress.sent(Index(6), 900);
        assert_eq!(progress.room(&config()), (7, 100), "what is left of both limits");
        progress.sent(Index(7), 100);
        assert!(!may_send(&progress));
        progress.succeeded(Index(6), Round(1));
        assert_eq!(progress.room(&config()), (7, 900));
        let one = Config { in_flight_messages_max: 1, ..config() };
        assert_eq!(progress.room(&one), (0, 0));
        progress.conflicted(Index(7));
        assert_eq!(progress.room(&one).0, 8, "what was under way is given up");
    }

    fn transfer(last: u64) -> Transfer {
        let last = LogId::new(Term(1), Index(last));
        let configuration = Arc::new(Configuration::new([ServerId(1)], []));
        Transfer::new(Snapshot::new(last, configuration, Sessions::default(), Bytes::new()))
    }

    #[test]
    fn only_an_answer_that_is_news_moves_a_transfer() {
        // What was sent in round 2, the answer's round and offset, and where the transfer is then.
        let cases = [
            (100, 2, 200, (200, false)),
            (100, 2, 100, (100, true)),
            (100, 1, 100, (100, true)),
            (100, 1, 150, (150, false)),
            (100, 1, 0, (100, true)),
            (100, 2, 0, (0, false)),
            (100, 3, 0, (0, false)),
        ];
        for (offset, round, answered, expected) in cases {
            let mut transfer = Transfer { offset, is_waiting: true, ..transfer(9) };
            transfer.sent_in = Round(2);
            transfer.answered(Round(round), answered);
            let found = (transfer.offset, transfer.is_waiting);
            assert_eq!(found, expected, "{answered} in round {round}");
        }
    }

    #[test]
    fn a_later_answer_shows_that_a_chunk_was_lost() {
        let mut progress = replicating(5, 6);
        let mut under_way = transfer(9);
        (under_way.is_waiting, under_way.sent_in) = (true, Round(2));
        progress.state = ProgressState::Snapshot(under_way);
        let is_waiting = |progress: &Progress| match &progress.state {
            ProgressState::Snapshot(transfer) => transfer.is_waiting,
            _ => panic!("no transfer"),
        };
        progress.heard(Timestamp::ZERO, Round(2));
        assert!(is_waiting(&progress));
        progress.heard(Timestamp::ZERO, Round(3));
        assert!(!is_waiting(&progress));
    }

    #[test]
    fn a_snapshot_is_needed_if_it_reaches_what_is_left() {
        let mut progress = replicating(5, 8);
        assert!(!progress.needs_snapshot(Index(7)));
        assert!(progress.needs_snapshot(Index(8)));
        progress.state = ProgressState::Snapshot(transfer(9));
        assert!(!progress.needs_snapshot(Index(9)));
        assert!(progress.needs_snapshot(Index(10)));
        progress.succeeded(Index(8), Round(3));
        assert_eq!(progress.state.name(), "snapshot", "it still lacks entry 9");
        progress.succeeded(Index(9), Round(3));
        assert_eq!(progress.state.name(), "replicate");
    }

    #[test]
    fn a_late_success_is_true_but_no_news() {
        let mut progress = replicating(5, 9);
        progress.succeeded(Index(3), Round(2));
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
        assert!(!replicating(5, 9).is_proof_of_loss(Round(1)), "it may have said so before");
        assert!(replicating(5, 9).is_proof_of_loss(Round(2)));
    }

    #[test]
    fn next_never_falls_to_match() {
        let mut progress = replicating(5, 9);
        progress.conflicted(Index(2));
        assert_eq!(progress.next_index, Index(6));
    }
}

//! What a leader sends each follower next (`nextIndex`; Raft §5.3), as answers change it.
//!
//! Guarantees: an answer moves it as the paper says, with the accelerated way back of Raft §5.3, and a late
//!             answer does not; so no answer is repeated with a request, and none sends the leader astray.
//! Relies on:  the leader's own account of it after each step, since what is sent is left to its limits.
//! Elsewhere:  what a request may hold is checked in `sends.rs`.

use raft_core::{
    AppendEntriesResult, ConflictHint, Index, Leader, Progress, ProgressState, ServerId,
};

use super::broken::{Action, Broken};
use super::servers::ByServer;
use super::state::State;

/// How a leader sends to a follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// It is not known yet where the logs match.
    #[default]
    Probe,
    Replicate,
    /// What it needs is compacted.
    Snapshot {
        last: Index,
    },
}

/// What a follower is sent next, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Next {
    index: Index,
    mode: Mode,
}

impl From<&Progress> for Next {
    fn from(progress: &Progress) -> Self {
        let mode = match &progress.state {
            ProgressState::Probe { .. } => Mode::Probe,
            ProgressState::Replicate => Mode::Replicate,
            ProgressState::Snapshot(transfer) => {
                Mode::Snapshot { last: transfer.snapshot.last().index }
            }
        };
        Self { index: progress.next_index, mode }
    }
}

/// What each follower is sent next.
#[derive(Clone, Debug, Default)]
pub(super) struct NextIndices(ByServer<Next>);

impl NextIndices {
    pub(super) fn of(servers: usize) -> Self {
        Self(ByServer::of(servers))
    }

    /// A server joins with this entry: it is asked first whether it has the one before.
    pub(super) fn joined(&mut self, follower: ServerId, index: Index) {
        self.0.set(follower, Next { index, mode: Mode::Probe });
    }

    /// Takes note of what a leader says after a step.
    pub(super) fn observe(&mut self, leader: &Leader) {
        for (&follower, progress) in leader.progress.iter() {
            self.0.set(follower, progress.into());
        }
    }
}

impl State {
    /// A new leader tries first just behind the log that it was elected with (Raft §5.3).
    pub(super) fn lead_from(&mut self, leader: &Leader) -> Result<(), Broken> {
        let first = Next { index: self.first_index, mode: Mode::Probe };
        for (&follower, progress) in leader.progress.iter() {
            let next = Next::from(progress);
            if next != first {
                let did = format!("begins with entry {} for {follower}", next.index);
                let but = format!("its log ended before {} when it was elected", first.index);
                return Err(Broken::new(Action::BecomeLeader, did, but));
            }
            self.next.0.set(follower, first);
        }
        Ok(())
    }

    /// Compares what an answer has made of `nextIndex` with what it should.
    pub(super) fn check_next_index(
        &mut self,
        follower: ServerId,
        result: AppendEntriesResult,
        progress: &Progress,
    ) -> Result<(), Broken> {
        let (expected, found) = (self.next_after(follower, result), Next::from(progress));
        self.next.0.set(follower, found);
        if found == expected {
            return Ok(());
        }
        let Next { index, mode } = found;
        let did = format!("goes on with {follower} at entry {index} ({mode:?}) after {result:?}");
        let but = format!("it should at entry {} ({:?})", expected.index, expected.mode);
        Err(Broken::new(Action::HandleAppendEntriesResponse, did, but))
    }

    /// What an answer makes of it.
    fn next_after(&self, follower: ServerId, result: AppendEntriesResult) -> Next {
        let before = self.next.0.get(follower);
        match result {
            AppendEntriesResult::Success { .. } => self.next_after_success(follower, before),
            AppendEntriesResult::Conflict { prev_log_index, hint } => {
                self.next_after_conflict(follower, before, prev_log_index, hint)
            }
            AppendEntriesResult::StaleTerm => before,
        }
    }

    fn next_after_success(&self, follower: ServerId, before: Next) -> Next {
        let matched = self.matched.get(follower);
        let mode = match before.mode {
            Mode::Snapshot { last } if matched < last => before.mode,
            Mode::Probe | Mode::Replicate | Mode::Snapshot { .. } => Mode::Replicate,
        };
        Next { index: before.index.max(matched.next()), mode }
    }

    fn next_after_conflict(
        &self,
        follower: ServerId,
        before: Next,
        prev: Index,
        hint: ConflictHint,
    ) -> Next {
        let matched = self.matched.get(follower);
        let is_asked = match before.mode {
            Mode::Probe => prev.next() == before.index,
            Mode::Replicate => prev < before.index,
            Mode::Snapshot { .. } => false,
        };
        // What is below what it has confirmed is a late answer, or that of a server that lost its log.
        if prev <= matched || !is_asked {
            return before;
        }
        let next = self.next_by_hint(prev, hint).min(prev).max(matched.next());
        Next { index: next, mode: Mode::Probe }
    }

    /// "If the leader has the follower's conflicting term", behind its last entry of that term; else where
    /// the follower's first entry of that term is (Raft §5.3).
    fn next_by_hint(&self, prev: Index, hint: ConflictHint) -> Index {
        let Some(term) = hint.term else { return hint.index };
        let mut last = prev.previous();
        while last > self.log.start().index && self.log.term_at(last).is_some_and(|it| it > term) {
            last = last.previous();
        }
        if self.log.term_at(last) == Some(term) { last.next() } else { hint.index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::Term;

    const S2: ServerId = ServerId(2);

    fn probe(index: u64) -> Next {
        Next { index: Index(index), mode: Mode::Probe }
    }

    fn replicate(index: u64) -> Next {
        Next { index: Index(index), mode: Mode::Replicate }
    }

    /// What becomes of `before` at a leader whose log has the terms 1 1 2 2 4, if `matched` is confirmed.
    fn after(before: Next, matched: u64, result: AppendEntriesResult) -> Next {
        let mut state = State::of(3);
        [1, 1, 2, 2, 4].iter().for_each(|&term| state.log.push(Term(term)));
        state.matched.raise(S2, Index(matched));
        state.next.0.set(S2, before);
        state.next_after(S2, result)
    }

    fn conflict(prev: u64, term: Option<u64>, index: u64) -> AppendEntriesResult {
        let hint = ConflictHint { term: term.map(Term), index: Index(index) };
        AppendEntriesResult::Conflict { prev_log_index: Index(prev), hint }
    }

    #[test]
    fn a_success_moves_on_and_never_back() {
        let success = |index| AppendEntriesResult::Success { match_index: Index(index) };
        assert_eq!(after(probe(6), 2, success(2)), replicate(6));
        assert_eq!(after(replicate(3), 5, success(5)), replicate(6));
        let snapshot = Next { index: Index(2), mode: Mode::Snapshot { last: Index(4) } };
        assert_eq!(after(snapshot, 3, success(3)).mode, snapshot.mode, "it lacks entry 4 still");
        assert_eq!(after(snapshot, 4, success(4)), replicate(5));
    }

    #[test]
    fn a_conflict_goes_back_as_far_as_the_hint_says_and_no_further_than_what_is_confirmed() {
        assert_eq!(after(probe(6), 0, conflict(5, None, 3)), probe(3), "its log ends there");
        assert_eq!(after(probe(6), 0, conflict(5, Some(3), 4)), probe(4), "nobody here has term 3");
        assert_eq!(
            after(probe(6), 0, conflict(5, Some(2), 2)),
            probe(5),
            "behind our last of term 2"
        );
        assert_eq!(after(probe(6), 0, conflict(5, None, 9)), probe(5), "back by one at least");
        assert_eq!(after(replicate(6), 3, conflict(5, None, 1)), probe(4));
    }

    #[test]
    fn a_conflict_that_answers_no_question_under_way_changes_nothing() {
        for before in [probe(4), replicate(4)] {
            assert_eq!(after(before, 0, conflict(5, None, 3)), before, "nothing so late was asked");
        }
        assert_eq!(after(probe(4), 0, conflict(2, None, 1)), probe(4), "that was an earlier probe");
        assert_eq!(after(replicate(6), 3, conflict(3, None, 1)), replicate(6), "it has 3 by now");
    }
}

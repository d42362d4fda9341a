//! Linearizable reads that write nothing (dissertation §6.4).
//!
//! Guarantees: a read sees every write that was answered before it was asked for.
//! Relies on:  the leader having committed an entry of its term, so that its commit index is not
//!             behind an earlier leader's; for a lease, on clocks that differ in speed by no more than
//!             the configured bound, and on voters that protect a leader they hear.
//! Elsewhere:  rounds of heartbeats are sent in `replication.rs`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::effect::{Effect, Step};
use crate::error::StepError;
use crate::message::{Message, ReadIndexRequest, ReadIndexResponse};
use crate::role::Role;
use crate::server::Server;
use crate::types::{Index, ReadId, Round, ServerId, Timestamp};

/// How a read makes sure that it sees every earlier write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// The leader asks a majority whether it still leads (ReadIndex, dissertation §6.4).
    ReadIndex,
    /// The leader trusts its clock as long as a majority has promised to elect nobody else
    /// (dissertation §6.4.1), and asks when it may not: without
    /// [`Config::lease_reads`](crate::Config::lease_reads), this is the same as `ReadIndex`.
    Lease,
}

/// Why a read cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// The server that was asked does not lead, or leads no more.
    #[error("the leader has changed")]
    LeaderChanged,
    /// The leader did not answer in time.
    #[error("the leader did not answer in time")]
    Timeout,
}

/// Who waits for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reader {
    id: ReadId,
    /// The server that asked; `None` for this one.
    from: Option<ServerId>,
    /// When, on this server's clock.
    asked_at: Timestamp,
}

/// What a leader knows of reads, and since when it is sure to lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LeaderReads {
    /// The last round of heartbeats sent.
    pub(crate) round: Round,
    /// When the rounds that no majority has answered yet were sent.
    sent_at: VecDeque<(Round, Timestamp)>,
    /// When the last round that a majority answered was sent.
    confirmed_at: Option<Timestamp>,
    /// Reads that wait for a round to start.
    waiting: Vec<Reader>,
    /// Reads whose round is under way, with the index they must see.
    asked: VecDeque<(Round, Index, Vec<Reader>)>,
}

/// What any server knows of its own reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// Reads the leader was asked about, and when.
    forwarded: Vec<(ReadId, Timestamp)>,
    /// Reads that wait until their index is applied.
    applying: Vec<(Index, ReadId)>,
}

impl LeaderReads {
    /// Begins a round of heartbeats. One whose lease would be over by now has nothing to confirm, so
    /// a leader that nobody answers does not remember all of them.
    pub(crate) fn begin_round(
        &mut self,
        now: Timestamp,
        lease: Duration,
        commit_index: Option<Index>,
    ) {
        self.round = self.round.next();
        while self.sent_at.front().is_some_and(|&(_, at)| at + lease <= now) {
            self.sent_at.pop_front();
        }
        self.sent_at.push_back((self.round, now));
        if let Some(index) = commit_index.filter(|_| !self.waiting.is_empty()) {
            let readers = std::mem::take(&mut self.waiting);
            self.asked.push_back((self.round, index, readers));
        }
    }

    /// Takes out the readers that have waited since before `since`.
    fn take_overdue(&mut self, since: impl Fn(Timestamp) -> bool) -> Vec<Reader> {
        let is_overdue = |reader: &mut Reader| since(reader.asked_at);
        let mut overdue: Vec<_> = self.waiting.extract_if(.., is_overdue).collect();
        for (_, _, readers) in &mut self.asked {
            overdue.extend(readers.extract_if(.., is_overdue));
        }
        overdue
    }

    /// True if reads wait and no round is under way that they could have shared.
    pub(crate) fn needs_round(&self) -> bool {
        !self.waiting.is_empty() && self.asked.is_empty()
    }
}

impl Server {
    /// Asks for a read.
    pub(crate) fn handle_read(
        &mut self,
        step: &mut Step<'_>,
        id: ReadId,
        mode: ReadMode,
    ) -> Result<(), StepError> {
        let is_lease_enough = mode == ReadMode::Lease;
        match (&self.role, self.leader_hint()) {
            (Role::Leader(_), _) => {
                let reader = Reader { id, from: None, asked_at: step.now };
                self.lead_read(step, reader, is_lease_enough);
                Ok(())
            }
            (_, Some(leader)) => {
                self.reads.forwarded.push((id, step.now));
                let request = ReadIndexRequest { id, is_lease_enough };
                step.send(leader, Message::ReadIndexRequest(request));
                Ok(())
            }
            (_, None) => Err(StepError::NotLeader { leader: None }),
        }
    }

    /// Another server asks for a read index.
    pub(crate) fn handle_read_index_request(
        &mut self,
        step: &mut Step<'_>,
        from: ServerId,
        request: ReadIndexRequest,
    ) {
        let ReadIndexRequest { id, is_lease_enough } = request;
        if self.role.is_leader() {
            let reader = Reader { id, from: Some(from), asked_at: step.now };
            self.lead_read(step, reader, is_lease_enough);
        } else {
            let response = ReadIndexResponse { id, index: None };
            step.send(from, Message::ReadIndexResponse(response));
        }
    }

    fn lead_read(&mut self, step: &mut Step<'_>, reader: Reader, is_lease_enough: bool) {
        if is_lease_enough && self.has_lease(step.now) {
            let index = self.commit_index;
            return self.finish_read(step, reader, index);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.waiting.push(reader);
            step.replicate();
        }
    }

    /// True while a majority has promised to elect nobody else, whatever their clocks say.
    ///
    /// A voter that answered a round protects the leader for `election_timeout_min` on its own clock
    /// from then on. The leader counts from when it *sent* the round, and less by what the two clocks
    /// may differ in speed.
    fn has_lease(&self, now: Timestamp) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        // A server that was told to take over does not wait for anyone's promise to end.
        let is_usable = self.config.lease_reads && !leader.has_handed_over;
        let is_held =
            leader.reads.confirmed_at.is_some_and(|sent| now < sent + self.config.lease());
        is_usable && self.has_committed_in_term() && (is_held || self.is_alone())
    }

    /// True once this leader has committed an entry of its term: only then its commit index covers
    /// everything that earlier leaders committed (dissertation §6.4, step 1).
    pub(crate) fn has_committed_in_term(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if self.commit_index >= leader.first_index)
    }

    /// Counts who has answered which round: what a majority has answered since a read was asked for
    /// proves that no other leader had been elected then.
    pub(crate) fn confirm_rounds(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let round = leader.reads.round;
        if leader.reads.sent_at.is_empty() {
            return;
        }
        // A set of answers would do as well: each server counts once, with its latest round.
        let answered = |voter| match leader.progress.get(&voter) {
            // It may have lost its vote for another leader as well.
            Some(progress) if progress.has_lost_log => Index::ZERO,
            Some(progress) => Index(progress.round.0),
            None => Index(round.0),
        };
        let confirmed = Round(self.members.latest().committed_index(answered).0);
        let LeaderReads { sent_at, confirmed_at, asked, .. } = &mut leader.reads;
        while let Some(&(_, at)) = sent_at.front().filter(|(round, _)| *round <= confirmed) {
            *confirmed_at = Some(at);
            sent_at.pop_front();
        }
        let count = asked.iter().take_while(|(round, _, _)| *round <= confirmed).count();
        if count > 0 {
            for (_, index, readers) in asked.drain(..count).collect::<Vec<_>>() {
                readers.into_iter().for_each(|reader| self.finish_read(step, reader, index));
            }
        }
    }

    fn finish_read(&mut self, step: &mut Step<'_>, reader: Reader, index: Index) {
        let Reader { id, from, .. } = reader;
        match from {
            None => self.reads.applying.push((index, id)),
            Some(server) => {
                let response = ReadIndexResponse { id, index: Some(index) };
                step.send(server, Message::ReadIndexResponse(response));
            }
        }
    }

    /// The leader has answered.
    pub(crate) fn handle_read_index_response(
        &mut self,
        step: &mut Step<'_>,
        response: ReadIndexResponse,
    ) {
        let ReadIndexResponse { id, index } = response;
        let Some(place) = self.reads.forwarded.iter().position(|&(asked, _)| asked == id) else {
            return;
        };
        self.reads.forwarded.swap_remove(place);
        match index {
            Some(index) => self.reads.applying.push((index, id)),
            None => step.push(Effect::ReadFailed { id, failure: ReadFailure::LeaderChanged }),
        }
    }

    /// Lets those reads go whose index is applied.
    pub(crate) fn serve_reads(&mut self, step: &mut Step<'_>) {
        if self.reads.applying.is_empty() {
            return;
        }
        let applied = self.last_applied;
        self.reads.applying.retain(|&(index, id)| {
            let is_ready = index <= applied;
            if is_ready {
                step.push(Effect::ReadReady { id, index: applied });
            }
            !is_ready
        });
    }

    /// This server leads no more: what was not confirmed fails.
    pub(crate) fn fail_reads_of_leader(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let readers = leader.reads.take_overdue(|_| true);
        leader.reads.asked.clear();
        fail_readers(step, readers, ReadFailure::LeaderChanged);
    }

    /// As a leader, gives up on reads that no majority has confirmed for `election_timeout_max`. With
    /// check-quorum the leader would give itself up then; without, they would wait for ever.
    pub(crate) fn fail_overdue_reads(&mut self, step: &mut Step<'_>) {
        let patience = self.config.election_timeout_max;
        let Role::Leader(leader) = &mut self.role else { return };
        let readers = leader.reads.take_overdue(|asked_at| step.now >= asked_at + patience);
        fail_readers(step, readers, ReadFailure::Timeout);
    }

    /// Gives up on reads whose leader is no more, or has not answered for `election_timeout_max`.
    pub(crate) fn fail_forwarded_reads(&mut self, step: &mut Step<'_>, has_leader_changed: bool) {
        if self.reads.forwarded.is_empty() {
            return;
        }
        let patience = self.config.election_timeout_max;
        self.reads.forwarded.retain(|&(id, asked_at)| {
            let failure = if has_leader_changed {
                ReadFailure::LeaderChanged
            } else if step.now >= asked_at + patience {
                ReadFailure::Timeout
            } else {
                return true;
            };
            step.push(Effect::ReadFailed { id, failure });
            false
        });
    }

    /// Gives up on reads whose entry has not come, because nobody is heard who would send it.
    pub(crate) fn fail_reads_ahead_of_commit(&mut self, step: &mut Step<'_>) {
        let commit_index = self.commit_index;
        self.reads.applying.retain(|&(index, id)| {
            let can_be_served = index <= commit_index;
            if !can_be_served {
                step.push(Effect::ReadFailed { id, failure: ReadFailure::LeaderChanged });
            }
            can_be_served
        });
    }
}

/// Tells whoever asked that a read cannot be served.
fn fail_readers(step: &mut Step<'_>, readers: Vec<Reader>, failure: ReadFailure) {
    for Reader { id, from, .. } in readers {
        match from {
            None => step.push(Effect::ReadFailed { id, failure }),
            Some(server) => {
                let response = ReadIndexResponse { id, index: None };
                step.send(server, Message::ReadIndexResponse(response));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(id: u64, asked_at: u64) -> Reader {
        Reader { id: ReadId(id), from: None, asked_at: Timestamp::from_millis(asked_at) }
    }

    #[test]
    fn rounds_whose_lease_would_be_over_are_forgotten() {
        let mut reads = LeaderReads::default();
        let lease = Duration::from_millis(270);
        for beat in 0..1000 {
            reads.begin_round(Timestamp::from_millis(50 * beat), lease, None);
        }
        let rounds: Vec<_> = reads.sent_at.iter().map(|(round, _)| round.0).collect();
        assert_eq!(rounds, [995, 996, 997, 998, 999, 1000]);
    }

    #[test]
    fn a_round_takes_all_readers_that_wait_and_a_leader_that_may_not_read_keeps_them() {
        let mut reads = LeaderReads::default();
        let lease = Duration::from_millis(270);
        reads.waiting.extend([reader(1, 0), reader(2, 0)]);
        reads.begin_round(Timestamp::ZERO, lease, None);
        assert!(reads.needs_round());
        reads.begin_round(Timestamp::ZERO, lease, Some(Index(4)));
        assert_eq!(reads.asked, [(Round(2), Index(4), vec![reader(1, 0), reader(2, 0)])]);
        reads.waiting.push(reader(3, 0));
        assert!(!reads.needs_round(), "it waits until that round is answered");
    }

    #[test]
    fn only_readers_that_have_waited_for_too_long_are_taken_out() {
        let mut reads = LeaderReads::default();
        reads.waiting.extend([reader(1, 10), reader(2, 20)]);
        reads.begin_round(Timestamp::ZERO, Duration::ZERO, Some(Index(4)));
        reads.waiting.extend([reader(3, 10), reader(4, 20)]);
        let overdue = reads.take_overdue(|asked_at| asked_at <= Timestamp::from_millis(10));
        assert_eq!(overdue, [reader(3, 10), reader(1, 10)]);
        assert_eq!(reads.waiting, [reader(4, 20)]);
        assert_eq!(reads.asked, [(Round(1), Index(4), vec![reader(2, 20)])]);
    }
}

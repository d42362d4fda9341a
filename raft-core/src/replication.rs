//! Log replication and commitment (Raft §5.3, §5.4.2).
//!
//! Guarantees: Leader Append-Only, Log Matching, and State Machine Safety: an entry is applied only
//!             when every later leader is sure to have it, in log order, once.
//! Relies on:  Election Safety (`election.rs`); an acknowledged entry surviving a crash
//!             ([`crate::durability`]).
//! Elsewhere:  what a leader knows of a follower is in [`crate::progress`].

use crate::effect::{Apply, Effect, Step};
use crate::error::StepError;
use crate::log::{Entry, Payload};
use crate::message::{
    AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientRequest, ConflictHint,
    Message,
};
use crate::progress::ProgressState;
use crate::role::Role;
use crate::server::{PendingApply, Server};
use crate::types::{ClientId, Index, LogId, SequenceNumber, ServerId};

/// What a server's refusals call a follower that says it lacks what it confirmed.
const FORGOTTEN_ENTRIES: &str = "forgotten-entries";

impl Server {
    /// Appends a client's command to the leader's log and starts to replicate it.
    pub(crate) fn propose(&mut self, step: &mut Step<'_>, request: ClientRequest) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.remember_in_flight(request.client_id, request.sequence_number);
        self.append_and_replicate(step, Payload::Command(request));
    }

    /// Appends an entry as leader. Requests leave at once: they promise nothing, so the leader
    /// writes its disk while the network is busy (dissertation §10.2.1).
    pub(crate) fn append_and_replicate(&mut self, step: &mut Step<'_>, payload: Payload) {
        let index = self.log.append(self.current_term(), payload);
        step.save_entries(index);
        for other in self.others() {
            self.maybe_send_entries(step, other);
        }
    }

    /// Leads for another heartbeat interval, or steps down if too few followers were heard of.
    ///
    /// Source: dissertation §6.2: "a leader steps down if an election timeout elapses without a
    /// successful round of heartbeats to a majority of its cluster".
    pub(crate) fn lead_on(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        let patience = self.config.election_timeout_max;
        let is_heard = |voter| match leader.progress.get(&voter) {
            Some(progress) => step.now < progress.heard_at + patience,
            None => true,
        };
        if self.config.check_quorum && !self.quorum.is_reached_by(is_heard) {
            self.become_follower(step, None);
        } else {
            self.send_heartbeats(step);
        }
    }

    /// Shows every follower that the leader lives, and repeats what may have been lost.
    ///
    /// Source: Raft §5.2: "repeat during idle periods to prevent election timeouts"; §5.3: "the
    /// leader retries AppendEntries RPCs indefinitely".
    fn send_heartbeats(&mut self, step: &mut Step<'_>) {
        self.deadline = step.now + self.config.heartbeat_interval;
        for other in self.others() {
            let Role::Leader(leader) = &mut self.role else { return };
            let progress = leader.progress.get_mut(&other).expect("a leader knows every voter");
            if let ProgressState::Probe { is_waiting } = &mut progress.state {
                // Whatever was under way had its time.
                *is_waiting = false;
            }
            if !self.maybe_send_entries(step, other) {
                // Nothing new, or too much under way: an empty request also finds out what was lost.
                self.send_append_entries(step, other, Vec::new());
            }
        }
    }

    /// Sends a follower the entries it lacks, as far as its limits allow. False if none were sent.
    fn maybe_send_entries(&mut self, step: &mut Step<'_>, to: ServerId) -> bool {
        let mut was_sent = false;
        loop {
            let Role::Leader(leader) = &self.role else { return was_sent };
            let progress = leader.progress[&to];
            let missing = self.log.from(progress.next_index);
            if missing.is_empty() || !progress.may_send(self.config.in_flight_entries_max) {
                return was_sent;
            }
            let under_way = progress.next_index.previous() - progress.match_index;
            let room = match progress.state {
                // A probe has nothing else under way, whatever is not confirmed yet.
                ProgressState::Probe { .. } => self.config.in_flight_entries_max,
                ProgressState::Replicate => self.config.in_flight_entries_max - under_way,
            };
            let count = batch(missing, room, self.config.append_bytes_max);
            let entries = missing[..count].to_vec();
            self.send_append_entries(step, to, entries);
            was_sent = true;
        }
    }

    fn send_append_entries(&mut self, step: &mut Step<'_>, to: ServerId, entries: Vec<Entry>) {
        let term = self.current_term();
        let Role::Leader(leader) = &mut self.role else { return };
        let progress = leader.progress.get_mut(&to).expect("a leader knows every voter");
        let prev_log_index = progress.next_index.previous();
        let prev_log_term = self.log.term_at(prev_log_index).expect("next_index is in the log");
        let request = AppendEntriesRequest {
            term,
            leader_id: self.config.server_id,
            prev_log_index,
            prev_log_term,
            entries,
            leader_commit: self.commit_index,
        };
        progress.sent(request.last_index());
        step.send(to, Message::AppendEntriesRequest(request));
    }

    /// Refuses what only a broken cluster could say, before anything changes.
    pub(crate) fn admit_append_entries(
        &self,
        request: &AppendEntriesRequest,
    ) -> Result<(), StepError> {
        let &AppendEntriesRequest { term, leader_id, .. } = request;
        if term < self.current_term() {
            return Ok(());
        }
        let known = self.leader_hint().filter(|_| term == self.current_term());
        if let Some(known) = known.filter(|&known| known != leader_id) {
            return Err(StepError::TwoLeaders { term, known, other: leader_id });
        }
        // Index and term alone decide what is new, which is sound only if they name one payload.
        if let Some(log_id) = self.log.first_other_payload(&request.entries) {
            return Err(StepError::PayloadConflict { leader: leader_id, log_id });
        }
        // Every leader has every committed entry (Leader Completeness), so the first place where it
        // differs from this log is past the commit index.
        let prev = LogId::new(request.prev_log_term, request.prev_log_index);
        let first_difference = if self.log.matches(prev) {
            let new = self.log.first_new(&request.entries);
            new.map(|place| request.entries[place].index)
        } else {
            Some(prev.index)
        };
        match first_difference.filter(|&index| index <= self.commit_index) {
            Some(index) => {
                let commit_index = self.commit_index;
                Err(StepError::CommittedConflict { leader: leader_id, index, commit_index })
            }
            None => Ok(()),
        }
    }

    /// Refuses an acknowledgement of what was never sent.
    pub(crate) fn admit_append_response(
        &self,
        response: &AppendEntriesResponse,
    ) -> Result<(), StepError> {
        let AppendEntriesResult::Success { match_index } = response.result else { return Ok(()) };
        let is_ours = response.term == self.current_term() && self.role.is_leader();
        if is_ours && match_index > self.log.last_index() {
            let reason = "it acknowledges more than the leader has";
            return Err(StepError::Malformed { message: "AppendEntriesResponse", reason });
        }
        Ok(())
    }

    /// Takes a leader's entries if they fit onto this log.
    ///
    /// Source: Raft §5.3; Fig. 2, AppendEntries RPC, receiver steps 1 to 5.
    pub(crate) fn handle_append_entries_request(
        &mut self,
        step: &mut Step<'_>,
        request: AppendEntriesRequest,
    ) {
        let term = self.current_term();
        let leader = request.leader_id;
        if request.term < term {
            // The old leader learns of the new term, and steps down.
            let response = AppendEntriesResponse { term, result: AppendEntriesResult::StaleTerm };
            return step.send(leader, Message::AppendEntriesResponse(response));
        }
        // The only leader of this term has spoken: a candidate has lost (§5.2), a follower waits on.
        self.become_follower(step, Some(leader));
        self.reset_election_timeout(step.now);

        let prev = LogId::new(request.prev_log_term, request.prev_log_index);
        if !self.log.matches(prev) {
            let prev_log_index = prev.index;
            let hint = self.log.conflict_hint(prev_log_index);
            let result = AppendEntriesResult::Conflict { prev_log_index, hint };
            let response = AppendEntriesResponse { term, result };
            return step.send(leader, Message::AppendEntriesResponse(response));
        }

        let match_index = request.last_index();
        let leader_commit = request.leader_commit;
        // Only a real difference cuts the log: an old request, delivered late, holds nothing new and
        // must not delete what came after it.
        if let Some(place) = self.log.first_new(&request.entries) {
            let first = request.entries[place].index;
            self.log.append_new(request.entries.into_iter().skip(place));
            step.save_entries(first);
        }
        // What lies past the last entry of this request may be an old leader's, and is not committed
        // by this one's word (Fig. 2: "min(leaderCommit, index of last new entry)").
        self.advance_commit_index(step, leader_commit.min(match_index));

        let result = AppendEntriesResult::Success { match_index };
        let message = Message::AppendEntriesResponse(AppendEntriesResponse { term, result });
        let is_saved = step.entries_from.is_none()
            && step.hard_state.is_none()
            && !self.durability.is_hard_state_pending()
            && match_index <= self.durability.durable_index();
        if is_saved {
            step.send(leader, message);
        } else {
            step.send_when_saved(leader, message);
        }
    }

    /// Learns from a follower's answer, sends it what it lacks, and commits what a majority holds.
    ///
    /// Source: Raft §5.3, §5.4.2.
    pub(crate) fn handle_append_entries_response(
        &mut self,
        step: &mut Step<'_>,
        follower: ServerId,
        response: AppendEntriesResponse,
    ) {
        // An answer to an earlier term is about a log that may have changed since.
        if response.term < self.current_term() {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let progress = leader.progress.get_mut(&follower).expect("a leader knows every voter");
        progress.heard_at = step.now;
        match response.result {
            AppendEntriesResult::Success { match_index } => {
                progress.succeeded(match_index);
                self.maybe_advance_commit_index(step);
            }
            AppendEntriesResult::Conflict { prev_log_index, hint } => {
                if progress.contradicts(prev_log_index, hint.index) {
                    // Going back would trust the wrong disk. It may be a late answer, which is
                    // harmless; if the count keeps growing, the follower came back without its log.
                    self.count_refusal(FORGOTTEN_ENTRIES);
                    return;
                }
                if !progress.is_news(prev_log_index) {
                    return;
                }
                let ConflictHint { term, index } = hint;
                let before = prev_log_index.previous();
                // If the leader has the follower's conflicting term, the logs may match up to the
                // leader's last entry of it; else nothing of that term can match.
                let next_index = match term {
                    Some(term) => {
                        let last = self.log.last_index_with_term_at_most(term, before);
                        if self.log.term_at(last) == Some(term) { last.next() } else { index }
                    }
                    None => index,
                };
                // Whatever the hint says, go back at least one place.
                progress.conflicted(next_index.min(prev_log_index));
            }
            // It answers a request of an earlier term, though the follower has learnt ours since.
            AppendEntriesResult::StaleTerm => {}
        }
        self.maybe_send_entries(step, follower);
    }

    /// Commits what a majority holds, if this term made it.
    ///
    /// Source: Raft §5.4.2: "Raft never commits log entries from previous terms by counting
    /// replicas" (Figure 8 shows how that loses them).
    pub(crate) fn maybe_advance_commit_index(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        // A leader counts its own copy like any other: once it is durable.
        let held = |voter| match leader.progress.get(&voter) {
            Some(progress) => progress.match_index,
            None => self.durability.durable_index(),
        };
        let index = self.quorum.committed_index(held);
        if self.log.term_at(index) == Some(self.current_term()) {
            self.advance_commit_index(step, index);
        }
    }

    fn advance_commit_index(&mut self, step: &mut Step<'_>, index: Index) {
        if index > self.commit_index {
            self.commit_index = index;
            step.push(Effect::NotifyCommit { index });
            self.maybe_apply(step);
        }
    }

    /// Hands committed entries to the state machine, once they are durable here too: a state machine
    /// that keeps its own files must never be ahead of the log.
    pub(crate) fn maybe_apply(&mut self, step: &mut Step<'_>) {
        // What this very step appended is in no save yet, so it cannot be durable.
        let unsaved = step.entries_from.unwrap_or(Index(u64::MAX));
        let durable = self.durability.durable_index().min(unsaved.previous());
        let through = self.commit_index.min(durable);
        if through <= self.applying {
            return;
        }
        let mut entries = Vec::new();
        for entry in &self.log.from(self.applying.next())[..(through - self.applying) as usize] {
            match &entry.payload {
                Payload::Noop => {}
                Payload::Command(request) => {
                    // A second copy of a request, by a leader that did not know of the first.
                    if self.sessions.start(request) {
                        entries.push(entry.clone());
                    }
                    if let Role::Leader(leader) = &mut self.role {
                        leader.forget_in_flight(request.client_id, request.sequence_number);
                    }
                }
            }
        }
        self.applying = through;
        let commands = entries.iter().map(|entry| entry.index).collect();
        self.applies.push_back(PendingApply { through, commands });
        step.push(Effect::Apply(Apply { entries, through }));
    }

    /// Where and whose the command is at a place where one is known to stand.
    pub(crate) fn command_at(&self, index: Index) -> (LogId, ClientId, SequenceNumber) {
        let entry = self.log.entry(index).expect("an applied entry is in the log");
        match &entry.payload {
            Payload::Command(request) => {
                (entry.log_id(), request.client_id, request.sequence_number)
            }
            Payload::Noop => unreachable!("only commands are handed to the state machine"),
        }
    }
}

/// How many of these entries fit into one request: at least one.
fn batch(entries: &[Entry], count_max: u64, bytes_max: usize) -> usize {
    let count_max = usize::try_from(count_max).unwrap_or(usize::MAX).min(entries.len());
    let mut bytes = 0;
    let fitting = entries[..count_max].iter().take_while(|entry| {
        bytes += entry.size_bytes();
        bytes <= bytes_max
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::config::Config;
    use crate::effect::Effects;
    use crate::message::Envelope;
    use crate::server::Input;
    use crate::storage::Recovered;
    use crate::types::{ClusterId, SaveNumber, Term};

    fn entry(index: u64, command_bytes: usize) -> Entry {
        Entry {
            term: Term(1),
            index: Index(index),
            payload: Payload::Command(ClientRequest {
                client_id: ClientId(1),
                sequence_number: SequenceNumber(index),
                command: Bytes::from(vec![0; command_bytes]),
            }),
        }
    }

    /// What is applied is known to the sessions; kept here as well, it would fill the leader's memory.
    #[test]
    fn an_applied_request_is_no_longer_in_flight() {
        let mut server =
            Server::new(Config::new(ServerId(1), [ServerId(1)]), Recovered::default()).unwrap();
        let mut effects = Effects::new();
        let mut step = |server: &mut Server, input| {
            let late = server.next_timeout().unwrap_or_default();
            server.step(late, input, &mut effects).unwrap();
        };
        step(&mut server, Input::NotifyJoinedService);
        step(&mut server, Input::TimerElapsed);
        step(&mut server, Input::Saved(SaveNumber(1)));
        let Payload::Command(request) = entry(1, 1).payload else { unreachable!() };
        let client_id = request.client_id;
        let (cluster_id, from, to) = (ClusterId(0), client_id.into(), ServerId(1).into());
        let message = Message::ClientRequest(request);
        step(&mut server, Input::Message(Envelope { cluster_id, from, to, message }));
        let in_flight = |server: &Server| match &server.role {
            Role::Leader(leader) => leader.in_flight.len(),
            other => panic!("a {other} has nothing in flight"),
        };
        assert_eq!(in_flight(&server), 1);
        step(&mut server, Input::Saved(SaveNumber(3)));
        assert_eq!(in_flight(&server), 0);
    }

    #[test]
    fn a_batch_stops_before_its_limits_but_is_never_empty() {
        let entries: Vec<_> = (1..=10).map(|index| entry(index, 52)).collect();
        assert_eq!(batch(&entries, 1024, 1000), 10);
        assert_eq!(batch(&entries, 1024, 999), 9);
        assert_eq!(batch(&entries, 4, 1000), 4);
        assert_eq!(batch(&entries, 1024, 1), 1);
    }
}

//! Leader election: who may lead, and in which term (Raft §5.2, §5.4.1).
//!
//! Guarantees: at most one leader per term (Election Safety), and every leader holds every
//!             committed entry (Leader Completeness, with the commit rule of §5.4.2).
//! Relies on:  a saved vote surviving a crash; see [`crate::durability`] for the order that ensures
//!             it. The term rule has run before every handler.
//! Elsewhere:  what a new leader does first is in `replication.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::Effect;
use crate::effect::Step;
use crate::log::{Entry, Payload};
use crate::message::{Address, Message, VoteRequest, VoteResponse};
use crate::progress::Progress;
use crate::role::{Candidate, Follower, Leader, Role};
use crate::server::Server;
use crate::storage::HardState;
use crate::types::{LogId, ServerId, Timestamp};

impl Server {
    /// Waits a random time before the next election, so that split votes are rare and soon over.
    ///
    /// Source: Raft §5.2: "election timeouts are chosen randomly from a fixed interval".
    pub(crate) fn reset_election_timeout(&mut self, now: Timestamp) {
        let (min, max) = (self.config.election_timeout_min, self.config.election_timeout_max);
        self.deadline = now + self.rng.duration_between(min, max);
    }

    /// Follows `leader`, or nobody yet.
    pub(crate) fn become_follower(&mut self, step: &mut Step<'_>, leader: Option<ServerId>) {
        if self.role.is_leader() {
            // A leader had no election timer. Whoever else steps down keeps the one it has: a
            // server that refuses every candidate must still call its own election one day.
            self.reset_election_timeout(step.now);
        }
        self.change_role(Role::Follower(Follower { leader }));
    }

    /// Starts an election: a new term, a vote for itself, and a request to all others.
    ///
    /// Source: Raft §5.2.
    pub(crate) fn become_candidate(&mut self, step: &mut Step<'_>) {
        let current_term = self.current_term().next();
        let voted_for = Some(self.config.server_id);
        self.hard_state = HardState { current_term, voted_for };
        step.save(self.hard_state);
        self.reset_election_timeout(step.now);
        self.change_role(Role::Candidate(Candidate {
            votes: BTreeSet::new(),
            own_vote: self.durability.issued().next(),
            #[cfg(feature = "defects")]
            repeated_votes: 0,
        }));
        // The request speaks of a log and a term that a crash must not take back: if this server
        // came back with less and asked again in the same term, the votes given to the longer log
        // would elect the shorter one. So it waits for the save like any other promise.
        let LogId { term: last_log_term, index: last_log_index } = self.log.last();
        let candidate_id = self.config.server_id;
        let request =
            VoteRequest { term: current_term, candidate_id, last_log_index, last_log_term };
        if !self.others().is_empty() {
            step.send_when_saved(Address::AllServers, Message::VoteRequest(request));
        }
    }

    /// Grants this term's vote to the first up-to-date candidate that asks for it.
    ///
    /// Source: Raft §5.2 (one vote per term), §5.4.1 (election restriction).
    pub(crate) fn handle_vote_request(&mut self, step: &mut Step<'_>, request: VoteRequest) {
        let HardState { current_term, voted_for } = self.hard_state;
        assert!(request.term <= current_term, "the term rule runs before every handler");

        let is_current = request.term == current_term;
        let is_free = voted_for.is_none_or(|candidate| candidate == request.candidate_id);
        // Compare term and index as one pair: the later term wins even with the shorter log.
        let is_up_to_date =
            LogId::new(request.last_log_term, request.last_log_index) >= self.log.last();

        let vote_granted = is_current && is_free && is_up_to_date;
        if vote_granted {
            if voted_for.is_none() {
                self.hard_state.voted_for = Some(request.candidate_id);
                step.save(self.hard_state);
            }
            self.reset_election_timeout(step.now);
        }
        // A granted vote is a promise: it waits for the save, so no server votes twice.
        let response = VoteResponse { term: current_term, vote_granted };
        step.send_when_saved(request.candidate_id, Message::VoteResponse(response));
    }

    /// Counts a voter.
    ///
    /// Source: Raft §5.2: "votes from a majority of the servers in the full cluster for the same
    /// term".
    pub(crate) fn handle_vote_response(
        &mut self,
        step: &mut Step<'_>,
        voter: ServerId,
        response: VoteResponse,
    ) {
        // A vote of an earlier term was given to a candidacy that is over.
        if response.term < self.current_term() || !response.vote_granted {
            return;
        }
        let Role::Candidate(candidate) = &mut self.role else { return };
        #[cfg(feature = "defects")]
        if candidate.votes.contains(&voter) {
            candidate.repeated_votes += 1;
        }
        candidate.votes.insert(voter);
        self.maybe_become_leader(step);
    }

    /// Counts this candidate's own vote, once it is durable.
    pub(crate) fn maybe_count_own_vote(&mut self, step: &mut Step<'_>) {
        let saved = self.durability.saved();
        let Role::Candidate(candidate) = &mut self.role else { return };
        if saved >= candidate.own_vote {
            candidate.votes.insert(self.config.server_id);
            self.maybe_become_leader(step);
        }
    }

    fn maybe_become_leader(&mut self, step: &mut Step<'_>) {
        let Role::Candidate(candidate) = &self.role else { return };
        let is_elected = self.quorum.is_reached_by(|voter| candidate.votes.contains(&voter));
        #[cfg(feature = "defects")]
        let is_elected = is_elected
            || self.config.has_defect(crate::defect::Defect::VoteCountedTwice)
                && candidate.votes.len() + candidate.repeated_votes >= self.quorum.majority();
        if is_elected {
            self.become_leader(step);
        }
    }

    /// Leads this term: opens it with an entry of its own, and tells everyone.
    ///
    /// Source: Raft §5.2, §8 (the no-op at the start of a term).
    fn become_leader(&mut self, step: &mut Step<'_>) {
        let progress = |other| (other, Progress::new(self.log.last_index()));
        let progress: BTreeMap<_, _> = self.others().into_iter().map(progress).collect();
        let mut leader = Leader { progress, in_flight: BTreeMap::new() };
        // What earlier leaders left in the log may still commit and be answered here.
        for Entry { payload, .. } in self.log.from(self.applying.next()) {
            if let Payload::Command(request) = payload {
                leader.remember_in_flight(request.client_id, request.sequence_number);
            }
        }
        self.change_role(Role::Leader(leader));
        self.deadline = step.now + self.config.heartbeat_interval;
        step.push(Effect::NotifyElectedLeader { term: self.current_term() });
        self.append_and_replicate(step, Payload::Noop);
    }

    fn change_role(&mut self, role: Role) {
        if self.role.name() != role.name() {
            tracing::info!(
                server = %self.config.server_id, term = self.current_term().0, from = %self.role, to = %role,
                "role changed"
            );
        }
        self.role = role;
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::config::Config;
    use crate::effect::Effects;
    use crate::storage::Recovered;
    use crate::types::{Index, Term};

    /// No input gets there, because the term rule runs before every handler. A server in which it
    /// did not would grant a vote in a term it has not saved, so it stops instead.
    #[test]
    fn a_vote_in_a_term_the_server_has_not_seen_stops_it() {
        let config = Config::new(ServerId(1), [1, 2, 3].map(ServerId));
        let (cluster_id, id) = (config.cluster_id, config.server_id);
        let mut server = Server::new(config, Recovered::default()).unwrap();
        let mut effects = Effects::new();
        let mut step = Step::new(Timestamp::ZERO, cluster_id, id, &mut effects);
        let request = VoteRequest {
            term: Term(1),
            candidate_id: ServerId(2),
            last_log_index: Index::ZERO,
            last_log_term: Term(0),
        };
        let handled =
            catch_unwind(AssertUnwindSafe(|| server.handle_vote_request(&mut step, request)));
        let message = handled.unwrap_err().downcast::<&str>().map(|message| *message);
        assert_eq!(message.ok(), Some("the term rule runs before every handler"));
    }
}

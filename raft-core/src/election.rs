//! Leader election: who may lead, and in which term (Raft §5.2, §5.4.1).
//!
//! Guarantees: at most one leader per term (Election Safety), and every leader holds every
//!             committed entry (Leader Completeness, with the commit rule of §5.4.2).
//! Relies on:  a saved vote surviving a crash; see [`crate::durability`] for the order that ensures
//!             it. The term rule has run before every handler.
//! Elsewhere:  what a new leader does first is in `replication.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Effect;
use crate::effect::Step;
use crate::followers::Followers;
use crate::log::{Entry, Payload};
use crate::message::{Address, Message, TimeoutNow, VoteRequest, VoteResponse};
use crate::read::LeaderReads;
use crate::role::{Candidate, Follower, Leader, PreCandidate, Role};
use crate::server::Server;
use crate::storage::HardState;
use crate::types::{LogId, ServerId, Term, Timestamp};

impl Server {
    /// Waits a random time before the next election, so that split votes are rare and soon over.
    ///
    /// Source: Raft §5.2: "election timeouts are chosen randomly from a fixed interval".
    pub(crate) fn reset_election_timeout(&mut self, now: Timestamp) {
        let (min, max) = (self.config.election_timeout_min, self.config.election_timeout_max);
        self.election_timeout = self.rng.duration_between(min, max) + self.deference();
        self.deadline = now + self.election_timeout;
    }

    /// How much longer this server waits because others are to lead before it.
    fn deference(&self) -> Duration {
        if self.config.priorities.is_empty() {
            return Duration::ZERO;
        }
        let own = self.config.priority(self.config.server_id);
        let voters = self.members.latest().voters().iter();
        let preferred = voters.filter(|&&voter| self.config.priority(voter) > own).count();
        let spread = self.config.election_timeout_max - self.config.election_timeout_min;
        spread * u32::try_from(preferred).unwrap_or(u32::MAX)
    }

    /// Follows `leader`, or nobody yet.
    pub(crate) fn become_follower(&mut self, step: &mut Step<'_>, leader: Option<ServerId>) {
        if self.role.is_leader() {
            // A leader had no election timer. Whoever else steps down keeps the one it has: a
            // server that refuses every candidate must still call its own election one day.
            self.reset_election_timeout(step.now);
            self.fail_reads_of_leader(step);
        }
        self.fail_forwarded_reads(step, true);
        // A later term forgets the leader, but not the promise that its lease rests on.
        if let Role::Follower(Follower { leader: Some(_), heard_at, .. }) = &self.role
            && self.config.lease_reads
        {
            let promised = *heard_at + self.config.election_timeout_min;
            self.sticky_until = self.sticky_until.max(promised);
        }
        let heard_at = step.now;
        self.change_role(Role::Follower(Follower { leader, heard_at, answered: None }));
    }

    /// Nothing was heard of a leader for too long.
    pub(crate) fn call_election(&mut self, step: &mut Step<'_>) {
        self.fail_forwarded_reads(step, true);
        self.fail_reads_ahead_of_commit(step);
        if !self.may_campaign() || self.is_disk_stalled(step.now) {
            // It could not lead: nobody counts on it, or it could promise nothing.
            self.reset_election_timeout(step.now);
            self.forget_leader(step.now);
        } else if self.config.pre_vote && !self.is_alone() {
            self.become_pre_candidate(step);
        } else {
            self.become_candidate(step, false);
        }
    }

    /// A leader that is silent for so long is none to send clients to.
    fn forget_leader(&mut self, now: Timestamp) {
        if let Role::Follower(follower) = &mut self.role {
            *follower = Follower { leader: None, heard_at: now, answered: None };
        }
    }

    /// True if the oldest save has been under way for too long at this time: the server does not lead
    /// then, and calls no election.
    #[must_use]
    pub fn is_disk_stalled(&self, now: Timestamp) -> bool {
        let (since, limit) = (self.durability.pending_since(), self.config.disk_stall_timeout);
        since.zip(limit).is_some_and(|(since, limit)| now >= since + limit)
    }

    /// The leader wants this server to lead: it asks for votes at once, without asking first whether
    /// it would get them.
    ///
    /// Source: dissertation §3.10.
    pub(crate) fn handle_timeout_now(&mut self, step: &mut Step<'_>, request: TimeoutNow) {
        let TimeoutNow { term, leader_id, last } = request;
        // Too late: the leader has gone on, or is no more.
        let is_current = term == self.current_term() && self.leader_hint() == Some(leader_id);
        let is_complete = self.log.last() == last;
        let is_voter = self.members.latest().is_voter(self.config.server_id);
        if is_current && is_complete && is_voter && !self.is_disk_stalled(step.now) {
            self.become_candidate(step, true);
        }
    }

    /// Asks the others whether they would vote for this server, in a term that nobody is in yet.
    ///
    /// A server that was cut off would come back with a higher term otherwise, and depose a leader
    /// that everyone else can hear.
    ///
    /// Source: dissertation §9.6.
    fn become_pre_candidate(&mut self, step: &mut Step<'_>) {
        self.reset_election_timeout(step.now);
        let votes = BTreeSet::from([self.config.server_id]);
        self.change_role(Role::PreCandidate(PreCandidate { votes }));
        // Nothing is promised, neither by the question nor by the answers: they leave at once.
        let request = self.vote_request(self.current_term().next(), false);
        step.send(Address::AllServers, Message::PreVoteRequest(request));
    }

    /// Says whether this server would vote for the sender.
    ///
    /// Source: dissertation §9.6.
    pub(crate) fn handle_pre_vote_request(&mut self, step: &mut Step<'_>, request: VoteRequest) {
        let current_term = self.current_term();
        // In a later term it would have its vote still to give.
        let is_later = request.term > current_term;
        let vote_granted = is_later && self.is_up_to_date(&request) && !self.hears_leader(step.now);
        // Whoever is refused must learn of a later term, or it would ask for an old one for ever.
        let term = if vote_granted { request.term } else { current_term };
        let response = VoteResponse { term, vote_granted };
        step.send(request.candidate_id, Message::PreVoteResponse(response));
    }

    /// Counts who would vote for this server.
    pub(crate) fn handle_pre_vote_response(
        &mut self,
        step: &mut Step<'_>,
        voter: ServerId,
        response: VoteResponse,
    ) {
        let next_term = self.current_term().next();
        let Role::PreCandidate(candidate) = &mut self.role else { return };
        // A granted pre-vote speaks of the term that was asked for; of another one it says nothing. A
        // refusal speaks of the voter's term, which by the term rule is not past this server's.
        if response.term != next_term {
            return;
        }
        candidate.votes.insert(voter);
        let votes = &candidate.votes;
        if self.members.latest().is_reached_by(|voter| votes.contains(&voter)) {
            self.become_candidate(step, false);
        }
    }

    /// True if a leader can be expected to lead on: nobody needs another one.
    ///
    /// Source: dissertation §4.2.3: "if a server receives a RequestVote request within the minimum
    /// election timeout of hearing from a current leader".
    fn hears_leader(&self, now: Timestamp) -> bool {
        match &self.role {
            // It may have heard one before it was started again, or in an earlier term.
            Role::Follower(Follower { leader: None, .. }) if now < self.sticky_until => true,
            Role::Follower(Follower { leader: Some(_), heard_at, .. }) => {
                now < *heard_at + self.config.election_timeout_min
            }
            // It checks its quorum, and steps down by itself when it has none.
            Role::Leader(_) => self.config.check_quorum,
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// True for a candidate that would depose a leader which this server still hears; such a request
    /// is not even answered, and its term is not taken over (dissertation §4.2.3).
    ///
    /// Only with check-quorum: a leader that nobody answers would lead on for ever otherwise.
    pub(crate) fn is_disruptive(&self, now: Timestamp, message: &Message) -> bool {
        let Message::VoteRequest(request) = message else { return false };
        let is_wanted = request.is_transfer;
        // A term whose leader has spoken elects nobody else; one that this server was only told of may.
        let is_open = request.term > self.current_term()
            || request.term == self.current_term() && self.leader_hint().is_none();
        !is_wanted && self.config.check_quorum && is_open && self.hears_leader(now)
    }

    /// Starts an election: a new term, a vote for itself, and a request to all others.
    ///
    /// Source: Raft §5.2.
    pub(crate) fn become_candidate(&mut self, step: &mut Step<'_>, is_transfer: bool) {
        self.fail_forwarded_reads(step, true);
        let current_term = self.current_term().next();
        let voted_for = Some(self.config.server_id);
        self.hard_state = HardState { current_term, voted_for };
        step.save(self.hard_state);
        self.reset_election_timeout(step.now);
        self.change_role(Role::Candidate(Candidate {
            votes: BTreeSet::new(),
            own_vote: self.durability.issued().next(),
            is_transfer,
            #[cfg(feature = "defects")]
            repeated_votes: 0,
        }));
        // The request speaks of a log and a term that a crash must not take back: if this server
        // came back with less and asked again in the same term, the votes given to the longer log
        // would elect the shorter one. So it waits for the save like any other promise.
        let request = self.vote_request(current_term, is_transfer);
        if !self.is_alone() {
            step.send_when_saved(Address::AllServers, Message::VoteRequest(request));
        }
    }

    fn vote_request(&self, term: Term, is_transfer: bool) -> VoteRequest {
        let LogId { term: last_log_term, index: last_log_index } = self.log.last();
        let candidate_id = self.config.server_id;
        VoteRequest { term, candidate_id, last_log_index, last_log_term, is_transfer }
    }

    /// True if the candidate's log is at least as up to date as this one (Raft §5.4.1).
    fn is_up_to_date(&self, request: &VoteRequest) -> bool {
        // Compare term and index as one pair: the later term wins even with the shorter log.
        LogId::new(request.last_log_term, request.last_log_index) >= self.log.last()
    }

    /// Grants this term's vote to the first up-to-date candidate that asks for it, and again as often
    /// as that one asks; it is waited for once.
    ///
    /// Source: Raft §5.2 (one vote per term), §5.4.1 (election restriction).
    pub(crate) fn handle_vote_request(&mut self, step: &mut Step<'_>, request: VoteRequest) {
        let HardState { current_term, voted_for } = self.hard_state;
        assert!(request.term <= current_term, "the term rule runs before every handler");

        let is_current = request.term == current_term;
        // A term that has a leader needs no other one. The vote would be worthless, and dangerous if
        // this server gave one in this term that its disk has lost since.
        let is_undecided = voted_for.is_none() && self.leader_hint().is_none();
        let is_free = is_undecided || voted_for == Some(request.candidate_id);

        let vote_granted = is_current && is_free && self.is_up_to_date(&request);
        if vote_granted && voted_for.is_none() {
            self.hard_state.voted_for = Some(request.candidate_id);
            step.save(self.hard_state);
            // Only for a vote newly given: a bus that repeats an old request could put this server's
            // own election off for ever.
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
        let configuration = self.members.latest();
        let is_elected = configuration.is_reached_by(|voter| candidate.votes.contains(&voter));
        #[cfg(feature = "defects")]
        let is_elected = is_elected
            || self.config.has_defect(crate::defect::Defect::VoteCountedTwice)
                && candidate.votes.len() + candidate.repeated_votes
                    > configuration.voters().len() / 2;
        if is_elected {
            self.become_leader(step);
        }
    }

    /// Leads this term: opens it with an entry of its own, and tells everyone.
    ///
    /// Source: Raft §5.2, §8 (the no-op at the start of a term).
    fn become_leader(&mut self, step: &mut Step<'_>) {
        let mut leader = Box::new(Leader {
            progress: Followers::default(),
            in_flight: BTreeSet::new(),
            asked_again: BTreeSet::new(),
            uncommitted_bytes: 0,
            reads: LeaderReads::default(),
            transfer: None,
            has_handed_over: false,
            first_index: self.log.last_index().next(),
            farewell_until: None,
        });
        // What earlier leaders left in the log may still commit and be answered here.
        for Entry { payload, .. } in self.log.from(self.applying.next()) {
            if let Payload::Command(request) = payload {
                leader.in_flight.insert(request.key());
            }
        }
        let uncommitted = self.log.from(self.commit_index.next());
        leader.uncommitted_bytes = uncommitted.map(Entry::size_bytes).sum();
        self.change_role(Role::Leader(leader));
        self.watch_followers(step.now, self.log.last_index());
        self.deadline = step.now + self.config.heartbeat_interval;
        step.push(Effect::NotifyElectedLeader { term: self.current_term() });
        self.append(step, Payload::Noop);
        step.is_heartbeat = true;
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
    use crate::types::Index;

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
            is_transfer: false,
        };
        let handled =
            catch_unwind(AssertUnwindSafe(|| server.handle_vote_request(&mut step, request)));
        let message = handled.unwrap_err().downcast::<&str>().map(|message| *message);
        assert_eq!(message.ok(), Some("the term rule runs before every handler"));
    }
}

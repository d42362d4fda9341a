//! The actions of the Raft specification (Ongaro's `raft.tla`), each as its guard and its effect on the
//! variables of one server.
//!
//! Guarantees: an action that returns an error was not allowed, and says which guard failed.
//! Elsewhere:  which actions explain a step is decided in `explain.rs`; what may be sent, in `sends.rs`.
//!             DuplicateMessage and DropMessage change the network only, and `Sent` allows both.

use raft_core::{
    AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, Configuration, ConflictHint,
    Index, LogId, Payload, ServerId, Term, Timestamp, VoteRequest, VoteResponse,
};

use super::broken::{Action, Broken};
use super::servers::is_majority;
use super::state::{Candidacy, Configurations, Role, State};

/// What a server answers to a request. A promise of these may leave later, all others at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    PreVote(VoteResponse),
    Vote(VoteResponse),
    Append(Term, AppendEntriesResult),
    /// How many bytes of a snapshot are here.
    Part(Term, u64),
}

impl State {
    /// Restart: all but the term, the vote and the log is forgotten. A snapshot is committed, so the
    /// commit index begins with it.
    pub(super) fn restart(&mut self, now: Timestamp) {
        let image = &self.disk.durable;
        (self.term, self.voted_for) = (image.hard_state.current_term, image.hard_state.voted_for);
        self.log.clone_from(&image.log);
        self.commit = image.snapshot.index;
        (self.role, self.leader, self.candidacy) = (Role::Follower, None, None);
        (self.applied, self.said_applied) = (Index::ZERO, Index::ZERO);
        (self.vouched, self.arriving) = (Index::ZERO, None);
        (self.has_committed, self.has_handed_over) = (false, false);
        self.refused = super::servers::Servers::default();
        self.reads.clear();
        self.heard_at = Timestamp::ZERO;
        self.timer.forget();
        // It may have promised a leader's lease in the life before (dissertation §6.4.1).
        let protection = self.settings.protection;
        self.protected_until =
            if self.settings.lease_reads { now + protection } else { Timestamp::ZERO };
    }

    /// UpdateTerm: whoever hears of a later term goes there, as a follower that has not voted.
    pub(super) fn update_term(&mut self, term: Term) {
        self.protect_on();
        self.enter(term);
        self.role = Role::Follower;
    }

    /// A later term begins here: what was known of the one before means nothing any more.
    fn enter(&mut self, term: Term) {
        (self.term, self.voted_for, self.leader) = (term, None, None);
        self.vouched = Index::ZERO;
        self.refused = super::servers::Servers::default();
    }

    /// A later term forgets the leader, but not the promise that its lease rests on.
    fn protect_on(&mut self) {
        if self.settings.lease_reads && self.role == Role::Follower && self.leader.is_some() {
            let until = self.heard_at + self.settings.protection;
            self.protected_until = self.protected_until.max(until);
        }
    }

    /// Timeout: a candidate in a new term votes for itself.
    pub(super) fn time_out(&mut self, is_transfer: bool) {
        self.enter(self.term.next());
        self.role = Role::Candidate;
        self.voted_for = Some(self.id);
        self.votes = super::servers::Servers::default();
        self.candidacy = Some(Candidacy { term: self.term, last: self.log.last(), is_transfer });
    }

    /// A candidate's own vote counts like any other: once it is durable.
    pub(super) fn count_own_vote(&mut self) {
        if self.has_durable_vote_for(self.id) {
            self.votes.insert(self.id);
        }
    }

    /// BecomeLeader: a majority has voted for this candidate.
    pub(super) fn become_leader(
        &mut self,
        now: Timestamp,
        configuration: &Configuration,
    ) -> Result<(), Broken> {
        let is_majority = is_majority(configuration, |voter| self.votes.contains(voter));
        if self.role != Role::Candidate || !is_majority {
            let did = format!("was elected in term {}", self.term);
            let but = format!("only {} voted for it, of {configuration}", self.votes);
            return Err(Broken::new(Action::BecomeLeader, did, but));
        }
        (self.role, self.leader) = (Role::Leader, Some(self.id));
        self.matched.fill(Index::ZERO);
        self.first_index = self.log.last_index().next();
        (self.has_committed, self.has_handed_over) = (false, false);
        self.reads.lead();
        self.answers.lead(now);
        Ok(())
    }

    /// True if the voter must leave a request of a candidate unanswered, because it hears a leader
    /// (dissertation §4.2.3). It is part of the specification only with check-quorum: a leader that
    /// nobody answers would lead for ever.
    pub(super) fn must_ignore(&self, request: &VoteRequest, now: Timestamp) -> bool {
        let is_open =
            request.term > self.term || request.term == self.term && self.leader.is_none();
        let is_protected = self.settings.check_quorum && self.hears_leader(now);
        !request.is_transfer && is_open && is_protected
    }

    /// True if a leader can be expected to lead on.
    pub(super) fn hears_leader(&self, now: Timestamp) -> bool {
        match (self.role, self.leader) {
            (Role::Follower, None) => now < self.protected_until,
            (Role::Follower, Some(_)) => now < self.heard_at + self.settings.protection,
            (Role::Leader, _) => self.settings.check_quorum,
            (Role::PreCandidate | Role::Candidate, _) => false,
        }
    }

    /// True if a candidate's log is at least as up to date as this one (Raft §5.4.1).
    pub(super) fn is_up_to_date(&self, request: &VoteRequest) -> bool {
        let mine = self.log.last();
        request.last_log_term > mine.term
            || request.last_log_term == mine.term && request.last_log_index >= mine.index
    }

    /// HandleRequestVoteRequest. In a term whose leader has spoken no new vote is given, which the
    /// specification allows and does not ask for.
    pub(super) fn handle_vote_request(&mut self, request: &VoteRequest) -> Reply {
        let is_free = match self.voted_for {
            None => self.leader.is_none(),
            Some(candidate) => candidate == request.candidate_id,
        };
        let vote_granted = request.term == self.term && is_free && self.is_up_to_date(request);
        if vote_granted {
            // A vote that is given again, to a request that came twice, puts nothing off.
            if self.voted_for.is_none() {
                self.timer.set();
            }
            self.voted_for = Some(request.candidate_id);
        } else {
            self.refused.insert(request.candidate_id);
        }
        Reply::Vote(VoteResponse { term: self.term, vote_granted })
    }

    /// HandleRequestVoteResponse and DropStaleResponse: a voter counts once, and in its term only.
    pub(super) fn handle_vote_response(&mut self, voter: ServerId, response: &VoteResponse) {
        let is_counted = self.role == Role::Candidate && response.term == self.term;
        if is_counted && response.vote_granted {
            self.votes.insert(voter);
        }
    }

    /// The part of HandleAppendEntriesRequest, and of InstallSnapshot, that is about who leads. False
    /// if the sender's term is over.
    pub(super) fn follow(
        &mut self,
        leader: ServerId,
        term: Term,
        now: Timestamp,
    ) -> Result<bool, Broken> {
        if term < self.term {
            return Ok(false);
        }
        if let Some(known) = self.leader.filter(|&known| known != leader) {
            let did = format!("heard {leader} lead term {term}");
            let but = format!("{known} leads it (Election Safety)");
            return Err(Broken::new(Action::HandleAppendEntriesRequest, did, but));
        }
        (self.role, self.leader, self.heard_at) = (Role::Follower, Some(leader), now);
        self.timer.set();
        Ok(true)
    }

    /// HandleAppendEntriesRequest: the entries take the place of what contradicts them, and only that.
    pub(super) fn handle_append_entries_request(
        &mut self,
        request: &AppendEntriesRequest,
        now: Timestamp,
        configurations: &mut Configurations,
    ) -> Result<Reply, Broken> {
        if !self.follow(request.leader_id, request.term, now)? {
            return Ok(Reply::Append(self.term, AppendEntriesResult::StaleTerm));
        }
        let prev = LogId::new(request.prev_log_term, request.prev_log_index);
        if !self.log.matches(prev) {
            self.check_not_committed(prev.index)?;
            let hint = self.conflict_hint(prev.index);
            let result = AppendEntriesResult::Conflict { prev_log_index: prev.index, hint };
            return Ok(Reply::Append(self.term, result));
        }
        let is_new = |&place: &usize| !self.log.matches(request.entries[place].log_id());
        if let Some(place) = (0..request.entries.len()).find(is_new) {
            let first = request.entries[place].index;
            self.check_not_committed(first)?;
            self.truncate(first.previous());
            for entry in &request.entries[place..] {
                self.log.push(entry.term);
                if let Payload::Configuration(configuration) = &entry.payload {
                    self.members.push((entry.index, configurations.id(configuration)));
                }
            }
        }
        let match_index = request.last_index();
        self.vouched = self.vouched.max(match_index);
        self.commit = self.commit.max(request.leader_commit.min(match_index));
        Ok(Reply::Append(self.term, AppendEntriesResult::Success { match_index }))
    }

    /// What a leader contradicts is not committed (Leader Completeness).
    fn check_not_committed(&self, index: Index) -> Result<(), Broken> {
        if index > self.commit {
            return Ok(());
        }
        let did = format!("was told that its entry {index} is another one");
        let but = format!("it knows everything up to {} to be committed", self.commit);
        Err(Broken::new(Action::HandleAppendEntriesRequest, did, but))
    }

    /// Where the follower says that its leader should look next: its first entry of the term that it
    /// has there, or the end of its log (Raft §5.3, last paragraphs).
    fn conflict_hint(&self, prev: Index) -> ConflictHint {
        match self.log.term_at(prev).filter(|_| prev > self.log.start().index) {
            Some(term) => ConflictHint { term: Some(term), index: self.log.first_of_term_at(prev) },
            None => ConflictHint { term: None, index: self.log.last_index().next() },
        }
    }

    /// Deletes entries, and with them the configurations that they are.
    fn truncate(&mut self, keep: Index) {
        self.log.truncate(keep);
        while self.members.len() > 1 && self.latest().0 > keep {
            self.members.pop();
        }
    }

    /// HandleAppendEntriesResponse and DropStaleResponse: an answer counts in its own term only.
    pub(super) fn handle_append_entries_response(
        &mut self,
        follower: ServerId,
        response: &AppendEntriesResponse,
        now: Timestamp,
    ) {
        if self.role != Role::Leader || response.term != self.term {
            return;
        }
        match response.result {
            AppendEntriesResult::StaleTerm => return,
            AppendEntriesResult::Conflict { .. } => {}
            AppendEntriesResult::Success { match_index } => {
                self.matched.raise(follower, match_index.min(self.log.last_index()));
            }
        }
        self.reads.answered(follower, response.round);
        self.answers.heard(follower, now);
    }

    /// AdvanceCommitIndex: a majority holds the entry durably, and it is of this term.
    pub(super) fn advance_commit_index(
        &mut self,
        index: Index,
        configuration: &Configuration,
    ) -> Result<(), Broken> {
        if index <= self.commit {
            return Ok(());
        }
        let broken = |but| {
            let did = format!("committed everything up to {index} in term {}", self.term);
            Err(Broken::new(Action::AdvanceCommitIndex, did, but))
        };
        match self.log.term_at(index) {
            None => return broken("its log ends before that".to_owned()),
            Some(term) if term != self.term => {
                return broken(format!("entry {index} is of term {term}"));
            }
            Some(_) => {}
        }
        let durable = self.durable_index();
        let holds = |voter| match voter {
            me if me == self.id => durable >= index,
            other => self.matched.get(other) >= index,
        };
        if !is_majority(configuration, holds) {
            let all =
                configuration.voters().iter().chain(configuration.old_voters().unwrap_or(&[]));
            let holders: super::servers::Servers =
                all.copied().filter(|&voter| holds(voter)).collect();
            return broken(format!("of {configuration}, {holders} is known to hold it durably"));
        }
        self.commit = index;
        self.has_committed = true;
        Ok(())
    }
}

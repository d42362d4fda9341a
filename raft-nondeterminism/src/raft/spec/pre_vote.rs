//! Pre-vote (dissertation §9.6), which the specification leaves out: a server asks whether it would be
//! elected before it begins a term.
//!
//! Guarantees: nothing is promised and no term begins; a candidacy follows a majority's consent.

use raft_core::{Configuration, ServerId, Timestamp, VoteRequest, VoteResponse};

use super::actions::Reply;
use super::servers::{Servers, is_majority};
use super::state::{Role, State};

impl State {
    /// RequestPreVote: the server is for itself, since a pre-vote binds nobody.
    pub(super) fn become_pre_candidate(&mut self) {
        (self.role, self.leader) = (Role::PreCandidate, None);
        self.pre_votes = Servers::from_iter([self.id]);
    }

    /// HandlePreVoteRequest: says yes in the place of a vote that it would have to give, unless it hears
    /// a leader. A refusal tells the term, or the sender would ask for an old one for ever.
    pub(super) fn handle_pre_vote_request(&self, request: &VoteRequest, now: Timestamp) -> Reply {
        let is_later = request.term > self.term;
        let vote_granted = is_later && self.is_up_to_date(request) && !self.hears_leader(now);
        let term = if vote_granted { request.term } else { self.term };
        Reply::PreVote(VoteResponse { term, vote_granted })
    }

    /// HandlePreVoteResponse: with a majority's consent, the election begins.
    pub(super) fn handle_pre_vote_response(
        &mut self,
        voter: ServerId,
        response: &VoteResponse,
        configuration: &Configuration,
    ) {
        let is_counted = self.role == Role::PreCandidate
            && response.vote_granted
            && response.term == self.term.next();
        if is_counted {
            self.pre_votes.insert(voter);
            if is_majority(configuration, |voter| self.pre_votes.contains(voter)) {
                self.time_out(false);
            }
        }
    }
}

//! Where the actions lead is where the server is: the end of every explanation.
//!
//! Guarantees: every variable of the specification is compared, those that the server cannot change
//!             without a trace only where it can have changed them.
//! Elsewhere:  what is on its way to the disk is compared in `spec.rs`.

use std::collections::BTreeSet;

use raft_core::{Index, Message, ServerId, Term, Timestamp};

use super::broken::{Action, Broken};
use super::explain::{Heard, Observed, Step};
use super::state::{Role, State};

impl State {
    /// Compares the state that the actions lead to with the one that the server is in.
    pub(super) fn compare(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        let observed = step.observed;
        self.compare_term_and_role(&observed)?;
        self.compare_log(step)?;
        self.compare_commit(step)?;
        let configuration = self.configuration(step.configurations);
        if !std::ptr::eq(configuration, observed.configuration)
            && configuration != observed.configuration
        {
            let did = format!("uses {}", observed.configuration);
            let but = format!("the last configuration in its log is {configuration}");
            return Err(Broken::new(Action::ChangeConfiguration, did, but));
        }
        Ok(())
    }

    /// Compares what only a role remembers, as far as the input can have changed it.
    pub(super) fn compare_memory(&mut self, step: &Step<'_>, heard: &Heard) -> Result<(), Broken> {
        match (step.observed.memory, heard) {
            (raft_core::Role::Candidate(candidate), _) => self.compare_votes(&candidate.votes),
            (raft_core::Role::Leader(leader), _) if !self.has_led => self.lead_from(leader),
            (raft_core::Role::Leader(leader), Heard::Message(from, message)) => {
                let Some(progress) = leader.progress.get(from) else { return Ok(()) };
                match message {
                    Message::AppendEntriesResponse(response) => {
                        self.compare_match_index(*from, progress.match_index)?;
                        self.compare_heard(*from, progress.heard_at)?;
                        if response.term < self.term {
                            return Ok(());
                        }
                        self.check_next_index(*from, response.result, progress)
                    }
                    Message::InstallSnapshotResponse(_) => {
                        self.compare_heard(*from, progress.heard_at)
                    }
                    _ => Ok(()),
                }
            }
            (raft_core::Role::Leader(leader), Heard::Timer) if self.is_beating => {
                let configuration = self.configuration(step.configurations);
                self.check_watched(step.now, leader, configuration)
            }
            _ => Ok(()),
        }
    }

    fn compare_term_and_role(&self, observed: &Observed<'_>) -> Result<(), Broken> {
        if observed.term != self.term {
            let did = format!("is in term {}", observed.term);
            return Err(Broken::new(
                Action::UpdateTerm,
                did,
                format!("it should be in term {}", self.term),
            ));
        }
        if observed.voted_for != self.voted_for {
            let name = |vote: Option<ServerId>| match vote {
                Some(candidate) => candidate.to_string(),
                None => "nobody".to_owned(),
            };
            let did = format!("has voted for {} in term {}", name(observed.voted_for), self.term);
            let but = format!("its vote should be for {}", name(self.voted_for));
            return Err(Broken::new(Action::HandleRequestVoteRequest, did, but));
        }
        if observed.role != self.role {
            let did = format!("is {} in term {}", observed.role.name(), self.term);
            let action = match observed.role {
                Role::Leader => Action::BecomeLeader,
                Role::Candidate => Action::Timeout,
                Role::PreCandidate => Action::RequestPreVote,
                Role::Follower => Action::HandleAppendEntriesRequest,
            };
            return Err(Broken::new(action, did, format!("it should be {}", self.role.name())));
        }
        if observed.leader != self.leader {
            let name = |leader: Option<ServerId>| match leader {
                Some(leader) => leader.to_string(),
                None => "nobody".to_owned(),
            };
            let did = format!("follows {} in term {}", name(observed.leader), self.term);
            let but = format!("it should follow {}", name(self.leader));
            return Err(Broken::new(Action::HandleAppendEntriesRequest, did, but));
        }
        Ok(())
    }

    fn compare_log(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        let log = step.observed.log;
        if log.start() != self.log.start() {
            self.compact(log.start())?;
        }
        let difference = if step.changed_from < Index(u64::MAX) {
            self.log.first_difference(log, step.changed_from)
        } else {
            let is_same = self.log.last() == log.last();
            (!is_same).then(|| self.log.last_index().min(log.last_index()))
        };
        let Some(index) = difference else { return Ok(()) };
        let name = |term: Option<Term>| match term {
            Some(term) => format!("an entry of term {term}"),
            None => "nothing".to_owned(),
        };
        let did = format!("has {} at place {index} of its log", name(log.term_at(index)));
        let but = format!("there should be {}", name(self.log.term_at(index)));
        let action = match self.role {
            Role::Leader => Action::ClientRequest,
            Role::Follower | Role::PreCandidate | Role::Candidate => {
                Action::HandleAppendEntriesRequest
            }
        };
        Err(Broken::new(action, did, but))
    }

    fn compare_commit(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        let commit = step.observed.commit;
        if commit == self.commit {
            return Ok(());
        }
        if commit > self.commit && self.role == Role::Leader {
            let configuration = self.configuration(step.configurations);
            self.advance_commit_index(commit, configuration)?;
        }
        let did = format!("says that everything up to {commit} is committed");
        let but = format!("it should know that of everything up to {}", self.commit);
        Err(Broken::new(Action::AdvanceCommitIndex, did, but))
    }

    /// `votesGranted`: a candidate counts those who voted for it, and itself once that is durable.
    fn compare_votes(&self, votes: &BTreeSet<ServerId>) -> Result<(), Broken> {
        match votes.iter().find(|&&voter| !self.votes.contains(voter)) {
            None => Ok(()),
            Some(voter) => {
                let did = format!("counts the vote of {voter} in term {}", self.term);
                let but = format!("the votes of {} have arrived and are durable", self.votes);
                Err(Broken::new(Action::HandleRequestVoteResponse, did, but))
            }
        }
    }

    /// `matchIndex`: a leader believes of a follower what that has acknowledged in this term.
    fn compare_match_index(&self, from: ServerId, believed: Index) -> Result<(), Broken> {
        let acknowledged = self.matched.get(from);
        if believed == acknowledged {
            return Ok(());
        }
        let did = format!("believes that {from} holds everything up to {believed}");
        let but = format!("{from} has acknowledged {acknowledged} in term {}", self.term);
        Err(Broken::new(Action::HandleAppendEntriesResponse, did, but))
    }

    /// A leader counts whom it hears by answers of its own term (DropStaleResponse).
    fn compare_heard(&self, from: ServerId, heard_at: Timestamp) -> Result<(), Broken> {
        let answered_at = self.answered_at(from);
        if heard_at <= answered_at {
            return Ok(());
        }
        let did = format!("believes that it heard {from} at {heard_at}");
        let but = format!("{from} answered at {answered_at} last in term {}", self.term);
        Err(Broken::new(Action::HandleAppendEntriesResponse, did, but))
    }
}

//! Follower, candidate, leader, and what only that role remembers (Raft §5.1).
//!
//! Guarantees: stepping down forgets what the role knew, because it goes with the variant.

use std::collections::BTreeSet;
use std::fmt;

use crate::followers::Followers;
use crate::message::{ClientRequest, RequestKey};
use crate::read::LeaderReads;
use crate::types::{Index, Round, SaveNumber, SequenceNumber, ServerId, SessionId, Timestamp};

/// What a server is at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Answers candidates and leaders, and waits.
    Follower(Follower),
    /// Asks whether it would be elected (dissertation §9.6).
    PreCandidate(PreCandidate),
    /// Asks to be elected.
    Candidate(Candidate),
    /// Takes requests and replicates them.
    Leader(Box<Leader>),
}

/// What a follower remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    /// The leader of the current term, once it has spoken.
    pub leader: Option<ServerId>,
    /// When the leader spoke last; of no meaning without one.
    pub(crate) heard_at: Timestamp,
    /// The last round of heartbeats of this leader that was answered.
    pub(crate) answered: Option<Round>,
}

/// What a pre-candidate remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PreCandidate {
    /// Who would vote for it: itself to begin with, since a pre-vote binds nobody.
    pub votes: BTreeSet<ServerId>,
}

/// What a candidate remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Who granted it the vote of this term. We count voters, not votes: a message may come twice.
    pub votes: BTreeSet<ServerId>,
    /// Its own vote counts once this save is durable.
    pub(crate) own_vote: SaveNumber,
    /// The leader itself asked for this election.
    pub(crate) is_transfer: bool,
    /// What the sample's bug counts too.
    #[cfg(feature = "defects")]
    pub(crate) repeated_votes: usize,
}

/// What a leader remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    /// What it knows of every other server.
    pub progress: Followers,
    /// Requests of clients in the log that are not applied yet, so that a retry adds no second copy.
    pub(crate) in_flight: BTreeSet<RequestKey>,
    /// Requests that were in the log before they were asked for here, and whose answer someone waits
    /// for now.
    pub(crate) asked_again: BTreeSet<RequestKey>,
    /// The entry that opened its term.
    pub(crate) first_index: Index,
    /// The bytes of the entries in its log that are not committed yet.
    pub(crate) uncommitted_bytes: usize,
    /// Reads, and the rounds of heartbeats that confirm them.
    pub(crate) reads: LeaderReads,
    /// Who is to lead next, if leadership is being handed over.
    pub(crate) transfer: Option<LeadershipTransfer>,
    /// True once anyone was told to take over: this leader's lease means nothing any more.
    pub(crate) has_handed_over: bool,
    /// Until when servers that have left the cluster are still sent to.
    pub(crate) farewell_until: Option<Timestamp>,
}

impl Leader {
    /// True if its log holds this request of a client that sends one at a time, or one that replaces
    /// it.
    pub(crate) fn has_later_in_flight(&self, request: &ClientRequest) -> bool {
        let key @ (client, session, _) = request.key();
        let last = (client, session, SequenceNumber(u64::MAX));
        session == SessionId::NONE && self.in_flight.range(key..=last).next().is_some()
    }
}

/// Leadership on its way to another server (dissertation §3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeadershipTransfer {
    /// Who is to lead.
    pub target: ServerId,
    /// Until when this server waits before it leads on.
    pub deadline: Timestamp,
    /// True once the target was told.
    pub is_sent: bool,
}

impl Role {
    /// The role's name, as the paper calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Follower(_) => "follower",
            Self::PreCandidate(_) => "pre-candidate",
            Self::Candidate(_) => "candidate",
            Self::Leader(_) => "leader",
        }
    }

    /// True for a leader.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self, Self::Leader(_))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

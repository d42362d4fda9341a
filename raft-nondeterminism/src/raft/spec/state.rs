//! The variables of the specification for one server, and those it keeps only to know the past.
//!
//! Guarantees: votes, acknowledgements and rounds are counted here from the messages that were
//!             delivered, whatever the server concludes from them.
//! Elsewhere:  how they change is in `actions.rs` and the extensions beside it.

use std::sync::Arc;
use std::time::Duration;

use raft_core::{Config, Configuration, Index, LogId, ServerId, Term, Timestamp};

use super::check_quorum::Answers;
use super::disk::Disk;
use super::next_index::NextIndices;
use super::reads::Reads;
use super::servers::{ByServer, Servers};
use super::snapshots::Arriving;
use super::terms::Terms;
use super::timers::ElectionTimer;

/// What a server is (the specification's `state`; a pre-candidate is a follower there).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    #[default]
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Follower => "a follower",
            Self::PreCandidate => "a pre-candidate",
            Self::Candidate => "a candidate",
            Self::Leader => "the leader",
        }
    }
}

/// What an operator has switched on: which extensions a server may use.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) pre_vote: bool,
    pub(super) check_quorum: bool,
    pub(super) lease_reads: bool,
    pub(super) is_synchronous: bool,
    /// How long a leader waits for answers (dissertation §6.2).
    pub(super) election_timeout_max: Duration,
    /// How long a voter protects the leader that it hears (dissertation §4.2.3).
    pub(super) protection: Duration,
    /// How long a leader trusts its clock after a round (dissertation §6.4.1).
    pub(super) lease: Duration,
    pub(super) disk_stall_timeout: Option<Duration>,
    /// How many entries a learner may lack when it becomes a voter.
    pub(super) catch_up_entries_max: u64,
    /// How often a leader speaks to everyone (Raft §5.2).
    pub(super) heartbeat_interval: Duration,
    pub(super) append_bytes_max: usize,
    pub(super) in_flight_entries_max: u64,
    pub(super) uncommitted_bytes_max: usize,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let (protection, drift) = (config.election_timeout_min, config.clock_drift_permille);
        Self {
            pre_vote: config.pre_vote,
            check_quorum: config.check_quorum,
            lease_reads: config.lease_reads,
            is_synchronous: config.synchronous_driver,
            election_timeout_max: config.election_timeout_max,
            protection,
            lease: protection * (1000 - drift) / (1000 + drift),
            disk_stall_timeout: config.disk_stall_timeout,
            catch_up_entries_max: config.catch_up_entries_max,
            heartbeat_interval: config.heartbeat_interval,
            append_bytes_max: config.append_bytes_max,
            in_flight_entries_max: config.in_flight_entries_max,
            uncommitted_bytes_max: config.uncommitted_bytes_max,
        }
    }
}

/// Which configuration, by its place among all that were ever seen in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConfigurationId(usize);

/// All configurations of a run: a server's variables then are numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Configurations(Vec<Arc<Configuration>>);

impl Configurations {
    pub(super) fn id(&mut self, configuration: &Arc<Configuration>) -> ConfigurationId {
        let is_known = |known: &Arc<Configuration>| known == configuration;
        let place = self.0.iter().rposition(is_known).unwrap_or_else(|| {
            self.0.push(configuration.clone());
            self.0.len() - 1
        });
        ConfigurationId(place)
    }

    pub(super) fn get(&self, id: ConfigurationId) -> &Configuration {
        &self.0[id.0]
    }
}

/// What a candidate asks with. It may leave late, when its save is done, and must say the same then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidacy {
    pub(super) term: Term,
    pub(super) last: LogId,
    pub(super) is_transfer: bool,
}

/// One server.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) id: ServerId,
    pub(super) settings: Settings,
    pub(super) term: Term,
    pub(super) voted_for: Option<ServerId>,
    pub(super) role: Role,
    /// Who has spoken as leader of this term.
    pub(super) leader: Option<ServerId>,
    pub(super) log: Terms,
    pub(super) commit: Index,
    /// The configurations in the log, each from its entry on; the first one is before all of them.
    pub(super) members: Vec<(Index, ConfigurationId)>,
    pub(super) disk: Disk,
    /// The last entry given to the state machine.
    pub(super) applied: Index,
    /// The last entry of which it said that it is applied.
    pub(super) said_applied: Index,

    /// Who would vote for this pre-candidate.
    pub(super) pre_votes: Servers,
    /// Who voted for this candidate (`votesGranted`).
    pub(super) votes: Servers,
    /// What the last candidacy asked with.
    pub(super) candidacy: Option<Candidacy>,
    /// Candidates that were refused in this term.
    pub(super) refused: Servers,
    /// What each server acknowledged to this leader (`matchIndex`).
    pub(super) matched: ByServer<Index>,
    /// The entry that opened this leader's term.
    pub(super) first_index: Index,
    /// True once this leader has committed an entry of its term.
    pub(super) has_committed: bool,
    /// How far the leader of this term has shown that its log is the same.
    pub(super) vouched: Index,
    /// When the leader spoke last.
    pub(super) heard_at: Timestamp,
    /// Until when a leader of an earlier term or life is protected.
    pub(super) protected_until: Timestamp,
    /// This leader has told someone to take over.
    pub(super) has_handed_over: bool,
    /// When an operator had this leader hand over, unless that has ended.
    pub(super) handing_over_since: Option<Timestamp>,
    /// Since when this leader knows its last configuration to be committed.
    pub(super) settled_at: Option<Timestamp>,
    /// Its heartbeat was due in this step.
    pub(super) is_beating: bool,
    /// It led when the input came.
    pub(super) has_led: bool,
    pub(super) timer: ElectionTimer,
    pub(super) arriving: Option<Arriving>,
    pub(super) reads: Reads,
    pub(super) answers: Answers,
    pub(super) next: NextIndices,
}

impl State {
    /// One of this many servers, which was never started.
    pub(super) fn of(servers: usize) -> Self {
        Self {
            matched: ByServer::of(servers),
            reads: Reads::of(servers),
            answers: Answers::of(servers),
            next: NextIndices::of(servers),
            ..Self::default()
        }
    }

    /// The configuration that the server uses: the last one in its log, committed or not (Raft §6).
    pub(super) fn latest(&self) -> (Index, ConfigurationId) {
        *self.members.last().expect("there is one before the first entry")
    }

    pub(super) fn configuration<'a>(
        &self,
        configurations: &'a Configurations,
    ) -> &'a Configuration {
        configurations.get(self.latest().1)
    }

    /// True if this server alone decides.
    pub(super) fn is_alone(&self, configuration: &Configuration) -> bool {
        configuration.voters() == [self.id]
            && configuration.old_voters().is_none_or(|old| old == [self.id])
    }

    /// How much of the log is durable.
    pub(super) fn durable_index(&self) -> Index {
        self.disk.durable_index(&self.log)
    }

    /// True if the vote for this candidate survives a crash.
    pub(super) fn has_durable_vote_for(&self, candidate: ServerId) -> bool {
        let saved = self.disk.durable.hard_state;
        (saved.current_term, saved.voted_for) == (self.term, Some(candidate))
    }

    /// True if the oldest save has been under way for so long that the server neither leads nor asks
    /// for votes.
    pub(super) fn is_disk_stalled(&self, now: Timestamp) -> bool {
        let (since, limit) = (self.disk.pending_since(), self.settings.disk_stall_timeout);
        since.zip(limit).is_some_and(|(since, limit)| now >= since + limit)
    }
}

//! What an operator sees of a server, and the one notation for printing what happens:
//! `s1@2` is server 1 in term 2, `7@2` is entry 7 of term 2, `→` a message sent, `⇨` a change of role.

use std::collections::BTreeMap;
use std::fmt;

use std::time::Duration;

use crate::effect::{Effect, Save};
use crate::error::Refusals;
use crate::log::Entry;
use crate::membership::Configuration;
use crate::message::{
    Address, AppendEntriesResult, ClientRequest, ClientResponse, ClientResult, Envelope, Message,
};
use crate::progress::Progress;
use crate::role::{LeadershipTransfer, Role};
use crate::server::Server;
use crate::types::{Index, LogId, ServerId, Term, Timestamp};

/// A snapshot of one server, for people and dashboards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The server.
    pub server_id: ServerId,
    /// When it last took an input, on its own clock, as all times here are.
    pub now: Timestamp,
    /// Its role's name.
    pub role: &'static str,
    /// The latest term it has seen.
    pub current_term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<ServerId>,
    /// The leader of that term, if it knows it.
    pub leader: Option<ServerId>,
    /// Its last entry.
    pub last: LogId,
    /// Its last durable entry.
    pub durable_index: Index,
    /// The last entry it knows to be committed.
    pub commit_index: Index,
    /// The last entry applied.
    pub last_applied: Index,
    /// Where its log was compacted to.
    pub log_start: LogId,
    /// The last entry its latest snapshot stands for.
    pub snapshot: LogId,
    /// The configuration it uses, and where that stands in the log.
    pub configuration: Configuration,
    /// Where the configuration stands: it is committed if this is not past `commit_index`.
    pub configuration_index: Index,
    /// What it knows of its followers, if it leads.
    pub progress: BTreeMap<ServerId, Progress>,
    /// Leadership on its way to another server.
    pub transfer: Option<LeadershipTransfer>,
    /// How long its last save took.
    pub save_latency: Option<Duration>,
    /// When the oldest save under way was asked for, if there is one.
    pub save_pending_since: Option<Timestamp>,
    /// How many sessions of clients are open.
    pub sessions: usize,
    /// The bytes of entries that are not committed yet, if it leads: see
    /// [`Config::uncommitted_bytes_max`](crate::Config::uncommitted_bytes_max).
    pub uncommitted_bytes: usize,
    /// How often it refused an input, by reason.
    pub refusals: Refusals,
}

impl Server {
    /// What an operator sees of the server now.
    #[must_use]
    pub fn status(&self) -> Status {
        let (progress, transfer, uncommitted_bytes) = match self.role() {
            Role::Leader(leader) => {
                let progress = leader.progress.iter();
                let progress = progress.map(|(&id, known)| (id, known.clone())).collect();
                (progress, leader.transfer, leader.uncommitted_bytes)
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                (BTreeMap::new(), None, 0)
            }
        };
        Status {
            server_id: self.id(),
            now: self.now,
            role: self.role().name(),
            current_term: self.current_term(),
            voted_for: self.hard_state().voted_for,
            leader: self.leader_hint(),
            last: self.log().last(),
            durable_index: self.durable_index(),
            commit_index: self.commit_index(),
            last_applied: self.last_applied(),
            log_start: self.log().start(),
            snapshot: self.snapshots.last(),
            configuration: self.configuration().clone(),
            configuration_index: self.members.latest_index(),
            progress,
            transfer,
            save_latency: self.durability.latency(),
            save_pending_since: self.durability.pending_since(),
            sessions: self.sessions.len(),
            uncommitted_bytes,
            refusals: self.refusals().clone(),
        }
    }
}

impl Status {
    /// How many entries a follower lacks, as far as this leader knows; `None` if this server does not
    /// lead, or not that one.
    #[must_use]
    pub fn lag(&self, follower: ServerId) -> Option<u64> {
        self.progress.get(&follower).map(|progress| self.last.index - progress.match_index)
    }

    /// For how long this leader has heard nothing of a follower.
    #[must_use]
    pub fn silence(&self, follower: ServerId) -> Option<Duration> {
        self.progress.get(&follower).map(|progress| self.now.since(progress.heard_at))
    }
}

/// `s1@2 leader last=7@2 commit=7 applied=7`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server_id, current_term, role, last, commit_index, last_applied, .. } = self;
        write!(f, "{server_id}@{current_term} {role}")?;
        write!(f, " last={last} commit={commit_index} applied={last_applied}")
    }
}

/// `s2@2 → s1 VoteRequest last=1@1`.
impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, message, .. } = self;
        match (from, message.term()) {
            (Address::Server(from), Some(term)) => write!(f, "{from}@{term}")?,
            (from, _) => write!(f, "{from}")?,
        }
        write!(f, " → {to} {message}")
    }
}

/// `VoteRequest last=1@1`: the name and what matters, without the term, which stands before it.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::PreVoteRequest(request) => {
                let last = LogId::new(request.last_log_term, request.last_log_index);
                write!(f, " for={} last={last}", request.term)
            }
            Self::VoteRequest(request) => {
                write!(f, " last={}", LogId::new(request.last_log_term, request.last_log_index))?;
                f.write_str(if request.is_transfer { " for the leader" } else { "" })
            }
            // A granted pre-vote is about a term that the voter is not in.
            Self::PreVoteResponse(response) if response.vote_granted => {
                write!(f, " for={} granted", response.term)
            }
            Self::PreVoteResponse(response) | Self::VoteResponse(response) => {
                f.write_str(if response.vote_granted { " granted" } else { " refused" })
            }
            Self::AppendEntriesRequest(request) => {
                write!(f, " prev={}", LogId::new(request.prev_log_term, request.prev_log_index))?;
                write_range(f, &request.entries)?;
                write!(f, " commit={}", request.leader_commit)
            }
            Self::AppendEntriesResponse(response) => match response.result {
                AppendEntriesResult::Success { match_index } => write!(f, " match={match_index}"),
                AppendEntriesResult::Conflict { prev_log_index, hint } => {
                    write!(f, " conflict prev={prev_log_index} hint={}", hint.index)?;
                    hint.term.map_or(Ok(()), |term| write!(f, "@{term}"))
                }
                AppendEntriesResult::StaleTerm => f.write_str(" stale term"),
            },
            Self::InstallSnapshotRequest(request) => {
                let end = request.offset + request.data.len() as u64;
                write!(f, " {} bytes={}..{end}", request.id, request.offset)
            }
            Self::InstallSnapshotResponse(response) => {
                write!(f, " {} needs={}", response.id, response.offset)
            }
            Self::TimeoutNow(request) => write!(f, " last={}", request.last),
            Self::ReadIndexRequest(request) => {
                write!(f, " {}{}", request.id, if request.is_lease_enough { " lease" } else { "" })
            }
            Self::ReadIndexResponse(response) => match response.index {
                Some(index) => write!(f, " {} index={index}", response.id),
                None => write!(f, " {} not leader", response.id),
            },
            Self::RegisterClient(request) => {
                write!(f, " {}{}", request.client_id, request.registration)
            }
            Self::ClientRequest(ClientRequest { client_id, sequence_number, command, .. }) => {
                write!(f, " {client_id}{sequence_number} ({} bytes)", command.len())
            }
            Self::ClientResponse(ClientResponse { client_id, sequence_number, result }) => {
                write!(f, " {client_id}{sequence_number} {result}")
            }
        }
    }
}

impl fmt::Display for ClientResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { log_id, .. } => write!(f, "applied {log_id}"),
            Self::NotLeader { leader: Some(leader) } => write!(f, "not leader, try {leader}"),
            Self::NotLeader { leader: None } => f.write_str("not leader"),
            Self::Registered { session } => write!(f, "registered {session}"),
            Self::Superseded => f.write_str("superseded"),
            Self::SessionExpired => f.write_str("session expired"),
            Self::Busy => f.write_str("busy"),
            Self::TooLarge { command_bytes, command_bytes_max } => {
                write!(f, "too large: {command_bytes} bytes, at most {command_bytes_max}")
            }
        }
    }
}

/// `s3@2 save term=2 voted_for=s3`, without the server before it.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Save(save) => save.fmt(f),
            Self::Send(envelope) => write!(f, "→ {} {}", envelope.to, envelope.message),
            Self::Apply(apply) => {
                f.write_str("apply ")?;
                apply.commands().try_for_each(|entry| write!(f, "{entry}, "))?;
                write!(f, "through {}", apply.through)
            }
            Self::TakeSnapshot { through } => write!(f, "take snapshot through {through}"),
            Self::RestoreSnapshot(snapshot) => write!(f, "restore {}", snapshot.id()),
            Self::NotifyElectedLeader { term } => write!(f, "elected leader of term {term}"),
            Self::NotifyCommit { index } => write!(f, "commit {index}"),
            Self::NotifyConfiguration { index, configuration } => {
                write!(f, "configuration {index}: {configuration}")
            }
            Self::ReadReady { id, index } => write!(f, "{id} ready at {index}"),
            Self::ReadFailed { id, failure } => write!(f, "{id} failed: {failure}"),
            Self::NotifyTransferAborted { target } => {
                write!(f, "transfer to {target} aborted")
            }
        }
    }
}

impl fmt::Display for Save {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("save")?;
        if let Some(hard_state) = &self.hard_state {
            write!(f, " {hard_state}")?;
        }
        if let Some(snapshot) = &self.snapshot {
            write!(f, " {}", snapshot.id())?;
        }
        if let Some(compacted) = &self.compacted {
            write!(f, " compacted={compacted}")?;
        }
        write_range(f, &self.entries)
    }
}

/// ` entries=2@2..4@2`, or nothing.
fn write_range(f: &mut fmt::Formatter<'_>, entries: &[Entry]) -> fmt::Result {
    match entries {
        [] => Ok(()),
        [only] => write!(f, " entry={}", only.log_id()),
        [first, .., last] => write!(f, " entries={}..{}", first.log_id(), last.log_id()),
    }
}

//! Why a server refuses an input, and how often it did.

use std::collections::BTreeMap;

use crate::Address;
use crate::config::ConfigError;
use crate::membership::MembershipError;
use crate::types::{ClusterId, Index, LogId, SaveNumber, ServerId, Term};

/// Why a server refused an input. The server is unchanged but for its count of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The message belongs to another cluster.
    #[error("the message is of cluster {found}, this one is {expected}")]
    ForeignCluster {
        /// The cluster of the message.
        found: ClusterId,
        /// The cluster of this server.
        expected: ClusterId,
    },
    /// The sender is no other server of this cluster, or is not of the kind that says such things.
    #[error("{from} may not send a {message}")]
    UnknownSender {
        /// Who sent it.
        from: Address,
        /// The message's name.
        message: &'static str,
    },
    /// The message is meant for someone else.
    #[error("the message is for {to}")]
    NotForMe {
        /// Who is meant.
        to: Address,
    },
    /// The message says something that no correct server says.
    #[error("malformed {message}: {reason}")]
    Malformed {
        /// The message's name.
        message: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two servers claim one term, so Election Safety (Raft §5.2) is broken. Stop and keep the log.
    #[error("{known} and {other} both lead term {term}")]
    TwoLeaders {
        /// The term both claim.
        term: Term,
        /// The leader known before.
        known: ServerId,
        /// The other one.
        other: ServerId,
    },
    /// A leader asks to replace a committed entry, so Leader Completeness (Raft §5.4) is broken.
    /// Stop and keep the log.
    #[error("{leader} asks to replace entry {index}, but all up to {commit_index} are committed")]
    CommittedConflict {
        /// The leader that asks.
        leader: ServerId,
        /// The first entry it would replace.
        index: Index,
        /// The last committed entry.
        commit_index: Index,
    },
    /// A leader's entry has the index and the term of one of ours, but another payload, so Log
    /// Matching (Raft §5.3) is broken. Stop and keep the log.
    #[error("{leader} has another payload than this server in entry {log_id}")]
    PayloadConflict {
        /// The leader that sent the entry.
        leader: ServerId,
        /// The first entry that is not the same.
        log_id: LogId,
    },
    /// The driver confirmed a save that was never asked for.
    #[error("{number} was confirmed, but only {issued} was issued")]
    UnknownSave {
        /// The number confirmed.
        number: SaveNumber,
        /// The last one asked for.
        issued: SaveNumber,
    },
    /// The driver reported something applied that it was not asked to apply, or not the way it was.
    #[error("applied through {through} with {responses} responses does not fit what was asked")]
    UnknownApply {
        /// The last entry reported.
        through: Index,
        /// How many responses came with it.
        responses: usize,
    },
    /// The server joined already.
    #[error("the server joined already")]
    JoinedTwice,
    /// Only the leader does this; `leader` is our best hint and may be out of date. What was asked for
    /// did not happen and will not.
    #[error("not the leader; {}", match leader {
        Some(leader) => format!("try {leader}"),
        None => "none is known".to_owned(),
    })]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<ServerId>,
    },
    /// The leader has as much to do as it takes at a time: too many bytes are not committed yet, or it
    /// is handing over. What was asked for did not happen and will not; try again later.
    #[error("the leader is busy")]
    Busy,
    /// The command is larger than the leader replicates.
    #[error("the command has {command_bytes} bytes, at most {command_bytes_max} are taken")]
    TooLarge {
        /// The size of the command, in bytes.
        command_bytes: usize,
        /// The largest size the leader takes, in bytes.
        command_bytes_max: usize,
    },
    /// The cluster is not changed.
    #[error("the cluster is not changed: {0}")]
    Membership(#[from] MembershipError),
    /// Leadership goes to a voter that is not this server.
    #[error("{} can take over", match target {
        Some(target) => format!("{target} is no voter that"),
        None => "no other voter".to_owned(),
    })]
    NoTransferTarget {
        /// Who was to lead; `None` if nobody was named and there is nobody.
        target: Option<ServerId>,
    },
    /// The driver gave a state of the state machine that it was not asked for, or no longer.
    #[error("no snapshot through {through} was asked for")]
    UnknownSnapshot {
        /// The last entry of that state.
        through: Index,
    },
}

impl StepError {
    /// The reason in one word or two, for counting.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ForeignCluster { .. } => "foreign-cluster",
            Self::UnknownSender { .. } => "unknown-sender",
            Self::NotForMe { .. } => "not-for-me",
            Self::Malformed { .. } => "malformed",
            Self::TwoLeaders { .. } => "two-leaders",
            Self::CommittedConflict { .. } => "committed-conflict",
            Self::PayloadConflict { .. } => "payload-conflict",
            Self::UnknownSave { .. } => "unknown-save",
            Self::UnknownApply { .. } => "unknown-apply",
            Self::JoinedTwice => "joined-twice",
            Self::NotLeader { .. } => "not-leader",
            Self::Busy => "busy",
            Self::TooLarge { .. } => "too-large",
            Self::Membership(_) => "membership",
            Self::NoTransferTarget { .. } => "no-transfer-target",
            Self::UnknownSnapshot { .. } => "unknown-snapshot",
        }
    }

    /// True if the cluster as a whole has broken a promise, so that going on could lose data.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::TwoLeaders { .. } | Self::CommittedConflict { .. } | Self::PayloadConflict { .. }
        )
    }
}

/// Why a server cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NewServerError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server has run before, but its storage holds nothing. It may have promised what it no longer
    /// knows; let it join under a new id, and take the old one out of the cluster.
    #[error("{server_id} has run before, but its storage is empty: let it join under a new id")]
    StorageLost {
        /// The server.
        server_id: ServerId,
    },
    /// The start is to found a cluster, but the storage is that of one.
    #[error("{server_id} cannot found a cluster: its storage is not empty")]
    AlreadyRan {
        /// The server.
        server_id: ServerId,
    },
    /// The start is to found a cluster that the server does not belong to.
    #[error("{server_id} cannot found a cluster that it is not named in")]
    NotAFounder {
        /// The server.
        server_id: ServerId,
    },
    /// A server that joins is in no configuration until the log says so; if it is named in one, an
    /// earlier server had its id.
    #[error("{server_id} cannot join as one of the servers that the cluster began with")]
    JoinsAsFounder {
        /// The server.
        server_id: ServerId,
    },
    /// The recovered entries are not contiguous, or their terms decrease.
    #[error("recovered entry {found} cannot follow {after}")]
    BrokenLog {
        /// The entry before.
        after: LogId,
        /// The entry that does not follow.
        found: LogId,
    },
    /// The recovered log was compacted, and what stands for its beginning is missing.
    #[error("the log starts after {start}, but there is no snapshot")]
    NoSnapshot {
        /// Where the log was compacted to.
        start: LogId,
    },
    /// The recovered term is older than the recovered log: a part of the storage is missing.
    #[error("recovered term {current_term} is older than the last entry {last}")]
    TermBehindLog {
        /// The recovered term.
        current_term: Term,
        /// The last recovered entry.
        last: LogId,
    },
    /// No log is so long, or the entry has no term.
    #[error("there cannot be an entry {log_id}")]
    AbsurdEntry {
        /// Where the recovered log begins.
        log_id: LogId,
    },
    /// Elections cannot have brought the recovered term about, and few more would end all of them.
    #[error("recovered term {current_term} is higher than any cluster lives to see")]
    AbsurdTerm {
        /// The recovered term.
        current_term: Term,
    },
}

/// How often a server refused an input, by [`StepError::reason`].
///
/// Under `forgotten-entries` a leader counts answers that it took but did not act on: a follower
/// says that it lacks entries it confirmed. Now and then that is a late answer; a count that keeps
/// growing means that a server came back without its log, and must not stay under its old id.
pub type Refusals = BTreeMap<&'static str, u64>;

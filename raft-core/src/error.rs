//! Why a server refuses an input, and how often it did.

use std::collections::BTreeMap;

use crate::Address;
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

/// How often a server refused an input, by [`StepError::reason`].
///
/// Under `forgotten-entries` a leader counts answers that it took but did not act on: a follower
/// says that it lacks entries it confirmed. Now and then that is a late answer; a count that keeps
/// growing means that a server came back without its log, and must not stay under its old id.
pub type Refusals = BTreeMap<&'static str, u64>;

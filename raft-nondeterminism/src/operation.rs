//! What an operator or an application asks of a server besides commands: the vocabulary of
//! operations.
//!
//! Elsewhere: how many a run may have, and how many there were, is in [`crate::Plan`] and
//! [`crate::Counts`]; who is asked for what is in `world.rs`.

use std::fmt;

use crate::plan::{Counts, Kind, Plan};

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Any server takes a snapshot, whatever the policy says.
    TakeSnapshot,
    /// A leader begins to change the cluster.
    ChangeMembership,
    /// A leader begins to hand over.
    TransferLeadership,
    /// Any server that knows a leader is asked for a read.
    Read,
    /// The application that embeds a leader proposes a command of its own.
    Propose,
}

/// How often each operation may be asked for in one run, as far as it is taken.
pub type OperationPlan = Plan<Operation>;

/// How often each operation was taken.
pub type OperationCounts = Counts<Operation>;

impl Kind for Operation {
    const ALL: &'static [Self] = &[
        Self::TakeSnapshot,
        Self::ChangeMembership,
        Self::TransferLeadership,
        Self::Read,
        Self::Propose,
    ];
    const TOGETHER: &'static str = "the operations";

    fn name(self) -> &'static str {
        match self {
            Self::TakeSnapshot => "take-snapshot",
            Self::ChangeMembership => "change-membership",
            Self::TransferLeadership => "transfer-leadership",
            Self::Read => "read",
            Self::Propose => "propose",
        }
    }

    fn place(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

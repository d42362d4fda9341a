//! What may go wrong: the vocabulary of faults.
//!
//! Elsewhere: how many a run may have, and how many there were, is in [`crate::Plan`] and
//! [`crate::Counts`].

use std::fmt;

use crate::plan::{Counts, Kind, Plan};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A message is lost.
    Drop,
    /// A message arrives twice.
    Duplicate,
    /// A server stops, and later starts again from what it saved.
    Crash,
    /// A crash that takes saves with it which were not durable yet.
    LoseSaves,
    /// Some servers do not hear some others for a while; what they say is kept.
    Partition,
    /// A disk fails, is full, or cannot sync, and the server stops.
    DiskError,
    /// A disk does nothing for a while.
    DiskStall,
    /// A server does nothing for a while, and its clock goes on.
    Pause,
}

/// How often each fault may happen in one run.
pub type FaultPlan = Plan<Fault>;

/// How often each fault happened.
pub type FaultCounts = Counts<Fault>;

impl Kind for Fault {
    const ALL: &'static [Self] = &[
        Self::Drop,
        Self::Duplicate,
        Self::Crash,
        Self::LoseSaves,
        Self::Partition,
        Self::DiskError,
        Self::DiskStall,
        Self::Pause,
    ];
    const TOGETHER: &'static str = "the faults";

    fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Crash => "crash",
            Self::LoseSaves => "lose-saves",
            Self::Partition => "partition",
            Self::DiskError => "disk-error",
            Self::DiskStall => "disk-stall",
            Self::Pause => "pause",
        }
    }

    fn place(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

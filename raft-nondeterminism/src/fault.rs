//! What may go wrong: the vocabulary of faults, how many a run may have, and how many there were.
//!
//! Guarantees: a fault is counted when it happens, not when it is allowed; so a plan whose faults
//!             never happened is told from one that was survived.

use std::fmt;
use std::str::FromStr;

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
}

impl Fault {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// Every kind.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Drop, Self::Duplicate, Self::Crash, Self::LoseSaves];

    /// The name it has on the command line and in schedules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Crash => "crash",
            Self::LoseSaves => "lose-saves",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each fault may happen in one run.
///
/// ```
/// use raft_nondeterminism::{Fault, FaultPlan};
///
/// let plan = FaultPlan::none().allow(Fault::Drop, 5).allow(Fault::Duplicate, 10);
/// assert_eq!(plan.to_string(), "drop=5 duplicate=10 crash=0 lose-saves=0");
/// assert_eq!(plan.to_string().parse(), Ok(plan));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    budgets: [u32; Fault::COUNT],
}

impl FaultPlan {
    /// Nothing goes wrong but order: messages are still delivered in any order, however late, and
    /// timers fire at any time.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Allows a fault this often in each run.
    #[must_use]
    pub fn allow(mut self, fault: Fault, budget: u32) -> Self {
        self.budgets[fault as usize] = budget;
        self
    }

    /// How often a fault may happen in one run.
    #[must_use]
    pub fn budget(&self, fault: Fault) -> u32 {
        self.budgets[fault as usize]
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = FaultCounts { counts: self.budgets.map(u64::from) };
        counts.fmt(f)
    }
}

impl FromStr for FaultPlan {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let mut plan = Self::none();
        for word in text.split_whitespace() {
            let unknown = || UnknownFault { found: word.to_owned() };
            let (name, budget) = word.split_once('=').ok_or_else(unknown)?;
            let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
            plan = plan.allow(fault.ok_or_else(unknown)?, budget.parse().map_err(|_| unknown())?);
        }
        Ok(plan)
    }
}

/// A word of a fault plan makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not FAULT=NUMBER with one of the faults drop, duplicate, crash, lose-saves")]
pub struct UnknownFault {
    /// The word.
    pub found: String,
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    counts: [u64; Fault::COUNT],
}

impl FaultCounts {
    /// How often a fault happened.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    pub(crate) fn happened(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// The first fault that was allowed and never happened.
    pub(crate) fn missing(&self, plan: &FaultPlan) -> Option<Fault> {
        Fault::ALL.into_iter().find(|&fault| plan.budget(fault) > 0 && self.count(fault) == 0)
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{fault}={}", self.count(fault))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_was_allowed_and_never_happened_is_missing() {
        let plan = FaultPlan::none().allow(Fault::Drop, 1).allow(Fault::Crash, 1);
        let mut counts = FaultCounts::default();
        counts.happened(Fault::Drop);
        assert_eq!(counts.missing(&plan), Some(Fault::Crash));
        counts.happened(Fault::Crash);
        assert_eq!(counts.missing(&plan), None);
    }

    #[test]
    fn a_word_that_is_no_fault_is_named() {
        for word in ["flood=3", "drop", "drop=many", "drop=-1"] {
            let error = word.parse::<FaultPlan>().unwrap_err();
            assert_eq!(error, UnknownFault { found: word.to_owned() });
        }
    }
}

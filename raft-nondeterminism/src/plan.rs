//! How often what is rare may happen in one run, and how often it did: faults, and what operators ask.
//!
//! Guarantees: something is counted when it happens, not when it is allowed; so a plan whose faults
//!             never happened is told from one that was survived.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// More kinds than there are of anything.
const KINDS_MAX: usize = 12;

/// Something of which there are a few kinds, each with a name.
pub trait Kind: Copy + fmt::Debug + Eq + Sized + 'static {
    /// Every kind.
    const ALL: &'static [Self];
    /// What they are together: `the faults`.
    const TOGETHER: &'static str;

    /// The name it has on the command line and in schedules.
    fn name(self) -> &'static str;

    /// Its place in [`Kind::ALL`].
    fn place(self) -> usize;
}

/// How often each kind may happen in one run.
///
/// ```
/// use raft_nondeterminism::{Fault, FaultPlan};
///
/// let plan = FaultPlan::none().allow(Fault::Drop, 5).allow(Fault::Duplicate, 10);
/// assert_eq!(plan.to_string(), "drop=5 duplicate=10 crash=0 lose-saves=0 partition=0 \
///     disk-error=0 disk-stall=0 pause=0");
/// assert_eq!(plan.to_string().parse(), Ok(plan));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan<K> {
    budgets: [u32; KINDS_MAX],
    kind: PhantomData<K>,
}

impl<K: Kind> Plan<K> {
    /// Nothing of it happens. Messages are still delivered in any order, however late, and timers
    /// fire at any time.
    #[must_use]
    pub fn none() -> Self {
        Self { budgets: [0; KINDS_MAX], kind: PhantomData }
    }

    /// Allows a kind this often in each run.
    #[must_use]
    pub fn allow(mut self, kind: K, budget: u32) -> Self {
        self.budgets[kind.place()] = budget;
        self
    }

    /// How often a kind may happen in one run.
    #[must_use]
    pub fn budget(&self, kind: K) -> u32 {
        self.budgets[kind.place()]
    }

    /// True if nothing is allowed.
    pub(crate) fn is_empty(&self) -> bool {
        self.budgets == [0; KINDS_MAX]
    }
}

impl<K: Kind> Default for Plan<K> {
    fn default() -> Self {
        Self::none()
    }
}

impl<K: Kind> fmt::Display for Plan<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Counts::<K> { counts: self.budgets.map(u64::from), kind: PhantomData }.fmt(f)
    }
}

impl<K: Kind> FromStr for Plan<K> {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let mut plan = Self::none();
        for word in text.split_whitespace() {
            let names: Vec<_> = K::ALL.iter().map(|kind| kind.name()).collect();
            let unknown = || UnknownKind {
                found: word.to_owned(),
                together: K::TOGETHER,
                known: names.join(", "),
            };
            let (name, budget) = word.split_once('=').ok_or_else(unknown)?;
            let kind = K::ALL.iter().find(|kind| kind.name() == name).ok_or_else(unknown)?;
            plan = plan.allow(*kind, budget.parse().map_err(|_| unknown())?);
        }
        Ok(plan)
    }
}

/// A word of a plan makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not KIND=NUMBER with one of {together} {known}")]
pub struct UnknownKind {
    /// The word.
    pub found: String,
    /// What the kinds are together.
    pub together: &'static str,
    /// Their names.
    pub known: String,
}

/// How often each kind happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts<K> {
    counts: [u64; KINDS_MAX],
    kind: PhantomData<K>,
}

impl<K: Kind> Counts<K> {
    /// How often a kind happened.
    #[must_use]
    pub fn count(&self, kind: K) -> u64 {
        self.counts[kind.place()]
    }

    pub(crate) fn happened(&mut self, kind: K) {
        self.counts[kind.place()] += 1;
    }

    /// True if the plan allows one more.
    pub(crate) fn is_below(&self, plan: &Plan<K>, kind: K) -> bool {
        self.count(kind) < u64::from(plan.budget(kind))
    }

    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Adds what happened between two counts of the same run.
    pub(crate) fn add_new(&mut self, before: &Self, after: &Self) {
        let counts = self.counts.iter_mut().zip(before.counts).zip(after.counts);
        counts.for_each(|((count, before), after)| *count += after - before);
    }

    /// The first kind that was allowed and never happened.
    pub(crate) fn missing(&self, plan: &Plan<K>) -> Option<K> {
        let is_missing = |&kind: &K| plan.budget(kind) > 0 && self.count(kind) == 0;
        K::ALL.iter().copied().find(is_missing)
    }
}

impl<K: Kind> Default for Counts<K> {
    fn default() -> Self {
        Self { counts: [0; KINDS_MAX], kind: PhantomData }
    }
}

impl<K: Kind> fmt::Display for Counts<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, &kind) in K::ALL.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{}={}", kind.name(), self.count(kind))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, FaultCounts, FaultPlan};
    use crate::operation::{Operation, OperationPlan};

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let places = |kinds: Vec<usize>| assert!(kinds.iter().copied().eq(0..kinds.len()));
        places(Fault::ALL.iter().map(|fault| fault.place()).collect());
        places(Operation::ALL.iter().map(|operation| operation.place()).collect());
    }

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
            assert_eq!(word.parse::<FaultPlan>().unwrap_err().found, word);
        }
        let error = "drop=1".parse::<OperationPlan>().unwrap_err().to_string();
        let expected = "\"drop=1\" is not KIND=NUMBER with one of the operations take-snapshot, \
                        change-membership, transfer-leadership, read, propose";
        assert_eq!(error, expected);
    }
}

//! What an exploration found, for people.
//!
//! Guarantees: a report of a failing run ends with how to replay it.

use std::fmt;

use crate::explorer::Recording;
use crate::fault::{Fault, FaultCounts};
use crate::goal::GoalCounts;
use crate::monitor::Violation;
use crate::operation::{Operation, OperationCounts};
use crate::scenario::Scenario;
use crate::schedule::Schedule;

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) scenario: Scenario,
    pub(crate) strategy: String,
    pub(crate) seed: u64,
    pub(crate) iterations: u64,
    pub(crate) steps: u64,
    pub(crate) buggy_iterations: u64,
    pub(crate) bug: Option<Bug>,
    pub(crate) faults: FaultCounts,
    pub(crate) operations: OperationCounts,
    pub(crate) goals: GoalCounts,
}

impl Report {
    /// How many runs there were.
    #[must_use]
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// How many events happened in all runs.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many runs broke a property; at most one, unless bugs are counted.
    #[must_use]
    pub fn buggy_iterations(&self) -> u64 {
        self.buggy_iterations
    }

    /// The first bug.
    #[must_use]
    pub fn bug(&self) -> Option<&Bug> {
        self.bug.as_ref()
    }

    /// How often each fault really happened.
    #[must_use]
    pub fn faults(&self) -> &FaultCounts {
        &self.faults
    }

    /// How often each operation was taken.
    #[must_use]
    pub fn operations(&self) -> &OperationCounts {
        &self.operations
    }

    /// How many runs reached each goal.
    #[must_use]
    pub fn goals(&self) -> &GoalCounts {
        &self.goals
    }

    /// Says whether all is well: what a test asserts.
    ///
    /// # Errors
    ///
    /// If a property was broken, or the plan asked for a fault or an operation that never happened in
    /// any run: then the exploration does not show what it claims to.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(bug) = &self.bug {
            return Err(Failure::Bug(Box::new(bug.clone())));
        }
        let iterations = self.iterations;
        if let Some(fault) = self.faults.missing(&self.scenario.faults) {
            return Err(Failure::NothingInjected { fault, iterations });
        }
        match self.operations.missing(&self.scenario.operations) {
            Some(operation) => Err(Failure::NothingAsked { operation, iterations }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, strategy, seed, iterations, steps, buggy_iterations, .. } = self;
        if let Some(bug) = &self.bug {
            writeln!(f, "{bug}")?;
        }
        writeln!(f, "... {} with {} servers:", scenario.name(), scenario.servers)?;
        writeln!(f, "..... Using the {strategy} exploration strategy (seed:{seed}).")?;
        writeln!(f, "..... Explored {iterations} execution paths with {steps} events.")?;
        writeln!(f, "..... Found {buggy_iterations} buggy execution paths.")?;
        writeln!(f, "..... Faults: {}", self.faults)?;
        if scenario.has_operations() {
            writeln!(f, "..... Operations: {}", self.operations)?;
        }
        writeln!(f, "..... Paths that reached a goal: {}", self.goals)
    }
}

/// A run that broke a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    full: Recording,
    shrunk: Recording,
    violation: Violation,
}

impl Bug {
    /// # Panics
    ///
    /// If the run broke nothing.
    pub(crate) fn new(full: Recording, shrunk: Recording) -> Self {
        let violation = full.violation().expect("a bug breaks a property").clone();
        Self { full, shrunk, violation }
    }

    /// The iteration that found it; with the seed, it finds it again.
    #[must_use]
    pub fn iteration(&self) -> u64 {
        self.full.schedule.iteration
    }

    /// The name of the property that was broken.
    #[must_use]
    pub fn property(&self) -> &str {
        &self.violation.property
    }

    /// What broke it.
    #[must_use]
    pub fn violation(&self) -> &Violation {
        &self.violation
    }

    /// The run as it was found.
    #[must_use]
    pub fn full(&self) -> &Recording {
        &self.full
    }

    /// The run without what it did not need: best to read, and best to keep.
    #[must_use]
    pub fn shrunk(&self) -> &Recording {
        &self.shrunk
    }

    /// The schedule of the run as it was found.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.full.schedule
    }
}

/// The shrunk run in the one notation, its schedule, and how to replay it.
impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule { seed, iteration, .. } = self.full.schedule;
        let (found, shrunk) = (self.full.schedule.events(), self.shrunk.schedule.events());
        writeln!(f, "found a bug in iteration {iteration} of seed {seed}: {}", self.violation)?;
        writeln!(f, "after {found} events, of which these {shrunk} are needed:")?;
        writeln!(f)?;
        writeln!(f, "{}", self.shrunk.trace())?;
        writeln!(f, "the schedule:")?;
        writeln!(f)?;
        writeln!(f, "{}", self.shrunk.schedule)?;
        writeln!(
            f,
            "replay with: Explorer::replay(&SCHEDULE.parse()?), or the run as it was found"
        )?;
        write!(f, "with: Explorer::new(…).seed({seed}).record({iteration})")
    }
}

/// Why an exploration did not go well.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A property was broken.
    #[error("{0}")]
    Bug(Box<Bug>),
    /// The plan asked for a fault, and it never happened.
    #[error("the plan allows the fault {fault}, but it never happened in {iterations} iterations")]
    NothingInjected {
        /// Which.
        fault: Fault,
        /// In how many runs.
        iterations: u64,
    },
    /// The plan asked for an operation, and no server ever took it.
    #[error("the plan allows {operation}, but it never happened in {iterations} iterations")]
    NothingAsked {
        /// Which.
        operation: Operation,
        /// In how many runs.
        iterations: u64,
    },
}

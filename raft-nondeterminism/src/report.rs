//! What an exploration found, for people.
//!
//! Guarantees: a report of a failing run ends with how to replay it.

pub(crate) mod choices;
mod ci;
pub(crate) mod dgml;
pub(crate) mod escape;
mod files;
#[cfg(test)]
pub(crate) mod golden;
mod html;
mod log;
mod mermaid;
mod shiviz;
mod statistics;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::coverage::Coverage;
use crate::engine::Run;
use crate::exhaustive::Exhausted;
use crate::fault::{Fault, FaultCounts, FaultPlan};
use crate::model::Model;
use crate::operation::{Operation, OperationCounts, OperationPlan};
use crate::recording::Recording;
use crate::schedule::Schedule;
use crate::violation::Violation;

pub use choices::{ChoiceCount, ChoiceCounts};
pub use ci::{TestCase, TestFailure, github_annotations, junit};
pub use dgml::dgml_trace;
pub use files::{WriteError, write_bug, write_coverage, write_trace};
pub use html::html;
pub use log::readable_log;
pub use mermaid::{mermaid_sequence, mermaid_states};
pub use shiviz::{SHIVIZ_EXPRESSION, shiviz};
pub use statistics::Statistics;

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Report {
    model: String,
    description: String,
    strategy: String,
    seed: u64,
    plan: (FaultPlan, OperationPlan),
    iterations: u64,
    steps: u64,
    /// The fewest and the most events of a run.
    step_bounds: (usize, usize),
    buggy_iterations: u64,
    pub(crate) bug: Option<Bug>,
    faults: FaultCounts,
    operations: OperationCounts,
    goals: GoalCounts,
    /// The goals that no run can reach.
    unreachable: Vec<&'static str>,
    members: BTreeMap<String, MemberCounts>,
    pub(crate) fair_iterations: u64,
    pub(crate) unique_states: u64,
    pub(crate) unique_paths: u64,
    pub(crate) elapsed: Duration,
    coverage: Option<Coverage>,
    choices: Option<ChoiceCounts>,
    pub(crate) shrinking: Duration,
}

/// What one member of a portfolio came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// How many runs it chose.
    pub iterations: u64,
    /// How many events there were in these.
    pub steps: u64,
    /// How many of these runs broke a property.
    pub buggy_iterations: u64,
    /// How many abstract states they were the first to visit.
    pub new_states: u64,
}

/// How many runs reached each goal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoalCounts {
    counts: Vec<(&'static str, u64)>,
}

impl GoalCounts {
    fn new(names: Vec<&'static str>) -> Self {
        Self { counts: names.into_iter().map(|name| (name, 0)).collect() }
    }

    fn add(&mut self, reached: u64) {
        for (place, (_, count)) in self.counts.iter_mut().enumerate() {
            *count += reached >> place & 1;
        }
    }

    /// How many runs reached a goal.
    #[must_use]
    pub fn count(&self, goal: impl Into<&'static str>) -> u64 {
        let name = goal.into();
        self.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| count)
    }

    /// Every goal, with how many runs reached it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().copied()
    }
}

impl fmt::Display for GoalCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (goal, count)) in self.iter().enumerate() {
            write!(f, "{}{goal}={count}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Report {
    pub(crate) fn new(model: &impl Model, strategy: String, seed: u64) -> Self {
        Self {
            model: model.name().to_owned(),
            description: model.describe(),
            strategy,
            seed,
            plan: (model.faults(), model.operations()),
            iterations: 0,
            steps: 0,
            step_bounds: (usize::MAX, 0),
            buggy_iterations: 0,
            bug: None,
            faults: FaultCounts::default(),
            operations: OperationCounts::default(),
            goals: GoalCounts::new(model.goals()),
            unreachable: model.goals().into_iter().filter(|goal| !model.can_reach(goal)).collect(),
            members: BTreeMap::new(),
            fair_iterations: 0,
            unique_states: 0,
            unique_paths: 0,
            elapsed: Duration::ZERO,
            coverage: None,
            choices: None,
            shrinking: Duration::ZERO,
        }
    }

    /// What an exhaustive exploration found, as if it had been one run over and over.
    #[must_use]
    pub fn of_exhausted(model: &impl Model, strategy: &str, exhausted: &Exhausted) -> Self {
        let mut report = Self::new(model, strategy.to_owned(), 0);
        report.iterations = 1;
        report.unique_paths = 1;
        report.steps = exhausted.transitions();
        report.step_bounds = (exhausted.depth() as usize, exhausted.depth() as usize);
        report.buggy_iterations = u64::from(exhausted.bug().is_some());
        report.bug = exhausted.bug().cloned();
        report.faults = *exhausted.faults();
        report.operations = *exhausted.operations();
        report.goals.add(exhausted.goals());
        report.unique_states = exhausted.states();
        report.elapsed = exhausted.elapsed();
        report
    }

    pub(crate) fn add(&mut self, member: &str, run: &Run, new_states: u64) {
        self.iterations += 1;
        self.steps += run.steps as u64;
        let (least, most) = self.step_bounds;
        self.step_bounds = (least.min(run.steps), most.max(run.steps));
        self.faults.add(&run.faults);
        self.operations.add(&run.operations);
        self.goals.add(run.goals);
        match (&mut self.coverage, &run.coverage) {
            (Some(all), Some(one)) => all.merge(one).expect("all runs have one plan"),
            (all, one) => *all = all.take().or_else(|| one.clone()),
        }
        if let Some(choices) = &mut self.choices {
            choices.add(&run.tape);
        }
        let is_buggy = u64::from(run.violation.is_some());
        self.buggy_iterations += is_buggy;
        if !self.members.contains_key(member) {
            self.members.insert(member.to_owned(), MemberCounts::default());
        }
        let counts = self.members.get_mut(member).expect("it was put there");
        counts.iterations += 1;
        counts.steps += run.steps as u64;
        counts.buggy_iterations += is_buggy;
        counts.new_states += new_states;
    }

    /// The name of what was explored.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Who chose.
    #[must_use]
    pub fn strategy(&self) -> &str {
        &self.strategy
    }

    /// The seed from which everything followed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What each member of the portfolio came to; one, if there is no portfolio.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<String, MemberCounts> {
        &self.members
    }

    /// The fewest and the most events of a run.
    #[must_use]
    pub fn step_bounds(&self) -> (usize, usize) {
        (self.step_bounds.0.min(self.step_bounds.1), self.step_bounds.1)
    }

    /// How many different abstract states were visited; a few may have been taken for one.
    #[must_use]
    pub fn unique_states(&self) -> u64 {
        self.unique_states
    }

    /// How many runs went a way of their own; a few may have been taken for one.
    #[must_use]
    pub fn unique_paths(&self) -> u64 {
        self.unique_paths
    }

    /// Which event was met in which state, if that was recorded: see
    /// [`Explorer::cover`](crate::Explorer::cover).
    #[must_use]
    pub fn coverage(&self) -> Option<&Coverage> {
        self.coverage.as_ref()
    }

    /// How often which kind of choice was made, if that was asked for: see
    /// [`Explorer::count_choices`](crate::Explorer::count_choices).
    #[must_use]
    pub fn choices(&self) -> Option<&ChoiceCounts> {
        self.choices.as_ref()
    }

    /// Counts choices from here on.
    pub(crate) fn count_choices(&mut self) {
        self.choices = Some(ChoiceCounts::default());
    }

    /// How many runs had a fair strategy: see [`Strategy::is_fair`](crate::Strategy::is_fair).
    #[must_use]
    pub fn fair_iterations(&self) -> u64 {
        self.fair_iterations
    }

    /// How long it took, with the shrinking of what was found.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

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

    /// The goals that no run has reached, though some run could.
    pub fn unreached_goals(&self) -> impl Iterator<Item = &'static str> + '_ {
        let unreached = self.goals.iter().filter(|(_, runs)| *runs == 0).map(|(goal, _)| goal);
        unreached.filter(|goal| !self.unreachable.contains(goal))
    }

    /// The figures in Coyote's own lines.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            bugs: self.buggy_iterations,
            fair_paths: self.fair_iterations,
            unfair_paths: self.iterations - self.fair_iterations,
            unique_paths: self.unique_paths,
            unique_states: self.unique_states,
            events: self.steps,
            event_bounds: self.step_bounds(),
            max_steps: None,
            elapsed: self.elapsed,
            shrinking: self.shrinking,
        }
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
        if let Some(fault) = self.faults.missing(&self.plan.0) {
            return Err(Failure::NothingInjected { fault, iterations });
        }
        match self.operations.missing(&self.plan.1) {
            Some(operation) => Err(Failure::NothingAsked { operation, iterations }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, description, strategy, seed, iterations, steps, .. } = self;
        if let Some(bug) = &self.bug {
            writeln!(f, "{bug}")?;
        }
        writeln!(f, "... {model} with {description}:")?;
        writeln!(f, "..... Using the {strategy} exploration strategy (seed:{seed}).")?;
        writeln!(f, "..... Explored {iterations} execution paths with {steps} events.")?;
        writeln!(f, "..... Found {} buggy execution paths.", self.buggy_iterations)?;
        writeln!(f, "..... Faults: {}", self.faults)?;
        if !self.plan.1.is_empty() {
            writeln!(f, "..... Operations: {}", self.operations)?;
        }
        writeln!(f, "..... Paths that reached a goal: {}", self.goals)?;
        if let Some(choices) = &self.choices {
            write!(f, "{choices}")?;
        }
        match &self.coverage {
            Some(coverage) => write!(f, "\n{coverage}"),
            None => Ok(()),
        }
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
        let found = full.violation().expect("a bug breaks a property");
        let violation = shrunk.violation().unwrap_or(found).clone();
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

    /// What broke it, in the words of the shrunk run, which is the one that people see. The run as it was
    /// found breaks the same property, perhaps with other servers or numbers: see [`Bug::full`].
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

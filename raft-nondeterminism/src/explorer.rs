//! Many runs, each from a seed of its own, until one breaks a property.
//!
//! Guarantees: iteration `k` of a seed is the same run whether or not the others are run; a run that
//!             cannot be repeated is reported as that and as nothing else.

use raft_core::{Defect, NewServerError};

use crate::engine::{self, Record, Run, RunError, Setting};
use crate::fault::FaultCounts;
use crate::goal::GoalCounts;
use crate::monitor::{self, Monitor, Violation};
use crate::operation::OperationCounts;
use crate::oracle::Choice;
use crate::report::{Bug, Report};
use crate::rng::iteration_seed;
use crate::scenario::{Scenario, ScenarioError};
use crate::schedule::Schedule;
use crate::shrink;
use crate::strategy::{NotReproducible, Replay, Strategy, TolerantReplay, Weighted};

/// Explores a scenario.
///
/// ```
/// use raft_core::Defect;
/// use raft_nondeterminism::{Explorer, Scenario};
///
/// let report = Explorer::new(Scenario::sample_with_failure())
///     .seed(7)
///     .iterations(5_000)
///     .max_steps(200)
///     .defect(Defect::VoteCountedTwice)
///     .run()?;
/// let bug = report.bug().expect("a vote that comes twice elects a leader without a majority");
///
/// // It is found again from its text, which can be kept in a file.
/// let schedule = bug.schedule().to_string().parse()?;
/// let again = Explorer::replay(&schedule)?;
/// assert_eq!(again.violation(), Some(bug.violation()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Explorer {
    scenario: Scenario,
    seed: u64,
    iterations: u64,
    max_steps: usize,
    defect: Option<Defect>,
    strategy: Box<dyn Strategy>,
    monitors: Vec<Box<dyn Monitor>>,
    stops_at_bug: bool,
}

impl Explorer {
    /// Explores this scenario: 1,000 iterations of at most 200 steps from seed 0, by weighted random
    /// choice, up to the first bug.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            seed: 0,
            iterations: 1_000,
            max_steps: 200,
            defect: None,
            strategy: Box::new(Weighted::new()),
            monitors: monitor::standard(),
            stops_at_bug: true,
        }
    }

    /// Changes the seed from which everything follows.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Changes the number of runs.
    #[must_use]
    pub fn iterations(mut self, iterations: u64) -> Self {
        self.iterations = iterations;
        self
    }

    /// Changes the number of events after which a run ends.
    #[must_use]
    pub fn max_steps(mut self, max_steps: usize) -> Self {
        self.max_steps = max_steps;
        self
    }

    /// Switches a planted bug on.
    #[must_use]
    pub fn defect(mut self, defect: impl Into<Option<Defect>>) -> Self {
        self.defect = defect.into();
        self
    }

    /// Changes who chooses.
    #[must_use]
    pub fn strategy(mut self, strategy: impl Strategy + 'static) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// Watches for one more property, besides the standard ones.
    #[must_use]
    pub fn monitor(mut self, monitor: impl Monitor + 'static) -> Self {
        self.monitors.push(Box::new(monitor));
        self
    }

    /// Watches for nothing but panics, and for what [`Explorer::monitor`] adds from here on. Replay
    /// what it finds with [`Explorer::replay_watched`]: the standard monitors may fire earlier.
    #[must_use]
    pub fn without_monitors(mut self) -> Self {
        self.monitors.clear();
        self
    }

    /// Goes on after a bug, so that the report tells how many runs have one.
    #[must_use]
    pub fn count_bugs(mut self) -> Self {
        self.stops_at_bug = false;
        self
    }

    /// Explores.
    ///
    /// The first run is made twice, and a failing run again for its trace: both must go the same way
    /// choice by choice.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or a run does not repeat. A bug is no error: see [`Report`].
    pub fn run(&mut self) -> Result<Report, ExploreError> {
        self.validate()?;
        let mut report = Report {
            scenario: self.scenario.clone(),
            strategy: self.strategy.describe(),
            seed: self.seed,
            iterations: 0,
            steps: 0,
            buggy_iterations: 0,
            bug: None,
            faults: FaultCounts::default(),
            operations: OperationCounts::default(),
            goals: GoalCounts::default(),
        };
        let mut tape = Vec::new();
        for iteration in 0..self.iterations {
            let run = self.run_once(iteration, Record::Tape, tape)?;
            report.iterations += 1;
            report.steps += run.steps as u64;
            report.faults.add(&run.faults);
            report.operations.add(&run.operations);
            report.goals.add(&run.goals);
            if iteration == 0 {
                let again = self.run_once(iteration, Record::Tape, Vec::new())?;
                assert_repeated(iteration, &run, &again)?;
            }
            if run.violation.is_some() {
                report.buggy_iterations += 1;
                if report.bug.is_none() {
                    let recorded = self.run_once(iteration, Record::Trace, Vec::new())?;
                    assert_repeated(iteration, &run, &recorded)?;
                    report.bug = Some(self.bug(iteration, recorded)?);
                }
                if self.stops_at_bug {
                    break;
                }
            }
            tape = run.tape;
        }
        Ok(report)
    }

    /// Runs one iteration alone and writes it down.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense.
    pub fn record(&mut self, iteration: u64) -> Result<Recording, ExploreError> {
        self.validate()?;
        let run = self.run_once(iteration, Record::Trace, Vec::new())?;
        Ok(self.recording(iteration, self.strategy.describe(), run))
    }

    /// Replays a schedule, event by event, under the standard monitors.
    ///
    /// # Errors
    ///
    /// If the run cannot follow the schedule, or follows it to another end.
    pub fn replay(schedule: &Schedule) -> Result<Recording, ReplayError> {
        Self::new(schedule.scenario.clone()).replay_watched(schedule)
    }

    /// Replays a schedule under the monitors of this explorer; everything else comes from the
    /// schedule.
    ///
    /// # Errors
    ///
    /// If the run cannot follow the schedule, or follows it to another end.
    pub fn replay_watched(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        let mut replay = Replay::new(schedule.lines());
        replay.begin(schedule.seed);
        let run =
            self.follow(schedule, &mut replay, Record::Trace).map_err(|error| match error {
                RunError::Server(error) => ReplayError::Server(error),
                RunError::NotReproducible(error) => ReplayError::NotReproducible(error),
            })?;
        let found = run.violation.as_ref().map(|violation| violation.property.as_str());
        if found != schedule.property() {
            let (expected, found) =
                (schedule.property().unwrap_or("none"), found.unwrap_or("none"));
            let (expected, found) = (expected.to_owned(), found.to_owned());
            return Err(ReplayError::OtherProperty { expected, found });
        }
        let (expected, found) = (schedule.events(), run.steps);
        if expected != found {
            return Err(ReplayError::OtherLength { expected, found });
        }
        let (expected, found) = (schedule.fingerprint.to_string(), run.fingerprint.to_string());
        if expected != found {
            return Err(ReplayError::OtherFingerprint { expected, found });
        }
        Ok(Recording::new(schedule.clone(), run))
    }

    /// Replays a schedule as far as it is possible, under the monitors of this explorer: skips events
    /// that cannot happen, and takes the nearest message for one that is not there. The recording
    /// tells what became of it; no violation is no error.
    ///
    /// For schedules that are kept while the code changes.
    ///
    /// # Errors
    ///
    /// If a server refuses to start.
    pub fn replay_tolerant(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        let mut replay = TolerantReplay::new(schedule.lines().to_vec());
        let run = self.follow(schedule, &mut replay, Record::Trace)?;
        let outcome = Schedule { lines: run.lines.clone(), ..schedule.clone() };
        let property = run.violation.as_ref().map(|violation| violation.property.clone());
        let outcome = Schedule { property, fingerprint: run.fingerprint, ..outcome };
        Ok(Recording::new(outcome, run))
    }

    /// Runs as `strategy` says in the setting of a schedule.
    fn follow(
        &mut self,
        schedule: &Schedule,
        strategy: &mut dyn Strategy,
        record: Record,
    ) -> Result<Run, RunError> {
        let setting = Setting {
            scenario: &schedule.scenario,
            defect: schedule.defect,
            max_steps: usize::MAX,
            record,
        };
        engine::run(setting, strategy, &mut self.monitors, Vec::new())
    }

    fn validate(&self) -> Result<(), ExploreError> {
        self.scenario.validate()?;
        if self.iterations == 0 {
            return Err(ExploreError::ZeroBound { setting: "iterations" });
        }
        if self.max_steps == 0 {
            return Err(ExploreError::ZeroBound { setting: "max_steps" });
        }
        Ok(())
    }

    fn run_once(
        &mut self,
        iteration: u64,
        record: Record,
        tape: Vec<Choice>,
    ) -> Result<Run, ExploreError> {
        let Self { scenario, defect, max_steps, .. } = self;
        let setting = Setting { scenario, defect: *defect, max_steps: *max_steps, record };
        self.strategy.begin(iteration_seed(self.seed, iteration));
        let run = engine::run(setting, &mut *self.strategy, &mut self.monitors, tape);
        Ok(run?)
    }

    fn bug(&mut self, iteration: u64, run: Run) -> Result<Bug, ExploreError> {
        let full = self.recording(iteration, self.strategy.describe(), run);
        let shrunk = self.shrink(&full);
        Ok(Bug::new(full, shrunk))
    }

    /// Leaves out what a failing run does not need.
    fn shrink(&mut self, full: &Recording) -> Recording {
        let Some(violation) = &full.violation else { return full.clone() };
        let lines = shrink::shrink(full.schedule.lines(), |lines| {
            let mut replay = TolerantReplay::new(lines);
            let run = self.follow(&full.schedule, &mut replay, Record::Lines).ok()?;
            let is_same = run.violation.as_ref()?.property == violation.property;
            is_same.then_some(run.lines)
        });
        let mut replay = TolerantReplay::new(lines);
        match self.follow(&full.schedule, &mut replay, Record::Trace) {
            Ok(run) if run.violation.is_some() => {
                let strategy = format!("{}+shrunk", full.schedule.strategy);
                self.recording(full.schedule.iteration, strategy, run)
            }
            Ok(_) | Err(_) => full.clone(),
        }
    }

    fn recording(&self, iteration: u64, strategy: String, mut run: Run) -> Recording {
        let schedule = Schedule {
            scenario: self.scenario.clone(),
            defect: self.defect,
            strategy,
            seed: self.seed,
            iteration,
            property: run.violation.as_ref().map(|violation| violation.property.clone()),
            fingerprint: run.fingerprint,
            lines: std::mem::take(&mut run.lines),
        };
        Recording::new(schedule, run)
    }
}

/// Compares two runs that should be one.
fn assert_repeated(iteration: u64, run: &Run, again: &Run) -> Result<(), ExploreError> {
    let length = run.tape.len().max(again.tape.len());
    let different = (0..length).find(|&place| run.tape.get(place) != again.tape.get(place));
    if let Some(place) = different {
        return Err(ExploreError::Nondeterminism { iteration, choice: place + 1 });
    }
    if (run.fingerprint, &run.violation) != (again.fingerprint, &again.violation) {
        return Err(ExploreError::Nondeterminism { iteration, choice: length });
    }
    Ok(())
}

impl From<RunError> for ExploreError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Server(error) => Self::Server(error),
            RunError::NotReproducible(error) => Self::NotReproducible(error),
        }
    }
}

impl From<RunError> for ReplayError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Server(error) => Self::Server(error),
            RunError::NotReproducible(error) => Self::NotReproducible(error),
        }
    }
}

/// One run, written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub(crate) schedule: Schedule,
    trace: String,
    violation: Option<Violation>,
}

impl Recording {
    fn new(schedule: Schedule, run: Run) -> Self {
        Self { schedule, trace: run.trace, violation: run.violation }
    }

    /// Its choices, to keep and to replay.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Every event with everything it caused, for people.
    #[must_use]
    pub fn trace(&self) -> &str {
        &self.trace
    }

    /// What broke.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}

/// Why an exploration came to nothing. A bug that was found is no such reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExploreError {
    /// The scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A bound of zero explores nothing.
    #[error("{setting} must be more than zero")]
    ZeroBound {
        /// Which.
        setting: &'static str,
    },
    /// A server refused to start.
    #[error("a server does not start")]
    Server(#[source] NewServerError),
    /// Something besides the oracle has chosen: the same seed gave two different runs.
    #[error(
        "iteration {iteration} goes another way when repeated, at the latest from choice {choice} on"
    )]
    Nondeterminism {
        /// Which run.
        iteration: u64,
        /// The first choice that differs, from 1.
        choice: usize,
    },
    /// The strategy repeats a recorded run, and this one went another way.
    #[error(transparent)]
    NotReproducible(NotReproducible),
}

/// Why a schedule cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A server refused to start.
    #[error("a server does not start")]
    Server(#[source] NewServerError),
    /// The run cannot do what the schedule says.
    #[error(transparent)]
    NotReproducible(NotReproducible),
    /// Every event happened, but the end is another one.
    #[error("the schedule breaks {expected}, but its replay breaks {found}")]
    OtherProperty {
        /// What the schedule says.
        expected: String,
        /// What happened.
        found: String,
    },
    /// The property broke before the schedule ended.
    #[error(
        "the schedule breaks its property with event {expected}, its replay with event {found}"
    )]
    OtherLength {
        /// How many events the schedule has.
        expected: usize,
        /// How many the replay had.
        found: usize,
    },
    /// Every event happened, but the servers went through other states: the schedule was edited, or
    /// the code has changed.
    #[error("the schedule has fingerprint {expected}, but its replay {found}")]
    OtherFingerprint {
        /// What the schedule says.
        expected: String,
        /// What happened.
        found: String,
    },
}

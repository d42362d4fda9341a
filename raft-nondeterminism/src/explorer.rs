//! Many runs, each from a seed of its own, until one breaks a property.
//!
//! Guarantees: iteration `k` of a seed is the same run however many workers there are; a run that
//!             cannot be repeated is reported as that and as nothing else.
//! Elsewhere:  how iterations are shared out among workers is in `workers.rs`.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::coverage::CoveragePlan;
use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, Record, Run, Setting};
use crate::model::{Model, ModelError, StartError};
use crate::raft::Raft;
use crate::repeat::Parting;
use crate::report::{Bug, Report};
use crate::rng::iteration_seed;
use crate::schedule::{self, Schedule, ScheduleError};
use crate::shrink;
use crate::strategy::{Lesson, NotReproducible, Replay, Strategy, TolerantReplay, Weighted};
use crate::trace::{Trace, TraceRecorder};
use crate::violation::Violation;
use crate::workers::{self, Epoch, Finished};

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
pub struct Explorer<M: Model = Raft> {
    pub(crate) model: M,
    seed: u64,
    iterations: u64,
    time: Option<Duration>,
    max_steps: usize,
    pub(crate) strategy: Box<dyn Strategy>,
    workers: NonZeroUsize,
    stops_at_bug: bool,
    shrinks: bool,
    /// Each so many-th run has to come to rest in the end; 0 for none.
    settles: u64,
    coverage: Option<Arc<CoveragePlan>>,
    fails_at_max_steps: bool,
}

/// How many iterations the first epochs have. Small ones find what is easy to find at once, large ones
/// keep all workers busy.
const EPOCHS: [u64; 4] = [1, 15, 48, 192];
/// How many iterations every other epoch has.
const EPOCH: u64 = 256;

impl<M: Model> Explorer<M> {
    /// Explores this model: 1,000 iterations of at most 200 steps from seed 0, by weighted random
    /// choice, up to the first bug, with one worker.
    #[must_use]
    pub fn of(model: M) -> Self {
        Self {
            model,
            seed: 0,
            iterations: 1_000,
            time: None,
            max_steps: 200,
            strategy: Box::new(Weighted::new()),
            workers: NonZeroUsize::MIN,
            stops_at_bug: true,
            shrinks: true,
            settles: 0,
            coverage: None,
            fails_at_max_steps: false,
        }
    }

    /// What is explored.
    #[must_use]
    pub fn model(&self) -> &M {
        &self.model
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

    /// Explores for about so long, whatever the number of runs: it ends with the epoch in which the time
    /// is over.
    #[must_use]
    pub fn time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.time = time.into();
        self
    }

    /// Changes the number of events after which a run ends.
    #[must_use]
    pub fn max_steps(mut self, max_steps: usize) -> Self {
        self.max_steps = max_steps;
        self
    }

    /// Changes who chooses.
    #[must_use]
    pub fn strategy(mut self, strategy: impl Strategy + 'static) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// The same, if who chooses is known only at run time.
    #[must_use]
    pub fn boxed_strategy(mut self, strategy: Box<dyn Strategy>) -> Self {
        self.strategy = strategy;
        self
    }

    /// Changes how many threads share the runs. What is found does not depend on it.
    #[must_use]
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers;
        self
    }

    /// Lets nothing go wrong after the last event of each run, and demands that everything then comes to
    /// rest: requests are answered, changes finished, followers caught up (the property `comes-to-rest`).
    #[must_use]
    pub fn settle(mut self) -> Self {
        self.settles = 1;
        self
    }

    /// The same, but only of each so many-th run: to look for progress that is missing costs as much as to
    /// look for what must not happen. With 0, of none.
    #[must_use]
    pub fn settle_every(mut self, runs: u64) -> Self {
        self.settles = runs;
        self
    }

    /// Records which event was met in which state: see [`Report::coverage`].
    #[must_use]
    pub fn cover(mut self) -> Self {
        self.coverage = Some(Arc::new(self.model.coverage_plan()));
        self
    }

    /// Goes on after a bug, so that the report tells how many runs have one.
    #[must_use]
    pub fn count_bugs(mut self) -> Self {
        self.stops_at_bug = false;
        self
    }

    /// Leaves a failing run as long as it was found.
    #[must_use]
    pub fn without_shrinking(mut self) -> Self {
        self.shrinks = false;
        self
    }

    /// Takes a run that has not ended by itself after the last event for a failing one (the property
    /// `max-steps`).
    #[must_use]
    pub fn fail_at_max_steps(mut self) -> Self {
        self.fails_at_max_steps = true;
        self
    }

    /// Explores.
    ///
    /// The first run is made again, every 64th too, and a failing one for its trace: all must go the same
    /// way choice by choice.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or a run does not repeat. A bug is no error: see [`Report`].
    pub fn run(&mut self) -> Result<Report, ExploreError> {
        self.run_watched(|_| ControlFlow::Continue(()))
    }

    /// Explores, and tells after each epoch how far it is, until it is told to break off: see
    /// [`Explorer::run`].
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or a run does not repeat.
    pub fn run_watched(
        &mut self,
        mut progress: impl FnMut(&Report) -> ControlFlow<()>,
    ) -> Result<Report, ExploreError> {
        self.validate()?;
        let started = Instant::now();
        let mut report = Report::new(&self.model, self.strategy.describe(), self.seed);
        let mut map = CoverageMap::new();
        let mut paths = CoverageMap::new();
        let mut epochs = EPOCHS.into_iter();
        let (mut next, seed, settles) = (0, self.seed, self.settles);
        // What is learned here is forgotten with it, so that the next exploration is the same.
        let mut strategy = self.fresh_strategy();
        while !self.is_over(next, started) {
            let size = epochs.next().unwrap_or(EPOCH);
            let last =
                if self.time.is_some() { next + size } else { (next + size).min(self.iterations) };
            let workers = self.workers.get().min(usize::try_from(size).unwrap_or(usize::MAX));
            let strategies = (0..workers).map(|_| strategy.fork()).collect();
            let epoch = Epoch {
                setting: self.setting(Record::Tape, next),
                settles_at: &|iteration| settles_at(settles, iteration),
                map: &map,
                stops_at_bug: self.stops_at_bug,
                seed_of: &|iteration| iteration_seed(seed, iteration),
            };
            let runs = workers::run_epoch(&epoch, strategies, next..last)?;
            next = last;
            let mut is_found = false;
            for Finished { iteration, seed, member, is_fair, run, notes, states } in runs {
                let new_states = map.add(&states);
                paths.add(&[run.fingerprint.0]);
                report.add(&member, &run, new_states);
                report.fair_iterations += u64::from(is_fair);
                self.assert_repeats(iteration, &run)?;
                let is_buggy = run.violation.is_some();
                if is_buggy && report.bug.is_none() {
                    let recorded = self.make_again(iteration, &run, Record::Trace)?;
                    let shrinking = Instant::now();
                    report.bug = Some(self.bug(iteration, member, recorded)?);
                    report.shrinking = shrinking.elapsed();
                }
                if is_buggy && self.stops_at_bug {
                    is_found = true;
                    break;
                }
                let (tape, goals, notes) = (&run.tape[..], run.goals, &notes[..]);
                let lesson = Lesson { iteration, seed, tape, new_states, goals, notes, is_buggy };
                strategy.learn(&lesson);
            }
            report.unique_states = map.visited();
            report.unique_paths = paths.visited();
            report.elapsed = started.elapsed();
            if progress(&report).is_break() || is_found {
                break;
            }
        }
        Ok(report)
    }

    /// True if no more epochs are due.
    fn is_over(&self, next: u64, started: Instant) -> bool {
        match self.time {
            Some(time) => next > 0 && started.elapsed() >= time,
            None => next >= self.iterations,
        }
    }

    /// Runs one iteration alone and writes it down. A strategy that learns has learned nothing then.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense.
    pub fn record(&mut self, iteration: u64) -> Result<Recording, ExploreError> {
        self.validate()?;
        let mut strategy = self.fresh_strategy();
        strategy.begin(self.seed_of(iteration));
        let run = self.run_once(&mut *strategy, iteration, Record::Trace)?;
        Ok(self.recording(iteration, self.strategy.describe(), run))
    }

    /// Replays a schedule, event by event, under the model of this explorer; its settings come from the
    /// schedule.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the run cannot follow it, or follows it to another end.
    pub fn replay_watched(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        let run = self.follow_strictly(schedule)?;
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

    /// Replays a schedule, event by event, to whatever end: what to do with one whose planted bug was
    /// changed. The recording tells what became of it; no violation is no error.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the run cannot follow it.
    pub fn replay_open(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        Ok(outcome(schedule, self.follow_strictly(schedule)?))
    }

    fn follow_strictly(&self, schedule: &Schedule) -> Result<Run, ReplayError> {
        let mut replay = Replay::new(schedule.lines());
        replay.begin(schedule.seed);
        let model = self.model.configured_by(schedule)?;
        Ok(follow(&model, schedule, &mut replay, Record::Trace)?)
    }

    /// Replays a schedule as far as it is possible, under the model of this explorer: skips events
    /// that cannot happen, and takes the nearest message for one that is not there. The recording
    /// tells what became of it; no violation is no error.
    ///
    /// For schedules that are kept while the code changes.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the system does not start.
    pub fn replay_tolerant(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        let mut replay = TolerantReplay::new(schedule.lines().to_vec());
        let model = self.model.configured_by(schedule)?;
        Ok(outcome(schedule, follow(&model, schedule, &mut replay, Record::Trace)?))
    }

    /// Leaves out of a failing schedule what it does not need: see [`Explorer::replay_tolerant`]. `None`
    /// if it does not fail.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the system does not start.
    pub fn minimize(&mut self, schedule: &Schedule) -> Result<Option<Recording>, ReplayError> {
        let model = self.model.configured_by(schedule)?;
        let full = self.replay_tolerant(schedule)?;
        Ok(full.violation.is_some().then(|| shrunk(&model, &full)))
    }

    fn validate(&self) -> Result<(), ExploreError> {
        self.model.validate()?;
        if self.iterations == 0 {
            return Err(ExploreError::ZeroBound { setting: "iterations" });
        }
        if self.max_steps == 0 {
            return Err(ExploreError::ZeroBound { setting: "max_steps" });
        }
        Ok(())
    }

    /// A copy that has learned nothing yet.
    pub(crate) fn fresh_strategy(&self) -> Box<dyn Strategy> {
        let mut strategy = self.strategy.fork();
        strategy.expect(self.max_steps);
        strategy
    }

    /// The seed of an iteration.
    pub(crate) fn seed_of(&self, iteration: u64) -> u64 {
        iteration_seed(self.seed, iteration)
    }

    fn settles_at(&self, iteration: u64) -> bool {
        settles_at(self.settles, iteration)
    }

    /// How a run is to be made.
    fn setting(&self, record: Record, iteration: u64) -> Setting<'_, M> {
        let &Self { ref model, max_steps, fails_at_max_steps, .. } = self;
        let settles = self.settles_at(iteration);
        let coverage = self.coverage.as_ref();
        Setting { model, max_steps, fails_at_max_steps, settles, record, coverage }
    }

    pub(crate) fn run_once(
        &self,
        strategy: &mut dyn Strategy,
        iteration: u64,
        record: Record,
    ) -> Result<Run, ModelError> {
        let map = CoverageMap::empty();
        engine::run(&self.setting(record, iteration), strategy, Vec::new(), &mut Novelty::new(&map))
    }

    fn bug(&self, iteration: u64, member: String, run: Run) -> Result<Bug, ExploreError> {
        let full = self.recording(iteration, member, run);
        let shrunk = if self.shrinks { shrunk(&self.model, &full) } else { full.clone() };
        Ok(Bug::new(full, shrunk))
    }

    fn recording(&self, iteration: u64, strategy: String, run: Run) -> Recording {
        recording(&self.model, self.settles_at(iteration), strategy, (self.seed, iteration), run)
    }
}

/// Writes a run down.
pub(crate) fn recording<M: Model>(
    model: &M,
    settles: bool,
    strategy: String,
    (seed, iteration): (u64, u64),
    mut run: Run,
) -> Recording {
    let schedule = Schedule {
        model: model.name().to_owned(),
        settings: model.settings().into_iter().map(schedule::Setting::from).collect(),
        settles,
        strategy,
        seed,
        iteration,
        property: run.violation.as_ref().map(|violation| violation.property.clone()),
        fingerprint: run.fingerprint,
        lines: std::mem::take(&mut run.lines),
    };
    Recording::new(schedule, run)
}

/// True for the last of each so many runs.
fn settles_at(runs: u64, iteration: u64) -> bool {
    runs > 0 && iteration % runs == runs - 1
}

/// Runs as `strategy` says in the setting of a schedule.
fn follow<M: Model>(
    model: &M,
    schedule: &Schedule,
    strategy: &mut dyn Strategy,
    record: Record,
) -> Result<Run, ModelError> {
    // A run that was too long is so again, and without any of its events it is not.
    let fails_at_max_steps = schedule.property() == Some(engine::MAX_STEPS);
    let max_steps = if fails_at_max_steps { schedule.events() } else { usize::MAX };
    let settles = schedule.settles;
    let setting = Setting { model, max_steps, fails_at_max_steps, settles, record, coverage: None };
    let map = CoverageMap::empty();
    engine::run(&setting, strategy, Vec::new(), &mut Novelty::new(&map))
}

/// What a run along a schedule came to.
fn outcome(schedule: &Schedule, mut run: Run) -> Recording {
    let schedule = Schedule {
        property: run.violation.as_ref().map(|violation| violation.property.clone()),
        fingerprint: run.fingerprint,
        lines: std::mem::take(&mut run.lines),
        ..schedule.clone()
    };
    Recording::new(schedule, run)
}

/// Leaves out what a failing run does not need.
pub(crate) fn shrunk<M: Model>(model: &M, full: &Recording) -> Recording {
    let Some(violation) = &full.violation else { return full.clone() };
    let schedule = &full.schedule;
    let lines = shrink::shrink(schedule.lines(), |lines| {
        let mut replay = TolerantReplay::new(lines);
        let run = follow(model, schedule, &mut replay, Record::Lines).ok()?;
        let is_same = run.violation.as_ref()?.property == violation.property;
        is_same.then_some(run.lines)
    });
    let mut replay = TolerantReplay::new(lines);
    match follow(model, schedule, &mut replay, Record::Trace) {
        Ok(run) if run.violation.is_some() => {
            let strategy = format!("{}+shrunk", schedule.strategy);
            outcome(&Schedule { strategy, ..schedule.clone() }, run)
        }
        Ok(_) | Err(_) => full.clone(),
    }
}

impl From<ModelError> for ExploreError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Start(error) => Self::Start(error),
            ModelError::NotReproducible(error) => Self::NotReproducible(error),
        }
    }
}

impl From<ModelError> for ReplayError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Start(error) => Self::Start(error),
            ModelError::NotReproducible(error) => Self::NotReproducible(error),
        }
    }
}

/// One run, written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub(crate) schedule: Schedule,
    trace: String,
    data: Option<Trace>,
    violation: Option<Violation>,
}

impl Recording {
    fn new(schedule: Schedule, run: Run) -> Self {
        Self { schedule, trace: run.trace, data: run.data, violation: run.violation }
    }

    /// Every event with everything it caused, for programs: for the player, graphs, and tools of one's
    /// own.
    #[must_use]
    pub fn trace_data(&self) -> Trace {
        let Self { schedule, data, violation, .. } = self;
        let mut trace = data.clone().unwrap_or_else(|| TraceRecorder::new().finish(None));
        let broken = violation.as_ref().map_or("no property broken", |it| &it.property);
        trace.title = format!("{}: {broken}", schedule.model);
        trace.model.clone_from(&schedule.model);
        trace.strategy.clone_from(&schedule.strategy);
        (trace.seed, trace.iteration) = (schedule.seed, schedule.iteration);
        let defect = schedule.setting("defect").filter(|&defect| defect != "none");
        trace.defect = defect.map(str::to_owned);
        trace
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
    /// A bound of zero explores nothing.
    #[error("{setting} must be more than zero")]
    ZeroBound {
        /// Which.
        setting: &'static str,
    },
    /// The model makes no sense, or something in it refuses to start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Something besides the oracle has chosen: the same answers gave two different runs.
    #[error(
        "iteration {iteration} goes another way when repeated{}",
        tell_parting(*choice, after, parting.as_deref())
    )]
    Nondeterminism {
        /// Which run.
        iteration: u64,
        /// The first choice that differs, from 1.
        choice: usize,
        /// The choice before it, by name.
        after: String,
        /// Where it goes another way each time, if it does so again.
        parting: Option<Box<Parting>>,
    },
    /// The strategy repeats a recorded run, and this one went another way.
    #[error(transparent)]
    NotReproducible(NotReproducible),
}

fn tell_parting(choice: usize, after: &str, parting: Option<&Parting>) -> String {
    match parting {
        Some(parting) => format!(": {parting}"),
        None => format!(
            ", at the latest from choice {choice} on, after {after:?}: something in the system under \
             test or in the strategy is not determined by the oracle"
        ),
    }
}

/// Why a schedule cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Something in the model refuses to start.
    #[error(transparent)]
    Start(StartError),
    /// The schedule is not one of this model.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
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

//! Many runs, each from a seed of its own, until one breaks a property.
//!
//! Guarantees: iteration `k` of a seed is the same run however many workers there are; a run that
//!             cannot be repeated is reported as that and as nothing else.
//! Elsewhere:  how iterations are shared out among workers is in `workers.rs`.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::coverage::{CoveragePlan, NameError};
use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, Record, Run, Setting};
use crate::model::{Model, ModelError, StartError};
use crate::raft::Raft;
use crate::recording::{self, Recording};
use crate::repeat::Parting;
use crate::report::{Bug, Report};
use crate::rng::iteration_seed;
use crate::strategy::{MaxSteps, NotReproducible, Strategy, Weighted};
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
/// assert_eq!(again.violation(), bug.full().violation());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Explorer<M: Model = Raft> {
    pub(crate) model: M,
    seed: u64,
    iterations: u64,
    time: Option<Duration>,
    max_steps: MaxSteps,
    pub(crate) strategy: Box<dyn Strategy>,
    workers: NonZeroUsize,
    stops_at_bug: bool,
    shrinks: bool,
    /// Each so many-th run has to come to rest in the end; 0 for none.
    settles: u64,
    only: Option<u64>,
    coverage: Option<Arc<CoveragePlan>>,
    counts_choices: bool,
    fails_at_max_steps: bool,
}

/// How many iterations the first epochs have. Small ones find what is easy to find at once, large ones
/// keep all workers busy.
const EPOCHS: [u64; 4] = [1, 15, 48, 192];
/// How many iterations every other epoch has.
const EPOCH: u64 = 256;
/// If nothing is learned, epochs grow up to this size, as long as one takes less than [`EPOCH_TIME`]: what
/// they come to is the same, and workers wait for each other less often.
const EPOCH_MAX: u64 = 1 << 12;
const EPOCH_TIME: Duration = Duration::from_millis(50);

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
            max_steps: MaxSteps::all(200),
            strategy: Box::new(Weighted::new()),
            workers: NonZeroUsize::MIN,
            stops_at_bug: true,
            shrinks: true,
            settles: 0,
            only: None,
            coverage: None,
            counts_choices: false,
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

    /// Makes this run only, as it is when it is made among the others, whatever their number: a strategy
    /// that learns goes through all those before it first.
    #[must_use]
    pub fn only(mut self, iteration: u64) -> Self {
        self.only = Some(iteration);
        self
    }

    /// Explores for about so long, whatever the number of runs: it ends with the epoch in which the time
    /// is over. A run that is still under way then is cut off if it is longer than a thousand events, and
    /// neither it nor any that comes after it is counted: what is told is told of runs that ended by
    /// themselves, and is the same however long they took.
    #[must_use]
    pub fn time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.time = time.into();
        self
    }

    /// Changes the number of events after which a run ends.
    #[must_use]
    pub fn max_steps(mut self, max_steps: usize) -> Self {
        self.max_steps = MaxSteps::all(max_steps);
        self
    }

    /// The same, for runs whose strategy is fair: these may have to be long, until whoever waits has his
    /// turn. See [`Strategy::is_fair`].
    #[must_use]
    pub fn max_fair_steps(mut self, max_steps: usize) -> Self {
        self.max_steps.fair = max_steps;
        self
    }

    /// The same, for runs whose strategy is not fair, and for the beginning of those that are so in the end
    /// only.
    #[must_use]
    pub fn max_unfair_steps(mut self, max_steps: usize) -> Self {
        self.max_steps.unfair = max_steps;
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

    /// Counts how often each kind of choice is made, and among how many alternatives: see
    /// [`Report::choices`].
    #[must_use]
    pub fn count_choices(mut self) -> Self {
        self.counts_choices = true;
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
        let deadline = self.time.and_then(|time| started.checked_add(time));
        self.coverage = self.coverage.take().map(|_| Arc::new(self.model.coverage_plan()));
        let mut report = Report::new(&self.model, self.strategy.describe(), self.seed);
        if self.counts_choices {
            report.count_choices();
        }
        let mut paths = CoverageMap::new();
        let mut epochs = Epochs::new(match (self.only, self.time) {
            (Some(only), _) => only..only.saturating_add(1),
            (None, Some(_)) => 0..u64::MAX,
            (None, None) => 0..self.iterations,
        });
        // What is learned here is forgotten with it, so that the next exploration is the same.
        let (mut strategy, mut map) = self.learned(self.only.unwrap_or(0))?;
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let mut is_first = true;
        while let Some(iterations) = epochs.next().filter(|_| is_first || !is_late()) {
            is_first = false;
            let epoch_started = Instant::now();
            let stops_at_bug = self.stops_at_bug;
            let runs = self.run_epoch(iterations, &*strategy, &map, stops_at_bug, deadline)?;
            let mut is_found = false;
            for mut finished in runs {
                let again = finished.again.take();
                let Finished { iteration, is_fair, ref member, ref run, .. } = finished;
                let new_states = map.add(&finished.states);
                paths.add(&[run.fingerprint.0]);
                report.add(member, run, new_states);
                report.fair_iterations += u64::from(is_fair);
                match again {
                    Some(again) => drop(self.repeated(iteration, run, again)?),
                    None if iteration == 0 => self.assert_first_repeats(run, deadline)?,
                    None => {}
                }
                if let Some(error) = &run.bad_name
                    && !finished.is_buggy()
                    && report.bug.is_none()
                {
                    // A bug counts more.
                    return Err(error.clone().into());
                }
                if finished.is_buggy() && report.bug.is_none() {
                    let recorded = self.traced(iteration, run)?;
                    let shrinking = Instant::now();
                    report.bug = Some(self.bug(iteration, member.clone(), recorded)?);
                    report.shrinking = shrinking.elapsed();
                }
                if finished.is_buggy() && self.stops_at_bug {
                    is_found = true;
                    break;
                }
                strategy.learn(&finished.lesson(new_states));
            }
            report.unique_states = map.visited();
            report.unique_paths = paths.visited();
            report.elapsed = started.elapsed();
            if let (Some(plan), Some(met)) = (&mut self.coverage, report.coverage()) {
                // Names that were learned need not be learned again.
                plan.clone_from(met.shared_plan());
            }
            if progress(&report).is_break() || is_found {
                break;
            }
            if !strategy.learns() && epoch_started.elapsed() < EPOCH_TIME {
                epochs.grow();
            }
        }
        if report.iterations() == 0 {
            return Err(ExploreError::OutOfTime);
        }
        Ok(report)
    }

    /// Runs an epoch, with copies of a strategy that know what it knows.
    fn run_epoch(
        &self,
        iterations: Range<u64>,
        strategy: &dyn Strategy,
        map: &CoverageMap,
        stops_at_bug: bool,
        deadline: Option<Instant>,
    ) -> Result<Vec<Finished>, ExploreError> {
        let size = usize::try_from(iterations.end - iterations.start).unwrap_or(usize::MAX);
        let strategies = (0..self.workers.get().min(size)).map(|_| strategy.fork()).collect();
        let (seed, settles) = (self.seed, self.settles);
        let epoch = Epoch {
            setting: self.setting(Record::Tape, iterations.start),
            settles_at: &|iteration| settles_at(settles, iteration),
            map,
            stops_at_bug,
            deadline,
            seed_of: &|iteration| iteration_seed(seed, iteration),
        };
        workers::run_epoch(&epoch, strategies, iterations)
    }

    /// What the strategy knows when this run begins, and what was visited before.
    fn learned(&self, iteration: u64) -> Result<(Box<dyn Strategy>, CoverageMap), ExploreError> {
        let (mut strategy, mut map) = (self.fresh_strategy(), CoverageMap::new());
        let mut epochs = Epochs::new(0..u64::MAX);
        let is_past = |epoch: &Range<u64>| epoch.end <= iteration;
        while strategy.learns()
            && let Some(past) = epochs.next().filter(is_past)
        {
            for finished in self.run_epoch(past, &*strategy, &map, false, None)? {
                let new_states = map.add(&finished.states);
                strategy.learn(&finished.lesson(new_states));
            }
        }
        Ok((strategy, map))
    }

    /// Runs one iteration, as [`Explorer::run`] would, and writes it down. A strategy that learns goes
    /// through all those before it first.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or a run does not repeat.
    pub fn record(&mut self, iteration: u64) -> Result<Recording, ExploreError> {
        self.validate()?;
        let (mut strategy, map) = self.learned(iteration)?;
        strategy.begin(self.seed_of(iteration));
        let setting = self.setting(Record::Trace, iteration);
        let run = engine::run(&setting, &mut *strategy, Vec::new(), &mut Novelty::new(&map))?;
        Ok(self.recording(iteration, strategy.member(), run))
    }

    fn validate(&self) -> Result<(), ExploreError> {
        self.model.validate()?;
        if self.iterations == 0 {
            return Err(ExploreError::ZeroBound { setting: "iterations" });
        }
        if self.max_steps.fair.min(self.max_steps.unfair) == 0 {
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
    pub(crate) fn setting(&self, record: Record, iteration: u64) -> Setting<'_, M> {
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
        deadline: Option<Instant>,
    ) -> Result<Run, ModelError> {
        let (map, setting) = (CoverageMap::empty(), self.setting(record, iteration));
        engine::run_until(deadline, &setting, strategy, Vec::new(), &mut Novelty::new(&map))
    }

    fn bug(&self, iteration: u64, member: String, run: Run) -> Result<Bug, ExploreError> {
        let full = self.recording(iteration, member, run);
        let shrunk =
            if self.shrinks { recording::shrunk(&self.model, &full) } else { full.clone() };
        Ok(Bug::new(full, shrunk))
    }

    fn recording(&self, iteration: u64, strategy: String, run: Run) -> Recording {
        let which = (self.seed, iteration);
        recording::recording(&self.model, self.settles_at(iteration), strategy, which, run)
    }
}

/// Which runs go by the same knowledge: what was known when the first of them began.
#[derive(Debug)]
struct Epochs {
    sizes: std::array::IntoIter<u64, 4>,
    size: u64,
    rest: Range<u64>,
}

impl Epochs {
    /// All these runs.
    fn new(rest: Range<u64>) -> Self {
        Self { sizes: EPOCHS.into_iter(), size: EPOCH, rest }
    }

    /// Makes those to come larger, if the small ones are behind.
    fn grow(&mut self) {
        if self.sizes.len() == 0 {
            self.size = (self.size * 2).min(EPOCH_MAX);
        }
    }
}

impl Iterator for Epochs {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        let start = self.rest.start;
        let size = self.sizes.next().unwrap_or(self.size);
        self.rest.start = start.saturating_add(size).min(self.rest.end);
        (start < self.rest.start).then_some(start..self.rest.start)
    }
}

/// True for the last of each so many runs.
fn settles_at(runs: u64, iteration: u64) -> bool {
    runs > 0 && iteration % runs == runs - 1
}

impl From<ModelError> for ExploreError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Start(error) => Self::Start(error),
            ModelError::NotReproducible(error) => Self::NotReproducible(error),
        }
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
    /// A name that was met cannot stand in coverage, which was asked for.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No run has come to its end.
    #[error("the time was over before the first run: allow more of it, or fewer events")]
    OutOfTime,
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

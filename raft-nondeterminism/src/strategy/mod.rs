//! Strategies: who answers the oracle's questions.
//!
//! Guarantees: an iteration depends on its seed, and on what its strategy has learned from the epochs
//!             before, and on nothing else; so it does not matter which worker runs it.
//! Relies on:  [`Strategy::begin`] forgetting everything but what was learned.

mod class_weights;
mod coverage;
mod delay_bounding;
mod fair_suffix;
#[cfg(test)]
pub(crate) mod pending;
mod portfolio;
mod pos;
mod prioritization;
mod probabilistic;
mod q_learning;
mod random;
mod registry;
mod replay;
mod swarm;
mod urw;
mod weighted;

use std::fmt;

pub use coverage::CoverageGuided;
pub use delay_bounding::DelayBounding;
pub use fair_suffix::FairSuffix;
pub use portfolio::Portfolio;
pub use pos::PartialOrderSampling;
pub use prioritization::Prioritization;
pub use probabilistic::Probabilistic;
pub use q_learning::QLearning;
pub use random::Random;
pub use registry::{StrategyInfo, UnknownStrategy, strategies, strategy};
pub(crate) use replay::{Replay, TapeReplay, TolerantReplay};
pub use swarm::Swarm;
pub use urw::UniformWalk;
pub use weighted::Weighted;

use crate::event::{EnabledView, EventClass, Pick};
use crate::oracle::Choice;

/// Answers every question that may be answered differently next time.
///
/// Always the first enabled event is a strategy too, if not a good one:
///
/// ```
/// use raft_nondeterminism::{EnabledView, Explorer, NotReproducible, Pick, Scenario, Strategy};
///
/// #[derive(Clone, Debug)]
/// struct First;
///
/// impl Strategy for First {
///     fn begin(&mut self, _seed: u64) {}
///     fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
///         Ok(enabled.nth(0))
///     }
///     fn choose(&mut self, _arity: usize, _label: &str) -> Result<usize, NotReproducible> {
///         Ok(0)
///     }
///     fn describe(&self) -> String {
///         "first".to_owned()
///     }
/// }
///
/// let report = Explorer::new(Scenario::sample()).strategy(First).iterations(1).run()?;
/// assert_eq!(report.steps(), 200);
/// # Ok::<(), raft_nondeterminism::ExploreError>(())
/// ```
pub trait Strategy: StrategyFork + fmt::Debug + Send {
    /// Hears, before the first run, how many events a run has at most.
    fn expect(&mut self, max_steps: MaxSteps) {
        let _ = max_steps;
    }

    /// Starts a run: forget the last one, and let everything follow from `seed` and from what was learned.
    fn begin(&mut self, seed: u64);

    /// Picks the next event; `None` ends the run. At least one event is enabled.
    ///
    /// # Errors
    ///
    /// If the strategy repeats a recorded run, and this one has gone another way.
    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible>;

    /// Picks a number in `0..arity`, where `arity` is at least 1; `label` says what for.
    ///
    /// # Errors
    ///
    /// If the strategy repeats a recorded run, and this one has gone another way.
    fn choose(&mut self, arity: usize, label: &str) -> Result<usize, NotReproducible>;

    /// Hears what came of its last pick.
    fn observe(&mut self, step: &Step) {
        let _ = step;
    }

    /// What it wants to remember of the run that has just ended. Runs are chosen by copies, which are
    /// forgotten; this comes back to the original as [`Lesson::notes`].
    fn notes(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// Learns from a run of the last epoch. The original is told of all runs in the order of their
    /// numbers, whoever ran them; the copies of the next epoch know what it knows then.
    fn learn(&mut self, lesson: &Lesson<'_>) {
        let _ = lesson;
    }

    /// False if it chooses the same whatever [`Strategy::learn`] told it: then a run can be made again
    /// without those before it.
    fn learns(&self) -> bool {
        true
    }

    /// True if no event that stays enabled can be left out for ever, so that what does not happen under
    /// it will never happen. Of a portfolio, whoever chooses in this run is asked.
    fn is_fair(&self) -> bool {
        false
    }

    /// Its name and settings, for reports; one word.
    fn describe(&self) -> String;

    /// Who of a portfolio chooses in this run; its own name, if it is none.
    fn member(&self) -> String {
        self.describe()
    }
}

/// How many events a run has at most.
///
/// ```
/// use raft_nondeterminism::MaxSteps;
///
/// let max_steps = MaxSteps { fair: 2_000, unfair: 200 };
/// assert_eq!(max_steps.of(true), 2_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxSteps {
    /// If its strategy is fair.
    pub fair: usize,
    /// If it is not.
    pub unfair: usize,
}

impl MaxSteps {
    /// The same for all runs.
    #[must_use]
    pub fn all(steps: usize) -> Self {
        Self { fair: steps, unfair: steps }
    }

    /// That of a run whose strategy is fair, or is not.
    #[must_use]
    pub fn of(self, is_fair: bool) -> usize {
        if is_fair { self.fair } else { self.unfair }
    }
}

/// A copy for another worker. Whoever is `Clone` has it.
pub trait StrategyFork {
    /// A copy that has learned the same.
    fn fork(&self) -> Box<dyn Strategy>;
}

impl<S: Strategy + Clone + 'static> StrategyFork for S {
    fn fork(&self) -> Box<dyn Strategy> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Strategy> {
    fn clone(&self) -> Self {
        (**self).fork()
    }
}

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The event's class.
    pub class: EventClass,
    /// Whose state it changed: see [`EnabledView::place`].
    pub place: usize,
    /// The abstract state after it: see [`crate::World::abstract_state`].
    pub state: u64,
    /// No run of the epochs before has seen that state.
    pub is_new: bool,
}

/// What there is to learn from a run.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// The run's number.
    pub iteration: u64,
    /// The seed it had.
    pub seed: u64,
    /// Its choices.
    pub tape: &'a [Choice],
    /// How many abstract states it was the first to visit.
    pub new_states: u64,
    /// The goals it reached, a bit for each.
    pub goals: u64,
    /// What the copy of the strategy that chose wanted to remember: see [`Strategy::notes`].
    pub notes: &'a [u64],
    /// It broke a property.
    pub is_buggy: bool,
}

/// A run went another way than the recorded one it was to repeat.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not reproducible at step {step}: the schedule says {expected:?}, but {found}")]
pub struct NotReproducible {
    /// Which event of the schedule, from 1.
    pub step: usize,
    /// What the schedule says.
    pub expected: String,
    /// What stands against it.
    pub found: String,
}

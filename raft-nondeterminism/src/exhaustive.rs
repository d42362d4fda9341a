//! Everything that can happen, in a world so small that it ends.
//!
//! Guarantees: every state that any schedule reaches is reached once, and checked, whatever is chosen with
//!             any event, and, unless the model calls that settings, before the first; what is called
//!             exhausted was, but for states that servers nobody has heard of could have reached under
//!             each other's names, and for one chance in `2^64` that two states were taken for one.
//! Relies on:  [`World::fork`](crate::World::fork) and [`World::exact_state`](crate::World::exact_state); a
//!             world in which only so much can happen.
//! Elsewhere:  the search itself is in `exhaustive/search.rs`, which worlds it keeps meanwhile in
//!             `exhaustive/frontier.rs`, and which ways to a state are left out because another one leads
//!             there in `sleep.rs`.

mod frontier;
mod origin;
mod script;
mod search;
mod successors;

use std::ops::ControlFlow;
use std::time::Duration;

use crate::fault::FaultCounts;
use crate::model::{Model, ModelError, StartError};
use crate::operation::OperationCounts;
use crate::report::Bug;
use search::Search;

/// Explores everything that can happen in a model.
///
/// ```
/// use raft_nondeterminism::{Exhaustive, Raft, Scenario};
///
/// let scenario = Scenario::small().timeouts_max(1);
/// let exhausted = Exhaustive::new(&Raft::new(scenario)).run()?;
/// assert!(exhausted.is_complete());
/// assert_eq!(exhausted.bug(), None);
/// # Ok::<(), raft_nondeterminism::ExhaustiveError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Exhaustive<M: Model> {
    model: M,
    states_max: u64,
    worlds_max: usize,
    has_all_starts: bool,
    is_depth_first: bool,
    /// Leaves out ways to states that others lead to as well.
    reduces: bool,
}

/// What an exhaustive exploration found.
#[derive(Clone, Debug, Default)]
pub struct Exhausted {
    starts: u64,
    states: u64,
    transitions: u64,
    depth: u32,
    is_complete: bool,
    bug: Option<Bug>,
    faults: FaultCounts,
    operations: OperationCounts,
    goals: u64,
    elapsed: Duration,
}

impl<M: Model> Exhaustive<M> {
    /// Explores breadth first, and at most a hundred million states. The combinations of what is chosen
    /// before the first event come one after the other, so the first bug has the fewest events of those that
    /// begin as it does.
    #[must_use]
    pub fn new(model: &M) -> Self {
        let model = model.exhaustible();
        let (states_max, worlds_max) = (100_000_000, 1 << 14);
        let has_all_starts = model.has_all_starts();
        Self { model, states_max, worlds_max, has_all_starts, is_depth_first: false, reduces: true }
    }

    /// Changes how many states are reached before the search gives up. Each takes about a hundred bytes;
    /// the worlds themselves are kept for some of them only.
    #[must_use]
    pub fn states_max(mut self, states_max: u64) -> Self {
        self.states_max = states_max;
        self
    }

    /// Changes of how many states that wait for their turn the world is kept, 16,384 unless changed; a large
    /// one takes about 70 kB. The others are made again, event by event, which takes time.
    #[must_use]
    pub fn worlds_max(mut self, worlds_max: usize) -> Self {
        self.worlds_max = worlds_max;
        self
    }

    /// Goes through every combination of what is chosen before the first event, also if the model says that
    /// these are settings: see [`Model::has_all_starts`].
    #[must_use]
    pub fn all_starts(mut self) -> Self {
        self.has_all_starts = true;
        self
    }

    /// Goes deep first, which takes less memory.
    #[must_use]
    pub fn depth_first(mut self) -> Self {
        self.is_depth_first = true;
        self
    }

    /// Lets every event of every state happen, though two that have nothing to do with each other lead to
    /// one state in either order. The states are the same; it takes longer.
    #[must_use]
    pub fn without_sleep_sets(mut self) -> Self {
        self.reduces = false;
        self
    }

    /// Explores.
    ///
    /// # Errors
    ///
    /// If the model does not start, or cannot be explored this way.
    pub fn run(&self) -> Result<Exhausted, ExhaustiveError> {
        self.run_watched(|_| ControlFlow::Continue(()))
    }

    /// Explores, and asks now and then whether to go on: see [`Exhaustive::run`].
    ///
    /// # Errors
    ///
    /// If the model does not start, or cannot be explored this way.
    pub fn run_watched(
        &self,
        progress: impl FnMut(&Exhausted) -> ControlFlow<()>,
    ) -> Result<Exhausted, ExhaustiveError> {
        self.model.validate()?;
        if self.states_max == 0 {
            return Err(ExhaustiveError::ZeroBound);
        }
        Search::new(self).explore(progress)
    }
}

impl Exhausted {
    /// How many combinations of what is chosen before the first event were gone through; one if nothing is.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// How many different states were reached, and checked.
    #[must_use]
    pub fn states(&self) -> u64 {
        self.states
    }

    /// How many events led from one of them to one of them, without those that sleep sets leave out. After
    /// a search that gave up there are states from which none did.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// How many events the longest of the shortest ways to a state has; breadth first only.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// True if nothing is left to explore.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The first bug, at which the search ended.
    #[must_use]
    pub fn bug(&self) -> Option<&Bug> {
        self.bug.as_ref()
    }

    /// How often each fault happened, on all the ways from a state to a next one.
    #[must_use]
    pub fn faults(&self) -> &FaultCounts {
        &self.faults
    }

    /// How often each operation was taken, likewise.
    #[must_use]
    pub fn operations(&self) -> &OperationCounts {
        &self.operations
    }

    /// Which of the model's goals were reached, a bit for each.
    #[must_use]
    pub fn goals(&self) -> u64 {
        self.goals
    }

    /// How long it took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

/// Why there can be no exhaustive exploration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExhaustiveError {
    /// The model makes no sense, or does not start.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model makes no sense.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The model's worlds cannot be copied, or cannot tell their state.
    #[error(
        "this cannot be explored exhaustively: its states cannot be told apart (there are files, or a \
         monitor that does not tell what it remembers, or counts events)"
    )]
    Unknowable,
    /// The same events did not lead to the same state again.
    #[error(
        "the same events do not lead to the same state again: something in this model chooses besides the \
         oracle, such as a clock, a hash map's order or a random number"
    )]
    Unrepeatable,
    /// No state was to be visited.
    #[error("the number of states must be more than zero")]
    ZeroBound,
}

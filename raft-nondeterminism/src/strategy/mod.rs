//! Strategies: who answers the oracle's questions.
//!
//! Guarantees: an iteration depends on its seed alone, never on the iterations before it.
//! Relies on:  [`Strategy::begin`] forgetting everything.

mod random;
mod replay;
mod weighted;

use std::fmt;

pub use random::Random;
pub(crate) use replay::{Replay, TolerantReplay};
pub use weighted::Weighted;

use crate::event::{EnabledView, Pick};

/// Answers every question that may be answered differently next time.
///
/// Always the first enabled event is a strategy too, if not a good one:
///
/// ```
/// use raft_nondeterminism::{EnabledView, Explorer, NotReproducible, Pick, Scenario, Strategy};
///
/// #[derive(Debug)]
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
pub trait Strategy: fmt::Debug {
    /// Starts a run: forget the last one, and let everything follow from `seed`.
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

    /// Its name and settings, for reports; one word.
    fn describe(&self) -> String;
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

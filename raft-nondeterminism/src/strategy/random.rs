//! Uniform choice over everything that is enabled: the baseline others are measured against.

use super::{NotReproducible, Strategy};
use crate::event::{EnabledView, Pick};
use crate::rng::Rng;

/// Picks any enabled event with the same probability.
///
/// In a system with many messages in flight it picks little else: see [`Weighted`](crate::Weighted).
#[derive(Clone, Debug)]
pub struct Random {
    rng: Rng,
}

impl Random {
    /// A strategy that waits for its seed.
    #[must_use]
    pub fn new() -> Self {
        Self { rng: Rng::new(0) }
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for Random {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        Ok(enabled.nth(self.rng.below(enabled.total())))
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn learns(&self) -> bool {
        false
    }

    fn is_fair(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "random".to_owned()
    }
}

//! Staying with one server for a while, as Coyote's strategy of that name does.

use super::class_weights::ClassWeights;
use super::prioritization::is_work;
use super::{NotReproducible, Strategy};
use crate::event::{EnabledView, Pick};
use crate::rng::Rng;

/// Lets the same server or client go on as long as it can, but for one event in `2^bound`.
///
/// The class of an event is drawn by weight, as in [`Weighted`](crate::Weighted), so nobody waits for
/// ever for a time-out or a fault.
#[derive(Clone, Debug)]
pub struct Probabilistic {
    bound: u32,
    weights: ClassWeights,
    rng: Rng,
    current: usize,
}

impl Probabilistic {
    /// Somebody else comes with probability `1 / 2^bound`; `bound` is at most 63.
    #[must_use]
    pub fn new(bound: u32) -> Self {
        Self {
            bound: bound.min(63),
            weights: ClassWeights::usual(),
            rng: Rng::new(0),
            current: usize::MAX,
        }
    }
}

impl Strategy for Probabilistic {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.current = usize::MAX;
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        let class = self.weights.draw(enabled, &mut self.rng);
        let count = enabled.count(class);
        let any = Pick { class, index: self.rng.below(count) };
        if !is_work(class) {
            return Ok(Some(any));
        }
        let is_switching = self.rng.bits() >> (64 - self.bound.max(1)) == 0 || self.bound == 0;
        let (mut chosen, mut ties) = (None, 0);
        if !is_switching {
            enabled.survey(class, |pick, place, _| {
                ties += usize::from(place == self.current);
                if place == self.current && self.rng.below(ties) == 0 {
                    chosen = Some(pick);
                }
            });
        }
        let pick = chosen.unwrap_or_else(|| {
            self.current = enabled.place(any);
            any
        });
        Ok(Some(pick))
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
        format!("probabilistic:{}", self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::pending::Pending;

    #[test]
    fn one_event_in_two_to_the_bound_is_somebody_elses() {
        for bound in [0, 1, 3, 6] {
            let mut strategy = Probabilistic::new(bound);
            strategy.begin(7);
            let places = Pending::messages(1_000).places(&mut strategy, 20_000);
            let switches = places.windows(2).filter(|two| two[0] != two[1]).count();
            let expected = 20_000 >> bound;
            let is_near = switches.abs_diff(expected) <= expected / 4;
            assert!(is_near, "{switches} of 20,000 with bound {bound}");
        }
    }
}

//! Partial order sampling: every pending event has a random priority, drawn again whenever it races
//! (Yuan, Yang and Gu 2018).
//!
//! Guarantees: the priority of an event changes only when something happens at the same place.

use super::class_weights::ClassWeights;
use super::prioritization::is_work;
use super::{NotReproducible, Step, Strategy};
use crate::event::{EnabledView, Pick};
use crate::rng::{Rng, mixed};

/// How many places are told apart when priorities are drawn again.
const PLACES: usize = 64;

/// Gives every pending event a random priority, and draws those of one server or client again when
/// something happens there.
///
/// The class of an event is drawn by weight, as in [`Weighted`](crate::Weighted); who times out, and
/// what goes wrong, is uniform.
#[derive(Clone, Debug)]
pub struct PartialOrderSampling {
    weights: ClassWeights,
    rng: Rng,
    /// What the priorities at each place follow from, besides the event.
    salts: [u64; PLACES],
}

impl PartialOrderSampling {
    /// A strategy that waits for its seed.
    #[must_use]
    pub fn new() -> Self {
        Self { weights: ClassWeights::usual(), rng: Rng::new(0), salts: [0; PLACES] }
    }

    fn priority(&self, place: usize, key: u64) -> u64 {
        mixed(key ^ self.salts[place % PLACES])
    }
}

impl Default for PartialOrderSampling {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for PartialOrderSampling {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.salts = self.salts.map(|_| self.rng.bits());
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        let class = self.weights.draw(enabled, &mut self.rng);
        let count = enabled.count(class);
        if !is_work(class) {
            return Ok(Some(Pick { class, index: self.rng.below(count) }));
        }
        let (mut best, mut chosen) = (0, Pick { class, index: 0 });
        enabled.survey(class, |pick, place, key| {
            let priority = self.priority(place, key);
            if priority > best {
                (best, chosen) = (priority, pick);
            }
        });
        Ok(Some(chosen))
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn observe(&mut self, step: &Step) {
        self.salts[step.place % PLACES] = self.rng.bits();
    }

    fn learns(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "pos".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventClass;
    use crate::strategy::pending::Pending;

    #[test]
    fn what_happens_elsewhere_changes_no_priority() {
        let mut strategy = PartialOrderSampling::new();
        strategy.begin(3);
        let before = [0, 1, 2].map(|place| strategy.priority(place, 100));
        let class = EventClass::Deliver;
        strategy.observe(&Step { class, place: 1, state: 0, is_new: false });
        let after = [0, 1, 2].map(|place| strategy.priority(place, 100));
        assert_eq!((before[0], before[2]), (after[0], after[2]));
        assert_ne!(before[1], after[1], "it races with what happened");
    }

    #[test]
    fn every_one_of_the_waiting_is_first_as_often_as_the_others() {
        let pending = Pending::messages(4);
        let mut strategy = PartialOrderSampling::new();
        let mut counts = [0; 4];
        for seed in 0..4_000 {
            strategy.begin(seed);
            counts[pending.pick(&mut strategy).unwrap().1] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }
}

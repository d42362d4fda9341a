//! Uniform random walk: whoever has much left to do goes first (Zhao, Wolff, Mathur and Roychoudhury 2025).
//!
//! If everyone's events were known, choosing each in proportion to what is left of them would make every
//! interleaving equally likely. Here what is left is estimated: as much as there was in earlier runs.
//!
//! Guarantees: every enabled event has a positive probability.

use std::sync::Arc;

use super::class_weights::ClassWeights;
use super::prioritization::is_work;
use super::{Lesson, NotReproducible, Step, Strategy};
use crate::event::{EnabledView, Pick};
use crate::rng::Rng;

/// How many places are told apart.
const PLACES: usize = 64;
/// An estimate moves by one part in so many from run to run.
const INERTIA: u64 = 16;
/// What one event counts.
const ONE: u64 = 1 << 10;

/// Chooses among the servers and clients in proportion to how many events each is expected to have left.
///
/// The class of an event is drawn by weight, as in [`Weighted`](crate::Weighted); who times out, and
/// what goes wrong, is uniform.
#[derive(Clone, Debug)]
pub struct UniformWalk {
    weights: ClassWeights,
    rng: Rng,
    /// How many events a run has at each place, in parts of [`ONE`].
    expected: Arc<[u64; PLACES]>,
    done: [u64; PLACES],
}

impl UniformWalk {
    /// A strategy that waits for its seed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            weights: ClassWeights::usual(),
            rng: Rng::new(0),
            expected: Arc::new([40 * ONE; PLACES]),
            done: [0; PLACES],
        }
    }

    /// How much is expected to be left at a place; never nothing.
    fn left(&self, place: usize) -> u64 {
        let place = place % PLACES;
        let left = self.expected[place].saturating_sub(self.done[place] * ONE);
        left.max(ONE)
    }
}

impl Default for UniformWalk {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for UniformWalk {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.done = [0; PLACES];
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        let class = self.weights.draw(enabled, &mut self.rng);
        let count = enabled.count(class);
        if !is_work(class) {
            return Ok(Some(Pick { class, index: self.rng.below(count) }));
        }
        // A place counts once, however many messages wait there.
        let (mut total, mut here, mut last) = (0, None, None);
        let mut chosen = Pick { class, index: 0 };
        enabled.survey(class, |pick, place, _| {
            if last != Some(place) {
                let left = self.left(place);
                total += left;
                let is_chosen = (self.rng.below(total as usize) as u64) < left;
                (last, here) = (Some(place), is_chosen.then_some(0));
            }
            if let Some(here) = &mut here {
                *here += 1;
                if self.rng.below(*here) == 0 {
                    chosen = pick;
                }
            }
        });
        Ok(Some(chosen))
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn observe(&mut self, step: &Step) {
        self.done[step.place % PLACES] += 1;
    }

    fn notes(&mut self) -> Vec<u64> {
        self.done.to_vec()
    }

    fn learn(&mut self, lesson: &Lesson<'_>) {
        let expected = Arc::make_mut(&mut self.expected);
        for (expected, done) in expected.iter_mut().zip(lesson.notes) {
            *expected = (*expected * (INERTIA - 1) + done * ONE) / INERTIA;
        }
    }

    fn is_fair(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "urw".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::pending::Pending;

    fn lesson(notes: &[u64]) -> Lesson<'_> {
        let (iteration, seed, tape, new_states, goals) = (0, 0, &[][..], 0, 0);
        Lesson { iteration, seed, tape, new_states, goals, notes, is_buggy: false }
    }

    #[test]
    fn whoever_had_more_to_do_goes_first_more_often() {
        let mut strategy = UniformWalk::new();
        for _ in 0..200 {
            strategy.learn(&lesson(&[30, 10]));
        }
        let pending = Pending::messages(2);
        let mut firsts = [0; 2];
        for seed in 0..4_000 {
            strategy.begin(seed);
            firsts[pending.pick(&mut strategy).unwrap().1] += 1;
        }
        assert!((2_800..3_200).contains(&firsts[0]), "{firsts:?} for 30 to 10");
    }

    #[test]
    fn who_has_done_all_that_was_expected_still_has_a_turn() {
        let mut strategy = UniformWalk::new();
        strategy.begin(1);
        let places = Pending::messages(2).places(&mut strategy, 500);
        assert!((0..2).all(|place| places[400..].contains(&place)));
    }
}

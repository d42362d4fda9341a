//! Everyone in turn, but for a few delays (Emmi, Qadeer and Rakamarić 2011).
//!
//! Guarantees: deliveries, saves and requests come oldest first, place by place, except that at most
//!             `bound` times in a run the one whose turn it is has to wait a round.

use super::class_weights::ClassWeights;
use super::prioritization::is_work;
use super::{MaxSteps, NotReproducible, Strategy};
use crate::event::{EnabledView, Pick};
use crate::rng::Rng;

/// Lets each server do all it can, then the next one, and passes over whose turn it is at a few random
/// moments.
///
/// The class of an event is drawn by weight, as in [`Weighted`](crate::Weighted); who times out, and
/// what goes wrong, is uniform.
#[derive(Clone, Debug)]
pub struct DelayBounding {
    bound: u32,
    steps: usize,
    weights: ClassWeights,
    rng: Rng,
    /// The numbers of the events before which the turn goes on, the next one last.
    delays: Vec<usize>,
    step: usize,
    /// Whose turn it is.
    turn: usize,
}

impl DelayBounding {
    /// With at most so many delays in a run.
    #[must_use]
    pub fn new(delays: u32) -> Self {
        Self {
            bound: delays,
            steps: 200,
            weights: ClassWeights::usual(),
            rng: Rng::new(0),
            delays: Vec::new(),
            step: 0,
            turn: 0,
        }
    }
}

impl Strategy for DelayBounding {
    fn expect(&mut self, max_steps: MaxSteps) {
        self.steps = max_steps.unfair;
    }

    fn learns(&self) -> bool {
        false
    }

    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.delays.clear();
        for _ in 0..self.bound {
            self.delays.push(self.rng.below(self.steps.max(1)));
        }
        self.delays.sort_unstable_by(|one, other| other.cmp(one));
        (self.step, self.turn) = (0, 0);
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        while self.delays.pop_if(|step| *step <= self.step).is_some() {
            self.turn = self.turn.wrapping_add(1);
        }
        self.step += 1;
        let class = self.weights.draw(enabled, &mut self.rng);
        let count = enabled.count(class);
        if !is_work(class) {
            return Ok(Some(Pick { class, index: self.rng.below(count) }));
        }
        // The next place in the round, and there what is oldest: keys grow.
        let mut next = (usize::MAX, u64::MAX);
        let (mut chosen, turn) = (Pick { class, index: 0 }, self.turn);
        enabled.survey(class, |pick, place, key| {
            let waits = (place.wrapping_sub(turn), key);
            if waits < next {
                (next, chosen, self.turn) = (waits, pick, place);
            }
        });
        Ok(Some(chosen))
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn describe(&self) -> String {
        format!("delay-bounding:{}", self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventClass;
    use crate::strategy::pending::Pending;

    #[test]
    fn without_delays_whose_turn_it_is_goes_on() {
        let mut strategy = DelayBounding::new(0);
        strategy.begin(1);
        let places = Pending::messages(5).places(&mut strategy, 100);
        assert_eq!(places, [0; 100]);
    }

    #[test]
    fn no_more_delays_than_the_bound_happen() {
        let mut strategy = DelayBounding::new(4);
        strategy.expect(MaxSteps::all(1_000));
        for seed in 0..50 {
            strategy.begin(seed);
            let places = Pending::messages(5).places(&mut strategy, 1_000);
            let delays: usize = places.windows(2).map(|two| (two[1] + 5 - two[0]) % 5).sum();
            assert_eq!(delays + places[0], 4, "seed {seed}: each passes over one");
        }
    }

    #[test]
    fn what_is_oldest_at_a_place_comes_first() {
        let pending = Pending::default();
        let pending = pending.with(EventClass::Deliver, 0, 9).with(EventClass::Deliver, 0, 3);
        let mut strategy = DelayBounding::new(0);
        strategy.begin(1);
        let pick = strategy.pick(&pending.view()).unwrap();
        assert_eq!(pick.map(|pick| pick.index), Some(1));
    }
}

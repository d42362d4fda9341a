//! Everyone in turn, but for a few delays (Emmi, Qadeer and Rakamarić 2011).
//!
//! Guarantees: deliveries, saves and requests come oldest first, place by place, except that at most
//!             `bound` times in a run the one whose turn it is has to wait a round.

use super::class_weights::ClassWeights;
use super::prioritization::is_work;
use super::{NotReproducible, Strategy};
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
    fn expect(&mut self, steps: usize) {
        self.steps = steps;
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
        let picks = (0..count).map(|index| Pick { class, index });
        let turns = |pick| enabled.place(pick).wrapping_sub(self.turn);
        let next = picks.min_by_key(|&pick| (turns(pick), enabled.key(pick)));
        let pick = next.expect("the class was drawn because it has an event");
        self.turn = enabled.place(pick);
        Ok(Some(pick))
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn describe(&self) -> String {
        format!("delay-bounding:{}", self.bound)
    }
}

//! An unfair beginning, and an end in which everyone has a turn.
//!
//! Guarantees: after its share of the steps nothing that stays enabled is left out for ever.

use super::{Lesson, MaxSteps, NotReproducible, Step, Strategy, Weighted};
use crate::event::{EnabledView, Pick};
use crate::rng::mixed;

/// Lets one strategy choose for a share of the steps, and never for more than an unfair run has, then
/// weighted random choice for the rest.
///
/// What an unfair strategy has brought about shows when the others may go on; and whoever makes no
/// progress then has no excuse.
#[derive(Clone, Debug)]
pub struct FairSuffix<S> {
    unfair: S,
    fair: Weighted,
    percent: usize,
    after: usize,
    step: usize,
}

impl<S: Strategy> FairSuffix<S> {
    /// The first half of the steps is for `unfair`.
    #[must_use]
    pub fn new(unfair: S) -> Self {
        let fair = Weighted::new();
        Self { unfair, fair, percent: 50, after: 100, step: 0 }.percent(50)
    }

    /// Changes how many of a hundred steps are for the unfair strategy.
    #[must_use]
    pub fn percent(mut self, percent: usize) -> Self {
        self.percent = percent.min(100);
        self
    }
}

impl<S: Strategy + Clone + 'static> Strategy for FairSuffix<S> {
    fn expect(&mut self, max_steps: MaxSteps) {
        self.unfair.expect(max_steps);
        let share = max_steps.fair as u128 * self.percent as u128 / 100;
        self.after = max_steps.unfair.min(share as usize);
    }

    fn begin(&mut self, seed: u64) {
        self.unfair.begin(seed);
        self.fair.begin(mixed(seed));
        self.step = 0;
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        self.step += 1;
        if self.step > self.after { self.fair.pick(enabled) } else { self.unfair.pick(enabled) }
    }

    fn choose(&mut self, arity: usize, label: &str) -> Result<usize, NotReproducible> {
        if self.step > self.after {
            self.fair.choose(arity, label)
        } else {
            self.unfair.choose(arity, label)
        }
    }

    fn observe(&mut self, step: &Step) {
        self.unfair.observe(step);
    }

    fn notes(&mut self) -> Vec<u64> {
        self.unfair.notes()
    }

    fn learn(&mut self, lesson: &Lesson<'_>) {
        self.unfair.learn(lesson);
    }

    fn learns(&self) -> bool {
        self.unfair.learns()
    }

    fn is_fair(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("fair-{}", self.unfair.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Prioritization;
    use crate::strategy::pending::Pending;

    #[test]
    fn after_its_share_of_the_steps_everyone_has_a_turn() {
        let mut strategy = FairSuffix::new(Prioritization::new(0)).percent(30);
        strategy.expect(MaxSteps::all(1_000));
        for seed in 0..20 {
            strategy.begin(seed);
            let places = Pending::messages(5).places(&mut strategy, 1_000);
            let (unfair, fair) = places.split_at(300);
            assert!(unfair.iter().all(|place| *place == unfair[0]), "the first one goes on");
            let is_there = |place| fair[..100].contains(&place);
            assert!((0..5).all(is_there), "seed {seed}: somebody waits for 100 events");
        }
    }
}

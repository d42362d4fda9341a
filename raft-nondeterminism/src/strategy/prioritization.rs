//! Probabilistic concurrency testing: whoever has the highest priority goes first (Burckhardt,
//! Kothari, Musuvathi and Nagarakatte 2010).
//!
//! Guarantees: a bug that needs `d` orderings among `n` servers and `k` events is found with
//!             probability at least `1 / (n * k^(d-1))`, as far as time-outs and faults, which have no
//!             priorities, play their part.

use super::class_weights::ClassWeights;
use super::{MaxSteps, NotReproducible, Strategy};
use crate::event::{EnabledView, EventClass, Pick};
use crate::rng::Rng;

/// How many places have a priority of their own; those beyond share them.
const PLACES: usize = 64;

/// Gives every server and client a random priority, and lowers that of whoever is running at a few
/// random moments.
///
/// The class of an event is drawn by weight, as in [`Weighted`](crate::Weighted). Deliveries, saves and
/// requests then go by priority; who times out, and what goes wrong, is uniform.
#[derive(Clone, Debug)]
pub struct Prioritization {
    bound: Bound,
    steps: usize,
    weights: ClassWeights,
    rng: Rng,
    priorities: [u64; PLACES],
    /// The numbers of the events before which a priority is lowered, the next one last.
    changes: Vec<usize>,
    step: usize,
    /// Who ran last.
    current: usize,
}

/// How many changes of priority a run has.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Fixed(u32),
    /// Another number for each run, both ends included.
    Between(u32, u32),
}

impl Prioritization {
    /// With so many changes of priority in each run.
    #[must_use]
    pub fn new(changes: u32) -> Self {
        Self::with(Bound::Fixed(changes))
    }

    /// With another number of changes in each run, from `least` to `most`.
    ///
    /// # Panics
    ///
    /// If `least` is more than `most`.
    #[must_use]
    pub fn between(least: u32, most: u32) -> Self {
        assert!(least <= most, "there is a number between {least} and {most}");
        Self::with(Bound::Between(least, most))
    }

    fn with(bound: Bound) -> Self {
        Self {
            bound,
            steps: 200,
            weights: ClassWeights::usual(),
            rng: Rng::new(0),
            priorities: [0; PLACES],
            changes: Vec::new(),
            step: 0,
            current: 0,
        }
    }

    /// Lowers the priority of whoever ran last below all others.
    fn lower(&mut self) {
        let lowest = self.priorities.iter().min().copied().unwrap_or_default();
        self.priorities[self.current % PLACES] = lowest.saturating_sub(1);
    }
}

/// True for what servers and clients do, and false for what befalls them.
pub(super) fn is_work(class: EventClass) -> bool {
    matches!(class, EventClass::Deliver | EventClass::Save | EventClass::Client)
}

impl Strategy for Prioritization {
    fn expect(&mut self, max_steps: MaxSteps) {
        self.steps = max_steps.unfair;
    }

    fn learns(&self) -> bool {
        false
    }

    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        // Room below, so that each change finds a lower one.
        self.priorities = [0; PLACES].map(|_| self.rng.bits() | 1 << 32);
        let changes = match self.bound {
            Bound::Fixed(changes) => changes,
            Bound::Between(least, most) => {
                least + self.rng.below((most - least + 1) as usize) as u32
            }
        };
        self.changes.clear();
        for _ in 0..changes {
            self.changes.push(self.rng.below(self.steps.max(1)));
        }
        self.changes.sort_unstable_by(|one, other| other.cmp(one));
        (self.step, self.current) = (0, 0);
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        while self.changes.pop_if(|step| *step <= self.step).is_some() {
            self.lower();
        }
        self.step += 1;
        let class = self.weights.draw(enabled, &mut self.rng);
        let count = enabled.count(class);
        if !is_work(class) {
            return Ok(Some(Pick { class, index: self.rng.below(count) }));
        }
        let (mut best, mut ties, mut chosen) = (0, 0, Pick { class, index: 0 });
        enabled.survey(class, |pick, place, _| {
            let priority = self.priorities[place % PLACES];
            if priority > best {
                (best, ties) = (priority, 0);
            }
            if priority == best {
                ties += 1;
                if self.rng.below(ties) == 0 {
                    (chosen, self.current) = (pick, place);
                }
            }
        });
        Ok(Some(chosen))
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn describe(&self) -> String {
        match self.bound {
            Bound::Fixed(changes) => format!("prioritization:{changes}"),
            Bound::Between(least, most) => format!("prioritization:{least}-{most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::pending::Pending;

    /// How often somebody else is first than before, among five who always could be.
    fn changes(strategy: &mut Prioritization, steps: usize) -> usize {
        let places = Pending::messages(5).places(strategy, steps);
        places.windows(2).filter(|two| two[0] != two[1]).count()
    }

    #[test]
    fn the_first_changes_exactly_as_often_as_the_bound_says() {
        for bound in [0, 1, 3, 10] {
            let mut strategy = Prioritization::new(bound);
            strategy.expect(MaxSteps::all(10_000));
            for seed in 0..50 {
                strategy.begin(seed);
                // Two changes before one event are seen as one, and one before the first not at all.
                let moments: std::collections::BTreeSet<_> =
                    strategy.changes.iter().copied().filter(|step| *step > 0).collect();
                assert_eq!(strategy.changes.len(), bound as usize);
                assert_eq!(changes(&mut strategy, 10_000), moments.len(), "seed {seed}");
            }
        }
    }

    #[test]
    fn whoever_is_lowered_comes_after_all_others() {
        let mut strategy = Prioritization::new(4);
        strategy.expect(MaxSteps::all(1_000));
        for seed in 0..50 {
            strategy.begin(seed);
            let mut places = Pending::messages(5).places(&mut strategy, 1_000);
            places.dedup();
            let firsts: std::collections::BTreeSet<_> = places.iter().collect();
            assert_eq!(firsts.len(), places.len(), "nobody is first again: {places:?}");
        }
    }

    #[test]
    fn the_number_of_changes_varies_between_its_bounds() {
        let mut strategy = Prioritization::between(3, 10);
        let mut numbers = std::collections::BTreeSet::new();
        for seed in 0..200 {
            strategy.begin(seed);
            numbers.insert(strategy.changes.len());
        }
        assert_eq!(numbers, (3..=10).collect());
    }
}

//! Learning which events lead to states not yet seen (Mukherjee, Deligiannis, Biswas and Lal 2020).
//!
//! Guarantees: what is known is a table that does not change while an epoch runs, and is the same on
//!             every machine: its arithmetic is exact.
//!
//! Every visit of a state costs; so what was done often in a state is worth less there, and the
//! cost of what follows is handed back along the run.

use std::sync::Arc;

use super::class_weights::ClassWeights;
use super::{Lesson, NotReproducible, Step, Strategy};
use crate::event::{EnabledView, EventClass, Pick};
use crate::rng::{Rng, mixed};

/// How many values there are. Two actions may share one, which does no harm but to quality.
const VALUES: usize = 1 << 16;
/// What one unit of value counts.
const UNIT: i32 = 1 << 8;
/// Nothing is worth less than this; it is still tried once in some thousand times.
const LEAST: i32 = -12 * UNIT;

/// Prefers events that led to states rarely seen.
#[derive(Clone, Debug)]
pub struct QLearning {
    weights: ClassWeights,
    rng: Rng,
    values: Arc<Vec<i32>>,
    state: u64,
    /// The states and actions of this run: where their values are.
    path: Vec<u64>,
    /// A buffer: the actions enabled now, with the first event, the number of events, and the weight.
    actions: Vec<(u64, Pick, usize, u64)>,
}

impl QLearning {
    /// A strategy that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            weights: ClassWeights::usual(),
            rng: Rng::new(0),
            values: Arc::new(vec![0; VALUES]),
            state: 0,
            path: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Where the value of doing something in this state is.
    fn slot(&self, class: EventClass, place: usize) -> u64 {
        let action = (place as u64) << 8 | class as u64;
        mixed(self.state ^ mixed(action)) % VALUES as u64
    }

    /// Finds out what can be done, and how likely each is to be chosen.
    fn list_actions(&mut self, enabled: &EnabledView<'_>) {
        self.actions.clear();
        for class in EventClass::ALL {
            let count = enabled.count(class);
            let first = Pick { class, index: 0 };
            if count == 0 {
                continue;
            }
            let before = self.actions.len();
            if has_places(class) {
                // Events of one place stand together, nearly always.
                let mut last = None;
                enabled.survey(class, |pick, place, _| {
                    if last == Some(place) {
                        self.actions.last_mut().expect("the last one is there").2 += 1;
                    } else {
                        last = Some(place);
                        self.actions.push((self.slot(class, place), pick, 1, 0));
                    }
                });
            } else {
                self.actions.push((self.slot(class, usize::MAX), first, count, 0));
            }
            // The class's share is divided among its actions.
            let share = (u64::from(self.weights.get(class)) << 24) / (count as u64);
            for action in &mut self.actions[before..] {
                action.3 = scaled(share * action.2 as u64, self.values[action.0 as usize]);
            }
        }
    }
}

/// True where it matters who does it, and few can.
fn has_places(class: EventClass) -> bool {
    matches!(class, EventClass::Deliver | EventClass::Save | EventClass::Timeout)
}

/// A weight times two to the power of a value, which is not positive; at least 1.
fn scaled(weight: u64, value: i32) -> u64 {
    let (whole, part) = ((-value / UNIT) as u32, (-value % UNIT) as u64);
    let unit = UNIT as u64;
    // Between two powers the way is straight.
    (((weight >> whole) * (2 * unit - part)) / (2 * unit)).max(1)
}

impl Default for QLearning {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for QLearning {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.state = 0;
        self.path.clear();
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        self.list_actions(enabled);
        let total: u64 = self.actions.iter().map(|action| action.3).sum();
        let mut ticket = self.rng.below(total as usize) as u64;
        for &(slot, first, count, weight) in &self.actions {
            if ticket < weight {
                self.path.push(slot);
                let index = first.index + self.rng.below(count);
                return Ok(Some(Pick { index, ..first }));
            }
            ticket -= weight;
        }
        unreachable!("the ticket is below the sum of the weights")
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn observe(&mut self, step: &Step) {
        self.state = step.state;
    }

    fn notes(&mut self) -> Vec<u64> {
        self.path.clone()
    }

    /// Q-learning with rate 1/4 and a discount of 3/4: each visit costs one unit.
    fn learn(&mut self, lesson: &Lesson<'_>) {
        let values = Arc::make_mut(&mut self.values);
        let mut next = 0;
        for &slot in lesson.notes.iter().rev() {
            let Some(value) = values.get_mut(slot as usize) else { continue };
            let target = next * 3 / 4 - UNIT;
            *value = (*value + (target - *value) / 4).max(LEAST);
            next = *value;
        }
    }

    fn is_fair(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "q-learning".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::pending::Pending;

    fn learn(strategy: &mut QLearning) {
        let notes = strategy.notes();
        let (iteration, seed, tape, new_states, goals) = (0, 0, &[][..], 0, 0);
        let notes = &notes[..];
        let is_buggy = false;
        strategy.learn(&Lesson { iteration, seed, tape, new_states, goals, notes, is_buggy });
    }

    #[test]
    fn what_was_done_is_done_less_than_what_was_not() {
        let pending = Pending::messages(2);
        let mut strategy = QLearning::new();
        // Let the same thing happen over and over, as if only that were possible.
        let only = Pending::messages(1);
        for seed in 0..50 {
            strategy.begin(seed);
            only.places(&mut strategy, 1);
            learn(&mut strategy);
        }
        let mut counts = [0; 2];
        for seed in 0..1_000 {
            strategy.begin(seed);
            counts[pending.pick(&mut strategy).unwrap().1] += 1;
        }
        assert!(counts[1] * 2 > counts[0] * 3, "{counts:?}");
        assert!(counts[0] > 0, "it is not forbidden");
    }

    #[test]
    fn a_value_halves_a_weight_with_each_unit() {
        assert_eq!(scaled(1 << 20, 0), 1 << 20);
        assert_eq!(scaled(1 << 20, -UNIT), 1 << 19);
        assert_eq!(scaled(1 << 20, -3 * UNIT), 1 << 17);
        assert_eq!(scaled(1 << 20, -UNIT / 2), 3 << 18, "half way, as the crow flies");
        assert_eq!(scaled(1, LEAST), 1, "nothing is impossible");
    }
}

//! Swarm testing: each run does without something, and much of something else (Groce, Zhang, Eide,
//! Chen and Regehr 2012).
//!
//! What a fault needs is often crowded out by what another one needs; runs that differ much from each
//! other find more than runs that are all average.

use super::class_weights::ClassWeights;
use super::prioritization::is_work;
use super::{NotReproducible, Step, Strategy};
use crate::event::{EnabledView, EventClass, Pick};
use crate::rng::{Rng, mixed};

/// Draws new weights for the classes of events for each run, leaves some out, and gives the run a temper:
/// how it chooses among events of one class, and whether a class comes in bursts.
#[derive(Clone, Debug)]
pub struct Swarm {
    rng: Rng,
    weights: ClassWeights,
    order: Order,
    /// What the priorities of places follow from.
    salt: u64,
    /// Of eight events, so many are of the same class as the one before.
    burst: usize,
    last: Option<EventClass>,
}

/// Which of two events of a class goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Any,
    Newest,
    /// Whose place is the faster one.
    Fastest,
}

/// Scales weights, so that a fraction of one is still a number.
const SCALE: u32 = 16;

impl Swarm {
    /// A strategy that waits for its seed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rng: Rng::new(0),
            weights: ClassWeights::usual(),
            order: Order::Any,
            salt: 0,
            burst: 0,
            last: None,
        }
    }

    fn draw_weights(&mut self) {
        let usual = ClassWeights::usual();
        for class in EventClass::ALL {
            let weight = usual.get(class) * SCALE;
            // How often a factor may double, and at how little it starts.
            let (is_off, doublings, halvings) = match class {
                // Without these nothing goes on.
                EventClass::Deliver => (false, 1, 0),
                EventClass::Save | EventClass::Restart => (false, 2, 1),
                // Few let leaders do much, many depose them.
                EventClass::Timeout => (false, 3, 2),
                EventClass::Client => (false, 2, 1),
                _ => (self.rng.below(8) == 0, 2, 1),
            };
            let power = self.rng.below(doublings + 1);
            self.weights.set(class, if is_off { 0 } else { (weight << power) >> halvings });
        }
    }

    fn is_first(&self, enabled: &EnabledView<'_>, one: Pick, other: Pick) -> bool {
        match self.order {
            Order::Any => true,
            Order::Newest => enabled.key(one) > enabled.key(other),
            Order::Fastest => {
                let speed = |pick| mixed(enabled.place(pick) as u64 ^ self.salt);
                speed(one) > speed(other)
            }
        }
    }
}

impl Default for Swarm {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for Swarm {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.draw_weights();
        self.order = match self.rng.below(12) {
            0 => Order::Newest,
            1..=4 => Order::Fastest,
            _ => Order::Any,
        };
        self.salt = self.rng.bits();
        self.burst = if self.rng.below(8) == 0 { 1 + self.rng.below(3) } else { 0 };
        self.last = None;
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        let again = self.last.filter(|&class| {
            enabled.count(class) > 0 && self.burst > 0 && self.rng.below(8) < self.burst
        });
        let class = again.unwrap_or_else(|| self.weights.draw(enabled, &mut self.rng));
        let count = enabled.count(class);
        let pick = Pick { class, index: self.rng.below(count) };
        if self.order == Order::Any || count == 1 || !is_work(class) {
            return Ok(Some(pick));
        }
        let other = Pick { class, index: self.rng.below(count) };
        Ok(Some(if self.is_first(enabled, pick, other) { pick } else { other }))
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn observe(&mut self, step: &Step) {
        self.last = Some(step.class);
    }

    fn learns(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "swarm".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_without_faults_but_never_without_messages() {
        let mut strategy = Swarm::new();
        let mut without = [0; EventClass::COUNT];
        for seed in 0..400 {
            strategy.begin(seed);
            for class in EventClass::ALL {
                without[class as usize] += u32::from(strategy.weights.get(class) == 0);
            }
        }
        for class in [EventClass::Deliver, EventClass::Save, EventClass::Timeout] {
            assert_eq!(without[class as usize], 0, "{class}");
        }
        for class in [EventClass::Crash, EventClass::Duplicate, EventClass::Partition] {
            let count = without[class as usize];
            assert!((30..70).contains(&count), "{count} of 400 runs are without a {class}");
        }
    }
}

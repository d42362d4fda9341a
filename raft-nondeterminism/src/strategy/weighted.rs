//! Choice by weight of the event's class first, uniform inside the class second.
//!
//! A handful of time-outs and faults among many messages are rare in a uniform choice, and rarer the
//! more messages there are; here each class keeps its share. In experiments with planted bugs this
//! found them 2 to 80 times as often.

use super::{NotReproducible, Strategy};
use crate::event::{EnabledView, EventClass, Pick};
use crate::rng::Rng;

/// Picks a class by weight among those with an enabled event, then any event of the class.
///
/// ```
/// use raft_nondeterminism::{EventClass, Weighted};
///
/// // Twice as many elections as usual.
/// let strategy = Weighted::new().weight(EventClass::Timeout, 16);
/// ```
#[derive(Clone, Debug)]
pub struct Weighted {
    weights: [u32; EventClass::COUNT],
    rng: Rng,
}

impl Weighted {
    /// The usual weights: mostly deliveries, now and then a time-out, few faults.
    #[must_use]
    pub fn new() -> Self {
        let weights = EventClass::ALL.map(|class| match class {
            EventClass::Deliver => 80,
            // Where saves take their time, each promise needs one; half as many as deliveries keep
            // some saves waiting without stopping the cluster.
            EventClass::Save => 40,
            EventClass::Timeout => 8,
            EventClass::Client => 6,
            EventClass::Duplicate | EventClass::Restart => 4,
            EventClass::Read => 3,
            EventClass::Drop | EventClass::Crash | EventClass::Change | EventClass::Disk => 2,
            EventClass::Snapshot
            | EventClass::Transfer
            | EventClass::Propose
            | EventClass::Partition => 1,
        });
        Self { weights, rng: Rng::new(0) }
    }

    /// Changes the weight of a class. With weight 0 it is picked only when nothing else is enabled.
    #[must_use]
    pub fn weight(mut self, class: EventClass, weight: u32) -> Self {
        self.weights[class as usize] = weight;
        self
    }
}

impl Default for Weighted {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for Weighted {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        let weight = |class: EventClass| match enabled.count(class) {
            0 => 0,
            _ => self.weights[class as usize] as usize,
        };
        let total = EventClass::ALL.into_iter().map(weight).sum();
        if total == 0 {
            return Ok(enabled.nth(self.rng.below(enabled.total())));
        }
        let mut ticket = self.rng.below(total);
        for class in EventClass::ALL {
            let weight = if enabled.count(class) == 0 { 0 } else { self.weights[class as usize] };
            if ticket < weight as usize {
                let index = self.rng.below(enabled.count(class));
                return Ok(Some(Pick { class, index }));
            }
            ticket -= weight as usize;
        }
        unreachable!("the ticket is below the sum of the weights")
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(self.rng.below(arity))
    }

    fn describe(&self) -> String {
        "weighted".to_owned()
    }
}

//! How likely each class of events is, whatever else a strategy decides by.
//!
//! Guarantees: the flood of messages crowds out neither time-outs nor faults: a class has its share
//!             however many of its events are enabled.

use crate::event::{EnabledView, EventClass};
use crate::rng::Rng;

/// A weight for each class.
#[derive(Clone, Debug)]
pub(super) struct ClassWeights([u32; EventClass::COUNT]);

impl ClassWeights {
    /// Mostly deliveries, now and then a time-out, few faults.
    pub(super) fn usual() -> Self {
        Self(EventClass::ALL.map(|class| match class {
            EventClass::Deliver => 80,
            // Where saves take their time, each promise needs one; half as many as deliveries keep
            // some saves waiting without stopping the cluster.
            EventClass::Save => 40,
            EventClass::Timeout => 5,
            EventClass::Client => 6,
            EventClass::Duplicate => 6,
            EventClass::Restart => 4,
            EventClass::Read | EventClass::Drop | EventClass::Crash => 3,
            EventClass::Change | EventClass::Disk => 2,
            EventClass::Snapshot
            | EventClass::Transfer
            | EventClass::Propose
            | EventClass::Partition => 1,
        }))
    }

    pub(super) fn get(&self, class: EventClass) -> u32 {
        self.0[class as usize]
    }

    pub(super) fn set(&mut self, class: EventClass, weight: u32) {
        self.0[class as usize] = weight;
    }

    /// True if no class can be left out for ever.
    pub(super) fn are_positive(&self) -> bool {
        self.0.iter().all(|&weight| weight > 0)
    }

    /// Draws a class by weight among those with an enabled event. One of weight 0 comes only if nothing
    /// else is enabled. At least one event is.
    pub(super) fn draw(&self, enabled: &EnabledView<'_>, rng: &mut Rng) -> EventClass {
        let weight = |class| if enabled.count(class) == 0 { 0 } else { self.get(class) as usize };
        let weights = EventClass::ALL.map(weight);
        let total = weights.iter().sum();
        if total == 0 {
            let any = enabled.nth(rng.below(enabled.total()));
            return any.expect("at least one event is enabled").class;
        }
        let mut ticket = rng.below(total);
        for (class, weight) in EventClass::ALL.into_iter().zip(weights) {
            if ticket < weight {
                return class;
            }
            ticket -= weight;
        }
        unreachable!("the ticket is below the sum of the weights")
    }
}

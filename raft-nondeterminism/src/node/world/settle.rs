//! The end of a run: nothing goes wrong any more, and everything that must become true has to.
//!
//! Guarantees: no choice is made by the strategy here, so the end follows from what came before it.
//! Relies on:  the system coming to its ends if every message arrives, every timer fires, and everyone is
//!             up: then nobody can blame the network.

use super::{Event, NodeWorld};
use crate::event::EventClass;
use crate::node::Node;
use crate::rng::Rng;
use crate::watch::Watch;

/// How often all timers that are set fire. More rounds than protocols of a few nodes need.
const ROUNDS_MAX: usize = 100;
/// More events than can follow from one round.
const EVENTS_MAX: usize = 5_000;

impl<N: Node> NodeWorld<N> {
    /// Heals everything, brings everyone back, makes the requests that are left, and lets messages arrive
    /// and timers fire until everything is true that must become true.
    ///
    /// # Errors
    ///
    /// If messages follow from messages without end. What does not become true is told to `watch`.
    pub(super) fn come_to_rest(&mut self, watch: &mut Watch) -> Result<(), String> {
        // Nobody's place is as large as this: it is about all of them.
        watch.begin_unchosen(EventClass::Partition, "everything works from now on", usize::MAX);
        // What nodes choose from here on follows from the run: no schedule says it.
        let mut dice = Rng::new(watch.fingerprint.0);
        self.plan = crate::FaultPlan::none();
        self.cut = None;
        watch.observe(|| self.all_lanes());
        self.find_enabled();
        for round in 0..ROUNDS_MAX {
            self.drain(&mut dice, watch)?;
            if watch.is_broken() || self.judges.hot().is_none() {
                return Ok(());
            }
            let set: Vec<_> = self.enabled.of(EventClass::Timeout).to_vec();
            if set.is_empty() {
                break;
            }
            // One after the other, each time another first, as clocks that run apart would.
            for place in 0..set.len() {
                let event = set[(place + round) % set.len()];
                if self.enabled.of(EventClass::Timeout).contains(&event) {
                    self.happen_by_name(event, &mut dice, watch);
                    self.drain(&mut dice, watch)?;
                }
                if watch.is_broken() {
                    return Ok(());
                }
            }
        }
        if let Some(property) = self.judges.hot() {
            let message = "nothing goes wrong any more, and it does not become true";
            watch.break_property(property, message.to_owned());
        }
        Ok(())
    }

    /// Lets everything happen that needs no time, messages in the order in which they were sent.
    fn drain(&mut self, dice: &mut Rng, watch: &mut Watch) -> Result<(), String> {
        for _ in 0..EVENTS_MAX {
            if watch.is_broken() {
                return Ok(());
            }
            let first = |class| self.enabled.of(class).first().copied();
            let Some(next) = first(EventClass::Restart)
                .or_else(|| self.oldest())
                .or_else(|| first(EventClass::Client))
            else {
                return Ok(());
            };
            self.happen_by_name(next, dice, watch);
        }
        Err(format!("after {EVENTS_MAX} events messages still follow from messages"))
    }

    /// The delivery of the message that was sent first.
    fn oldest(&self) -> Option<Event> {
        let deliveries = self.enabled.of(EventClass::Deliver).iter();
        let order = |event: &&Event| match event {
            Event::Deliver(slot) => self.network.in_flight_at(*slot).order,
            _ => u64::MAX,
        };
        deliveries.min_by_key(order).copied()
    }

    fn happen_by_name(&mut self, event: Event, dice: &mut Rng, watch: &mut Watch) {
        if watch.is_tracing() {
            let place = self.whose(event).unwrap_or(usize::MAX);
            watch.begin_unchosen(event.class(), &self.event_name(event), place);
        }
        self.happen(event, dice, watch).expect("dice have an answer to everything");
        watch.observe(|| self.all_lanes());
    }
}

//! What strategies tell events apart by, and how they see all of a class at once.
//!
//! Guarantees: a key stays with an event as long as it is enabled, and is that of no other; what is
//!             surveyed comes in the order of the picks.

use super::view::Trait;
use super::{Event, World};
use crate::event::{EventClass, Pick};

/// A number in front, and the kind behind it.
fn key(number: u64, event: Event) -> u64 {
    number << 5 | event.kind()
}

impl World {
    pub(super) fn event_key(&self, event: Event) -> u64 {
        let number = match event {
            // There may be two leaders, and each may be asked for several things.
            Event::Change(place, which) | Event::Transfer(place, which) => {
                (which as u64) << 8 | place as u64
            }
            Event::Cut(cut) => cut.number(),
            _ => {
                let slot = event.slot();
                slot.map_or(event.place() as u64, |slot| self.network.in_flight_at(slot).number)
            }
        };
        key(number, event)
    }

    /// Place and key of each event of a class. Messages are many, so they are gone through but once.
    pub(super) fn survey_class(&self, class: EventClass, visit: &mut dyn FnMut(usize, u64)) {
        let arrivals = match class {
            EventClass::Deliver => self.traits.count(Trait::HasArrivals),
            _ => self.count(class),
        };
        for index in 0..arrivals {
            let event = self.event(Pick { class, index });
            visit(self.place_among_all(event), self.event_key(event));
        }
        if class != EventClass::Deliver {
            return;
        }
        let is_choosy = self.is_choosy();
        let runs = |place: usize| self.hosts.get(place).is_none_or(|host| host.runs());
        for (slot, number) in self.network.slots() {
            let may_arrive = if is_choosy { self.is_deliverable(slot) } else { runs(slot.place) };
            if may_arrive {
                visit(slot.place, key(number, Event::Deliver(slot)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::event::{EnabledView, EventClass, Pick};
    use crate::{Explorer, NotReproducible, Scenario, Strategy, Swarm};

    /// Compares both ways of asking before each event.
    #[derive(Clone, Debug)]
    struct Comparing(Swarm);

    impl Strategy for Comparing {
        fn begin(&mut self, seed: u64) {
            self.0.begin(seed);
        }

        fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
            let mut surveyed = Vec::new();
            for class in EventClass::ALL {
                enabled.survey(class, |pick, place, key| surveyed.push((pick, place, key)));
            }
            let asked = enabled.picks().map(|it| (it, enabled.place(it), enabled.key(it)));
            assert_eq!(surveyed, asked.collect::<Vec<_>>());
            let keys: BTreeSet<_> = surveyed.iter().map(|(_, _, key)| key).collect();
            assert_eq!(keys.len(), surveyed.len(), "two events have one key: {surveyed:?}");
            self.0.pick(enabled)
        }

        fn choose(&mut self, arity: usize, label: &str) -> Result<usize, NotReproducible> {
            self.0.choose(arity, label)
        }

        fn describe(&self) -> String {
            "comparing".to_owned()
        }
    }

    #[test]
    fn keys_are_unique_and_what_is_surveyed_is_what_is_enabled() {
        for scenario in Scenario::all() {
            let strategy = Comparing(Swarm::new());
            Explorer::new(scenario).strategy(strategy).iterations(4).run().unwrap();
        }
    }
}

//! What can happen next in a simulation.
//!
//! Guarantees: the events of a class have one order, which follows from the world alone.

use super::{Event, NodeWorld};
use crate::event::{EventClass, Pick};
use crate::fault::Fault;
use crate::links::Cut;
use crate::network::Slot;
use crate::node::{Node, NodeId};

/// The enabled events, by class.
#[derive(Clone, Debug, Default)]
pub(super) struct Enabled {
    events: [Vec<Event>; EventClass::COUNT],
}

impl Enabled {
    pub(super) fn counts(&self) -> [usize; EventClass::COUNT] {
        std::array::from_fn(|class| self.events[class].len())
    }

    pub(super) fn event(&self, pick: Pick) -> Event {
        self.events[pick.class as usize][pick.index]
    }

    pub(super) fn of(&self, class: EventClass) -> &[Event] {
        &self.events[class as usize]
    }

    /// True if nothing but faults can happen.
    pub(super) fn is_stuck(&self) -> bool {
        let helps = |event: &Event| match event {
            Event::Deliver(_)
            | Event::Timeout(..)
            | Event::Request(_)
            | Event::Restart(_)
            | Event::Resume(_)
            | Event::Heal => true,
            Event::Drop(_)
            | Event::Duplicate(_)
            | Event::Crash(_)
            | Event::Pause(_)
            | Event::Cut(_) => false,
        };
        !self.events.iter().flatten().any(helps)
    }

    fn push(&mut self, class: EventClass, event: Event) {
        self.events[class as usize].push(event);
    }
}

impl<N: Node> NodeWorld<N> {
    /// Finds everything that can happen next.
    pub(super) fn find_enabled(&mut self) {
        let mut enabled = std::mem::take(&mut self.enabled);
        enabled.events.iter_mut().for_each(Vec::clear);
        self.find_messages(&mut enabled);
        self.find_nodes(&mut enabled);
        self.find_cuts(&mut enabled);
        self.enabled = enabled;
    }

    fn find_messages(&self, enabled: &mut Enabled) {
        let may_drop = self.has_budget(Fault::Drop);
        let may_duplicate = self.has_budget(Fault::Duplicate) && !self.is_crowded();
        for (slot, _) in self.network.slots() {
            if self.is_deliverable(slot) {
                enabled.push(EventClass::Deliver, Event::Deliver(slot));
            }
            if may_drop {
                enabled.push(EventClass::Drop, Event::Drop(slot));
            }
            if may_duplicate {
                enabled.push(EventClass::Duplicate, Event::Duplicate(slot));
            }
        }
    }

    fn find_nodes(&self, enabled: &mut Enabled) {
        for (place, host) in self.hosts.iter().enumerate() {
            if host.is_running() && !self.is_crowded() {
                for timer in host.timers.keys() {
                    enabled.push(EventClass::Timeout, Event::Timeout(place, timer));
                }
            }
            if host.is_up() && self.has_budget(Fault::Crash) {
                enabled.push(EventClass::Crash, Event::Crash(place));
            }
            if host.is_running() && self.has_budget(Fault::Pause) {
                enabled.push(EventClass::Crash, Event::Pause(place));
            }
            if !host.is_up() {
                enabled.push(EventClass::Restart, Event::Restart(place));
            } else if host.is_paused {
                enabled.push(EventClass::Restart, Event::Resume(place));
            }
        }
        for (which, request) in self.requests.iter().enumerate() {
            let is_heard = self.hosts[request.place].is_running() && !self.is_crowded();
            if !request.is_made && is_heard {
                enabled.push(EventClass::Client, Event::Request(which));
            }
        }
    }

    fn find_cuts(&self, enabled: &mut Enabled) {
        if self.cut.is_some() {
            enabled.push(EventClass::Partition, Event::Heal);
            return;
        }
        if self.has_budget(Fault::Partition) {
            let nodes = self.hosts.len();
            for index in 0..Cut::count(nodes) {
                enabled.push(EventClass::Partition, Event::Cut(Cut::nth(nodes, index)));
            }
        }
    }

    /// True while so much is in flight that nothing new is started.
    fn is_crowded(&self) -> bool {
        self.network.in_flight() >= self.in_flight_max
    }

    /// True if the message reaches its receiver, and nothing is to arrive before it.
    pub(super) fn is_deliverable(&self, slot: Slot) -> bool {
        let from = self.network.message(slot).from;
        if !self.hosts[slot.place].is_running() || !self.hears(slot.place, from) {
            return false;
        }
        self.turn(slot).1
    }

    /// How many messages have to arrive before one, and whether it may be next.
    pub(super) fn turn(&self, slot: Slot) -> (usize, bool) {
        let from = self.network.message(slot).from;
        self.network.turn(slot, self.delivery, |other| other.from == from)
    }

    fn hears(&self, receiver: usize, sender: NodeId) -> bool {
        // Everyone hears themselves.
        let sender = sender.place();
        receiver == sender || self.cut.is_none_or(|(cut, _)| cut.hears(receiver, sender))
    }
}

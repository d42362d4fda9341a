//! What schedules call the events of a simulation, and how events are found by that.
//!
//! Guarantees: a name says who takes part and what is said; two enabled events with one name do the same.
//! Relies on:  messages that print the same being the same.

use std::collections::BTreeSet;
use std::fmt;

use super::{Envelope, Event, NodeWorld};
use crate::event::{EventClass, Names, Pick};
use crate::fingerprint::StateHasher;
use crate::network::{Delivery, InFlight, Slot};
use crate::node::Node;
use crate::written::{OneLine, is_written};

/// An event by its name.
struct Name<'a, N: Node> {
    world: &'a NodeWorld<N>,
    event: Event,
}

impl<N: Node> fmt::Display for Name<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages print themselves in any way.
        let mut line = OneLine::new(f);
        self.write(&mut line)?;
        line.finish().map(drop)
    }
}

impl<N: Node> Name<'_, N> {
    fn write(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let hosts = &self.world.hosts;
        let name = |place: usize| &hosts[place].name;
        match self.event {
            Event::Deliver(slot) => self.message(f, "deliver", "→", slot),
            Event::Drop(slot) => self.message(f, "drop", "⇥", slot),
            Event::Duplicate(slot) => self.message(f, "duplicate", "→", slot),
            Event::Timeout(place, timer) => write!(f, "timeout {} {timer}", name(place)),
            Event::Request(which) => {
                let request = &self.world.requests[which];
                write!(f, "request {} {:?}", name(request.place), request.message)
            }
            Event::Crash(place) => write!(f, "crash {}", name(place)),
            Event::Restart(place) => write!(f, "restart {}", name(place)),
            Event::Pause(place) => write!(f, "pause {}", name(place)),
            Event::Resume(place) => write!(f, "resume {}", name(place)),
            Event::Cut(cut) => cut.write_name(f, hosts.len(), name),
            Event::Heal => f.write_str("heal all"),
        }
    }

    fn message(&self, f: &mut dyn fmt::Write, verb: &str, arrow: &str, slot: Slot) -> fmt::Result {
        let (world, envelope) = (self.world, self.world.network.message(slot));
        let (from, to) = (&world.hosts[envelope.from.place()].name, &world.hosts[slot.place].name);
        write!(f, "{verb} {from} {arrow} {to} {:?}", envelope.message)?;
        // Over a link that keeps its order, which of two equal messages is lost makes a difference.
        match world.equals_before(slot) {
            0 => Ok(()),
            count => write!(f, " #{}", count + 1),
        }
    }
}

impl<N: Node> NodeWorld<N> {
    pub(super) fn event_name(&self, event: Event) -> String {
        Name { world: self, event }.to_string()
    }

    /// How many messages that are written the same arrive before one on its link, if order matters.
    fn equals_before(&self, slot: Slot) -> usize {
        if self.delivery == Delivery::Unordered {
            return 0;
        }
        let own = self.network.in_flight_at(slot);
        let is_before = |(place, it): &(usize, &InFlight<Envelope<N::Message>>)| {
            *place == slot.place && it.message.digest == own.message.digest && it.order < own.order
        };
        let before = self.network.iter().filter(is_before);
        // Twins count once.
        before.map(|(_, it)| it.order).collect::<BTreeSet<_>>().len()
    }

    /// A number that stays with an event as long as it is enabled, and is that of no other.
    pub(super) fn event_key(&self, event: Event) -> u64 {
        let number = |slot| self.network.in_flight_at(slot).number;
        let (kind, which) = match event {
            Event::Deliver(slot) => (0, number(slot)),
            Event::Drop(slot) => (1, number(slot)),
            Event::Duplicate(slot) => (2, number(slot)),
            Event::Timeout(place, timer) => {
                let mut hasher = StateHasher::new();
                hasher.debug(&(place, timer));
                (3, hasher.state() as u64)
            }
            Event::Request(which) => (4, which as u64),
            Event::Crash(place) => (5, place as u64),
            Event::Restart(place) => (6, place as u64),
            Event::Pause(place) => (7, place as u64),
            Event::Resume(place) => (8, place as u64),
            Event::Cut(cut) => (9, cut.number()),
            Event::Heal => (10, 0),
        };
        which << 4 | kind
    }
}

impl<N: Node> Names for NodeWorld<N> {
    fn name(&self, pick: Pick) -> String {
        self.event_name(self.enabled.event(pick))
    }

    fn find(&self, name: &str) -> Option<Pick> {
        let class = EventClass::of_verb(name.split(' ').next()?)?;
        let mut events = self.enabled.of(class).iter();
        let index = events.position(|&event| is_written(&Name { world: self, event }, name))?;
        Some(Pick { class, index })
    }

    fn find_like(&self, name: &str) -> Option<Pick> {
        // `deliver alice → bob Vote { term: 3 }`: between the same two, the fields may differ, and the
        // message that is written most alike is meant.
        let (parties, message) = parts(name)?;
        let class = EventClass::of_verb(name.split(' ').next()?)?;
        let alike = |(index, event): (usize, &Event)| {
            let found = self.event_name(*event);
            let (other_parties, other_message) = parts(&found)?;
            let is_like = parties == other_parties && kind(message).eq(kind(other_message));
            let pairs = message.bytes().zip(other_message.bytes());
            is_like.then_some((pairs.take_while(|(one, two)| one == two).count(), index))
        };
        let events = self.enabled.of(class).iter().enumerate();
        let best = events.filter_map(alike).max_by_key(|&(same, index)| (same, usize::MAX - index));
        best.map(|(_, index)| Pick { class, index })
    }
}

/// What is done with a message between whom, and the message.
fn parts(name: &str) -> Option<(&str, &str)> {
    let (end, _) = name.match_indices(' ').nth(3)?;
    Some((&name[..end], &name[end + 1..]))
}

/// The name of a message, without its fields and numbers.
fn kind(message: &str) -> impl Iterator<Item = char> + '_ {
    let name = message.split([' ', '{', '(', '[']).next().unwrap_or_default();
    name.chars().filter(|letter| !letter.is_ascii_digit())
}

//! Messages in flight: a multiset, delivered in any order, however late.
//!
//! Guarantees: nothing is lost, doubled or delivered here unless the world asks.
//! Elsewhere:  which message is next is the oracle's choice; the bound is kept by the world.

use std::cell::Cell;

use crate::shared::Shared;

/// How many messages of its queue the receiver of a bus handles at a time.
const LOCKED_MAX: usize = 3;

/// In which order messages arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delivery {
    /// In any: as over UDP, or over connections that break.
    #[default]
    Unordered,
    /// What one sends to another arrives in the order in which it was sent: as over one connection.
    Fifo,
    /// As from a subscription of a message bus: each receiver has one queue, and handles the first few of
    /// it in any order. What comes twice comes at once, as a message whose lock was lost.
    Bus,
}

impl Delivery {
    /// Every order.
    pub const ALL: [Self; 3] = [Self::Unordered, Self::Fifo, Self::Bus];

    /// The name it has in schedules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unordered => "unordered",
            Self::Fifo => "fifo",
            Self::Bus => "bus",
        }
    }
}

/// Everything in flight, by the place of its receiver.
#[derive(Debug)]
pub(crate) struct Network<M> {
    inboxes: Vec<Shared<Vec<InFlight<M>>>>,
    in_flight: usize,
    /// How many were ever sent, with twins.
    sent: u64,
}

/// A message on its way, in no order that means anything.
#[derive(Clone, Debug)]
pub(crate) struct InFlight<M> {
    /// Stands for the message, as soon as somebody has asked.
    hash: Cell<Option<u128>>,
    /// Tells it from every other of the run.
    pub(crate) number: u64,
    /// Its place in the order in which messages were sent; a twin has that of the first one.
    pub(crate) order: u64,
    pub(crate) message: M,
}

impl<M> InFlight<M> {
    /// The hash of the message, which `hash` computes unless it is known.
    pub(crate) fn hash_with(&self, hash: impl Fn(&M) -> u128) -> u128 {
        let known = self.hash.get().unwrap_or_else(|| hash(&self.message));
        self.hash.set(Some(known));
        known
    }
}

/// Where a message in flight is kept, until the next change of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) place: usize,
    pub(crate) position: usize,
}

impl<M> Clone for Network<M> {
    fn clone(&self) -> Self {
        Self { inboxes: self.inboxes.clone(), ..*self }
    }

    fn clone_from(&mut self, source: &Self) {
        let Self { inboxes, in_flight, sent } = source;
        self.inboxes.clone_from(inboxes);
        (self.in_flight, self.sent) = (*in_flight, *sent);
    }
}

impl<M: Clone> Network<M> {
    /// So many receivers, and nothing on its way.
    pub(crate) fn new(places: usize) -> Self {
        Self { inboxes: vec![Shared::default(); places], in_flight: 0, sent: 0 }
    }

    /// Puts a message in flight to the receiver at this place; returns its number.
    pub(crate) fn send(&mut self, place: usize, message: M) -> u64 {
        let order = self.sent + 1;
        self.put(place, order, message)
    }

    fn put(&mut self, place: usize, order: u64, message: M) -> u64 {
        self.sent += 1;
        self.in_flight += 1;
        self.inboxes[place].push(InFlight {
            hash: Cell::new(None),
            number: self.sent,
            order,
            message,
        });
        self.sent
    }

    /// The number of the message that is sent next.
    pub(crate) fn next_number(&self) -> u64 {
        self.sent + 1
    }

    /// Takes a message out, to be delivered or lost.
    pub(crate) fn take(&mut self, slot: Slot) -> InFlight<M> {
        self.in_flight -= 1;
        self.inboxes[slot.place].swap_remove(slot.position)
    }

    /// Takes out the message that was kept longest, with its receiver's place.
    pub(crate) fn take_first(&mut self) -> Option<(usize, InFlight<M>)> {
        let place = self.inboxes.iter().position(|inbox| !inbox.is_empty())?;
        self.in_flight -= 1;
        Some((place, self.inboxes[place].remove(0)))
    }

    /// Puts a twin of a message in flight; returns its number.
    pub(crate) fn duplicate(&mut self, slot: Slot) -> u64 {
        let InFlight { order, message, .. } = self.in_flight_at(slot).clone();
        self.put(slot.place, order, message)
    }

    pub(crate) fn in_flight_at(&self, slot: Slot) -> &InFlight<M> {
        &self.inboxes[slot.place][slot.position]
    }

    pub(crate) fn message(&self, slot: Slot) -> &M {
        &self.in_flight_at(slot).message
    }

    /// A hash of each inbox, of the hashes of what is in it.
    pub(crate) fn hashes(&self, hash: impl Fn(&M) -> u128) -> impl Iterator<Item = u128> {
        self.inboxes.iter().map(move |inbox| {
            // Messages are kept in no order: addition forgets it.
            let sum = |inbox: &Vec<InFlight<M>>| {
                inbox.iter().fold(0u128, |sum, it| sum.wrapping_add(it.hash_with(&hash)))
            };
            inbox.hash_with(sum)
        })
    }

    /// Every message in flight to the receiver at this place.
    pub(crate) fn messages_to(&self, place: usize) -> impl Iterator<Item = &M> {
        self.inboxes[place].iter().map(|it| &it.message)
    }

    /// Every message in flight, with its receiver's place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &InFlight<M>)> {
        let inboxes = self.inboxes.iter().enumerate();
        inboxes.flat_map(|(place, inbox)| inbox.iter().map(move |it| (place, it)))
    }

    /// How many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many of them are such that `is_meant` holds of where they are kept.
    pub(crate) fn count_where(&self, is_meant: impl Fn(Slot) -> bool) -> usize {
        self.slots().filter(|&(slot, _)| is_meant(slot)).count()
    }

    /// Where everything in flight is kept, with its number, in the order of [`Network::nth`].
    pub(crate) fn slots(&self) -> impl Iterator<Item = (Slot, u64)> {
        self.inboxes.iter().enumerate().flat_map(|(place, inbox)| {
            let numbers = inbox.iter().map(|it| it.number).enumerate();
            numbers.map(move |(position, number)| (Slot { place, position }, number))
        })
    }

    /// The `index`-th of those of which `is_meant` holds, from 0.
    pub(crate) fn nth_where(&self, index: usize, is_meant: impl Fn(Slot) -> bool) -> Slot {
        let mut meant = self.slots().map(|(slot, _)| slot).filter(|&slot| is_meant(slot));
        meant.nth(index).expect("there are so many")
    }

    /// How many others have to arrive before it, and whether it may be next. `is_of_link` holds of the
    /// messages that its sender sent to the same receiver.
    pub(crate) fn turn(
        &self,
        slot: Slot,
        delivery: Delivery,
        is_of_link: impl Fn(&M) -> bool,
    ) -> (usize, bool) {
        let (before, at_once) = match delivery {
            Delivery::Unordered => (0, 1),
            Delivery::Fifo => (self.before(slot, is_of_link), 1),
            Delivery::Bus => (self.before(slot, |_| true), LOCKED_MAX),
        };
        (before, before < at_once)
    }

    /// How many messages for the same receiver were sent before it, as far as `is_meant` holds of them.
    fn before(&self, slot: Slot, is_meant: impl Fn(&M) -> bool) -> usize {
        let own = self.in_flight_at(slot);
        let is_before = |other: &&InFlight<M>| {
            (other.order, other.number) < (own.order, own.number) && is_meant(&other.message)
        };
        self.inboxes[slot.place].iter().filter(is_before).count()
    }

    /// Where the first of the messages for the same receiver that are equal to this one is kept.
    pub(crate) fn first_alike(&self, slot: Slot) -> Slot
    where
        M: PartialEq,
    {
        let own = self.message(slot);
        let inbox = self.inboxes[slot.place].iter().enumerate();
        let alike = inbox.filter(|(_, it)| it.message == *own);
        let first = alike.min_by_key(|(_, it)| (it.order, it.number));
        first.map_or(slot, |(position, _)| Slot { place: slot.place, position })
    }

    /// How many of them are for the receiver at this place.
    pub(crate) fn in_flight_to(&self, place: usize) -> usize {
        self.inboxes[place].len()
    }

    /// The `index`-th message of those whose receiver's place is `among`, from 0.
    pub(crate) fn nth(&self, index: usize, among: impl Fn(usize) -> bool) -> Slot {
        let mut position = index;
        for (place, inbox) in self.inboxes.iter().enumerate() {
            if !among(place) {
                continue;
            }
            if position < inbox.len() {
                return Slot { place, position };
            }
            position -= inbox.len();
        }
        panic!("fewer than {index} messages are in flight")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_is_equal_and_independent() {
        let mut network = Network::new(2);
        let number = network.send(1, "vote for me");
        let slot = network.nth(0, |_| true);
        assert_ne!(network.duplicate(slot), number, "it has a number of its own");
        assert_eq!(network.in_flight(), 2);
        let first = network.take(slot).message;
        assert_eq!(network.take(network.nth(0, |_| true)).message, first);
        assert_eq!(network.in_flight(), 0);
    }

    #[test]
    fn messages_to_places_left_out_are_not_counted() {
        let mut network = Network::new(3);
        network.send(0, "one");
        network.send(2, "two");
        assert_eq!(network.nth(0, |place| place != 0), Slot { place: 2, position: 0 });
        assert_eq!(network.count_where(|slot| slot.place != 0), 1);
    }

    #[test]
    fn whose_turn_it_is_follows_from_the_order_of_delivery() {
        let mut network = Network::new(1);
        for message in ["a1", "a2", "b1", "b2"] {
            network.send(0, message);
        }
        let turns = |delivery| {
            let turn = |(slot, _)| {
                let sender = &network.message(slot)[..1];
                network.turn(slot, delivery, |other| other.starts_with(sender))
            };
            network.slots().map(turn).collect::<Vec<_>>()
        };
        let (first, second) = ((0, true), (1, false));
        assert_eq!(turns(Delivery::Unordered), [first; 4]);
        assert_eq!(turns(Delivery::Fifo), [first, second, first, second]);
        assert_eq!(turns(Delivery::Bus), [(0, true), (1, true), (2, true), (3, false)]);
    }

    #[test]
    fn what_was_kept_longest_comes_first() {
        let mut network = Network::new(2);
        network.send(1, "one");
        network.send(1, "two");
        let (place, first) = network.take_first().expect("two are there");
        assert_eq!((place, first.message), (1, "one"));
    }
}

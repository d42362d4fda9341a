//! Messages in flight: a multiset, delivered in any order, however late.
//!
//! Guarantees: a broadcast is one message per receiver, each with a fate of its own; nothing is lost,
//!             doubled or delivered here unless the world asks.
//! Elsewhere:  which message is next is the oracle's choice; the bound is kept in `world.rs`.

use raft_core::{Address, ClientId, Envelope, ServerId};

/// Everything in flight, by receiver.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// The receivers' places: servers first, then clients.
    inboxes: Vec<Inbox>,
    servers: usize,
    in_flight: usize,
}

/// What is on its way to one receiver, in no order that means anything.
#[derive(Clone, Debug)]
struct Inbox {
    receiver: Address,
    messages: Vec<Envelope>,
}

/// Where a message in flight is kept, until the next change of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) place: usize,
    pub(crate) position: usize,
}

impl Network {
    pub(crate) fn new(
        servers: impl IntoIterator<Item = ServerId>,
        clients: impl IntoIterator<Item = ClientId>,
    ) -> Self {
        let inbox = |receiver| Inbox { receiver, messages: Vec::new() };
        let mut inboxes: Vec<_> = servers.into_iter().map(|id| inbox(id.into())).collect();
        let servers = inboxes.len();
        inboxes.extend(clients.into_iter().map(|id| inbox(id.into())));
        Self { inboxes, servers, in_flight: 0 }
    }

    /// Puts a message in flight. One for a stranger disappears.
    pub(crate) fn send(&mut self, envelope: Envelope) {
        match envelope.to {
            Address::AllServers => {
                for inbox in &mut self.inboxes[..self.servers] {
                    if inbox.receiver != envelope.from {
                        inbox.messages.push(Envelope { to: inbox.receiver, ..envelope.clone() });
                        self.in_flight += 1;
                    }
                }
            }
            Address::Server(_) | Address::Client(_) => {
                let inbox = self.inboxes.iter_mut().find(|inbox| inbox.receiver == envelope.to);
                if let Some(inbox) = inbox {
                    inbox.messages.push(envelope);
                    self.in_flight += 1;
                }
            }
        }
    }

    /// Takes a message out, to be delivered or lost.
    pub(crate) fn take(&mut self, slot: Slot) -> Envelope {
        self.in_flight -= 1;
        self.inboxes[slot.place].messages.swap_remove(slot.position)
    }

    /// Takes out the message that was kept longest, with its receiver's place.
    pub(crate) fn take_first(&mut self) -> Option<(usize, Envelope)> {
        let place = self.inboxes.iter().position(|inbox| !inbox.messages.is_empty())?;
        self.in_flight -= 1;
        Some((place, self.inboxes[place].messages.remove(0)))
    }

    /// Puts a twin of a message in flight.
    pub(crate) fn duplicate(&mut self, slot: Slot) {
        let messages = &mut self.inboxes[slot.place].messages;
        messages.push(messages[slot.position].clone());
        self.in_flight += 1;
    }

    pub(crate) fn envelope(&self, slot: Slot) -> &Envelope {
        &self.inboxes[slot.place].messages[slot.position]
    }

    /// How many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many of them are such that `is_meant` holds of the receiver's place and the message.
    pub(crate) fn count_where(&self, is_meant: impl Fn(usize, &Envelope) -> bool) -> usize {
        let count = |(place, inbox): (usize, &Inbox)| {
            inbox.messages.iter().filter(|envelope| is_meant(place, envelope)).count()
        };
        self.inboxes.iter().enumerate().map(count).sum()
    }

    /// The `index`-th of those of which `is_meant` holds, from 0.
    pub(crate) fn nth_where(
        &self,
        index: usize,
        is_meant: impl Fn(usize, &Envelope) -> bool,
    ) -> Slot {
        let is_meant = &is_meant;
        let mut slots = self.inboxes.iter().enumerate().flat_map(|(place, inbox)| {
            let meant = inbox.messages.iter().enumerate();
            let meant = meant.filter(move |(_, envelope)| is_meant(place, envelope));
            meant.map(move |(position, _)| Slot { place, position })
        });
        slots.nth(index).expect("there are so many")
    }

    /// How many of them are for the receiver at this place.
    pub(crate) fn in_flight_to(&self, place: usize) -> usize {
        self.inboxes[place].messages.len()
    }

    /// The `index`-th message of those whose receiver's place is `among`, from 0.
    pub(crate) fn nth(&self, index: usize, among: impl Fn(usize) -> bool) -> Slot {
        let mut position = index;
        for (place, inbox) in self.inboxes.iter().enumerate() {
            if !among(place) {
                continue;
            }
            if position < inbox.messages.len() {
                return Slot { place, position };
            }
            position -= inbox.messages.len();
        }
        panic!("fewer than {index} messages are in flight")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::{ClusterId, Index, Message, Term, VoteRequest};

    fn vote_request(from: u64, to: Address) -> Envelope {
        let request = VoteRequest {
            term: Term(1),
            candidate_id: ServerId(from),
            last_log_index: Index(0),
            last_log_term: Term(0),
            is_transfer: false,
        };
        Envelope {
            cluster_id: ClusterId::default(),
            from: ServerId(from).into(),
            to,
            message: Message::VoteRequest(request),
        }
    }

    fn network() -> Network {
        Network::new([1, 2, 3].map(ServerId), [ClientId(1)])
    }

    #[test]
    fn a_broadcast_is_one_message_for_every_other_server() {
        let mut network = network();
        network.send(vote_request(2, Address::AllServers));
        assert_eq!(network.in_flight(), 2);
        let places: Vec<_> = (0..4).map(|place| network.in_flight_to(place)).collect();
        assert_eq!(places, [1, 0, 1, 0]);
        let third = network.take(network.nth(1, |_| true));
        assert_eq!(third.to_string(), "s2@1 → s3 VoteRequest last=0@0");
    }

    #[test]
    fn a_twin_is_equal_and_independent() {
        let mut network = network();
        network.send(vote_request(1, ServerId(2).into()));
        let slot = network.nth(0, |_| true);
        network.duplicate(slot);
        assert_eq!(network.in_flight(), 2);
        let first = network.take(slot);
        assert_eq!(network.take(network.nth(0, |_| true)), first);
        assert_eq!(network.in_flight(), 0);
    }

    #[test]
    fn messages_to_places_left_out_are_not_counted() {
        let mut network = network();
        network.send(vote_request(2, Address::AllServers));
        assert_eq!(network.nth(0, |place| place != 0), Slot { place: 2, position: 0 });
    }

    #[test]
    fn a_message_for_a_stranger_disappears() {
        let mut network = network();
        network.send(vote_request(1, ServerId(9).into()));
        assert_eq!(network.in_flight(), 0);
    }
}

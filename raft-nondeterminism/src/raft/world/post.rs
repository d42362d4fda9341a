//! Messages on their way: to whom they go, and what clients make of them.
//!
//! Guarantees: a broadcast is one message per receiver, each with a fate of its own.

use raft_core::{Address, ClientId, Envelope, ServerId};

use super::World;
use super::client::Outcome;
use crate::network::Delivery;
use crate::raft::coverage::event_of_message;
use crate::raft::monitor::Fact;
use crate::raft::watch::Watch;

impl World {
    /// A message arrives at a client.
    pub(super) fn answer(&mut self, place: usize, envelope: Envelope, watch: &mut Watch<'_>) {
        let client = self.clients[place].id();
        let (event, before) = (event_of_message(&envelope.message), self.client_state(place));
        let outcome = self.clients[place].handle(envelope);
        self.cover_answer(place, before, event, &outcome, watch);
        match outcome {
            Outcome::Ignored => {}
            Outcome::Send(envelope) => self.send(envelope, watch),
            Outcome::Applied { sequence_number, log_id, response } => {
                let response = response.as_ref().try_into().map_or(0, u64::from_le_bytes);
                watch.fact(&Fact::Answered { client, sequence_number, log_id, response });
            }
            Outcome::Refused { sequence_number, result } => {
                watch.line(format_args!("       {client}{sequence_number} refused: {result}"));
                watch.fact(&Fact::RequestRefused { client, sequence_number, result: &result });
            }
        }
    }

    pub(super) fn send(&mut self, envelope: Envelope, watch: &mut Watch<'_>) {
        watch.line(format_args!("       {envelope}"));
        watch.observers.refinement.iter_mut().for_each(|refinement| refinement.sent(&envelope));
        self.post(envelope, watch);
    }

    /// Puts a message in flight: a broadcast is one per receiver, each with a fate of its own. One for a
    /// stranger disappears.
    pub(super) fn post(&mut self, envelope: Envelope, watch: &mut Watch<'_>) {
        let clients = self.hosts.len();
        match envelope.to {
            Address::AllServers => {
                // A topic hands a broadcast to its sender too.
                let is_topic = self.scenario.delivery == Delivery::Bus;
                for place in self.places() {
                    let to = Address::Server(self.hosts[place].id);
                    if to != envelope.from || is_topic {
                        self.put_in_flight(place, Envelope { to, ..envelope.clone() }, watch);
                    }
                }
            }
            // Server `n` is at place `n - 1`, and so are clients after them.
            Address::Server(ServerId(id)) => {
                if (1..=clients as u64).contains(&id) {
                    self.put_in_flight(id as usize - 1, envelope, watch);
                }
            }
            Address::Client(ClientId(id)) => {
                if (1..=self.clients.len() as u64).contains(&id) {
                    self.put_in_flight(clients + id as usize - 1, envelope, watch);
                }
            }
        }
    }

    /// Puts a message in flight to the receiver at this place.
    fn put_in_flight(&mut self, place: usize, envelope: Envelope, watch: &mut Watch<'_>) {
        if watch.is_tracing()
            && let Some(from) = self.place_of(&envelope.from)
        {
            let number = self.network.next_number();
            watch.sent(
                number,
                (from, place),
                &envelope.message,
                envelope.message.term().map(|it| it.0),
            );
        }
        self.cover_sending(&envelope, watch);
        self.network.send(place, envelope);
    }

    /// The place of whoever has this address.
    fn place_of(&self, address: &Address) -> Option<usize> {
        // Server `n` is at place `n - 1`, and so are clients after them.
        match address {
            Address::AllServers => None,
            Address::Server(ServerId(id)) => usize::try_from(*id).ok()?.checked_sub(1),
            Address::Client(ClientId(id)) => {
                (self.hosts.len() + usize::try_from(*id).ok()?).checked_sub(1)
            }
        }
    }
}

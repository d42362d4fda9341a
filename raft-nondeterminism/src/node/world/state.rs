//! What is one state of a simulation.
//!
//! Guarantees: two worlds with the same exact state have the same future, but for one chance in
//!             `2^128`; neither hash depends on the order in which messages in flight are kept.

use super::{Envelope, Event, Host, NodeWorld};
use crate::fingerprint::Fingerprint;
use crate::network::InFlight;
use crate::node::hash::spread;
use crate::node::simulation::Delivery;
use crate::node::{Node, NodeId, StateHasher};
use crate::watch::Watch;

impl<N: Node> NodeWorld<N> {
    /// Takes the hashes of a node that may have changed.
    pub(super) fn hash(&mut self, place: usize) {
        let host = &mut self.hosts[place];
        host.hashes = match &host.node {
            None => (0, 0),
            Some(node) => {
                let (mut exact, mut shape) = (StateHasher::new(), StateHasher::new());
                node.hash_state(&mut exact);
                node.hash_shape(&mut shape);
                shape.debug(&node.state_name());
                (exact.wide(), shape.wide() as u64)
            }
        };
    }

    /// Takes into the fingerprint of a run what an event did. It leaves out which of several equal
    /// messages it was about: they are kept in no order.
    pub(super) fn mix_into(&self, watch: &mut Watch, event: Event) {
        watch.mix(self.whose(event).map_or(u64::MAX, |place| place as u64));
        watch.mix(self.network.in_flight() as u64);
        let Some(host) = self.whose(event).map(|place| &self.hosts[place]) else { return };
        watch.mix(host.hashes.0 as u64);
        watch.mix(self.said);
        watch.mix((host.timers.len() as u64) << 8 | host.unsynced.len() as u64);
    }

    /// Names, numbers and the order of nodes do not matter.
    pub(super) fn shape(&self) -> u64 {
        let of_host = |host: &Host<N>| {
            let mut hash = Fingerprint(host.hashes.1);
            hash.mix(u64::from(host.is_paused) << 8 | host.timers.len().min(7) as u64);
            hash.0
        };
        let sum = self.hosts.iter().map(of_host).fold(0, u64::wrapping_add);
        let crowd = self.network.in_flight().checked_ilog2().map_or(0, |log| u64::from(log) + 1);
        let mut all = Fingerprint(sum);
        all.mix(crowd << 1 | u64::from(self.cut.is_some()));
        all.0
    }

    /// Everything that the future depends on.
    pub(super) fn exact(&self) -> u128 {
        let mut all = StateHasher::new();
        for host in &self.hosts {
            all.debug(&(host.hashes.0, host.is_up(), host.is_paused));
            host.disk.hash_state(&mut all);
            host.unsynced.iter().for_each(|node| node.hash_state(&mut all));
            all.debug(&(host.unsynced.len(), host.timers.keys()));
        }
        let messages = self.network.iter().map(|(place, it)| self.of_message(place, it));
        all.debug(&messages.fold(0, u128::wrapping_add));
        for request in &self.requests {
            all.debug(&request.is_made);
        }
        all.debug(&self.cut.map(|cut| (cut.places, cut.is_one_way)));
        all.debug(&self.faults.to_string());
        all.debug(&self.judges.monitors());
        all.wide()
    }

    fn of_message(&self, place: usize, it: &InFlight<Envelope<N::Message>>) -> u128 {
        let envelope = &it.message;
        let before = |&(other, earlier): &(usize, &InFlight<Envelope<N::Message>>)| {
            let earlier = &earlier.message;
            other == place && earlier.from == envelope.from && earlier.order < envelope.order
        };
        let rank = match self.delivery {
            Delivery::Unordered => 0,
            Delivery::Fifo => self.network.iter().filter(before).count(),
        };
        spread(envelope.digest.wrapping_add(rank as u128))
    }

    /// Stands for a message that is sent now.
    pub(super) fn digest(&mut self, from: NodeId, to: NodeId, message: &N::Message) -> u128 {
        let mut hash = StateHasher::new();
        hash.debug(&(from, to, message));
        self.said = self.said.rotate_left(9) ^ hash.wide() as u64;
        hash.wide()
    }
}

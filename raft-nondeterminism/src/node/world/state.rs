//! What is one state of a simulation.
//!
//! Guarantees: two worlds with the same exact state have the same future, but for one chance in
//!             `2^128`; neither hash depends on the order in which messages in flight are kept.

use super::{Event, Host, NodeWorld};
use crate::fingerprint::{Fingerprint, StateHasher};
use crate::network::Slot;
use crate::node::hash::spread;
use crate::node::{Node, NodeId};
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
                (exact.state(), shape.state() as u64)
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
        let messages = self.network.slots().map(|(slot, _)| self.of_message(slot));
        all.debug(&messages.fold(0, u128::wrapping_add));
        for request in &self.requests {
            all.debug(&request.is_made);
        }
        all.debug(&self.cut.map(|(cut, _)| cut.number()));
        all.debug(&self.faults.to_string());
        all.debug(&self.judges.monitors());
        all.state()
    }

    fn of_message(&self, slot: Slot) -> u128 {
        let (before, _) = self.turn(slot);
        spread(self.network.message(slot).digest.wrapping_add(before as u128))
    }

    /// Stands for a message that is sent now.
    pub(super) fn digest(&mut self, from: NodeId, to: NodeId, message: &N::Message) -> u128 {
        let mut hash = StateHasher::new();
        hash.debug(&(from, to, message));
        self.said = self.said.rotate_left(9) ^ hash.state() as u64;
        hash.state()
    }
}

#[cfg(test)]
mod tests {
    use crate::event::{EventClass, Names};
    use crate::fault::{Fault, FaultPlan};
    use crate::model::{Model, World};
    use crate::node::world::NodeWorld;
    use crate::node::{Context, Delivery, Node, NodeId, Simulation};
    use crate::oracle::Oracle;
    use crate::strategy::Random;
    use crate::watch::Watch;

    #[derive(Clone, Debug, Default)]
    struct Sum(u32);

    impl Node for Sum {
        type Message = u32;

        fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
            ctx.set_timer("tick");
            if ctx.id() == NodeId(1) {
                (1..=2).for_each(|number| ctx.broadcast(number));
            }
        }

        fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, number: u32) {
            self.0 += number;
        }
    }

    fn world(simulation: &Simulation<Sum>) -> NodeWorld<Sum> {
        let mut random = Random::new();
        let mut oracle = Oracle::new(&mut random, false, Vec::new());
        simulation.start(&mut oracle, &mut Watch::new(false)).expect("it starts")
    }

    fn sums() -> Simulation<Sum> {
        let faults = FaultPlan::none().allow(Fault::Crash, 1).allow(Fault::Pause, 1);
        Simulation::new("sums").nodes([Sum(0), Sum(0), Sum(0)]).faults(faults)
    }

    /// A copy in which these events have happened.
    fn after(world: &NodeWorld<Sum>, names: &[&str]) -> NodeWorld<Sum> {
        let mut world = world.fork().expect("a copy is possible");
        let mut random = Random::new();
        let mut oracle = Oracle::new(&mut random, false, Vec::new());
        for name in names {
            let pick = world.find(name).expect(name);
            world.perform(pick, &mut oracle, &mut Watch::new(false)).expect("nothing is open");
        }
        world
    }

    #[test]
    fn what_commutes_leads_to_one_state_and_all_else_to_another() {
        let start = world(&sums());
        let (one, two) = ("deliver n1 → n2 1", "deliver n1 → n3 2");
        let state = |names: &[&str]| after(&start, names).exact_state().expect("it can tell");
        assert_eq!(state(&[one, two]), state(&[two, one]));
        assert_eq!(state(&[one, "deliver n1 → n2 2"]), state(&["deliver n1 → n2 2", one]));
        let names: &[&[&str]] = &[
            &[],
            &[one],
            &[two],
            &[one, two],
            &["timeout n1 tick"],
            &["timeout n2 tick"],
            &["pause n2"],
            &["pause n2", "resume n2"],
            &["crash n2"],
            &["crash n2", "restart n2"],
        ];
        let states: std::collections::BTreeSet<_> = names.iter().map(|it| state(it)).collect();
        assert_eq!(states.len(), names.len(), "each is another one");
        assert_eq!(start.exact_state(), Some(state(&[])), "copies are independent");
    }

    #[test]
    fn messages_in_order_are_another_state_than_messages_out_of_order() {
        let link = |order: [u32; 2]| {
            let mut world = after(&world(&sums().delivery(Delivery::Fifo)), &[]);
            // As if they had been sent the other way round.
            let mut taken = Vec::new();
            while let Some((place, it)) = world.network.take_first() {
                taken.push((place, it.message));
            }
            taken.sort_by_key(|(_, it)| order.iter().position(|&number| number == it.message));
            for (place, envelope) in taken {
                world.network.send(place, envelope);
            }
            world.exact()
        };
        assert_ne!(link([1, 2]), link([2, 1]));
    }

    #[test]
    fn names_and_numbers_do_not_matter_to_the_abstract_state() {
        let start = world(&sums());
        let shape = |names: &[&str]| after(&start, names).abstract_state();
        assert_eq!(shape(&["deliver n1 → n2 1"]), shape(&["deliver n1 → n3 2"]));
        assert_ne!(shape(&["timeout n1 tick"]), shape(&[]));
    }

    #[test]
    fn a_fifo_link_delivers_its_oldest_message_only() {
        let start = world(&sums().delivery(Delivery::Fifo));
        assert_eq!(start.counts()[EventClass::Deliver as usize], 2, "one for each link");
        assert_eq!(start.find("deliver n1 → n2 2"), None);
        let like = start.find_like("deliver n1 → n2 7").expect("another number");
        assert_eq!(start.name(like), "deliver n1 → n2 1");
    }

    #[test]
    fn equal_messages_that_keep_their_order_are_told_apart() {
        let mut start = world(&sums().delivery(Delivery::Fifo));
        for slot in [0, 1] {
            let (slot, _) = start.network.slots().nth(slot).expect("two for each");
            let envelope = start.network.message(slot).clone();
            start.network.send(1, envelope);
        }
        start.plan = FaultPlan::none().allow(Fault::Drop, 2);
        start.find_enabled();
        let second = "drop n1 ⇥ n2 2 #2";
        let rest = |names: &[&str]| after(&start, names).exact();
        assert_ne!(rest(&["drop n1 ⇥ n2 2"]), rest(&[second]));
        let pick = start.find(second).expect("there are two");
        assert_eq!(start.name(pick), second);
    }
}

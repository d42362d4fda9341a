//! What exhaustive search asks of a cluster: its bounds, a copy of it, and whether it has been there before.
//!
//! Guarantees: two clusters with one state have the same future, but for the names of what they send.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::hash::Hash as _;
use std::sync::Arc;

use raft_core::{Address, Effects, Envelope};

use super::World;
use super::event::Event;
use crate::fingerprint::StateHasher;
use crate::network::Delivery;
use crate::plan::Kind as _;
use crate::raft::scenario::{Clocks, Scenario};
use crate::sleep::Action;

/// More than the messages that two events can send.
const IN_FLIGHT_MARGIN: usize = 32;

/// Stands for a message.
fn hash(message: &Envelope) -> u128 {
    let mut state = StateHasher::new();
    message.hash(&mut state);
    state.state()
}

impl World {
    /// How often a timer may still fire.
    pub(super) fn timeouts_left(&self) -> u32 {
        match self.scenario.timeouts_max {
            0 => u32::MAX,
            most => most.saturating_sub(self.timeouts),
        }
    }

    /// True unless the server at this place would campaign for a term that is out of bounds.
    pub(super) fn may_time_out(&self, place: usize) -> bool {
        let Some(server) = &self.hosts[place].server else { return false };
        let term_max = self.scenario.term_max;
        term_max == 0 || server.role().is_leader() || server.current_term().0 < term_max
    }

    /// Only one world can have the files of its servers.
    fn may_be_copied(&self) -> bool {
        !self.hosts.iter().any(|host| host.has_files())
    }

    pub(super) fn copy(&self) -> Option<Self> {
        self.may_be_copied().then(|| Self {
            scenario: Arc::clone(&self.scenario),
            defect: self.defect,
            variant: Arc::clone(&self.variant),
            // Told once for all copies.
            settings_hash: OnceCell::from(self.hash_settings()),
            hosts: self.hosts.clone(),
            clients: self.clients.clone(),
            network: self.network.clone(),
            faults: self.faults,
            operations: self.operations,
            cut: self.cut,
            last_read: self.last_read,
            reads: self.reads.clone(),
            effects: Effects::new(),
            inputs: VecDeque::new(),
            together: Vec::new(),
            heard: Vec::new(),
            observers: self.observers.clone(),
            timeouts: self.timeouts,
            touched: self.touched,
            views: self.views.clone(),
            traits: self.traits,
            abstraction: self.abstraction,
            asked: Cell::new(None),
        })
    }

    /// What [`copy`](Self::copy) makes, in the place and the memory of another world.
    pub(super) fn copy_into(&self, copy: &mut Self) -> bool {
        let Self {
            scenario,
            defect,
            variant,
            settings_hash: _,
            hosts,
            clients,
            network,
            faults,
            operations,
            cut,
            last_read,
            reads,
            effects: _,
            inputs: _,
            together: _,
            heard: _,
            observers,
            timeouts,
            touched,
            views,
            traits,
            abstraction,
            asked: _,
        } = self;
        copy.scenario.clone_from(scenario);
        copy.defect = *defect;
        copy.variant.clone_from(variant);
        copy.settings_hash = OnceCell::from(self.hash_settings());
        copy.hosts.clone_from(hosts);
        copy.clients.clone_from(clients);
        copy.network.clone_from(network);
        copy.faults = *faults;
        copy.operations = *operations;
        copy.cut = *cut;
        copy.last_read = *last_read;
        copy.reads.clone_from(reads);
        copy.effects.clear();
        copy.inputs.clear();
        copy.together.clear();
        copy.heard.clear();
        copy.observers.clone_from(observers);
        copy.timeouts = *timeouts;
        copy.touched = *touched;
        copy.views.clone_from(views);
        copy.traits = *traits;
        copy.abstraction = *abstraction;
        copy.asked.set(None);
        self.may_be_copied()
    }

    /// What differs from one start to another.
    fn hash_settings(&self) -> u128 {
        *self.settings_hash.get_or_init(|| {
            let mut settings = StateHasher::new();
            settings.debug(&(&self.scenario, &self.variant));
            settings.state()
        })
    }

    /// `None` if some monitor does not tell what it remembers.
    pub(super) fn hash_state(&self) -> Option<u128> {
        // Whoever adds a field decides here whether it is state.
        let Self {
            scenario: _,
            defect: _,
            variant,
            settings_hash: _,
            hosts,
            clients,
            network,
            faults,
            operations,
            cut,
            last_read,
            reads,
            effects: _,
            inputs: _,
            together: _,
            heard: _,
            observers,
            timeouts,
            touched: _,
            views: _,
            traits: _,
            abstraction: _,
            asked: _,
        } = self;
        let mut state = StateHasher::new();
        self.hash_settings().hash(&mut state);
        for host in hosts {
            let of_host = host.hash_with(|host| {
                let mut state = StateHasher::new();
                host.hash_state(&mut state);
                state.state()
            });
            of_host.hash(&mut state);
            if variant.aims_crashes {
                host.hash_aim(&mut state);
            }
        }
        clients.hash(&mut state);
        network.hashes(hash).for_each(|inbox| inbox.hash(&mut state));
        crate::fault::Fault::ALL.iter().for_each(|&fault| faults.count(fault).hash(&mut state));
        let all = crate::operation::Operation::ALL;
        all.iter().for_each(|&operation| operations.count(operation).hash(&mut state));
        cut.map(crate::links::Cut::number).hash(&mut state);
        (last_read, reads, timeouts).hash(&mut state);
        for monitor in observers.iter().flat_map(|observers| &observers.monitors) {
            let mut is_known = true;
            let of_monitor = monitor.hash_with(|monitor| {
                let mut state = StateHasher::new();
                is_known = monitor.hash_state(&mut state);
                state.state()
            });
            if !is_known {
                return None;
            }
            of_monitor.hash(&mut state);
        }
        Some(state.state())
    }

    /// What this event has to do with, if that is only the server it is about: its messages may come in any
    /// order, its clock is its own, and there is room for all that it sends.
    pub(super) fn local_action(&self, event: Event) -> Option<Action> {
        let Scenario { clocks, delivery, in_flight_max, .. } = *self.scenario;
        let has_room = self.network.in_flight() + IN_FLIGHT_MARGIN < in_flight_max;
        let are_local = clocks == Clocks::Free && delivery == Delivery::Unordered;
        let place = event.place();
        if !are_local || !has_room || self.cut.is_some() || place >= self.hosts.len() {
            return None;
        }
        let budget = match event {
            Event::Deliver(_)
            | Event::Saved(_)
            | Event::Applied(_)
            | Event::Restart(_)
            | Event::Resume(_) => 0,
            // So many in all.
            Event::Timeout(_)
            | Event::Drop(_)
            | Event::Duplicate(_)
            | Event::Crash(_)
            | Event::Pause(_) => event.kind(),
            _ => return None,
        };
        let mut state = StateHasher::new();
        (event.kind(), place).hash(&mut state);
        event.slot().map(|slot| self.network.in_flight_at(slot).hash_with(hash)).hash(&mut state);
        Some(Action { id: state.state() as u64, place, budget })
    }

    /// True if a server with a smaller number has seen no event either, and the same is on its way to both:
    /// then the two are one but for their names, if nothing goes by these. With timed clocks the election
    /// timeouts do.
    pub(super) fn has_twin_below(&self, place: usize) -> bool {
        let is_fresh = |place: usize| place < self.hosts.len() && self.touched >> place & 1 == 0;
        let members = self.scenario.servers;
        let are_alike = self.scenario.clocks == Clocks::Free && !self.variant.has_priorities;
        // Those that stand by are no twins of members.
        are_alike
            && is_fresh(place)
            && (0..place).any(|twin| {
                let is_alike = (twin < members) == (place < members);
                is_fresh(twin) && is_alike && self.hears_the_same(twin, place)
            })
    }

    fn hears_the_same(&self, one: usize, two: usize) -> bool {
        let of = |place| {
            let messages = self.network.messages_to(place);
            let unaddressed = messages.map(|it| Envelope { to: Address::AllServers, ..it.clone() });
            unaddressed.collect::<Vec<_>>()
        };
        let (mut one, two) = (of(one), of(two));
        // Neither has an order.
        one.len() == two.len()
            && two.iter().all(|message| {
                let same = one.iter().position(|other| other == message);
                same.map(|position| one.swap_remove(position)).is_some()
            })
    }
}

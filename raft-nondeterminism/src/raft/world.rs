//! The world of one run: real servers and clients, and pure models of everything around them.
//!
//! Guarantees: one event is one decision, carried out to its end; what an event does follows from the
//!             world, the event and the oracle alone.
//! Relies on:  [`Server`] being a function of its inputs.
//! Elsewhere:  what a server runs on is in `world/host.rs`, messages in flight are in `network.rs`, who
//!             decides in `oracle.rs`, who watches in `watch.rs`. Nothing but these files, `monitor.rs`
//!             and `goal.rs` knows Raft.
//!
//! Timers are *free* unless the scenario says otherwise: each server has a clock of its own, which
//! stands still until its timer fires and then jumps to the deadline. So any timer may fire at any
//! time, as if every message could take for ever and every clock run at its own speed: all that safety
//! may rely on.

mod abstraction;
mod client;
mod counts;
mod covering;
mod event;
mod files;
mod host;
mod keys;
mod lanes;
mod names;
mod post;
mod settle;
mod state;
pub(super) mod variant;
mod view;

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{
    Address, ClientId, Defect, Effects, Envelope, Input, NewServerError, ReadId, ReadMode, Server,
    ServerId,
};

use crate::event::{EventClass, Pick};
use crate::fault::{Fault, FaultCounts};
use crate::links::Cut;
use crate::network::{Delivery, InFlight, Network, Slot};
use crate::operation::{Operation, OperationCounts};
use crate::oracle::Oracle;
use crate::raft::changes::{Changes, change_count, possible_changes};
use crate::raft::monitor::Fact;
use crate::raft::scenario::{Clocks, SaveMode, Scenario};
use crate::raft::watch::{Observers, Watch};
use crate::raft::world::abstraction::Abstraction;
use crate::raft::world::client::ClientHost;
use crate::raft::world::event::Event;
use crate::raft::world::host::Host;
use crate::raft::world::variant::Variant;
use crate::raft::world::view::{Trait, Traits, View};
use crate::shared::Shared;
use crate::sleep::Action;
use crate::strategy::NotReproducible;
use crate::trace::Lane;
use crate::watch;

/// A cluster with everything around it.
#[derive(Debug)]
pub struct World {
    scenario: Arc<Scenario>,
    defect: Option<Defect>,
    variant: Arc<Variant>,
    /// Stands for the scenario and the variant, as soon as somebody asks.
    settings_hash: OnceCell<u128>,
    hosts: Vec<Shared<Host>>,
    clients: Vec<ClientHost>,
    network: Network<Envelope>,
    faults: FaultCounts,
    operations: OperationCounts,
    /// Which links are cut.
    cut: Option<Cut>,
    /// Numbers the reads of all servers, so that none has the number of another.
    last_read: ReadId,
    /// Reads under way, and who was asked.
    reads: BTreeMap<ReadId, ServerId>,
    /// Buffers, empty between events.
    effects: Effects,
    inputs: VecDeque<Input>,
    together: Vec<Input>,
    heard: Vec<usize>,
    /// Who watches; with the event while one happens.
    observers: Option<Box<Observers>>,
    /// How often a timer has fired.
    timeouts: u32,
    /// Who was concerned by any event, a bit for each.
    touched: u64,
    /// What each host is like, and how many are.
    views: Vec<View>,
    traits: Traits,
    abstraction: Abstraction,
    /// The event that was asked for last, as long as nothing has happened since.
    asked: Cell<Option<(Pick, Event)>>,
}

const WATCHED: &str = "no event happens within another, or after a panic";

impl World {
    /// A cluster whose servers have all just joined, with those that stand by.
    pub(super) fn new(
        scenario: Scenario,
        defect: Option<Defect>,
        variant: Variant,
        observers: Observers,
        notes: &mut watch::Watch,
    ) -> Result<Self, NewServerError> {
        let servers = scenario.servers_and_spares();
        let ids: Vec<_> = (1..=servers as u64).map(ServerId).collect();
        let client_ids: Vec<_> = (1..=scenario.clients as u64).map(ClientId).collect();
        let registers = scenario.sessions_max > 0;
        let client =
            |&id: &ClientId| ClientHost::new(id, ids.iter().copied(), scenario.requests, registers);
        let mut world = Self {
            hosts: ids.iter().copied().map(Host::new).map(Shared::new).collect(),
            clients: client_ids.iter().map(client).collect(),
            network: Network::new(ids.len() + client_ids.len()),
            faults: FaultCounts::default(),
            operations: OperationCounts::default(),
            cut: None,
            last_read: ReadId(0),
            reads: BTreeMap::new(),
            effects: Effects::new(),
            inputs: VecDeque::new(),
            together: Vec::new(),
            heard: Vec::new(),
            observers: None,
            timeouts: 0,
            touched: 0,
            views: vec![View::default(); ids.len()],
            traits: Traits::default(),
            abstraction: Abstraction::default(),
            asked: Cell::new(None),
            scenario: Arc::new(scenario),
            defect,
            variant: Arc::new(variant),
            settings_hash: OnceCell::new(),
        };
        let mut observers = Box::new(observers);
        let watch = &mut Watch { observers: &mut observers, notes };
        for (host, &speed) in world.hosts.iter_mut().zip(&world.variant.speeds) {
            host.speed = speed;
        }
        for place in world.places() {
            world.start(place, watch)?;
        }
        world.observers = Some(observers);
        world.look();
        Ok(world)
    }

    /// What a pick stands for.
    fn event(&self, pick: Pick) -> Event {
        const ENABLED: &str = "the pick is enabled";
        let Pick { class, index } = pick;
        let hosts = |is_enabled: fn(&Host) -> bool| {
            self.places().filter(move |&place| is_enabled(&self.hosts[place]))
        };
        let nth_host = |is_enabled| hosts(is_enabled).nth(index).expect(ENABLED);
        match class {
            EventClass::Deliver => {
                let arrivals = self.traits.count(Trait::HasArrivals);
                let arrived = match arrivals {
                    0 => None,
                    _ => hosts(Host::has_arrivals).nth(index),
                };
                let rest = index.saturating_sub(arrivals);
                let is_up =
                    |place| self.hosts.get(place).is_none_or(|host: &Shared<Host>| host.runs());
                if arrived.is_none() && self.is_choosy() {
                    let slot = self.network.nth_where(rest, |slot| self.is_deliverable(slot));
                    return Event::Deliver(slot);
                }
                arrived.map_or_else(|| Event::Deliver(self.network.nth(rest, is_up)), Event::Take)
            }
            EventClass::Drop => Event::Drop(self.network.nth(index, |_| true)),
            EventClass::Duplicate => Event::Duplicate(self.network.nth(index, |_| true)),
            EventClass::Timeout => Event::Timeout(self.due().nth(index).expect(ENABLED)),
            EventClass::Save => {
                let saved = hosts(Host::may_save).map(Event::Saved);
                let taken = hosts(Host::is_taking).map(Event::Taken);
                let applied = hosts(Host::is_applying).map(Event::Applied);
                saved.chain(taken).chain(applied).nth(index).expect(ENABLED)
            }
            EventClass::Crash => {
                let may = |fault| if self.has_budget(fault) { usize::MAX } else { 0 };
                let is_target =
                    if self.variant.aims_crashes { Host::is_delicate } else { Host::is_up };
                let crashes = hosts(is_target).take(may(Fault::Crash)).map(Event::Crash);
                let pauses = hosts(Host::runs).take(may(Fault::Pause)).map(Event::Pause);
                crashes.chain(pauses).nth(index).expect(ENABLED)
            }
            EventClass::Restart => match nth_host(|host| !host.runs()) {
                place if self.hosts[place].is_up() => Event::Resume(place),
                place => Event::Restart(place),
            },
            EventClass::Client => {
                let events = self.clients.iter().enumerate().flat_map(|(place, client)| {
                    let new = client.can_request().then_some(Event::Request(place));
                    new.into_iter().chain(client.can_retry().then_some(Event::Retry(place)))
                });
                events.into_iter().nth(index).expect(ENABLED)
            }
            EventClass::Snapshot => Event::Snapshot(nth_host(Host::runs)),
            EventClass::Change => {
                let (place, which) = self.nth_of(index, |place| self.change_count(place));
                Event::Change(place, which)
            }
            EventClass::Transfer => {
                let (place, which) = self.nth_of(index, |place| self.successor_count(place));
                Event::Transfer(place, which)
            }
            EventClass::Read => Event::Read(nth_host(Host::knows_leader)),
            EventClass::Propose => Event::Propose(nth_host(Host::leads)),
            EventClass::Partition if self.cut.is_some() => Event::Heal,
            EventClass::Partition => Event::Cut(Cut::nth(self.hosts.len(), index)),
            EventClass::Disk => {
                let may = |fault| if self.has_budget(fault) { usize::MAX } else { 0 };
                let failing = hosts(Host::may_save).take(may(Fault::DiskError));
                let stalling = hosts(Host::may_save).take(may(Fault::DiskStall));
                let events = failing.map(Event::FailDisk).chain(stalling.map(Event::Stall));
                let events = events.chain(hosts(Host::is_stalled).map(Event::Unstall));
                events.into_iter().nth(index).expect(ENABLED)
            }
        }
    }

    /// Lets an event happen, to its end.
    fn do_event(
        &mut self,
        event: Event,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), NotReproducible> {
        match event {
            Event::Crash(place) => self.crash(place, oracle, watch)?,
            Event::FailDisk(place) => self.fail_disk(place, oracle, watch)?,
            event => self.happen(event, watch),
        }
        Ok(())
    }

    /// Lets an event happen that leaves nothing open.
    fn happen(&mut self, event: Event, watch: &mut Watch<'_>) {
        match event {
            Event::Deliver(slot) => {
                let slot = self.first_alike(slot);
                let InFlight { number, message, .. } = self.network.take(slot);
                watch.delivered(number);
                self.arrive(slot.place, message, watch);
            }
            Event::Drop(slot) => {
                let slot = self.first_alike(slot);
                watch.lost(self.network.take(slot).number);
                self.faults.happened(Fault::Drop);
            }
            Event::Duplicate(slot) => {
                let slot = self.first_alike(slot);
                let number = self.network.in_flight_at(slot).number;
                watch.doubled(number, self.network.duplicate(slot));
                self.faults.happened(Fault::Duplicate);
            }
            Event::Timeout(place) => {
                self.timeouts += 1;
                self.wait_for(place);
                self.tell(place, Input::TimerElapsed, watch);
            }
            Event::Request(place) => {
                let envelope = self.clients[place].request(self.variant.has_large_commands);
                self.send(envelope, watch);
            }
            Event::Retry(place) => {
                let envelopes = self.clients[place].retry(self.variant.retries_all);
                watch.fact(&Fact::Retried { client: self.clients[place].id() });
                envelopes.into_iter().for_each(|envelope| self.send(envelope, watch));
            }
            Event::Take(place) => {
                self.take_arrivals(place);
                let _ = self.step(place, watch);
            }
            Event::Applied(place) => self.work(place, watch),
            Event::Saved(place) => {
                let number = self.hosts[place].write_oldest();
                self.tell(place, Input::Saved(number), watch);
            }
            Event::Taken(place) => {
                let taken = self.hosts[place].taking.take();
                let (through, data) = taken.expect("the event was enabled");
                self.tell(place, Input::SnapshotTaken { through, data }, watch);
            }
            Event::Crash(_) | Event::FailDisk(_) => {
                unreachable!("how much is saved then is open")
            }
            Event::Restart(place) => {
                // It has started from the same configuration before, so only its own saves can
                // make it fail: then they were none a server of this kind ever saved.
                self.start(place, watch).expect("what a server saved, it recovers from");
                let (server, was_torn) = (self.hosts[place].id, self.hosts[place].was_torn());
                watch.fact(&Fact::Restarted { server, was_torn });
                self.cover_restart(place, watch);
            }
            Event::Snapshot(place) => {
                self.operate(place, Operation::TakeSnapshot, Input::TakeSnapshot, watch);
            }
            Event::Change(place, which) => {
                let Changes(changes) = self.changes(place).swap_remove(which);
                let input = Input::ChangeMembership(changes);
                let is_taken = self.operate(place, Operation::ChangeMembership, input, watch);
                if is_taken && self.variant.changes_slowly {
                    self.propose(place, watch);
                }
            }
            Event::Transfer(place, which) => {
                let to = self.successors(place)[which];
                let input = Input::TransferLeadership { to };
                self.operate(place, Operation::TransferLeadership, input, watch);
            }
            Event::Read(place) => self.read(place, watch),
            Event::Propose(place) => self.propose(place, watch),
            Event::Cut(cut) => {
                self.cut = Some(cut);
                self.faults.happened(Fault::Partition);
            }
            Event::Heal => self.cut = None,
            Event::Pause(place) => {
                self.hosts[place].is_paused = true;
                self.faults.happened(Fault::Pause);
            }
            Event::Resume(place) => self.hosts[place].is_paused = false,
            Event::Stall(place) => {
                self.hosts[place].stall(true);
                self.faults.happened(Fault::DiskStall);
            }
            Event::Unstall(place) => self.hosts[place].stall(false),
        }
    }

    /// A message is there: servers take it, now or with others, and clients do.
    fn arrive(&mut self, place: usize, envelope: Envelope, watch: &mut Watch<'_>) {
        match place.checked_sub(self.hosts.len()) {
            None if self.variant.is_batching => {
                self.hosts[place].arrivals.push(Input::Message(envelope));
            }
            None => self.tell(place, Input::Message(envelope), watch),
            Some(place) => self.answer(place, envelope, watch),
        }
    }

    /// Takes into a fingerprint what an event did. It leaves out which of several equal messages it
    /// was about: they are kept in no order.
    fn mix_into(&self, fingerprint: &mut watch::Watch, event: Event) {
        let place = event.place();
        fingerprint.mix(place as u64);
        fingerprint.mix(self.network.in_flight() as u64);
        let Some(host) = self.hosts.get(place) else { return };
        let Some(server) = &host.server else { return };
        let hard_state = server.hard_state();
        fingerprint.mix(hard_state.current_term.0);
        fingerprint.mix(hard_state.voted_for.map_or(0, |server| server.0));
        fingerprint.mix(server.log().last_index().0);
        fingerprint.mix(server.log().last_term().0);
        fingerprint.mix(server.commit_index().0);
        fingerprint.mix(server.durable_index().0);
        fingerprint.mix(host.machine.applied);
        fingerprint.mix(server.role().name().len() as u64);
    }

    /// True while so much is in flight that nothing new is started. What cannot arrive counts less.
    fn is_crowded(&self) -> bool {
        let in_flight = self.network.in_flight();
        let least = if self.cut.is_none() { 1 } else { 4 };
        in_flight >= least * self.scenario.in_flight_max
    }

    /// True if not every message for a server that runs may arrive next.
    fn is_choosy(&self) -> bool {
        self.cut.is_some() || self.scenario.delivery != Delivery::Unordered
    }

    /// True if its receiver runs and hears the sender, and it is the message's turn.
    fn is_deliverable(&self, slot: Slot) -> bool {
        let message = self.network.message(slot);
        if !self.is_heard(slot.place, message) {
            return false;
        }
        let is_of_link = |other: &Envelope| other.from == message.from;
        self.network.turn(slot, self.scenario.delivery, is_of_link).1
    }

    /// True if its receiver runs and hears the sender.
    fn is_heard(&self, place: usize, message: &Envelope) -> bool {
        let Some(host) = self.hosts.get(place) else { return true };
        // Server `n` is at place `n - 1`.
        let is_heard = match (self.cut, message.from) {
            (Some(cut), Address::Server(from)) => cut.hears(place, from.0 as usize - 1),
            (None, _) | (_, Address::Client(_) | Address::AllServers) => true,
        };
        is_heard && host.runs()
    }

    /// The first of the messages for the same receiver that say the same. Where order matters, which of
    /// them goes matters too, and their names do not tell.
    fn first_alike(&self, slot: Slot) -> Slot {
        if self.scenario.delivery == Delivery::Unordered {
            return slot;
        }
        self.network.first_alike(slot)
    }

    /// Lets time pass until the timer of the server at this place fires.
    fn wait_for(&mut self, place: usize) {
        let deadline = self.hosts[place].deadline().expect("a server that has joined waits");
        if self.scenario.clocks != Clocks::Free {
            let time = self.hosts[place].due_in().unwrap_or_default();
            self.hosts.iter_mut().for_each(|host| host.pass(time));
        }
        let host = &mut self.hosts[place];
        let oversleeping = host.server.as_ref().filter(|_| self.variant.oversleeps);
        let late = oversleeping.map_or(Duration::ZERO, |it| it.config().election_timeout_max);
        host.clock = host.clock.max(deadline + late);
    }

    fn has_budget(&self, fault: Fault) -> bool {
        // Only disks with files fail.
        let is_of_disk = matches!(fault, Fault::DiskError | Fault::DiskStall);
        let is_possible = !is_of_disk || self.scenario.saves == SaveMode::Files;
        is_possible && self.faults.is_below(&self.scenario.faults, fault)
    }

    fn places(&self) -> Range<usize> {
        0..self.hosts.len()
    }

    /// The `index`-th of all choices, if each place has so many: the place, and which of its own.
    fn nth_of(&self, index: usize, count: impl Fn(usize) -> usize) -> (usize, usize) {
        let mut which = index;
        for place in self.places() {
            let here = count(place);
            if which < here {
                return (place, which);
            }
            which -= here;
        }
        panic!("there are fewer than {index} choices")
    }

    /// Whose timer may fire next.
    fn due(&self) -> impl Iterator<Item = usize> + '_ {
        let is_free = self.scenario.clocks == Clocks::Free;
        let earliest =
            if is_free { None } else { self.hosts.iter().filter_map(|host| host.due_in()).min() };
        self.places().filter(move |&place| {
            let due_in = self.hosts[place].due_in();
            let is_due = due_in.is_some() && (is_free || due_in == earliest);
            is_due && self.may_time_out(place)
        })
    }

    /// What the leader at this place may be asked to change.
    fn changes(&self, place: usize) -> Vec<Changes> {
        match self.hosts[place].leader() {
            Some(leader) if !leader.configuration().is_joint() => {
                let everyone = self.hosts.iter().map(|host| host.id);
                let configuration = leader.configuration();
                let mut changes = possible_changes(configuration, everyone);
                changes.retain(|changes| self.variant.operators.allows(changes, configuration));
                changes
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Whom the leader at this place may be asked to make leader; `None` is anyone. Learners are among
    /// them, and have to be refused.
    fn successors(&self, place: usize) -> Vec<Option<ServerId>> {
        let Some(leader) = self.hosts[place].leader() else { return Vec::new() };
        let others = leader.configuration().servers().into_iter().filter(|&id| id != leader.id());
        [None].into_iter().chain(others.map(Some)).collect()
    }

    /// How many [`changes`](Self::changes) there are.
    fn change_count(&self, place: usize) -> usize {
        let configuration = self.hosts[place].leader().map(Server::configuration);
        configuration.filter(|configuration| !configuration.is_joint()).map_or(0, |configuration| {
            change_count(configuration, self.hosts.len(), self.variant.operators)
        })
    }

    /// How many [`successors`](Self::successors) there are.
    fn successor_count(&self, place: usize) -> usize {
        let Some(leader) = self.hosts[place].leader() else { return 0 };
        let is_other = |id| id != leader.id() && leader.configuration().contains(id);
        1 + self.hosts.iter().filter(|host| is_other(host.id)).count()
    }

    /// What has arrived at a server is what it takes next.
    fn take_arrivals(&mut self, place: usize) {
        if !self.hosts[place].arrivals.is_empty() {
            self.together.append(&mut self.hosts[place].arrivals);
        }
    }

    /// Gives a server an input that it may refuse, after what has arrived.
    fn tell(&mut self, place: usize, input: Input, watch: &mut Watch<'_>) {
        self.take_arrivals(place);
        self.together.push(input);
        // What it refuses is in the trace, and what is fatal was told to the monitors.
        let _ = self.step(place, watch);
    }

    /// Asks a server for something that counts only if it takes it. True if it does.
    fn operate(
        &mut self,
        place: usize,
        operation: Operation,
        input: Input,
        watch: &mut Watch<'_>,
    ) -> bool {
        self.together.push(input);
        let is_taken = self.step(place, watch).is_ok();
        if is_taken {
            self.operations.happened(operation);
        }
        is_taken
    }

    /// The application that embeds a leader proposes something.
    fn propose(&mut self, place: usize, watch: &mut Watch<'_>) {
        let number = self.operations.count(Operation::Propose) + 1;
        let input = Input::Propose(format!("p-{number}").into());
        self.operate(place, Operation::Propose, input, watch);
    }

    /// Asks a server for a read; every other one may be served by the leader's clock.
    fn read(&mut self, place: usize, watch: &mut Watch<'_>) {
        let id = ReadId(self.last_read.0 + 1);
        self.last_read = id;
        let mode = if id.0.is_multiple_of(2) { ReadMode::Lease } else { ReadMode::ReadIndex };
        let server = self.hosts[place].id;
        watch.fact(&Fact::ReadAsked { server, id });
        self.reads.insert(id, server);
        if !self.operate(place, Operation::Read, Input::Read { id, mode }, watch) {
            self.reads.remove(&id);
            watch.fact(&Fact::ReadFailed { server, id });
        }
    }
}

impl crate::model::World for World {
    fn counts(&self) -> [usize; EventClass::COUNT] {
        self.counts_by_class()
    }

    fn place(&self, pick: Pick) -> usize {
        let event = self.event(pick);
        // Whoever asks for its place is about to let it happen.
        self.asked.set(Some((pick, event)));
        self.place_among_all(event)
    }

    fn place_name(&self, place: usize) -> Option<String> {
        let client = || self.clients.get(place.checked_sub(self.hosts.len())?);
        let server = self.hosts.get(place).map(|host| host.id.to_string());
        server.or_else(|| Some(client()?.id().to_string()))
    }

    fn key(&self, pick: Pick) -> u64 {
        self.event_key(self.event(pick))
    }

    fn survey(&self, class: EventClass, visit: &mut dyn FnMut(usize, u64)) {
        self.survey_class(class, visit);
    }

    fn perform(
        &mut self,
        pick: Pick,
        oracle: &mut Oracle<'_>,
        notes: &mut watch::Watch,
    ) -> Result<(), NotReproducible> {
        let asked = self.asked.take().filter(|asked| asked.0 == pick);
        let event = asked.map_or_else(|| self.event(pick), |asked| asked.1);
        let mut observers = self.observers.take().expect(WATCHED);
        let outcome = self.do_event(event, oracle, &mut Watch { observers: &mut observers, notes });
        self.observers = Some(observers);
        self.touched |= 1u64.checked_shl(event.place().min(64) as u32).unwrap_or_default();
        self.mix_into(notes, event);
        self.look();
        outcome
    }

    fn settle(&mut self, notes: &mut watch::Watch) -> Result<(), String> {
        self.asked.set(None);
        let mut observers = self.observers.take().expect(WATCHED);
        let outcome = self.come_to_rest(&mut Watch { observers: &mut observers, notes });
        self.observers = Some(observers);
        outcome
    }

    fn faults(&self) -> FaultCounts {
        self.faults
    }

    fn operations(&self) -> OperationCounts {
        self.operations
    }

    fn goals(&self) -> u64 {
        self.observers.as_ref().map_or(0, |observers| observers.goals.reached())
    }

    fn lanes(&self) -> Vec<Lane> {
        self.all_lanes()
    }

    fn exact_state(&self) -> Option<u128> {
        self.hash_state()
    }

    fn is_redundant(&self, pick: Pick) -> bool {
        self.has_twin_below(self.event(pick).place())
    }

    fn action(&self, pick: Pick) -> Option<Action> {
        self.local_action(self.event(pick))
    }

    fn fork(&self) -> Option<Self> {
        self.copy()
    }

    fn fork_into(&self, copy: &mut Self) -> bool {
        self.copy_into(copy)
    }

    fn abstract_state(&self) -> u64 {
        self.abstraction.with(self.network.in_flight())
    }
}

//! One run of a simulation: nodes, their disks and timers, and the messages between them.
//!
//! Guarantees: one event is one decision, carried out to its end; what an event does follows from the
//!             world, the event and the oracle alone.
//! Relies on:  nodes that are functions of what they are told.
//! Elsewhere:  what events are called is in `world/names.rs`, who judges in `world/judges.rs`, the end of
//!             a run in `world/settle.rs`, what is one state in `world/state.rs`, and what nodes met in
//!             `world/covering.rs`.

pub(super) mod covering;
mod enabled;
mod judges;
mod lanes;
mod names;
mod settle;
mod state;

use std::collections::BTreeMap;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::context::{Context, Dice, Effect};
use super::property::{Fact, View};
use super::simulation::Simulation;
use super::{Node, NodeId};
use crate::event::{EventClass, Pick};
use crate::fault::{Fault, FaultCounts, FaultPlan};
use crate::links::Cut;
use crate::model::World;
use crate::network::{Delivery, InFlight, Network, Slot};
use crate::oracle::Oracle;
use crate::strategy::NotReproducible;
use crate::trace::Lane;
use crate::watch::Watch;
use enabled::Enabled;
use judges::Judges;

/// One run of a [`Simulation`].
#[derive(Clone, Debug)]
pub struct NodeWorld<N: Node> {
    hosts: Vec<Host<N>>,
    requests: Vec<Request<N::Message>>,
    network: Network<Envelope<N::Message>>,
    plan: FaultPlan,
    delivery: Delivery,
    in_flight_max: usize,
    faults: FaultCounts,
    /// Who does not hear whom, and since which event.
    cut: Option<(Cut, usize)>,
    /// How many events there were.
    steps: usize,
    /// Stands for everything that was said with this event.
    said: u64,
    judges: Judges<N>,
    /// What the nodes have told of this event.
    facts: Vec<Fact>,
    /// Everything that can happen next.
    enabled: Enabled,
    /// A buffer, empty between events.
    effects: Vec<Effect<N>>,
    /// True if a node has done anything with this event but tell the reader.
    has_acted: bool,
}

/// What a node runs on.
#[derive(Clone, Debug)]
pub(in crate::node) struct Host<N> {
    name: Arc<str>,
    /// `None` while it is down.
    pub(in crate::node) node: Option<N>,
    /// What it is after a crash.
    pub(in crate::node) disk: N,
    /// What was written since and may not survive, oldest first.
    unsynced: Vec<N>,
    /// The timers that are set, and since which event.
    timers: BTreeMap<&'static str, usize>,
    is_paused: bool,
    /// Since which event it is down or paused, if it is.
    since: usize,
    /// What it is, exactly and by its shape.
    hashes: (u128, u64),
}

impl<N> Host<N> {
    fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// True if it does what is asked of it.
    fn is_running(&self) -> bool {
        self.is_up() && !self.is_paused
    }
}

/// What somebody from outside asks for.
#[derive(Clone, Debug)]
struct Request<M> {
    place: usize,
    message: M,
    is_made: bool,
}

/// A message with its sender.
#[derive(Clone, Debug)]
pub(in crate::node) struct Envelope<M> {
    pub(in crate::node) from: NodeId,
    pub(in crate::node) message: M,
    /// Stands for the message.
    digest: u128,
    /// With which event it was sent.
    since: usize,
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Deliver(Slot),
    Drop(Slot),
    Duplicate(Slot),
    Timeout(usize, &'static str),
    Request(usize),
    Crash(usize),
    Restart(usize),
    Pause(usize),
    Resume(usize),
    Cut(Cut),
    Heal,
}

/// One crash of so many comes between what a handler sends and what it saves after that.
const CRASH_ODDS: usize = 8;

impl<N: Node> NodeWorld<N> {
    /// All nodes have started.
    pub(super) fn start(
        simulation: &Simulation<N>,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch,
    ) -> Result<Self, NotReproducible> {
        let host = |(name, node): &(Arc<str>, N)| Host {
            name: Arc::clone(name),
            node: Some(node.clone()),
            disk: node.clone(),
            unsynced: Vec::new(),
            timers: BTreeMap::new(),
            is_paused: false,
            since: 0,
            hashes: (0, 0),
        };
        let request = |(to, message): &(NodeId, N::Message)| {
            let (place, message) = (to.place(), message.clone());
            Request { place, message, is_made: false }
        };
        let mut world = Self {
            hosts: simulation.nodes.iter().map(host).collect(),
            requests: simulation.requests.iter().map(request).collect(),
            network: Network::new(simulation.nodes.len()),
            plan: simulation.faults,
            delivery: simulation.delivery,
            in_flight_max: simulation.in_flight_max,
            faults: FaultCounts::default(),
            cut: None,
            steps: 0,
            said: 0,
            judges: Judges::new(simulation),
            facts: Vec::new(),
            enabled: Enabled::default(),
            effects: Vec::new(),
            has_acted: false,
        };
        for place in 0..world.hosts.len() {
            let before = world.cover_from(place, None, watch);
            world.handle(place, oracle, watch, Node::on_start)?;
            world.hash(place);
            world.cover_to(before, watch);
        }
        world.conclude(None, watch);
        Ok(world)
    }

    /// Lets an event happen, to its end.
    fn happen(
        &mut self,
        event: Event,
        dice: &mut dyn Dice,
        watch: &mut Watch,
    ) -> Result<(), NotReproducible> {
        self.steps += 1;
        self.said = 0;
        self.has_acted = false;
        self.facts.clear();
        let before = self.cover_event(event, watch);
        match event {
            Event::Deliver(slot) => {
                let InFlight { number, message: envelope, .. } = self.network.take(slot);
                let Envelope { from, message, .. } = envelope;
                watch.delivered(number);
                self.handle(slot.place, dice, watch, |node, ctx| {
                    node.on_message(ctx, from, message);
                })?;
            }
            Event::Drop(slot) => {
                watch.lost(self.network.take(slot).number);
                self.faults.happened(Fault::Drop);
            }
            Event::Duplicate(slot) => {
                let number = self.network.in_flight_at(slot).number;
                watch.doubled(number, self.network.duplicate(slot));
                self.faults.happened(Fault::Duplicate);
            }
            Event::Timeout(place, timer) => {
                self.hosts[place].timers.remove(timer);
                self.handle(place, dice, watch, |node, ctx| node.on_timeout(ctx, timer))?;
            }
            Event::Request(which) => {
                let request = &mut self.requests[which];
                request.is_made = true;
                let (place, message) = (request.place, request.message.clone());
                self.handle(place, dice, watch, |node, ctx| node.on_request(ctx, message))?;
            }
            Event::Crash(place) => {
                let unsynced = self.hosts[place].unsynced.len();
                let may_lose = unsynced > 0 && self.has_budget(Fault::LoseSaves);
                let kept =
                    if may_lose { dice.choose(unsynced + 1, "saves_kept")? } else { unsynced };
                self.crash(place, kept);
            }
            Event::Restart(place) => {
                let host = &mut self.hosts[place];
                host.node = Some(host.disk.clone());
                self.handle(place, dice, watch, Node::on_restart)?;
            }
            Event::Pause(place) => {
                (self.hosts[place].is_paused, self.hosts[place].since) = (true, self.steps);
                self.faults.happened(Fault::Pause);
            }
            Event::Resume(place) => self.hosts[place].is_paused = false,
            Event::Cut(cut) => {
                self.cut = Some((cut, self.steps));
                self.faults.happened(Fault::Partition);
            }
            Event::Heal => self.cut = None,
        }
        if let Some(place) = self.whose(event) {
            self.hash(place);
        }
        self.cover_to(before, watch);
        self.conclude(self.whose(event), watch);
        Ok(())
    }

    /// Lets a node handle something, and then what it asked for happens.
    fn handle(
        &mut self,
        place: usize,
        dice: &mut dyn Dice,
        watch: &mut Watch,
        handler: impl FnOnce(&mut N, &mut Context<'_, N>),
    ) -> Result<(), NotReproducible> {
        let mut effects = mem::take(&mut self.effects);
        let (id, count) = (NodeId::at(place), self.hosts.len());
        let Host { name, node, .. } = &mut self.hosts[place];
        let node = node.as_mut().expect("only who is up handles anything");
        let before = watch.is_tracing().then(|| node.state_name().to_owned());
        let mut ctx = Context::new(id, count, watch.is_tracing(), dice, &mut effects);
        watch.enter_node(name);
        handler(node, &mut ctx);
        watch.leave();
        ctx.finish()?;
        let after = node.state_name();
        if let Some(before) = before.filter(|before| before != after) {
            watch.line(format_args!("       {name} {before} ⇨ {after}"));
        }
        self.apply(place, &mut effects, dice, watch)?;
        self.effects = effects;
        Ok(())
    }

    /// Lets everything happen that a node has asked for, or, if it crashes over it, the first part.
    fn apply(
        &mut self,
        place: usize,
        effects: &mut Vec<Effect<N>>,
        dice: &mut dyn Dice,
        watch: &mut Watch,
    ) -> Result<(), NotReproducible> {
        let name = Arc::clone(&self.hosts[place].name);
        let mut has_sent = false;
        for effect in effects.drain(..) {
            self.has_acted |= !matches!(effect, Effect::Note(_));
            self.cover_effect(place, &effect, watch);
            let host = &mut self.hosts[place];
            match effect {
                Effect::Send(to, message) => {
                    has_sent = true;
                    let receiver = &self.hosts[to.place()].name;
                    watch.line(format_args!("       {name} → {receiver} {message:?}"));
                    let (number, places) = (self.network.next_number(), (place, to.place()));
                    watch.sent(number, places, &format_args!("{message:?}"), None);
                    let (from, since) = (NodeId::at(place), self.steps);
                    let digest = self.digest(from, to, &message);
                    let envelope = Envelope { from, message, digest, since };
                    self.network.send(to.place(), envelope);
                }
                Effect::SetTimer(timer) => drop(host.timers.insert(timer, self.steps)),
                Effect::CancelTimer(timer) => drop(host.timers.remove(timer)),
                Effect::Write(node) => {
                    watch.line(format_args!("       {name} write"));
                    host.unsynced.push(node);
                }
                Effect::Save(node) => {
                    host.unsynced.push(node);
                    if self.sync(place, has_sent, "save", dice, watch)?.is_break() {
                        return Ok(());
                    }
                }
                Effect::Sync => {
                    if self.sync(place, has_sent, "sync", dice, watch)?.is_break() {
                        return Ok(());
                    }
                }
                Effect::Note(text) => watch.line(format_args!("       {name} {text}")),
                Effect::Fact(fact) => {
                    watch.line(format_args!("       {name} {} {}", fact.name, fact.value));
                    self.facts.push(fact);
                }
                Effect::Reach(goal) => {
                    watch.enter_node(&name);
                    self.judges.reach(goal);
                    watch.leave();
                }
            }
        }
        Ok(())
    }

    /// A node waits until all it has written is safe, unless it crashes over that.
    fn sync(
        &mut self,
        place: usize,
        has_sent: bool,
        verb: &str,
        dice: &mut dyn Dice,
        watch: &mut Watch,
    ) -> Result<ControlFlow<()>, NotReproducible> {
        let name = Arc::clone(&self.hosts[place].name);
        let is_clean = self.hosts[place].unsynced.is_empty();
        // What was promised before it was safe may be forgotten.
        let may_crash = has_sent
            && !is_clean
            && self.has_budget(Fault::Crash)
            && self.has_budget(Fault::LoseSaves);
        if may_crash && dice.choose(CRASH_ODDS, "crash_before_save")? == 1 {
            watch.line(format_args!("       {name} crashes before it is saved"));
            self.cover_crash(place, watch);
            self.crash(place, 0);
            return Ok(ControlFlow::Break(()));
        }
        watch.line(format_args!("       {name} {verb}"));
        let host = &mut self.hosts[place];
        if let Some(last) = host.unsynced.pop() {
            host.disk = last;
        }
        host.unsynced.clear();
        Ok(ControlFlow::Continue(()))
    }

    /// A node stops, and so many of its unfinished writes survive.
    fn crash(&mut self, place: usize, kept: usize) {
        let host = &mut self.hosts[place];
        let is_losing = kept < host.unsynced.len();
        host.unsynced.truncate(kept);
        if let Some(last) = host.unsynced.pop() {
            host.disk = last;
        }
        host.unsynced.clear();
        host.timers.clear();
        (host.node, host.is_paused, host.since) = (None, false, self.steps);
        self.faults.happened(Fault::Crash);
        if is_losing {
            self.faults.happened(Fault::LoseSaves);
        }
    }

    /// An event is over: everyone judges it, and what can happen next is found.
    fn conclude(&mut self, changed: Option<usize>, watch: &mut Watch) {
        self.find_enabled();
        let waiting_since = self.waiting_since();
        let is_stuck = self.enabled.is_stuck();
        let requests_left = self.requests.iter().filter(|request| !request.is_made).count();
        let Self { hosts, network, facts, judges, steps, .. } = self;
        let changed = changed.map(NodeId::at);
        let view = View { hosts, network, facts, changed, requests_left };
        judges.judge(&view, *steps, waiting_since, watch);
        if is_stuck && !watch.is_broken() {
            judges.find_deadlock(watch);
        }
    }

    /// With which event that began which has waited longest to happen; `None` if nothing waits. What
    /// somebody from outside may ask is not waited for.
    fn waiting_since(&self) -> Option<usize> {
        let messages = self.network.iter().map(|(_, it)| it.message.since);
        let timers = self.hosts.iter().flat_map(|host| host.timers.values().copied());
        let stopped = self.hosts.iter().filter(|host| !host.is_running()).map(|host| host.since);
        let cut = self.cut.map(|(_, since)| since);
        messages.chain(timers).chain(stopped).chain(cut).min()
    }

    /// Whose node an event changes.
    fn whose(&self, event: Event) -> Option<usize> {
        match event {
            Event::Deliver(slot) | Event::Drop(slot) | Event::Duplicate(slot) => Some(slot.place),
            Event::Timeout(place, _)
            | Event::Crash(place)
            | Event::Restart(place)
            | Event::Pause(place)
            | Event::Resume(place) => Some(place),
            Event::Request(which) => Some(self.requests[which].place),
            Event::Cut(_) | Event::Heal => None,
        }
    }

    fn has_budget(&self, fault: Fault) -> bool {
        self.faults.is_below(&self.plan, fault)
    }
}

impl<N: Node> World for NodeWorld<N> {
    fn counts(&self) -> [usize; EventClass::COUNT] {
        self.enabled.counts()
    }

    fn place(&self, pick: Pick) -> usize {
        let event = self.enabled.event(pick);
        let everyone = || match event {
            Event::Cut(cut) => usize::MAX - usize::try_from(cut.number()).unwrap_or_default(),
            _ => usize::MAX,
        };
        self.whose(event).unwrap_or_else(everyone)
    }

    fn place_name(&self, place: usize) -> Option<String> {
        Some(self.hosts.get(place)?.name.to_string())
    }

    fn key(&self, pick: Pick) -> u64 {
        self.event_key(self.enabled.event(pick))
    }

    fn perform(
        &mut self,
        pick: Pick,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch,
    ) -> Result<(), NotReproducible> {
        let event = self.enabled.event(pick);
        self.happen(event, oracle, watch)?;
        self.mix_into(watch, event);
        Ok(())
    }

    fn settle(&mut self, watch: &mut Watch) -> Result<(), String> {
        self.come_to_rest(watch)
    }

    fn faults(&self) -> FaultCounts {
        self.faults
    }

    fn goals(&self) -> u64 {
        self.judges.reached()
    }

    fn abstract_state(&self) -> u64 {
        self.shape()
    }

    fn exact_state(&self) -> Option<u128> {
        // How long something has been false is no part of the state.
        (!self.judges.counts_steps()).then(|| self.exact())
    }

    fn lanes(&self) -> Vec<Lane> {
        self.all_lanes()
    }

    fn fork(&self) -> Option<Self> {
        Some(self.clone())
    }
}

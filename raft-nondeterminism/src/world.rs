//! The world of one run: real servers and clients, and pure models of everything around them.
//!
//! Guarantees: one event is one decision, carried out to its end; what an event does follows from the
//!             world, the event and the oracle alone.
//! Relies on:  [`Server`] being a function of its inputs.
//! Elsewhere:  messages in flight are in `network.rs`, who decides in `oracle.rs`, who watches in
//!             `watch.rs`. This file alone knows Raft, with `monitor.rs` and `goal.rs`.
//!
//! Timers are *free*: each server has a clock of its own, which stands still until its timer fires and
//! then jumps to the deadline. So any timer may fire at any time, as if every message could take for
//! ever and every clock run at its own speed: all that safety may rely on.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use bytes::Bytes;
use raft_core::{
    Address, Client, ClientConfig, ClientEvent, ClientId, Config, Defect, Effect, Effects,
    Envelope, Index, Input, NewServerError, Payload, Recovered, Save, Server, ServerId, Timestamp,
};

use crate::event::{EnabledView, EventClass, Names, Pick};
use crate::fault::{Fault, FaultCounts};
use crate::fingerprint::Fingerprint;
use crate::machine::Machine;
use crate::monitor::Fact;
use crate::network::{Network, Slot};
use crate::oracle::Oracle;
use crate::scenario::{Protocol, SaveMode, Scenario};
use crate::strategy::NotReproducible;
use crate::watch::Watch;

/// A cluster with everything around it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    scenario: Scenario,
    defect: Option<Defect>,
    /// True if a leader sends one entry per request.
    is_one_by_one: bool,
    hosts: Vec<Host>,
    clients: Vec<ClientHost>,
    network: Network,
    faults: FaultCounts,
    /// Buffers, empty between events.
    effects: Effects,
    inputs: VecDeque<Input>,
}

/// What one server runs on.
#[derive(Clone, Debug)]
struct Host {
    id: ServerId,
    /// `None` while it is down.
    server: Option<Server>,
    clock: Timestamp,
    /// What survives a crash.
    disk: Recovered,
    /// Saves that are not durable yet, oldest first; empty if saves are immediate.
    unsaved: VecDeque<Save>,
    machine: Machine,
    /// The state that its state machine gives for a snapshot, through which entry; kept back like a
    /// save.
    taking: Option<(Index, Bytes)>,
}

/// What one client runs on.
#[derive(Clone, Debug)]
struct ClientHost {
    client: Client,
    clock: Timestamp,
    requests_left: u32,
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Deliver(Slot),
    Drop(Slot),
    Duplicate(Slot),
    Timeout(usize),
    Request(usize),
    Retry(usize),
    Saved(usize),
    Crash(usize),
    Restart(usize),
}

impl World {
    /// A cluster whose servers have all just joined.
    pub(crate) fn new(
        scenario: &Scenario,
        defect: Option<Defect>,
        is_one_by_one: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Self, NewServerError> {
        let ids: Vec<_> = (1..=scenario.servers as u64).map(ServerId).collect();
        let client_ids: Vec<_> = (1..=scenario.clients as u64).map(ClientId).collect();
        let host = |&id: &ServerId| Host {
            id,
            server: None,
            clock: Timestamp::ZERO,
            disk: Recovered::default(),
            unsaved: VecDeque::new(),
            machine: Machine::default(),
            taking: None,
        };
        let client = |&id: &ClientId| ClientHost {
            client: Client::new(ClientConfig::new(id, ids.iter().copied())),
            clock: Timestamp::ZERO,
            requests_left: scenario.requests,
        };
        let mut world = Self {
            hosts: ids.iter().map(host).collect(),
            clients: client_ids.iter().map(client).collect(),
            network: Network::new(ids.iter().copied(), client_ids.iter().copied()),
            faults: FaultCounts::default(),
            effects: Effects::new(),
            inputs: VecDeque::new(),
            scenario: scenario.clone(),
            defect,
            is_one_by_one,
        };
        for place in 0..world.hosts.len() {
            world.start(place, watch)?;
        }
        Ok(world)
    }

    /// How often each fault has happened.
    pub(crate) fn faults(&self) -> FaultCounts {
        self.faults
    }

    /// Everything that can happen next.
    pub(crate) fn enabled(&self) -> EnabledView<'_> {
        EnabledView::new(EventClass::ALL.map(|class| self.count(class)), self)
    }

    fn count(&self, class: EventClass) -> usize {
        let hosts = |is_enabled: fn(&Host) -> bool| {
            self.hosts.iter().filter(|host| is_enabled(host)).count()
        };
        match class {
            EventClass::Deliver => {
                let is_down = |&place: &usize| self.hosts[place].server.is_none();
                let waiting = (0..self.hosts.len()).filter(is_down);
                let waiting: usize = waiting.map(|place| self.network.in_flight_to(place)).sum();
                self.network.in_flight() - waiting
            }
            EventClass::Timeout if self.is_crowded() => 0,
            EventClass::Timeout => hosts(Host::is_up),
            EventClass::Client if self.is_crowded() => 0,
            EventClass::Client => self.clients.iter().filter(|client| client.is_enabled()).count(),
            EventClass::Save => hosts(|host| !host.unsaved.is_empty()),
            EventClass::Duplicate if self.is_crowded() => 0,
            EventClass::Duplicate if !self.has_budget(Fault::Duplicate) => 0,
            EventClass::Drop if !self.has_budget(Fault::Drop) => 0,
            EventClass::Duplicate | EventClass::Drop => self.network.in_flight(),
            EventClass::Crash if !self.has_budget(Fault::Crash) => 0,
            EventClass::Crash => hosts(Host::is_up),
            EventClass::Restart => hosts(|host| !host.is_up()),
        }
    }

    /// What a pick stands for.
    pub(crate) fn event(&self, pick: Pick) -> Event {
        let Pick { class, index } = pick;
        let nth_host = |is_enabled: fn(&Host) -> bool| {
            let mut places = (0..self.hosts.len()).filter(|&place| is_enabled(&self.hosts[place]));
            places.nth(index).expect("the pick is enabled")
        };
        match class {
            EventClass::Deliver => Event::Deliver(self.network.nth(index, |place| {
                self.hosts.get(place).is_none_or(|host| host.server.is_some())
            })),
            EventClass::Drop => Event::Drop(self.network.nth(index, |_| true)),
            EventClass::Duplicate => Event::Duplicate(self.network.nth(index, |_| true)),
            EventClass::Timeout => Event::Timeout(nth_host(Host::is_up)),
            EventClass::Save => Event::Saved(nth_host(|host| !host.unsaved.is_empty())),
            EventClass::Crash => Event::Crash(nth_host(Host::is_up)),
            EventClass::Restart => Event::Restart(nth_host(|host| !host.is_up())),
            EventClass::Client => {
                let mut places =
                    (0..self.clients.len()).filter(|&place| self.clients[place].is_enabled());
                let place = places.nth(index).expect("the pick is enabled");
                let is_pending = self.clients[place].client.pending().is_some();
                if is_pending { Event::Retry(place) } else { Event::Request(place) }
            }
        }
    }

    /// Lets an event happen, to its end.
    pub(crate) fn perform(
        &mut self,
        event: Event,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), NotReproducible> {
        match event {
            Event::Deliver(slot) => {
                let envelope = self.network.take(slot);
                match slot.place.checked_sub(self.hosts.len()) {
                    None => self.step(slot.place, Input::Message(envelope), watch),
                    Some(place) => self.answer(place, envelope, watch),
                }
            }
            Event::Drop(slot) => {
                self.network.take(slot);
                self.faults.happened(Fault::Drop);
            }
            Event::Duplicate(slot) => {
                self.network.duplicate(slot);
                self.faults.happened(Fault::Duplicate);
            }
            Event::Timeout(place) => {
                let host = &mut self.hosts[place];
                let deadline = host.server.as_ref().and_then(Server::next_timeout);
                host.clock = host.clock.max(deadline.expect("a server that has joined waits"));
                self.step(place, Input::TimerElapsed, watch);
            }
            Event::Request(place) => self.request(place, watch),
            Event::Retry(place) => self.retry(place, watch),
            Event::Saved(place) => {
                let host = &mut self.hosts[place];
                let save = host.unsaved.pop_front().expect("the event was enabled");
                let number = save.number;
                host.write(save);
                self.step(place, Input::Saved(number), watch);
            }
            Event::Crash(place) => self.crash(place, oracle, watch)?,
            Event::Restart(place) => {
                // It has started from the same configuration before, so only its own saves can
                // make it fail: then they were none a server of this kind ever saved.
                self.start(place, watch).expect("what a server saved, it recovers from");
                watch.fact(&Fact::Restarted { server: self.hosts[place].id });
            }
        }
        Ok(())
    }

    /// Takes into a fingerprint what an event did. It leaves out which of several equal messages it
    /// was about: they are kept in no order.
    pub(crate) fn mix_into(&self, fingerprint: &mut Fingerprint, class: EventClass, event: Event) {
        let place = event.place();
        fingerprint.mix(class as u64);
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

    /// True while so much is in flight that nothing new is started.
    fn is_crowded(&self) -> bool {
        self.network.in_flight() >= self.scenario.in_flight_max
    }

    fn has_budget(&self, fault: Fault) -> bool {
        self.faults.count(fault) < u64::from(self.scenario.faults.budget(fault))
    }

    /// Starts a server from its disk.
    fn start(&mut self, place: usize, watch: &mut Watch<'_>) -> Result<(), NewServerError> {
        let voters: Vec<_> = self.hosts.iter().map(|host| host.id).collect();
        let host = &mut self.hosts[place];
        let mut config = Config::new(host.id, voters);
        config.defect = self.defect;
        if self.scenario.protocol == Protocol::Plain {
            config.pre_vote = false;
            config.check_quorum = false;
        }
        if self.is_one_by_one {
            config.append_bytes_max = 1;
        }
        host.server = Some(Server::new(config, host.disk.clone())?);
        host.machine = Machine::default();
        self.step(place, Input::NotifyJoinedService, watch);
        Ok(())
    }

    /// Stops a server. The oracle decides how many of its unfinished saves reached the disk: a disk
    /// may have written what it has not confirmed.
    fn crash(
        &mut self,
        place: usize,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), NotReproducible> {
        let unsaved = self.hosts[place].unsaved.len();
        let kept = if unsaved > 0 && self.has_budget(Fault::LoseSaves) {
            oracle.choose(unsaved + 1, "saves_kept")?
        } else {
            unsaved
        };
        let host = &mut self.hosts[place];
        let saves = std::mem::take(&mut host.unsaved);
        saves.into_iter().take(kept).for_each(|save| host.write(save));
        host.server = None;
        host.taking = None;
        self.faults.happened(Fault::Crash);
        if kept < unsaved {
            self.faults.happened(Fault::LoseSaves);
            let (id, lost) = (self.hosts[place].id, unsaved - kept);
            watch.line(format_args!("       {id} lost {lost} of {unsaved} unfinished saves"));
        }
        watch.fact(&Fact::Crashed { server: self.hosts[place].id });
        Ok(())
    }

    /// Gives a server an input, and carries out what it asks for as far as that happens at once.
    fn step(&mut self, place: usize, input: Input, watch: &mut Watch<'_>) {
        let Self { scenario, hosts, network, effects, inputs, .. } = self;
        let Host { id, server, clock, disk, unsaved, machine, taking } = &mut hosts[place];
        let (id, server) = (*id, server.as_mut().expect("only running servers take inputs"));
        inputs.push_back(input);
        while let Some(input) = inputs.pop_front() {
            let before = watch.is_tracing().then(|| (server.current_term(), server.role().name()));
            if let Err(error) = server.step(*clock, input, effects) {
                watch.line(format_args!("       {id} refused: {error}"));
                if error.is_fatal() {
                    watch.fact(&Fact::Refused { server: id, error });
                }
            }
            let term = server.current_term();
            if let Some((term_before, role_before)) = before
                && role_before != server.role().name()
            {
                let role = server.role().name();
                watch.line(format_args!(
                    "       {id}@{term_before} {role_before} ⇨ {id}@{term} {role}"
                ));
            }
            for effect in effects.drain() {
                if watch.is_tracing() {
                    watch.line(format_args!("       {id}@{term} {effect}"));
                }
                match effect {
                    Effect::Save(save) => match scenario.saves {
                        SaveMode::Delayed => unsaved.push_back(save),
                        SaveMode::Immediate => {
                            inputs.push_back(Input::Saved(save.number));
                            disk.replay(save).expect(CONTIGUOUS);
                        }
                    },
                    Effect::Send(envelope) => network.send(envelope),
                    Effect::Apply(apply) => {
                        let mut responses = Vec::new();
                        for entry in apply.commands() {
                            let digest = machine.apply(entry);
                            watch.fact(&Fact::Applied { server: id, entry, digest });
                            if let Payload::Command(_) = &entry.payload {
                                responses.push(digest.to_le_bytes().to_vec().into());
                            }
                        }
                        inputs.push_back(Input::Applied { through: apply.through, responses });
                    }
                    Effect::TakeSnapshot { through } => {
                        let data = machine.snapshot();
                        match scenario.saves {
                            SaveMode::Delayed => *taking = Some((through, data)),
                            SaveMode::Immediate => {
                                inputs.push_back(Input::SnapshotTaken { through, data });
                            }
                        }
                    }
                    Effect::RestoreSnapshot(snapshot) => {
                        *machine = Machine::restored(snapshot.data());
                        let (last, digest) = (snapshot.last(), machine.digest());
                        watch.fact(&Fact::Restored { server: id, last, digest });
                        let responses = Vec::new();
                        inputs.push_back(Input::Applied { through: last.index, responses });
                    }
                    Effect::NotifyElectedLeader { term } => {
                        watch.fact(&Fact::ElectedLeader { server: id, term, log: server.log() });
                    }
                    Effect::NotifyCommit { index } => {
                        let log = server.log();
                        watch.fact(&Fact::Committed { server: id, term, index, log });
                    }
                    Effect::NotifyConfiguration { .. }
                    | Effect::ReadReady { .. }
                    | Effect::ReadFailed { .. }
                    | Effect::NotifyTransferAborted { .. } => {}
                }
            }
        }
    }

    /// A client asks for something new.
    fn request(&mut self, place: usize, watch: &mut Watch<'_>) {
        let ClientHost { client, clock, requests_left } = &mut self.clients[place];
        let number = self.scenario.requests - *requests_left + 1;
        let command = format!("{}-{number}", client.id());
        *requests_left -= 1;
        let envelope = client.request(*clock, command.into());
        self.send(envelope.expect("the client has nothing under way"), watch);
    }

    /// A client has waited long enough, and asks again.
    fn retry(&mut self, place: usize, watch: &mut Watch<'_>) {
        let ClientHost { client, clock, .. } = &mut self.clients[place];
        let deadline = client.next_timeout().expect("the client has something under way");
        *clock = deadline.max(*clock);
        let envelope = client.timer_elapsed(*clock).expect("it is time");
        watch.fact(&Fact::Retried { client: client.id() });
        self.send(envelope, watch);
    }

    /// A message arrives at a client.
    fn answer(&mut self, place: usize, envelope: Envelope, watch: &mut Watch<'_>) {
        let ClientHost { client, clock, .. } = &mut self.clients[place];
        match client.handle(*clock, envelope) {
            ClientEvent::Ignored => {}
            ClientEvent::Send(envelope) => self.send(envelope, watch),
            ClientEvent::Applied { sequence_number, log_id, by: _, response } => {
                let client = client.id();
                let response = response.as_ref().try_into().map_or(0, u64::from_le_bytes);
                watch.fact(&Fact::Answered { client, sequence_number, log_id, response });
            }
            ClientEvent::Refused { sequence_number, result } => {
                let client = client.id();
                watch.line(format_args!("       {client}{sequence_number} refused: {result}"));
            }
        }
    }

    fn send(&mut self, envelope: Envelope, watch: &mut Watch<'_>) {
        watch.line(format_args!("       {envelope}"));
        self.network.send(envelope);
    }

    fn write_name(&self, f: &mut dyn fmt::Write, event: Event) -> fmt::Result {
        match event {
            Event::Deliver(slot) => write!(f, "deliver {}", self.network.envelope(slot)),
            Event::Duplicate(slot) => write!(f, "duplicate {}", self.network.envelope(slot)),
            Event::Drop(slot) => {
                let Envelope { from, to, message, .. } = self.network.envelope(slot);
                write!(f, "drop {from}")?;
                if let (Address::Server(_), Some(term)) = (from, message.term()) {
                    write!(f, "@{term}")?;
                }
                write!(f, " ⇥ {to} {message}")
            }
            Event::Timeout(place) => write!(f, "timeout {}", self.hosts[place].id),
            Event::Saved(place) => write!(f, "saved {}", self.hosts[place].id),
            Event::Crash(place) => write!(f, "crash {}", self.hosts[place].id),
            Event::Restart(place) => write!(f, "restart {}", self.hosts[place].id),
            Event::Request(place) => write!(f, "request {}", self.clients[place].client.id()),
            Event::Retry(place) => write!(f, "retry {}", self.clients[place].client.id()),
        }
    }
}

/// The class of the events whose names start with this word.
fn class_of(verb: &str) -> Option<EventClass> {
    match verb {
        "deliver" => Some(EventClass::Deliver),
        "duplicate" => Some(EventClass::Duplicate),
        "drop" => Some(EventClass::Drop),
        "timeout" => Some(EventClass::Timeout),
        "saved" => Some(EventClass::Save),
        "crash" => Some(EventClass::Crash),
        "restart" => Some(EventClass::Restart),
        "request" | "retry" => Some(EventClass::Client),
        _ => None,
    }
}

const CONTIGUOUS: &str = "a server saves entries without a gap";

impl Host {
    fn is_up(&self) -> bool {
        self.server.is_some()
    }

    fn write(&mut self, save: Save) {
        self.disk.replay(save).expect(CONTIGUOUS);
    }
}

impl ClientHost {
    /// It has something to ask, or to ask again.
    fn is_enabled(&self) -> bool {
        self.requests_left > 0 || self.client.pending().is_some()
    }
}

impl Event {
    /// Whom it is about.
    fn place(self) -> usize {
        match self {
            Self::Deliver(slot) | Self::Drop(slot) | Self::Duplicate(slot) => slot.place,
            Self::Timeout(place)
            | Self::Request(place)
            | Self::Retry(place)
            | Self::Saved(place)
            | Self::Crash(place)
            | Self::Restart(place) => place,
        }
    }

    /// The message it is about.
    fn slot(self) -> Option<Slot> {
        match self {
            Self::Deliver(slot) | Self::Drop(slot) | Self::Duplicate(slot) => Some(slot),
            Self::Timeout(_)
            | Self::Request(_)
            | Self::Retry(_)
            | Self::Saved(_)
            | Self::Crash(_)
            | Self::Restart(_) => None,
        }
    }
}

impl Names for World {
    fn name(&self, pick: Pick) -> String {
        let mut name = String::new();
        self.write_name(&mut name, self.event(pick)).expect("a string takes every name");
        name
    }

    fn find(&self, name: &str) -> Option<Pick> {
        let class = class_of(name.split(' ').next()?)?;
        let mut picks = (0..self.count(class)).map(|index| Pick { class, index });
        picks.find(|&pick| {
            let mut rest = Rest(name);
            self.write_name(&mut rest, self.event(pick)).is_ok() && rest.0.is_empty()
        })
    }

    fn find_like(&self, name: &str) -> Option<Pick> {
        // `deliver s1@2 → s3 VoteRequest last=1@1`: what follows the message's name may differ, and
        // the nearest term is meant.
        let mut words = name.split(' ');
        let class = class_of(words.next()?)?;
        let (from, term) = words.next()?.split_once('@')?;
        let (term, to, message) = (term.parse::<u64>().ok()?, words.nth(1)?, words.next()?);
        let picks = (0..self.count(class)).map(|index| Pick { class, index });
        let distances = picks.filter_map(|pick| {
            let envelope = self.network.envelope(self.event(pick).slot()?);
            let is_like = envelope.message.name() == message
                && is_written(&envelope.from, from)
                && is_written(&envelope.to, to);
            is_like.then_some((envelope.message.term()?.0.abs_diff(term), pick))
        });
        distances.min_by_key(|&(distance, _)| distance).map(|(_, pick)| pick)
    }
}

/// True if `value` is printed as `text`.
fn is_written(value: &dyn fmt::Display, text: &str) -> bool {
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

/// Compares what is written with a text, without keeping it, and stops at the first difference.
struct Rest<'a>(&'a str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}

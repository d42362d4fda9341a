//! A cluster of pure servers over a network that does only what it is told: messages wait until
//! someone delivers, drops or repeats them, saves and applies can be held back, and a crash forgets
//! what was not saved. Everything that happens is written down in the one notation.
//!
//! Guarantees: the same calls give the same transcript.
#![allow(dead_code, reason = "each suite uses its own part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use raft_core::codec::{decode_entry, encode_entry};
use raft_core::{
    Address, Apply, ClientId, ClientRequest, Config, Configuration, Effect, Effects, Entry,
    Envelope, Index, Input, Message, Payload, ReadId, Recovered, RoleChange, Save, SaveNumber,
    SequenceNumber, Server, ServerId, Snapshot, StepError, Timestamp,
};

/// Servers, the messages between them, and what happened so far.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) now: Timestamp,
    hosts: BTreeMap<ServerId, Host>,
    /// On their way, oldest first, each to one server.
    pub(crate) network: Vec<Envelope>,
    /// Answers to clients, oldest first.
    pub(crate) answers: Vec<Envelope>,
    /// Links that lose everything, by sender and receiver.
    cut: BTreeSet<(ServerId, ServerId)>,
    /// What happened since it was last taken, one line each.
    transcript: Vec<String>,
    /// Reads that were served, with what is applied there, or that failed.
    pub(crate) reads: Vec<(ReadId, Option<Index>)>,
    /// The configuration before the first entry of every log.
    pub(crate) first: Arc<Configuration>,
    /// What each server said to be committed, in the order in which it was said: the entries since it
    /// last said so, as far as it had not forgotten them for a snapshot.
    pub(crate) commits: Vec<(ServerId, Vec<Entry>)>,
    /// Snapshots that were handed to a state machine, and by whose server.
    pub(crate) restores: Vec<(ServerId, Snapshot)>,
    /// Who was elected in each term, as the servers told.
    pub(crate) elected: Vec<(u64, ServerId)>,
}

/// One server's machine: what a crash destroys, and what survives it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: Config,
    /// `None` while crashed.
    pub(crate) server: Option<Server>,
    /// What is durable.
    pub(crate) disk: Recovered,
    /// Saves asked for and not durable.
    pub(crate) unsaved: VecDeque<Save>,
    pub(crate) holds_saves: bool,
    /// What the state machine was asked for and has not done.
    pub(crate) unapplied: VecDeque<Task>,
    pub(crate) holds_applies: bool,
    /// The state machine: every command applied since the server started.
    pub(crate) applied: Vec<Entry>,
    /// The last entry that the server said to be committed.
    notified: Index,
}

/// What a state machine is asked for, in order.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Apply(Apply),
    TakeSnapshot(Index),
    Restore(Snapshot),
}

impl Host {
    /// A server that never ran.
    fn new(config: Config) -> Self {
        Self {
            server: Some(Server::new(config.clone(), Recovered::default()).unwrap()),
            config,
            disk: Recovered::default(),
            unsaved: VecDeque::new(),
            holds_saves: false,
            unapplied: VecDeque::new(),
            holds_applies: false,
            applied: Vec::new(),
            notified: Index::ZERO,
        }
    }
}

impl Cluster {
    /// Servers 1 to `count`, none of them joined.
    pub(crate) fn new(count: u64, change: impl Fn(&mut Config)) -> Self {
        let ids = || (1..=count).map(ServerId);
        let host = |id| {
            let mut config = Config::new(id, ids());
            // The plain protocol of the paper, unless the test asks for more.
            config.pre_vote = false;
            config.check_quorum = false;
            change(&mut config);
            (id, Host::new(config))
        };
        let hosts: BTreeMap<_, _> = ids().map(host).collect();
        let first = hosts.values().next().and_then(|host: &Host| host.server.as_ref());
        let first = first.expect("a cluster has servers").configuration().clone();
        Self {
            now: Timestamp::ZERO,
            hosts,
            network: Vec::new(),
            answers: Vec::new(),
            cut: BTreeSet::new(),
            transcript: Vec::new(),
            reads: Vec::new(),
            first: Arc::new(first),
            commits: Vec::new(),
            restores: Vec::new(),
            elected: Vec::new(),
        }
    }

    /// Puts one more server on the network; it has not joined.
    pub(crate) fn add(&mut self, config: Config) {
        self.hosts.insert(config.server_id, Host::new(config));
    }

    pub(crate) fn ids(&self) -> Vec<ServerId> {
        self.hosts.keys().copied().collect()
    }

    pub(crate) fn host(&self, id: ServerId) -> &Host {
        &self.hosts[&id]
    }

    pub(crate) fn host_mut(&mut self, id: ServerId) -> &mut Host {
        self.hosts.get_mut(&id).expect("the cluster has this server")
    }

    pub(crate) fn server(&self, id: ServerId) -> &Server {
        self.hosts[&id].server.as_ref().expect("the server runs")
    }

    pub(crate) fn is_up(&self, id: ServerId) -> bool {
        self.hosts[&id].server.is_some()
    }

    /// What happened since the last call.
    pub(crate) fn take_transcript(&mut self) -> Vec<String> {
        std::mem::take(&mut self.transcript)
    }

    pub(crate) fn note(&mut self, line: String) {
        self.transcript.push(line);
    }

    /// Hands one input to a server that runs, and carries out what it asks for.
    pub(crate) fn step(&mut self, id: ServerId, input: Input) -> Result<(), StepError> {
        let now = self.now;
        let server = self.host_mut(id).server.as_mut().expect("the server runs");
        let before = RoleChange::none(server);
        let mut effects = Effects::new();
        let result = server.step(now, input, &mut effects);
        let term = server.current_term();
        // A new term or leader shows in what follows; a new role is worth a line.
        let change = before.until(server).filter(|change| change.from.1 != change.to.1);
        if let Some(change) = change {
            self.note(change.to_string());
        }
        if let Err(error) = &result {
            self.note(format!("{id}@{term} refuses: {error}"));
        }
        let effects: Vec<_> = effects.drain().collect();
        for effect in &effects {
            self.note(format!("{id}@{term} {effect}"));
            match effect {
                Effect::Save(save) => self.host_mut(id).unsaved.push_back(save.clone()),
                Effect::Apply(apply) => {
                    self.host_mut(id).unapplied.push_back(Task::Apply(apply.clone()));
                }
                Effect::TakeSnapshot { through } => {
                    self.host_mut(id).unapplied.push_back(Task::TakeSnapshot(*through));
                }
                Effect::RestoreSnapshot(snapshot) => {
                    let host = self.host_mut(id);
                    host.notified = host.notified.max(snapshot.last().index);
                    host.unapplied.push_back(Task::Restore(snapshot.clone()));
                    self.restores.push((id, snapshot.clone()));
                }
                Effect::Send(envelope) => self.post(envelope),
                Effect::NotifyElectedLeader { term } => self.elected.push((term.0, id)),
                Effect::ReadReady { id: read, index } => self.reads.push((*read, Some(*index))),
                Effect::ReadFailed { id: read, .. } => self.reads.push((*read, None)),
                Effect::NotifyCommit { index } => {
                    let notified = std::mem::replace(&mut self.host_mut(id).notified, *index);
                    let entries = self.server(id).log().from(notified.next()).cloned();
                    let entries = entries.take_while(|entry| entry.index <= *index).collect();
                    self.commits.push((id, entries));
                }
                Effect::NotifyConfiguration { .. } | Effect::NotifyTransferAborted { .. } => {}
            }
        }
        if !self.host(id).holds_saves {
            self.finish_saves(id, usize::MAX);
        }
        if !self.host(id).holds_applies {
            self.finish_applies(id, usize::MAX);
        }
        result
    }

    /// Puts a message on the network, one copy for each receiver.
    fn post(&mut self, envelope: &Envelope) {
        let receivers = match envelope.to {
            Address::Server(server) => vec![server],
            Address::Client(_) => return self.answers.push(envelope.clone()),
            Address::AllServers => {
                let is_other = |id: &ServerId| Address::Server(*id) != envelope.from;
                self.ids().into_iter().filter(is_other).collect()
            }
        };
        for receiver in receivers {
            let envelope = Envelope { to: receiver.into(), ..envelope.clone() };
            let is_cut = match envelope.from {
                Address::Server(sender) => self.cut.contains(&(sender, receiver)),
                Address::Client(_) | Address::AllServers => false,
            };
            if is_cut {
                self.lose(&envelope);
            } else {
                self.network.push(envelope);
            }
        }
    }

    fn lose(&mut self, envelope: &Envelope) {
        self.note(envelope.to_string().replacen('→', "⇥", 1));
    }

    /// Takes a message off the network and hands it to its receiver, or loses it there.
    pub(crate) fn deliver(&mut self, place: usize) {
        let envelope = self.network.remove(place);
        let Address::Server(to) = envelope.to else { unreachable!("`post` gave it one receiver") };
        if self.is_up(to) {
            // A refusal is in the transcript.
            let _ = self.step(to, Input::Message(envelope));
        } else {
            self.lose(&envelope);
        }
    }

    pub(crate) fn lose_at(&mut self, place: usize) {
        let envelope = self.network.remove(place);
        self.lose(&envelope);
    }

    /// Makes the oldest saves durable and tells the server of the last one.
    pub(crate) fn finish_saves(&mut self, id: ServerId, count: usize) {
        let host = self.host_mut(id);
        let count = count.min(host.unsaved.len());
        let mut last: Option<SaveNumber> = None;
        for save in host.unsaved.drain(..count) {
            last = Some(save.number);
            host.disk.replay(save).expect("saves leave no gap");
        }
        if let Some(number) = last {
            self.step(id, Input::Saved(number)).expect("the save was issued");
        }
    }

    /// Carries out the oldest applies, each followed by its answer.
    pub(crate) fn finish_applies(&mut self, id: ServerId, count: usize) {
        for _ in 0..count {
            let host = self.host_mut(id);
            let Some(task) = host.unapplied.pop_front() else { return };
            let mut responses = Vec::new();
            let input = match task {
                Task::Apply(apply) => {
                    for entry in apply.commands() {
                        host.applied.push(entry.clone());
                        if let Payload::Command(_) = &entry.payload {
                            responses.push(Bytes::from(host.applied.len().to_string()));
                        }
                    }
                    Input::Applied { through: apply.through, responses }
                }
                Task::TakeSnapshot(through) => {
                    Input::SnapshotTaken { through, data: snapshot_of(&host.applied) }
                }
                Task::Restore(snapshot) => {
                    host.applied = entries_of(snapshot.data().clone());
                    Input::Applied { through: snapshot.last().index, responses }
                }
            };
            // A state that a leader's snapshot has overtaken is refused.
            let result = self.step(id, input);
            assert!(result.is_ok() || matches!(result, Err(StepError::UnknownSnapshot { .. })));
        }
    }

    /// Waits for a server's timer and lets it elapse.
    pub(crate) fn elapse(&mut self, id: ServerId) {
        let deadline = self.server(id).next_timeout().expect("the server has joined");
        self.now = self.now.max(deadline);
        self.step(id, Input::TimerElapsed).expect("a timer is never refused");
    }

    /// Lets so much time pass: timers elapse when they are due, and every message arrives at once.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.stabilize();
        while let Some((at, id)) = self.next_timer().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.elapse(id);
            self.stabilize();
        }
        self.now = end;
    }

    /// Whose timer is next, and when.
    pub(crate) fn next_timer(&self) -> Option<(Timestamp, ServerId)> {
        let timer =
            |(&id, host): (&ServerId, &Host)| Some((host.server.as_ref()?.next_timeout()?, id));
        self.hosts.iter().filter_map(timer).min()
    }

    /// The server that leads the latest term, if one does.
    pub(crate) fn leader(&self) -> Option<ServerId> {
        let running = self.hosts.iter().filter_map(|(&id, host)| Some((id, host.server.as_ref()?)));
        let leading = running.filter(|(_, server)| server.role().is_leader());
        leading.max_by_key(|(_, server)| server.current_term()).map(|(id, _)| id)
    }

    pub(crate) fn join(&mut self, id: ServerId) -> Result<(), StepError> {
        self.step(id, Input::NotifyJoinedService)
    }

    /// Loses everything the server did not save.
    pub(crate) fn crash(&mut self, id: ServerId) {
        let host = self.host_mut(id);
        host.server = None;
        host.unsaved.clear();
        host.unapplied.clear();
        host.applied.clear();
        host.notified = Index::ZERO;
    }

    /// Starts a server again from what is durable. It still has to join.
    pub(crate) fn restart(&mut self, id: ServerId) {
        self.crash(id);
        let host = self.host_mut(id);
        host.server = Some(Server::new(host.config.clone(), host.disk.clone()).unwrap());
    }

    /// Cuts all links between these servers and all others.
    pub(crate) fn partition(&mut self, group: &[ServerId]) {
        let ids = self.ids();
        for &inside in group {
            for &outside in ids.iter().filter(|id| !group.contains(id)) {
                self.cut.extend([(inside, outside), (outside, inside)]);
            }
        }
    }

    /// Loses what one server sends to another, and not what comes back.
    pub(crate) fn cut(&mut self, from: ServerId, to: ServerId) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Delivers everything, oldest first, until nothing is on its way.
    pub(crate) fn stabilize(&mut self) {
        for _ in 0..100_000 {
            if self.network.is_empty() {
                return;
            }
            self.deliver(0);
        }
        panic!("the cluster does not come to rest");
    }

    /// Elects this server and lets the cluster come to rest, with all followers knowing of it.
    pub(crate) fn elect(&mut self, id: ServerId) {
        self.elapse(id);
        self.stabilize();
        assert!(self.server(id).role().is_leader(), "{id} was not elected");
        self.elapse(id);
        self.stabilize();
    }

    /// A client's request arrives at a server.
    pub(crate) fn request(
        &mut self,
        to: ServerId,
        request: ClientRequest,
    ) -> Result<(), StepError> {
        self.tell(to, request.client_id.into(), Message::ClientRequest(request))
    }

    /// A message arrives at a server.
    pub(crate) fn tell(
        &mut self,
        to: ServerId,
        from: Address,
        message: Message,
    ) -> Result<(), StepError> {
        let cluster_id = self.host(to).config.cluster_id;
        self.step(to, Input::Message(Envelope { cluster_id, from, to: to.into(), message }))
    }
}

/// The state of a state machine: all it has applied.
fn snapshot_of(applied: &[Entry]) -> Bytes {
    let mut bytes = Vec::new();
    for entry in applied {
        let length_at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        encode_entry(entry, &mut bytes).expect("it came in a frame");
        let length = (bytes.len() - length_at - 4) as u32;
        bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    bytes.into()
}

pub(crate) fn entries_of(mut snapshot: Bytes) -> Vec<Entry> {
    let mut entries = Vec::new();
    while !snapshot.is_empty() {
        let length = snapshot.get_u32_le() as usize;
        entries.push(decode_entry(&snapshot.split_to(length)).expect("a state machine wrote it"));
    }
    entries
}

/// A request whose command is a word.
pub(crate) fn request(client: u64, number: u64, command: &str) -> ClientRequest {
    let command = Bytes::copy_from_slice(command.as_bytes());
    ClientRequest::new(ClientId(client), SequenceNumber(number), command)
}

/// Entries without a command, of these terms, from index 1 on.
pub(crate) fn entries(terms: &[u64]) -> Vec<Entry> {
    let numbered = (1..).zip(terms);
    let entry = |(index, &term)| Entry {
        term: raft_core::Term(term),
        index: Index(index),
        payload: Payload::Noop,
    };
    numbered.map(entry).collect()
}

/// A command as the word it is.
pub(crate) fn word(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Command(request) => String::from_utf8_lossy(&request.command).into_owned(),
        Payload::Proposal(command) => String::from_utf8_lossy(command).into_owned(),
        _ => "noop".to_owned(),
    }
}

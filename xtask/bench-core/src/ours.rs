//! `raft-core` in one thread, without a driver.

use std::collections::VecDeque;

use bytes::Bytes;
use raft_core::{
    Address, Apply, ClientId, ClientRequest, Config, Effect, Effects, Envelope, Input, Message,
    Payload, Recovered, SequenceNumber, Server, ServerId, Timestamp,
};

use crate::cluster::{Cluster, Machine};
use crate::network::Network;

const CLIENT: ClientId = ClientId(1);

/// One server, and what it has applied.
#[derive(Debug)]
struct Host {
    server: Server,
    machine: Machine,
}

/// Servers whose saves are durable at once and whose clock stands still, except for heartbeats.
#[derive(Debug)]
pub struct Ours {
    hosts: Vec<Host>,
    network: Network<Envelope>,
    now: Timestamp,
    effects: Effects,
    /// What the effects of a step caused at the same server.
    follow_ups: VecDeque<Input>,
    /// What was proposed and is not handed over yet.
    proposals: Vec<Envelope>,
    proposed: u64,
}

fn id(place: usize) -> ServerId {
    ServerId(place as u64 + 1)
}

fn place(id: ServerId) -> usize {
    id.0 as usize - 1
}

impl Ours {
    fn new(servers: usize) -> Self {
        let voters: Vec<_> = (0..servers).map(id).collect();
        let host = |&voter: &ServerId| {
            let config = Config {
                // The peers send as much, or have no such limit.
                in_flight_entries_max: 256 * 1024,
                ..Config::new(voter, voters.iter().copied())
            };
            let server = Server::new(config, Recovered::default()).expect("a valid configuration");
            Host { server, machine: Machine::default() }
        };
        Self {
            hosts: voters.iter().map(host).collect(),
            network: Network::default(),
            now: Timestamp::ZERO,
            effects: Effects::new(),
            follow_ups: VecDeque::new(),
            proposals: Vec::new(),
            proposed: 0,
        }
    }

    /// One input, and everything that follows from it at this server.
    fn step(&mut self, server: usize, input: Input) {
        let servers = self.hosts.len();
        let mut next = Some(input);
        while let Some(input) = next {
            let host = &mut self.hosts[server];
            let stepped = host.server.step(self.now, input, &mut self.effects);
            stepped.expect("nobody here says anything that is refused");
            for effect in self.effects.drain() {
                match effect {
                    Effect::Save(save) => self.follow_ups.push_back(Input::Saved(save.number)),
                    Effect::Send(envelope) => {
                        send(&mut self.network, servers, server, envelope);
                    }
                    Effect::Apply(Apply { entries, through }) => {
                        for entry in &entries {
                            if let Payload::Command(request) = &entry.payload {
                                host.machine.apply(&request.command);
                            }
                        }
                        let responses = vec![Bytes::new(); entries.len()];
                        self.follow_ups.push_back(Input::Applied { through, responses });
                    }
                    Effect::NotifyElectedLeader { .. } | Effect::NotifyCommit { .. } => {}
                }
            }
            next = self.follow_ups.pop_front();
        }
    }

    fn deliver(&mut self) {
        while let Some((to, envelope)) = self.network.receive() {
            self.step(to, Input::Message(envelope));
        }
    }

    /// Lets the leader's time come, and no one else's.
    fn leader_timer(&mut self) {
        self.now = self.hosts[0].server.next_timeout().expect("it has joined");
        self.step(0, Input::TimerElapsed);
        self.deliver();
    }

    /// True if a server that can be reached does not know yet what the leader has committed.
    fn is_someone_behind(&self) -> bool {
        let committed = self.hosts[0].server.commit_index();
        self.hosts.iter().enumerate().any(|(place, host)| {
            host.server.last_applied() < committed && !self.network.is_cut_off(place)
        })
    }
}

fn send(network: &mut Network<Envelope>, servers: usize, from: usize, envelope: Envelope) {
    match envelope.to {
        Address::Server(to) => network.send(from, place(to), envelope),
        Address::AllServers => {
            for to in (0..servers).filter(|&to| to != from) {
                network.send(from, to, Envelope { to: id(to).into(), ..envelope.clone() });
            }
        }
        // The client of this program needs no answer: it sees what is applied.
        Address::Client(_) => {}
    }
}

impl Cluster for Ours {
    fn start(servers: usize) -> Self {
        let mut cluster = Self::elect(servers);
        cluster.run();
        cluster
    }

    fn elect(servers: usize) -> Self {
        let mut cluster = Self::new(servers);
        for server in 0..servers {
            cluster.step(server, Input::NotifyJoinedService);
        }
        cluster.leader_timer();
        assert!(cluster.hosts[0].server.role().is_leader(), "nobody else asked for votes");
        cluster
    }

    fn propose(&mut self, commands: impl Iterator<Item = Vec<u8>>) {
        for command in commands {
            self.proposed += 1;
            let message = Message::ClientRequest(ClientRequest {
                client_id: CLIENT,
                sequence_number: SequenceNumber(self.proposed),
                command: command.into(),
            });
            let cluster_id = self.hosts[0].server.config().cluster_id;
            let (from, to) = (CLIENT.into(), id(0).into());
            self.proposals.push(Envelope { cluster_id, from, to, message });
        }
    }

    fn run(&mut self) {
        let mut proposals = std::mem::take(&mut self.proposals);
        for proposal in proposals.drain(..) {
            self.step(0, Input::Message(proposal));
        }
        self.proposals = proposals;
        self.deliver();
        while self.is_someone_behind() {
            self.leader_timer();
        }
    }

    fn machine(&self, server: usize) -> Machine {
        self.hosts[server].machine
    }

    fn compact(&mut self) {
        // The log cannot be compacted yet.
    }

    fn heartbeat(&mut self) {
        self.leader_timer();
        for server in 1..self.hosts.len() {
            let has_come = self.hosts[server].server.next_timeout() <= Some(self.now);
            if has_come && !self.network.is_cut_off(server) {
                self.step(server, Input::TimerElapsed);
            }
        }
        self.deliver();
    }

    fn cut_off(&mut self, server: usize) {
        self.network.cut_off(Some(server));
    }

    fn reconnect(&mut self, _server: usize) {
        self.network.cut_off(None);
    }
}

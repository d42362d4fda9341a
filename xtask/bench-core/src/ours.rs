//! `raft-core` in one thread, without a driver.

use bytes::Bytes;
use raft_core::{
    Address, Config, Effect, Effects, Envelope, Input, Recovered, Server, ServerId, Timestamp,
};

use crate::cluster::{Cluster, Machine};

/// One server, and what it has applied.
#[derive(Debug)]
struct Host {
    server: Server,
    machine: Machine,
    /// What has arrived for it, to be taken in one step.
    inbox: Vec<Envelope>,
    /// What else it has to take, in one step too.
    inputs: Vec<Input>,
}

/// Servers whose saves are durable at once and whose clock stands still, except for heartbeats.
#[derive(Debug)]
pub struct Ours {
    hosts: Vec<Host>,
    now: Timestamp,
    effects: Effects,
    cut_off: Option<usize>,
}

fn id(place: usize) -> ServerId {
    ServerId(place as u64 + 1)
}

fn place(id: ServerId) -> usize {
    id.0 as usize - 1
}

fn config(server: ServerId, voters: &[ServerId]) -> Config {
    Config {
        // Every engine applies everywhere before the next batch.
        announce_commits: true,
        // The peers send as much at once, or have no such limits.
        append_bytes_max: 240 * 1024,
        in_flight_entries_max: 256 * 1024,
        in_flight_bytes_max: 256 * 1024 * 1024,
        // The peers drop whatever was applied.
        snapshot_keep_entries: 0,
        // What is in memory counts as durable, and what is handed out as applied, as with the peers.
        synchronous_driver: true,
        ..Config::new(server, voters.iter().copied())
    }
}

impl Ours {
    fn new(servers: usize) -> Self {
        let voters: Vec<_> = (0..servers).map(id).collect();
        let host = |&voter: &ServerId| {
            let server = Server::new(config(voter, &voters), Recovered::default());
            let server = server.expect("a valid configuration");
            let inputs = vec![Input::NotifyJoinedService];
            Host { server, machine: Machine::default(), inbox: Vec::new(), inputs }
        };
        Self {
            hosts: voters.iter().map(host).collect(),
            now: Timestamp::ZERO,
            effects: Effects::new(),
            cut_off: None,
        }
    }

    /// Takes what has arrived for a server, and does everything that follows from it there. False if
    /// there was nothing.
    fn work(&mut self, server: usize) -> bool {
        let Host { server: core, inbox, inputs, .. } = &mut self.hosts[server];
        let had_messages = !inbox.is_empty();
        if had_messages {
            let messages = inbox.drain(..).map(Input::Message);
            let stepped = core.step_all(self.now, messages, &mut self.effects);
            stepped.expect("nobody here says anything that is refused");
        } else if inputs.is_empty() {
            return false;
        }
        self.carry_out(server);
        loop {
            let Host { server: core, inputs, .. } = &mut self.hosts[server];
            if inputs.is_empty() {
                return true;
            }
            let stepped = core.step_all(self.now, inputs.drain(..), &mut self.effects);
            stepped.expect("nobody here says anything that is refused");
            self.carry_out(server);
        }
    }

    /// Carries out what a server's step has asked for.
    fn carry_out(&mut self, server: usize) {
        for effect in self.effects.drain() {
            let Host { machine, inputs, .. } = &mut self.hosts[server];
            match effect {
                Effect::Send(envelope) => send(&mut self.hosts, self.cut_off, server, envelope),
                Effect::Apply(apply) => {
                    for command in apply.commands().filter_map(|entry| entry.payload.command()) {
                        machine.apply(command);
                    }
                }
                Effect::TakeSnapshot { through } => {
                    let state = [machine.count.to_le_bytes(), machine.sum.to_le_bytes()];
                    let data = Bytes::from(state.concat());
                    inputs.push(Input::SnapshotTaken { through, data });
                }
                Effect::RestoreSnapshot(_) => unreachable!("nobody is that far behind"),
                // A save is done at once, and nobody here listens to the rest.
                _ => {}
            }
        }
    }

    /// Lets a server's time come.
    fn timer(&mut self, server: usize) {
        self.hosts[server].inputs.push(Input::TimerElapsed);
    }

    fn next_timeout(&self, server: usize) -> Timestamp {
        self.hosts[server].server.next_timeout().expect("it has joined")
    }
}

fn send(hosts: &mut [Host], cut_off: Option<usize>, from: usize, envelope: Envelope) {
    match envelope.to {
        Address::Server(to) => {
            let to = place(to);
            if cut_off != Some(from) && cut_off != Some(to) {
                hosts[to].inbox.push(envelope);
            }
        }
        Address::AllServers => {
            for to in (0..hosts.len()).filter(|&to| to != from) {
                let envelope = Envelope { to: id(to).into(), ..envelope.clone() };
                send(hosts, cut_off, from, envelope);
            }
        }
        Address::Client(_) => unreachable!("proposals have no client"),
    }
}

impl Cluster for Ours {
    fn start(servers: usize) -> Self {
        let mut cluster = Self::new(servers);
        cluster.run();
        cluster.now = cluster.next_timeout(0);
        cluster.timer(0);
        cluster.run();
        assert!(cluster.hosts[0].server.role().is_leader(), "nobody else asked for votes");
        cluster
    }

    fn propose(&mut self, commands: impl Iterator<Item = Vec<u8>>) {
        self.hosts[0].inputs.extend(commands.map(|command| Input::Propose(command.into())));
    }

    fn run(&mut self) {
        loop {
            let mut is_quiet = true;
            for server in 0..self.hosts.len() {
                is_quiet &= !self.work(server);
            }
            if is_quiet {
                break;
            }
        }
    }

    fn machine(&self, server: usize) -> Machine {
        self.hosts[server].machine
    }

    fn compact(&mut self) {
        for host in &mut self.hosts {
            host.inputs.push(Input::TakeSnapshot);
        }
        self.run();
        let is_empty = |host: &Host| host.server.log().is_empty();
        assert!(self.hosts.iter().all(is_empty), "everything was applied");
    }

    fn heartbeat(&mut self) {
        self.now = self.next_timeout(0);
        self.timer(0);
        self.run();
        for server in 1..self.hosts.len() {
            // Whoever hears the leader has nothing to do.
            if self.next_timeout(server) <= self.now && self.cut_off != Some(server) {
                self.timer(server);
            }
        }
        self.run();
    }

    fn cut_off(&mut self, server: usize) {
        self.cut_off = Some(server);
    }

    fn reconnect(&mut self, _server: usize) {
        self.cut_off = None;
    }
}

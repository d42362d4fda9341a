//! A lower bound, not a peer: the least that a log must do which servers share.
//!
//! No elections, no saves, no loss: the leader appends, sends every follower handles of what it lacks,
//! counts the answers, and everybody applies. Also the least that an encoded message must cost.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};

use crate::cluster::{Cluster, Machine};
use crate::codec::{self, Codec};
use crate::network::Network;

/// How many entries one message holds at most.
const ENTRIES_MAX: u64 = 1024;
const SERVERS_MAX: usize = 8;

#[derive(Clone, Debug)]
struct Entry {
    term: u64,
    command: Bytes,
}

/// The entries `first + 1` to `last` are in memory.
#[derive(Debug, Default)]
struct Server {
    entries: VecDeque<Entry>,
    first: u64,
    committed: u64,
    applied: u64,
    machine: Machine,
}

impl Server {
    fn last(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn place(&self, index: u64) -> usize {
        (index - self.first) as usize
    }

    fn commit(&mut self, index: u64) {
        self.committed = self.committed.max(index);
        let (from, to) = (self.place(self.applied), self.place(self.committed));
        for entry in self.entries.range(from..to) {
            self.machine.apply(&entry.command);
        }
        self.applied = self.committed;
    }
}

/// What the leader knows of a follower.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    sent: u64,
    acknowledged: u64,
    told_committed: u64,
}

#[derive(Debug)]
enum Message {
    Append { previous: u64, previous_term: u64, committed: u64, entries: Vec<Entry> },
    Acknowledge { from: usize, last: u64 },
}

/// Servers that trust each other; the first one leads.
#[derive(Debug)]
pub struct Floor {
    servers: Vec<Server>,
    progress: Vec<Progress>,
    network: Network<Message>,
}

impl Floor {
    /// Sends each follower what it lacks, or whatever there is if it must be shown that we live.
    fn replicate(&mut self, is_heartbeat: bool) {
        let leader = &self.servers[0];
        for (follower, progress) in self.progress.iter_mut().enumerate().skip(1) {
            let is_behind = progress.sent < leader.last();
            if !is_behind && progress.told_committed == leader.committed && !is_heartbeat {
                continue;
            }
            let previous = progress.sent;
            let end = leader.last().min(previous + ENTRIES_MAX);
            let range = leader.place(previous)..leader.place(end);
            let entries = leader.entries.range(range).cloned().collect();
            let committed = leader.committed;
            *progress = Progress { sent: end, told_committed: committed, ..*progress };
            let message = Message::Append { previous, previous_term: 1, committed, entries };
            self.network.send(0, follower, message);
        }
    }

    fn handle(&mut self, to: usize, message: Message) {
        match message {
            Message::Append { previous, previous_term, committed, entries } => {
                let server = &mut self.servers[to];
                assert_eq!(previous, server.last(), "nothing is lost or overtaken here");
                let in_order = entries.iter().all(|entry| entry.term >= previous_term);
                assert!(in_order, "terms never decrease");
                server.entries.extend(entries);
                server.commit(committed.min(server.last()));
                let last = server.last();
                self.network.send(to, 0, Message::Acknowledge { from: to, last });
            }
            Message::Acknowledge { from, last } => {
                self.progress[from].acknowledged = last;
                self.progress[0].acknowledged = self.servers[0].last();
                let mut held = [0; SERVERS_MAX];
                let held = &mut held[..self.progress.len()];
                for (held, progress) in held.iter_mut().zip(&self.progress) {
                    *held = progress.acknowledged;
                }
                held.sort_unstable();
                let committed = held[(held.len() - 1) / 2];
                if committed > self.servers[0].committed {
                    self.servers[0].commit(committed);
                }
            }
        }
    }
}

impl Cluster for Floor {
    fn start(servers: usize) -> Self {
        Self {
            servers: (0..servers).map(|_| Server::default()).collect(),
            progress: vec![Progress::default(); servers],
            network: Network::default(),
        }
    }

    fn propose(&mut self, commands: impl Iterator<Item = Vec<u8>>) {
        let entries = commands.map(|command| Entry { term: 1, command: command.into() });
        self.servers[0].entries.extend(entries);
    }

    fn run(&mut self) {
        if let [alone] = &mut self.servers[..] {
            alone.commit(alone.last());
        }
        loop {
            self.replicate(false);
            let Some((to, message)) = self.network.receive() else { break };
            self.handle(to, message);
        }
    }

    fn machine(&self, server: usize) -> Machine {
        self.servers[server].machine
    }

    fn compact(&mut self) {
        for server in &mut self.servers {
            let place = server.place(server.applied);
            server.entries.drain(..place);
            server.first = server.applied;
        }
    }

    fn heartbeat(&mut self) {
        self.replicate(true);
        self.run();
    }

    fn cut_off(&mut self, server: usize) {
        self.network.cut_off(Some(server));
    }

    fn reconnect(&mut self, server: usize) {
        self.network.cut_off(None);
        // The one loss there is, and nobody else would notice it.
        self.progress[server].sent = self.progress[server].acknowledged;
    }
}

/// A message written by hand: fixed numbers, then lengths and payloads.
#[derive(Debug)]
pub struct FloorCodec {
    entries: Vec<(u64, Bytes)>,
}

impl Codec for FloorCodec {
    fn new(commands: Vec<Bytes>) -> Self {
        Self { entries: commands.into_iter().map(|command| (1, command)).collect() }
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        for number in [1, 1, 7, 1, 7, self.entries.len() as u64] {
            buffer.put_u64_le(number);
        }
        for (place, (term, command)) in self.entries.iter().enumerate() {
            buffer.put_u64_le(*term);
            buffer.put_u64_le(8 + place as u64);
            buffer.put_u32_le(command.len() as u32);
            buffer.put_slice(command);
        }
    }

    fn decode(frame: &Bytes) -> usize {
        let mut rest = frame.clone();
        let numbers = [(); 6].map(|()| rest.get_u64_le());
        let mut entries = Vec::with_capacity(codec::ENTRIES.min(numbers[5] as usize));
        for _ in 0..numbers[5] {
            let (term, index) = (rest.get_u64_le(), rest.get_u64_le());
            let length = rest.get_u32_le() as usize;
            entries.push((term, index, rest.split_to(length)));
        }
        std::hint::black_box(&entries).iter().map(|(_, _, command)| command.len()).sum()
    }
}

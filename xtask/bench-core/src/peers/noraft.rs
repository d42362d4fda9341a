//! `noraft` 0.7: its core keeps positions and terms only, so the commands are kept here, as its
//! documentation asks.

use std::collections::VecDeque;

use bytes::Bytes;
use noraft::{Action, LogEntries, LogEntry, LogIndex, Message, Node, NodeId};

use crate::cluster::{Cluster, Machine};
use crate::network::Network;

/// How many entries one message carries at most; the library leaves that to us.
const ENTRIES_MAX: usize = 1024;

/// Entries that are no command carry `None`.
type Payload = Option<Bytes>;

struct Host {
    node: Node,
    /// The payloads of the entries `first + 1` and so on.
    payloads: VecDeque<Payload>,
    first: u64,
    applied: u64,
    machine: Machine,
    /// True if something happened to it since its actions were last looked at.
    is_touched: bool,
}

/// A message, and the payloads of its entries.
struct Envelope {
    message: Message,
    payloads: Vec<Payload>,
}

/// Noraft, with a heartbeat after each batch: it tells followers of a commit in no other way.
pub struct Noraft {
    hosts: Vec<Host>,
    network: Network<Envelope>,
    /// Commands whose entries the leader has not made yet.
    proposed: VecDeque<Bytes>,
    announced: u64,
}

impl std::fmt::Debug for Noraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noraft").field("announced", &self.announced).finish_non_exhaustive()
    }
}

impl Host {
    fn new(place: usize) -> Self {
        Self {
            node: Node::start(NodeId::new(place as u64)),
            payloads: VecDeque::new(),
            first: 0,
            applied: 0,
            machine: Machine::default(),
            is_touched: false,
        }
    }

    /// Adds what a message needs besides itself, and keeps it within bounds.
    fn envelope(&self, mut message: Message) -> Envelope {
        let mut payloads = Vec::new();
        if let Message::AppendEntriesCall { entries, .. } = &mut message {
            entries.truncate(entries.len().min(ENTRIES_MAX));
            let from = entries.prev_position().index.get() - self.first;
            let to = entries.last_position().index.get() - self.first;
            payloads.extend(self.payloads.range(from as usize..to as usize).cloned());
        }
        Envelope { message, payloads }
    }

    /// Keeps the payloads of new entries, which `payload` knows by index.
    fn append(&mut self, entries: &LogEntries, mut payload: impl FnMut(u64) -> Payload) {
        let kept = entries.prev_position().index.get() - self.first;
        self.payloads.truncate(kept as usize);
        for (position, entry) in entries.iter_with_positions() {
            self.payloads.push_back(match entry {
                LogEntry::Command => payload(position.index.get()),
                LogEntry::Term(_) | LogEntry::ClusterConfig(_) => None,
            });
        }
    }

    fn apply(&mut self) {
        let committed = self.node.commit_index().get();
        let range = (self.applied - self.first) as usize..(committed - self.first) as usize;
        for command in self.payloads.range(range).flatten() {
            self.machine.apply(command);
        }
        self.applied = committed;
    }
}

impl Noraft {
    /// Does what a server asks for; `received` are the payloads of the message it has just handled,
    /// whose first entry has the index `received_from`.
    fn act(&mut self, place: usize, received_from: u64, received: &[Payload]) {
        self.hosts[place].is_touched = false;
        while let Some(action) = self.hosts[place].node.actions_mut().next() {
            match action {
                // Time stands still, and what is in memory is durable.
                Action::SetElectionTimeout | Action::SaveCurrentTerm | Action::SaveVotedFor => {}
                Action::AppendLogEntries(entries) => {
                    let host = &mut self.hosts[place];
                    if host.node.role().is_leader() {
                        host.append(&entries, |_| self.proposed.pop_front());
                    } else {
                        host.append(&entries, |index| {
                            received[(index - received_from) as usize].clone()
                        });
                    }
                }
                Action::BroadcastMessage(message) => {
                    for to in (0..self.hosts.len()).filter(|&to| to != place) {
                        self.send(place, to, message.clone());
                    }
                }
                Action::SendMessage(to, message) => self.send(place, to.get() as usize, message),
                Action::InstallSnapshot(_) => unreachable!("nobody is that far behind"),
            }
        }
        self.hosts[place].apply();
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if !self.network.is_cut_off(from) && !self.network.is_cut_off(to) {
            let envelope = self.hosts[from].envelope(message);
            self.network.send(from, to, envelope);
        }
    }

    fn handle(&mut self, to: usize, Envelope { message, payloads }: Envelope) {
        let host = &mut self.hosts[to];
        host.node.handle_message(&message).expect("nobody here says anything that is refused");
        match &message {
            // One message at a time, so that its payloads are at hand.
            Message::AppendEntriesCall { entries, .. } => {
                let from = entries.prev_position().index.get() + 1;
                self.act(to, from, &payloads);
            }
            _ => host.is_touched = true,
        }
    }

    /// Tells the followers what is committed, if one of them lags behind. True if it had to.
    fn announce(&mut self) -> bool {
        let committed = self.hosts[0].node.commit_index().get();
        let is_behind = |(place, host): (usize, &Host)| {
            host.applied < committed && !self.network.is_cut_off(place)
        };
        let is_due = self.announced < committed && self.hosts.iter().enumerate().any(is_behind);
        if is_due {
            self.announced = committed;
            self.hosts[0].is_touched = self.hosts[0].node.heartbeat();
        }
        is_due
    }
}

impl Cluster for Noraft {
    fn start(servers: usize) -> Self {
        let mut cluster = Self {
            hosts: (0..servers).map(Host::new).collect(),
            network: Network::default(),
            proposed: VecDeque::new(),
            announced: 0,
        };
        let voters: Vec<_> = (0..servers as u64).map(NodeId::new).collect();
        cluster.hosts[0].node.create_cluster(&voters);
        cluster.hosts[0].is_touched = true;
        cluster.run();
        for _ in 0..4 {
            cluster.heartbeat();
        }
        assert!(cluster.hosts[0].node.role().is_leader(), "nobody else asked for votes");
        cluster
    }

    fn propose(&mut self, commands: impl Iterator<Item = Vec<u8>>) {
        for command in commands {
            self.proposed.push_back(command.into());
            self.hosts[0].node.propose_command();
        }
        self.hosts[0].is_touched = true;
    }

    fn run(&mut self) {
        loop {
            for place in 0..self.hosts.len() {
                if self.hosts[place].is_touched {
                    self.act(place, 0, &[]);
                }
            }
            let mut is_quiet = true;
            while let Some((to, envelope)) = self.network.receive() {
                self.handle(to, envelope);
                is_quiet = false;
            }
            if is_quiet && !self.announce() {
                break;
            }
        }
    }

    fn machine(&self, server: usize) -> Machine {
        self.hosts[server].machine
    }

    fn compact(&mut self) {
        for host in &mut self.hosts {
            let index = LogIndex::new(host.applied);
            let found = host.node.log().get_position_and_config(index);
            let (position, config) = found.expect("what was applied is in the log");
            let config = config.clone();
            assert!(host.node.handle_snapshot_installed(position, config), "it was applied");
            host.payloads.drain(..(host.applied - host.first) as usize);
            host.first = host.applied;
        }
    }

    fn heartbeat(&mut self) {
        self.hosts[0].node.heartbeat();
        self.hosts[0].is_touched = true;
        self.run();
    }

    fn cut_off(&mut self, server: usize) {
        self.network.cut_off(Some(server));
    }

    fn reconnect(&mut self, _server: usize) {
        self.network.cut_off(None);
    }
}

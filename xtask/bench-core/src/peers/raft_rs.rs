//! `raft` 0.7 (raft-rs) with its `MemStorage`, by the Ready loop of its documentation; and its codec.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::cluster::{Cluster, Machine};
use crate::codec::Codec;
use crate::network::Network;

struct Host {
    node: RawNode<MemStorage>,
    machine: Machine,
    /// True if something happened to it since its last Ready.
    is_touched: bool,
}

/// Raft-rs; with `MANY`, all commands of a batch are one proposal with many entries.
pub struct RaftRs<const MANY: bool> {
    hosts: Vec<Host>,
    network: Network<Message>,
}

impl<const MANY: bool> std::fmt::Debug for RaftRs<MANY> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftRs").field("network", &self.network).finish_non_exhaustive()
    }
}

fn config(id: u64) -> Config {
    Config {
        id,
        election_tick: 10,
        heartbeat_tick: 1,
        // The default of 0 sends one entry per message.
        max_size_per_msg: 1 << 20,
        max_inflight_msgs: 256,
        batch_append: true,
        pre_vote: true,
        check_quorum: true,
        ..Config::default()
    }
}

impl Host {
    fn new(id: u64, voters: &[u64]) -> Self {
        let state = ConfState::from((voters.to_vec(), vec![]));
        let storage = MemStorage::new_with_conf_state(state);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config(id), storage, &logger).expect("a valid configuration");
        Self { node, machine: Machine::default(), is_touched: false }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
                self.machine.apply(&entry.data);
            }
        }
    }

    /// What its documentation calls the Ready process, until there is nothing more to do.
    fn work(&mut self, mut send: impl FnMut(Vec<Message>)) {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            assert!(ready.snapshot().is_empty(), "nobody is that far behind");
            send(ready.take_messages());
            self.apply(ready.take_committed_entries());
            if !ready.entries().is_empty() {
                let entries = ready.take_entries();
                self.node.mut_store().wl().append(&entries).expect("entries leave no gap");
            }
            if let Some(hard_state) = ready.hs() {
                self.node.mut_store().wl().set_hardstate(hard_state.clone());
            }
            send(ready.take_persisted_messages());

            let mut light = self.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.node.mut_store().wl().mut_hard_state().set_commit(commit);
            }
            send(light.take_messages());
            self.apply(light.take_committed_entries());
            self.node.advance_apply();
        }
    }
}

impl<const MANY: bool> RaftRs<MANY> {
    fn new(servers: usize) -> Self {
        let voters: Vec<u64> = (1..=servers as u64).collect();
        let hosts = voters.iter().map(|&id| Host::new(id, &voters)).collect();
        Self { hosts, network: Network::default() }
    }

    fn tick(&mut self) {
        for host in &mut self.hosts {
            host.node.tick();
            host.is_touched = true;
        }
        self.run();
    }

    fn leads(&self, server: usize) -> bool {
        self.hosts[server].node.raft.state == StateRole::Leader
    }
}

impl<const MANY: bool> Cluster for RaftRs<MANY> {
    fn start(servers: usize) -> Self {
        let mut cluster = Self::new(servers);
        cluster.hosts[0].node.campaign().expect("it is a follower");
        cluster.hosts[0].is_touched = true;
        cluster.run();
        assert!(cluster.leads(0), "nobody else asked for votes");
        cluster
    }

    fn elect(servers: usize) -> Self {
        let mut cluster = Self::new(servers);
        while !(0..servers).any(|server| cluster.leads(server)) {
            cluster.tick();
        }
        cluster
    }

    fn propose(&mut self, commands: impl Iterator<Item = Vec<u8>>) {
        let leader = &mut self.hosts[0];
        leader.is_touched = true;
        if MANY {
            let entry = |command: Vec<u8>| Entry { data: command.into(), ..Entry::default() };
            let mut message = Message { from: 1, ..Message::default() };
            message.set_msg_type(MessageType::MsgPropose);
            message.set_entries(commands.map(entry).collect());
            // `RawNode::step` refuses local messages; `RawNode::propose` does just this.
            leader.node.raft.step(message).expect("it leads");
        } else {
            for command in commands {
                leader.node.propose(vec![], command).expect("it leads");
            }
        }
    }

    fn run(&mut self) {
        loop {
            for (from, host) in self.hosts.iter_mut().enumerate() {
                if std::mem::take(&mut host.is_touched) {
                    host.work(|messages| {
                        for message in messages {
                            self.network.send(from, message.to as usize - 1, message);
                        }
                    });
                }
            }
            let mut is_quiet = true;
            while let Some((to, message)) = self.network.receive() {
                let host = &mut self.hosts[to];
                host.node.step(message).expect("nobody here says anything that is refused");
                host.is_touched = true;
                is_quiet = false;
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
            let applied = host.node.raft.raft_log.applied;
            host.node.mut_store().wl().compact(applied).expect("it was applied");
        }
    }

    fn heartbeat(&mut self) {
        self.tick();
    }

    fn cut_off(&mut self, server: usize) {
        self.network.cut_off(Some(server));
    }

    fn reconnect(&mut self, server: usize) {
        self.network.cut_off(None);
        self.hosts[0].node.report_unreachable(server as u64 + 1);
    }
}

/// A MsgAppend in protobuf, as its documentation sends it.
#[derive(Debug)]
pub struct RaftRsCodec {
    message: Message,
}

impl Codec for RaftRsCodec {
    fn new(commands: Vec<Bytes>) -> Self {
        let entry = |(place, command)| Entry {
            term: 1,
            index: place as u64 + 8,
            data: command,
            ..Entry::default()
        };
        let mut message = Message {
            from: 1,
            to: 2,
            term: 1,
            log_term: 1,
            index: 7,
            commit: 7,
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgAppend);
        message.set_entries(commands.into_iter().enumerate().map(entry).collect());
        Self { message }
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        self.message.write_to_vec(buffer).expect("a message can be written");
    }

    fn decode(frame: &Bytes) -> usize {
        // The one of its ways in that makes slices of the frame instead of copies.
        let mut input = protobuf::CodedInputStream::from_carllerche_bytes(frame);
        let mut message = Message::default();
        message.merge_from(&mut input).expect("it was encoded here");
        message.get_entries().iter().map(|entry| entry.data.len()).sum()
    }
}

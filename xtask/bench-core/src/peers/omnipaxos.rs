//! `omnipaxos` 0.2.4 with its `MemoryStorage`, everything else as it comes.

use bytes::Bytes;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use crate::cluster::{COMPACT_EVERY, Cluster, Machine};
use crate::network::Network;

#[derive(Clone, Debug)]
struct Command(Bytes);

impl Entry for Command {
    type Snapshot = NoSnapshot;
}

struct Host {
    node: OmniPaxos<Command, MemoryStorage<Command>>,
    applied: usize,
    machine: Machine,
}

/// Omnipaxos; one heartbeat round of its leader election per tick.
pub struct Omnipaxos {
    hosts: Vec<Host>,
    leader: usize,
    network: Network<Message<Command>>,
    outgoing: Vec<Message<Command>>,
}

impl std::fmt::Debug for Omnipaxos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Omnipaxos").field("leader", &self.leader).finish_non_exhaustive()
    }
}

impl Host {
    fn new(pid: u64, nodes: &[u64]) -> Self {
        let cluster_config = ClusterConfig {
            configuration_id: 1,
            nodes: nodes.to_vec(),
            ..ClusterConfig::default()
        };
        let server_config = ServerConfig {
            pid,
            election_tick_timeout: 1,
            resend_message_tick_timeout: 5,
            // So that the first one leads.
            leader_priority: u32::from(pid == 1),
            ..ServerConfig::default()
        };
        let config = OmniPaxosConfig { cluster_config, server_config };
        let node = config.build(MemoryStorage::default()).expect("a valid configuration");
        Self { node, applied: 0, machine: Machine::default() }
    }

    fn apply(&mut self) {
        let decided = self.node.get_decided_idx();
        if decided == self.applied {
            return;
        }
        let entries = self.node.read_entries(self.applied..decided);
        for entry in entries.expect("what is decided can be read") {
            match entry {
                LogEntry::Decided(Command(command)) => self.machine.apply(&command),
                other => unreachable!("only commands are proposed: {other:?}"),
            }
        }
        self.applied = decided;
    }
}

impl Omnipaxos {
    /// Who leads and is ready for commands.
    fn find_leader(&self) -> Option<usize> {
        let leads = |(place, host): &(usize, &Host)| {
            host.node.get_current_leader() == Some((*place as u64 + 1, true))
        };
        self.hosts.iter().enumerate().find(leads).map(|(place, _)| place)
    }
}

impl Cluster for Omnipaxos {
    fn start(servers: usize) -> Self {
        let mut cluster = Self::elect(servers);
        // The priority may move the leadership once more.
        for _ in 0..5 {
            cluster.heartbeat();
        }
        cluster.leader = cluster.find_leader().expect("there was one");
        cluster
    }

    fn elect(servers: usize) -> Self {
        let nodes: Vec<u64> = (1..=servers as u64).collect();
        let mut cluster = Self {
            hosts: nodes.iter().map(|&pid| Host::new(pid, &nodes)).collect(),
            leader: 0,
            network: Network::default(),
            outgoing: Vec::new(),
        };
        while cluster.find_leader().is_none() {
            cluster.heartbeat();
        }
        cluster
    }

    fn leader(&self) -> usize {
        self.leader
    }

    fn propose(&mut self, commands: impl Iterator<Item = Vec<u8>>) {
        let leader = &mut self.hosts[self.leader];
        for command in commands {
            leader.node.append(Command(command.into())).expect("it takes commands");
        }
    }

    fn run(&mut self) {
        loop {
            for (from, host) in self.hosts.iter_mut().enumerate() {
                host.node.take_outgoing_messages(&mut self.outgoing);
                for message in self.outgoing.drain(..) {
                    self.network.send(from, message.get_receiver() as usize - 1, message);
                }
                host.apply();
            }
            let mut is_quiet = true;
            while let Some((to, message)) = self.network.receive() {
                self.hosts[to].node.handle_incoming(message);
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
        self.hosts[self.leader].node.trim(None).expect("everybody has applied everything");
        self.run();
        for host in &self.hosts {
            let kept = host.applied - host.node.get_compacted_idx();
            assert!(kept as u64 <= 2 * COMPACT_EVERY, "{kept} commands are left");
        }
    }

    fn heartbeat(&mut self) {
        for host in &mut self.hosts {
            host.node.tick();
        }
        self.run();
    }

    fn cut_off(&mut self, server: usize) {
        self.network.cut_off(Some(server));
    }

    fn reconnect(&mut self, server: usize) {
        self.network.cut_off(None);
        self.hosts[server].node.reconnected(self.leader as u64 + 1);
    }
}

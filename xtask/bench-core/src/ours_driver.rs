//! `raft-core` on its tokio driver.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use raft_core::codec::encode_value;
use raft_core::driver::{Driver, Handle};
use raft_core::{
    Address, ClusterManager, Config, Envelope, Index, MemoryStorage, RestoreError, ServerId,
    ServerManager, StateMachine, Storage,
};
use tokio::task::JoinHandle;

use crate::cluster::Machine;
use crate::driver::{TokioClient, TokioCluster};

impl StateMachine for Machine {
    type Command = Bytes;
    type Response = ();
    type Query = ();
    type Answer = Self;

    fn apply(&mut self, _index: Index, command: Bytes) {
        Self::apply(self, &command);
    }

    fn query(&self, (): ()) -> Self {
        *self
    }

    fn snapshot(&self) -> Vec<u8> {
        encode_value(&(self.count, self.sum))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let decoded = raft_core::codec::decode_value(snapshot);
        (self.count, self.sum) = decoded.map_err(RestoreError::new)?;
        Ok(())
    }
}

/// Where everybody is: known once all servers are made.
#[derive(Debug, Default)]
struct Directory {
    servers: OnceLock<Vec<Handle<Machine>>>,
}

/// Hands envelopes over in memory.
#[derive(Clone, Debug)]
struct InMemory {
    directory: Arc<Directory>,
}

fn place(id: u64) -> usize {
    id as usize - 1
}

impl ClusterManager for InMemory {
    fn send(&mut self, envelope: Envelope) {
        let Address::Server(to) = envelope.to else { unreachable!("a server is meant") };
        let servers = self.directory.servers.get().expect("nobody speaks before all are here");
        // If its queue is full, the message is lost: a network may do that.
        let _is_lost = !servers[place(to.0)].try_deliver(envelope);
    }

    fn broadcast(&mut self, envelope: Envelope) {
        let servers = self.directory.servers.get().map_or(0, Vec::len) as u64;
        for id in (1..=servers).map(ServerId).filter(|&id| envelope.from != id.into()) {
            self.send(Envelope { to: id.into(), ..envelope.clone() });
        }
    }

    fn answer(&mut self, envelope: Envelope) {
        unreachable!("nobody waits for {envelope}: commands are proposed in the leader's process");
    }
}

/// A host that wants to know nothing.
#[derive(Debug)]
struct Host {
    server_id: ServerId,
    remote_server_ids: Vec<ServerId>,
}

impl ServerManager for Host {
    fn server_id(&self) -> ServerId {
        self.server_id
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        self.remote_server_ids.clone()
    }
}

/// Servers on the driver, each with a state machine and a storage of its own.
#[derive(Debug)]
pub struct OurCluster {
    handles: Vec<Handle<Machine>>,
    tasks: Vec<JoinHandle<()>>,
    leader_id: ServerId,
    clients: Vec<OurClient>,
}

/// A client in the leader's process.
#[derive(Debug)]
pub struct OurClient {
    leader: Handle<Machine>,
}

impl TokioClient for OurClient {
    async fn write(&mut self, command: Bytes) {
        self.leader.propose(command).await.expect("the leader leads on");
    }
}

impl OurCluster {
    /// Starts a cluster of as many servers as there are storages, and waits for its leader.
    ///
    /// # Panics
    ///
    /// If a storage fails.
    pub async fn with_storages<S: Storage>(storages: Vec<S>, clients: usize) -> Self {
        let ids: Vec<_> = (1..=storages.len() as u64).map(ServerId).collect();
        let directory = Arc::new(Directory::default());
        let (mut handles, mut tasks) = (Vec::new(), Vec::new());
        for (&server_id, storage) in ids.iter().zip(storages) {
            let config = Config {
                heartbeat_interval: Duration::from_millis(100),
                election_timeout_min: Duration::from_millis(1000),
                election_timeout_max: Duration::from_millis(2000),
                ..Config::new(server_id, ids.iter().copied())
            };
            let network = InMemory { directory: Arc::clone(&directory) };
            let others = ids.iter().copied().filter(|&other| other != server_id);
            let host = Host { server_id, remote_server_ids: others.collect() };
            let (driver, handle) = Driver::new(config, Machine::default(), storage, network, host)
                .expect("a valid configuration");
            tasks.push(tokio::spawn(async { driver.run().await.expect("no storage fails") }));
            handles.push(handle);
        }
        directory.servers.set(handles.clone()).expect("it is set once");
        for handle in &handles {
            handle.notify_joined_service().await.expect("the server runs");
        }
        let leader_id = elected(&handles).await;
        let client = |_| OurClient { leader: handles[place(leader_id.0)].clone() };
        let clients = (0..clients).map(client).collect();
        Self { handles, tasks, leader_id, clients }
    }

    /// Who leads.
    #[must_use]
    pub fn leader_id(&self) -> ServerId {
        self.leader_id
    }
}

/// Waits until the servers agree on a leader, and says which.
async fn elected(handles: &[Handle<Machine>]) -> ServerId {
    loop {
        for (place, handle) in handles.iter().enumerate() {
            let status = handle.inspect(|server, _| {
                (server.role().is_leader(), server.commit_index() > Index::ZERO)
            });
            if status.await.expect("the server runs") == (true, true) {
                return ServerId(place as u64 + 1);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl TokioCluster for OurCluster {
    type Client = OurClient;

    async fn start(servers: usize, clients: usize) -> Self {
        Self::with_storages(vec![MemoryStorage::new(); servers], clients).await
    }

    fn clients(&mut self) -> Vec<OurClient> {
        std::mem::take(&mut self.clients)
    }

    async fn machines(&self) -> Vec<Machine> {
        let mut machines = Vec::new();
        for handle in &self.handles {
            machines.push(handle.query_stale(()).await.expect("the server runs"));
        }
        machines
    }

    async fn stop(self) {
        for handle in &self.handles {
            handle.stop().await.expect("the server runs");
        }
        for task in self.tasks {
            task.await.expect("the server does not panic");
        }
    }
}

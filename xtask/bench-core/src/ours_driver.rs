//! `raft-core` on its tokio driver.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use raft_core::codec::encode_value;
use raft_core::driver::{Driver, Handle};
use raft_core::{
    Address, ClientId, ClientRequest, ClusterId, ClusterManager, Config, Envelope, Index,
    MemoryStorage, Message, RestoreError, SequenceNumber, ServerId, ServerManager, StateMachine,
};
use tokio::sync::mpsc;
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
    clients: Vec<mpsc::Sender<Envelope>>,
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
        let delivery = servers[place(to.0)].deliver(envelope);
        // If its queue is full, the message is lost: a network may do that.
        let delivery = pin!(tokio::task::unconstrained(delivery));
        let _ = Future::poll(delivery, &mut Context::from_waker(Waker::noop()));
    }

    fn broadcast(&mut self, envelope: Envelope) {
        let servers = self.directory.servers.get().map_or(0, Vec::len) as u64;
        for id in (1..=servers).map(ServerId).filter(|&id| envelope.from != id.into()) {
            self.send(Envelope { to: id.into(), ..envelope.clone() });
        }
    }

    fn answer(&mut self, envelope: Envelope) {
        let Address::Client(to) = envelope.to else { unreachable!("a client is meant") };
        // A client waits for one answer at a time, so there is room; after its end nobody listens.
        let _ = self.directory.clients[place(to.0)].try_send(envelope);
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

/// Servers on the driver, each with a memory of its own.
#[derive(Debug)]
pub struct OurCluster {
    handles: Vec<Handle<Machine>>,
    tasks: Vec<JoinHandle<()>>,
    clients: Vec<OurClient>,
}

/// A client that knows the leader.
#[derive(Debug)]
pub struct OurClient {
    id: ClientId,
    leader_id: ServerId,
    leader: Handle<Machine>,
    next: SequenceNumber,
    answers: mpsc::Receiver<Envelope>,
}

impl TokioClient for OurClient {
    async fn write(&mut self, command: Bytes) {
        let command = encode_value(&command).into();
        let request = ClientRequest::new(self.id, self.next, command);
        self.next = self.next.next();
        let envelope = Envelope {
            cluster_id: ClusterId::default(),
            from: self.id.into(),
            to: self.leader_id.into(),
            message: Message::ClientRequest(request),
        };
        self.leader.deliver(envelope).await.expect("the leader runs");
        self.answers.recv().await.expect("the leader runs");
    }
}

impl OurCluster {
    /// Waits until the servers agree on a leader, and says which.
    async fn leader(&self) -> ServerId {
        loop {
            for (place, handle) in self.handles.iter().enumerate() {
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
}

impl TokioCluster for OurCluster {
    type Client = OurClient;

    async fn start(servers: usize, clients: usize) -> Self {
        let ids: Vec<_> = (1..=servers as u64).map(ServerId).collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..clients).map(|_| mpsc::channel(1)).unzip();
        let directory = Arc::new(Directory { servers: OnceLock::new(), clients: senders });
        let mut cluster = Self { handles: Vec::new(), tasks: Vec::new(), clients: Vec::new() };
        for &server_id in &ids {
            let config = Config {
                heartbeat_interval: Duration::from_millis(100),
                election_timeout_min: Duration::from_millis(1000),
                election_timeout_max: Duration::from_millis(2000),
                ..Config::new(server_id, ids.iter().copied())
            };
            let network = InMemory { directory: Arc::clone(&directory) };
            let others = ids.iter().copied().filter(|&other| other != server_id);
            let host = Host { server_id, remote_server_ids: others.collect() };
            let storage = MemoryStorage::new();
            let (driver, handle) = Driver::new(config, Machine::default(), storage, network, host)
                .expect("a valid configuration");
            let run = async { driver.run().await.expect("nothing fails in memory") };
            cluster.tasks.push(tokio::spawn(run));
            cluster.handles.push(handle);
        }
        directory.servers.set(cluster.handles.clone()).expect("it is set once");
        for handle in &cluster.handles {
            handle.notify_joined_service().await.expect("the server runs");
        }
        let leader_id = cluster.leader().await;
        let leader = cluster.handles[place(leader_id.0)].clone();
        let client = |(place, answers)| OurClient {
            id: ClientId(place as u64 + 1),
            leader_id,
            leader: leader.clone(),
            next: SequenceNumber(1),
            answers,
        };
        cluster.clients = receivers.into_iter().enumerate().map(client).collect();
        cluster
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

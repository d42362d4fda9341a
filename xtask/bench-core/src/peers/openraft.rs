//! `openraft` 0.9 on tokio: its log and its state machine in memory, its network a function call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::Cursor;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    BasicNode, Config, Entry, EntryPayload, LogId, LogState, OptionalSend, Raft, RaftLogReader,
    RaftSnapshotBuilder, Snapshot, SnapshotMeta, SnapshotPolicy, StorageError, StorageIOError,
    StoredMembership, Vote,
};
use serde::{Deserialize, Serialize};

use crate::cluster::Machine;
use crate::driver::{TokioClient, TokioCluster};

/// What clients ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command(Bytes);

openraft::declare_raft_types!(
    /// The library's names for our types.
    pub Types: D = Command, R = ()
);

type Failure = StorageError<u64>;

/// Nobody panics while it is held, and a value that only counts is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Saved {
    vote: Option<Vote<u64>>,
    entries: BTreeMap<u64, Entry<Types>>,
    purged: Option<LogId<u64>>,
}

/// A log in memory.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Saved>>);

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>, Failure> {
        Ok(lock(&self.0).entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        let saved = lock(&self.0);
        let last = saved.entries.last_key_value().map(|(_, entry)| entry.log_id);
        let last_purged_log_id = saved.purged;
        Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), Failure> {
        lock(&self.0).vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, Failure> {
        Ok(lock(&self.0).vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| (entry.log_id.index, entry));
        lock(&self.0).entries.extend(entries);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Result<(), Failure> {
        lock(&self.0).entries.split_off(&from.index);
        Ok(())
    }

    async fn purge(&mut self, through: LogId<u64>) -> Result<(), Failure> {
        let mut saved = lock(&self.0);
        saved.purged = Some(through);
        saved.entries = saved.entries.split_off(&(through.index + 1));
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Applied {
    last: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
    machine: Machine,
}

/// A state machine in memory.
#[derive(Clone, Debug, Default)]
struct Store(Arc<Mutex<Applied>>);

/// Snapshots are switched off, so nobody asks for one.
fn no_snapshot() -> Failure {
    let reason = openraft::AnyError::error("snapshots are off");
    StorageIOError::read_snapshot(None, reason).into()
}

impl RaftSnapshotBuilder<Types> for Store {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failure> {
        Err(no_snapshot())
    }
}

impl RaftStateMachine<Types> for Store {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>), Failure> {
        let applied = lock(&self.0);
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failure>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = lock(&self.0);
        let mut responses = Vec::new();
        for entry in entries {
            applied.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Command(command)) => applied.machine.apply(&command),
                EntryPayload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            responses.push(());
        }
        Ok(responses)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failure> {
        Err(no_snapshot())
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<u64, BasicNode>,
        _snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), Failure> {
        Err(no_snapshot())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failure> {
        Ok(None)
    }
}

/// All servers, each known once it runs.
#[derive(Clone, Default)]
struct Servers(Arc<Mutex<BTreeMap<u64, Raft<Types>>>>);

/// The way to one server.
struct Link(Raft<Types>);

impl RaftNetworkFactory<Types> for Servers {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Link {
        Link(lock(&self.0)[&target].clone())
    }
}

type Refused<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Refused> {
        let answer = self.0.append_entries(request).await;
        answer.map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Refused<InstallSnapshotError>> {
        let answer = self.0.install_snapshot(request).await;
        answer.map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, Refused> {
        let answer = self.0.vote(request).await;
        answer.map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }
}

/// Openraft's servers; the first one leads.
pub struct Openraft {
    servers: Vec<Raft<Types>>,
    stores: Vec<Store>,
    clients: usize,
}

impl Debug for Openraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Openraft").field("clients", &self.clients).finish_non_exhaustive()
    }
}

/// A client that knows the leader.
pub struct OpenraftClient(Raft<Types>);

impl Debug for OpenraftClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenraftClient").finish_non_exhaustive()
    }
}

impl TokioClient for OpenraftClient {
    async fn write(&mut self, command: Bytes) {
        self.0.client_write(Command(command)).await.expect("the leader leads on");
    }
}

fn config() -> Config {
    let config = Config {
        heartbeat_interval: 100,
        election_timeout_min: 1000,
        election_timeout_max: 2000,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    config.validate().expect("a valid configuration")
}

impl TokioCluster for Openraft {
    type Client = OpenraftClient;

    async fn start(servers: usize, clients: usize) -> Self {
        let (config, network) = (Arc::new(config()), Servers::default());
        let mut cluster = Self { servers: Vec::new(), stores: Vec::new(), clients };
        for id in 0..servers as u64 {
            let (log, store) = (Log::default(), Store::default());
            let config = Arc::clone(&config);
            let server = Raft::new(id, config, network.clone(), log, store.clone());
            let server = server.await.expect("a valid configuration");
            lock(&network.0).insert(id, server.clone());
            cluster.servers.push(server);
            cluster.stores.push(store);
        }
        let first = &cluster.servers[0];
        let voters: BTreeSet<u64> = (0..servers as u64).collect();
        first.initialize(voters).await.expect("a new cluster");
        let metrics = first.wait(None);
        let leads = metrics.current_leader(0, "the first server leads").await;
        leads.expect("nobody else asked for votes");
        cluster
    }

    fn clients(&mut self) -> Vec<OpenraftClient> {
        (0..self.clients).map(|_| OpenraftClient(self.servers[0].clone())).collect()
    }

    async fn machines(&self) -> Vec<Machine> {
        self.stores.iter().map(|store| lock(&store.0).machine).collect()
    }

    async fn stop(self) {
        for server in &self.servers {
            server.shutdown().await.expect("it runs");
        }
    }
}

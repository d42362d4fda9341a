//! Hosts one real server on the in-memory bus: the same [`raft_core::driver`] that runs in
//! production, started, killed and restarted at will.
//!
//! Guarantees: a killed server ends between two of its steps and keeps what it saved, nothing else;
//!             whatever arrives before it joins waits for it.
//! Relies on:  a tokio runtime. On a current-thread runtime with paused time, a run repeats exactly.
//! Elsewhere:  how messages travel is in [`crate::cluster_manager`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use raft_core::driver::{Driver, DriverError, Handle, Stopped};
use raft_core::{
    ClusterManager, CommandList, Config, Entry, Index, MemoryStorage, Recovered, RestoreError,
    RoleChange, Save, Server, ServerId, ServerManager, StateMachine, Status, Storage, StorageError,
    Term,
};
use tokio::task::{JoinError, JoinHandle};

use crate::bus::BusError;
use crate::cluster_manager::{Arrivals, Inbox, MockClusterManager};
use crate::safety_monitor::SafetyMonitor;
use crate::transcript::Transcript;

/// Makes the way out of one server: given who it is and the usual way, returns that or a faulty one.
pub type Outbound =
    Arc<dyn Fn(ServerId, MockClusterManager) -> Box<dyn ClusterManager> + Send + Sync>;

/// Hosts one server, whose storage outlives it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use raft_core::{Config, ServerId};
/// use raft_mocking::bus::Bus;
/// use raft_mocking::{MockClusterManager, MockServerHost, SafetyMonitor};
///
/// let monitor = SafetyMonitor::new();
/// let cluster_manager = MockClusterManager::new(Bus::new(), "rafttopic")?;
/// let config = Config::new(ServerId(1), [ServerId(1)]);
/// let mut host = MockServerHost::new(config, cluster_manager, monitor.clone());
///
/// host.start().await?;
/// monitor.until(|seen| !seen.leaders.is_empty()).await;
/// host.kill().await;
/// host.restart().await?;
/// monitor.until(|seen| seen.leaders.len() == 2).await;
/// host.stop().await?;
/// assert_eq!(monitor.check(), Ok(()));
/// # Ok(())
/// # }
/// ```
pub struct MockServerHost<M: StateMachine = CommandList> {
    config: Config,
    cluster_manager: MockClusterManager,
    monitor: SafetyMonitor,
    outbound: Outbound,
    machine: Box<dyn Fn() -> M + Send + Sync>,
    storage: SharedStorage,
    running: Option<Running<M>>,
}

/// The tasks of a server that was launched.
struct Running<M: StateMachine> {
    handle: Handle<Monitored<M>>,
    server: JoinHandle<Result<(), DriverError>>,
    delivery: JoinHandle<()>,
}

/// Why a host could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The server has no way to the bus.
    #[error("the server cannot join the bus")]
    Bus(#[from] BusError),
    /// The server did not start, or had to stop.
    #[error("{server_id} failed")]
    Server {
        /// The server.
        server_id: ServerId,
        /// Why.
        #[source]
        source: DriverError,
    },
    /// The server found its own state broken.
    #[error("{server_id} panicked")]
    Panicked {
        /// The server.
        server_id: ServerId,
        /// What tokio knows of it.
        #[source]
        source: JoinError,
    },
    /// It is running already.
    #[error("{server_id} is running already")]
    Running {
        /// The server.
        server_id: ServerId,
    },
    /// It is not running.
    #[error("{server_id} is not running")]
    NotRunning {
        /// The server.
        server_id: ServerId,
    },
}

impl MockServerHost {
    /// Hosts a server that keeps a list of commands, as the sample's do.
    #[must_use]
    pub fn new(
        config: Config,
        cluster_manager: MockClusterManager,
        monitor: SafetyMonitor,
    ) -> Self {
        Self::with_state_machine(config, cluster_manager, monitor, CommandList::new)
    }
}

impl<M: StateMachine> MockServerHost<M> {
    /// Hosts a server with a state machine of your own; each start makes a new one.
    #[must_use]
    pub fn with_state_machine(
        config: Config,
        cluster_manager: MockClusterManager,
        monitor: SafetyMonitor,
        machine: impl Fn() -> M + Send + Sync + 'static,
    ) -> Self {
        Self {
            config,
            cluster_manager,
            monitor,
            outbound: Arc::new(|_, usual| Box::new(usual)),
            machine: Box::new(machine),
            storage: SharedStorage::default(),
            running: None,
        }
    }

    /// Has every later life of the server send by what `outbound` makes.
    #[must_use]
    pub fn with_outbound(mut self, outbound: Outbound) -> Self {
        self.outbound = outbound;
        self
    }

    /// The server.
    #[must_use]
    pub fn server_id(&self) -> ServerId {
        self.config.server_id
    }

    /// What survives the server's crashes.
    #[must_use]
    pub fn storage(&self) -> &SharedStorage {
        &self.storage
    }

    /// What arrived for the server, in all its lives.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        self.cluster_manager.arrivals(self.server_id())
    }

    /// True from [`MockServerHost::launch`] until the server is killed, stopped, or has failed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.server.is_finished())
    }

    /// Talks to the server.
    ///
    /// # Errors
    ///
    /// If it was not launched, or was killed or stopped since.
    pub fn handle(&self) -> Result<&Handle<Monitored<M>>, HostError> {
        let server_id = self.server_id();
        let running = self.running.as_ref();
        running.map(|running| &running.handle).ok_or(HostError::NotRunning { server_id })
    }

    /// Launches the server and has it join (the sample's `NotifyJoinedServiceEvent`).
    ///
    /// # Errors
    ///
    /// As [`MockServerHost::launch`].
    pub async fn start(&mut self) -> Result<(), HostError> {
        self.launch()?;
        self.notify_joined_service().await
    }

    /// Launches the server, which defers whatever arrives until it is told that it has joined.
    ///
    /// # Errors
    ///
    /// If it runs already, its storage or configuration makes no sense, or the bus is closed.
    pub fn launch(&mut self) -> Result<(), HostError> {
        let server_id = self.server_id();
        if self.is_running() {
            return Err(HostError::Running { server_id });
        }
        let inbox = self.cluster_manager.register_server(self.config.cluster_id, server_id)?;
        let machine = Monitored::new((self.machine)(), server_id, self.monitor.clone());
        let server_manager = MockServerManager {
            server_id,
            remote_server_ids: remote_server_ids(&self.config),
            monitor: self.monitor.clone(),
            transcript: self.cluster_manager.transcript().cloned(),
        };
        let (driver, handle) = Driver::new(
            self.config.clone(),
            machine,
            self.storage.clone(),
            (self.outbound)(server_id, self.cluster_manager.clone()),
            server_manager,
        )
        .map_err(|source| HostError::Server { server_id, source })?;
        let server = tokio::spawn(driver.run());
        let delivery = tokio::spawn(deliver(inbox, handle.clone()));
        self.running = Some(Running { handle, server, delivery });
        Ok(())
    }

    /// Tells the server that it has joined: now the protocol begins.
    ///
    /// # Errors
    ///
    /// If it is not running.
    pub async fn notify_joined_service(&self) -> Result<(), HostError> {
        let joined = self.handle()?.notify_joined_service().await;
        joined.map_err(|Stopped| HostError::NotRunning { server_id: self.server_id() })
    }

    /// What an operator sees of the server now.
    ///
    /// # Errors
    ///
    /// If it is not running.
    pub async fn status(&self) -> Result<Status, HostError> {
        self.inspect(|server, _| server.status()).await
    }

    /// Looks at the server and its state machine between two steps.
    ///
    /// # Errors
    ///
    /// If it is not running.
    pub async fn inspect<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Server, &M) -> R + Send + 'static,
    ) -> Result<R, HostError> {
        let seen = self.handle()?.inspect(|server, monitored| look(server, &monitored.machine));
        seen.await.map_err(|Stopped| HostError::NotRunning { server_id: self.server_id() })
    }

    /// Ends the server as a crash would: what it saved stays, what it had received is lost.
    /// Nothing happens if it is not running.
    pub async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            self.record("killed");
            running.delivery.abort();
            running.server.abort();
            // Both tasks are gone when this returns, so nothing of the server acts any more.
            let _ = (&mut running.delivery).await;
            let _ = (&mut running.server).await;
        }
    }

    /// Starts the server again from what it saved; a running one is killed first.
    ///
    /// # Errors
    ///
    /// As [`MockServerHost::start`].
    pub async fn restart(&mut self) -> Result<(), HostError> {
        self.kill().await;
        self.record("restarted");
        self.start().await
    }

    /// Stops the server cleanly and tells how it ended.
    ///
    /// # Errors
    ///
    /// If it was not running, or had to stop before: [`HostError::Server`] and
    /// [`HostError::Panicked`] say why.
    pub async fn stop(&mut self) -> Result<(), HostError> {
        let server_id = self.server_id();
        let Some(mut running) = self.running.take() else {
            return Err(HostError::NotRunning { server_id });
        };
        running.delivery.abort();
        // If it has stopped already, its task says why.
        let _ = running.handle.stop().await;
        match (&mut running.server).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(HostError::Server { server_id, source }),
            Err(source) => Err(HostError::Panicked { server_id, source }),
        }
    }

    fn record(&self, what: &str) {
        if let Some(transcript) = self.cluster_manager.transcript() {
            transcript.record(format_args!("{} {what}", self.server_id()));
        }
    }
}

impl<M: StateMachine> Drop for Running<M> {
    fn drop(&mut self) {
        // A dropped host leaves no task behind.
        self.delivery.abort();
        self.server.abort();
    }
}

impl<M: StateMachine> fmt::Debug for MockServerHost<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockServerHost")
            .field("server_id", &self.config.server_id)
            .field("is_launched", &self.running.is_some())
            .finish_non_exhaustive()
    }
}

/// From the subscription to the server, until either is gone.
async fn deliver<M: StateMachine>(mut inbox: Inbox, handle: Handle<M>) {
    while let Ok(envelope) = inbox.next().await {
        if handle.deliver(envelope).await.is_err() {
            return;
        }
    }
}

fn remote_server_ids(config: &Config) -> Vec<ServerId> {
    config.voters.iter().copied().filter(|&id| id != config.server_id).collect()
}

/// Passes on what a server tells: to the monitor, and to the transcript if there is one.
#[derive(Clone, Debug)]
pub struct MockServerManager {
    server_id: ServerId,
    remote_server_ids: Vec<ServerId>,
    monitor: SafetyMonitor,
    transcript: Option<Transcript>,
}

impl MockServerManager {
    /// Speaks for the server of this configuration.
    #[must_use]
    pub fn new(config: &Config, monitor: SafetyMonitor) -> Self {
        let remote_server_ids = remote_server_ids(config);
        Self { server_id: config.server_id, remote_server_ids, monitor, transcript: None }
    }
}

impl ServerManager for MockServerManager {
    fn server_id(&self) -> ServerId {
        self.server_id
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        self.remote_server_ids.clone()
    }

    fn initialize(&mut self) {
        self.monitor.notify_started(self.server_id);
    }

    fn notify_elected_leader(&mut self, term: Term) {
        self.monitor.notify_elected_leader(self.server_id, term);
    }

    fn notify_role_change(&mut self, change: RoleChange) {
        if let Some(transcript) = &self.transcript {
            transcript.record(change);
        }
    }

    fn notify_commit(&mut self, entry: &Entry) {
        if let Some(transcript) = &self.transcript {
            transcript.record(format_args!("{} commit {entry}", self.server_id));
        }
        self.monitor.notify_commit(self.server_id, entry);
    }
}

/// A state machine that tells the monitor what it applies, and of which snapshots it is restored.
#[derive(Clone, Debug)]
pub struct Monitored<M> {
    machine: M,
    /// The last command it was handed. It travels along in snapshots, before the state.
    last: Index,
    server_id: ServerId,
    monitor: SafetyMonitor,
}

impl<M> Monitored<M> {
    /// Watches over `machine`, which is the one of this server.
    pub fn new(machine: M, server_id: ServerId, monitor: SafetyMonitor) -> Self {
        Self { machine, last: Index::ZERO, server_id, monitor }
    }

    /// The state machine itself.
    pub fn machine(&self) -> &M {
        &self.machine
    }
}

impl<M: StateMachine> StateMachine for Monitored<M> {
    type Command = M::Command;
    type Response = M::Response;
    type Query = M::Query;
    type Answer = M::Answer;

    fn apply(&mut self, index: Index, command: M::Command) -> M::Response {
        self.monitor.notify_apply(self.server_id, index);
        self.last = index;
        self.machine.apply(index, command)
    }

    fn query(&self, query: M::Query) -> M::Answer {
        self.machine.query(query)
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut snapshot = self.last.0.to_le_bytes().to_vec();
        snapshot.extend(self.machine.snapshot());
        snapshot
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let (last, state) = snapshot.split_at_checked(size_of::<u64>()).unwrap_or((snapshot, &[]));
        let last = last.try_into().map_err(RestoreError::new)?;
        self.machine.restore(state)?;
        self.last = Index(u64::from_le_bytes(last));
        self.monitor.notify_restored(self.server_id, self.last);
        Ok(())
    }
}

/// Storage that outlives its server: clones share what was saved.
///
/// It is instant. A write on a thread of its own would end when the operating system likes, and no
/// seed could repeat that.
#[derive(Clone, Debug, Default)]
pub struct SharedStorage {
    saved: Arc<Mutex<MemoryStorage>>,
}

impl SharedStorage {
    fn with<R>(&self, call: impl FnOnce(&mut MemoryStorage) -> R) -> R {
        // A save that failed has changed nothing.
        call(&mut self.saved.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loses everything, as no disk may: a server that forgets its vote or its log breaks the
    /// promises it made. For tests that want to see them broken.
    pub fn forget(&self) {
        self.with(|storage| *storage = MemoryStorage::new());
    }

    /// Everything saved so far.
    ///
    /// # Errors
    ///
    /// None, in memory.
    pub fn recovered(&self) -> Result<Recovered, StorageError> {
        self.with(MemoryStorage::load)
    }
}

impl Storage for SharedStorage {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        self.recovered()
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        self.with(|storage| storage.save(saves))
    }

    fn is_instant(&self) -> bool {
        true
    }
}

//! One Raft server on the bus: a driver, a subscription, and the messages between them.
//!
//! Guarantees: the server hears nothing before it can answer, and joins only when its subscription
//!             is attached; one whose log is gone does not join at all; it stops with its saves
//!             finished and its connection closed.
//! Elsewhere:  the protocol is in [`raft_core::Server`], the bus in [`crate::bus`]; who has started
//!             before is remembered by [`crate::started`].

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use raft_core::driver::{Driver, DriverError, Handle, Stopped};
use raft_core::{
    Address, Config, FileStorage, NewServerError, RealFileSystem, Recovered, RecoveryReport, Save,
    ServerId, ServerManager, Start, StateMachine, Storage, StorageError,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::amqp::AmqpOptions;
use crate::bus::{Bus, ConnectionState};
use crate::cluster_manager::{AzureClusterManager, Carried};
use crate::connection_string::ConnectionString;
use crate::counters::Counters;
use crate::message_receiver::{MessageReceiver, Sifted};
use crate::publisher::Publisher;
use crate::started::{self, MarkerError, StartedMarker};
use crate::transport::TransportError;

/// How long a stopping server waits for its last messages to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a server runs.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The namespace.
    pub connection_string: ConnectionString,
    /// The topic, which must exist with a subscription for this server: see [`mod@crate::provision`].
    pub topic: String,
    /// The server and its cluster.
    pub config: Config,
    /// Where the server keeps its log. Made if it is missing. Beside it stands a file that says that the
    /// server has started: see [`crate::started`].
    pub data_dir: PathBuf,
    /// The server stops when its files have become so many bytes longer since it started: see
    /// [`RealFileSystem::with_quota`].
    pub disk_quota: Option<u64>,
}

/// Why a server cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The bus refused, or is not there.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The log cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The server has started on the folder before, and there is no log in it any more.
    #[error(
        "{folder} holds no log, but {marker} says that {server_id} has run on it: its log is gone. \
         Without it the server could vote twice in one term and forget what it confirmed, so it does \
         not start. Bring the folder back (is its disk mounted?); or let a server with a new id join \
         (--start join) and take this one out of the cluster; or, only if the whole cluster was wiped \
         on purpose, remove {marker}"
    )]
    LogGone {
        /// The server.
        server_id: ServerId,
        /// Where its log was.
        folder: String,
        /// The file that knows of it.
        marker: String,
    },
    /// The folder is empty, and nobody can say whether the server has run on it.
    #[error("the folder holds no log, and perhaps it did before")]
    Marker(#[from] MarkerError),
    /// The server cannot start, or had to stop.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A task of the server panicked.
    #[error("the server panicked")]
    Panicked,
}

/// A server whose log was read, and that is connected to nothing yet.
#[derive(Debug)]
pub struct RecoveredServer {
    connection_string: ConnectionString,
    topic: String,
    config: Config,
    storage: ReadStorage,
    marker: Result<StartedMarker, MarkerError>,
}

impl RecoveredServer {
    /// Opens the log and reads it. From then on no other process can start on the folder.
    ///
    /// # Errors
    ///
    /// If the log cannot be read, is damaged, belongs to another server, is in use, or is gone.
    pub async fn open(options: ServerOptions) -> Result<Self, ServerError> {
        // A long log takes its time, and whoever waits may want to wait no longer.
        let opened = tokio::task::spawn_blocking(|| Self::open_blocking(options)).await;
        opened.unwrap_or(Err(ServerError::Panicked))
    }

    fn open_blocking(options: ServerOptions) -> Result<Self, ServerError> {
        let ServerOptions { connection_string, topic, config, data_dir, disk_quota } = options;
        let Config { cluster_id, server_id, .. } = config;
        let marker = StartedMarker::beside(&data_dir, cluster_id, server_id);
        let check_new = || match &marker {
            Ok(marker) if marker.has_started()? => Err(ServerError::LogGone {
                server_id,
                folder: data_dir.display().to_string(),
                marker: marker.path().display().to_string(),
            }),
            _ if config.start == Start::Rejoin => {
                Err(DriverError::from(NewServerError::StorageLost { server_id }).into())
            }
            Ok(_) | Err(_) => Ok(()),
        };
        // Before anything is made, so that the folder can be put back in one piece.
        if started::is_empty(&data_dir) {
            check_new()?;
        }
        let fs = disk_quota.map_or_else(RealFileSystem::new, RealFileSystem::with_quota);
        let mut storage =
            FileStorage::open_in(fs, &data_dir, cluster_id, server_id, &config.voters)?;
        if storage.is_new() {
            check_new()?;
        }
        let recovered = Some(storage.load()?);
        let storage = ReadStorage { recovered, storage };
        Ok(Self { connection_string, topic, config, storage, marker })
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> &RecoveryReport {
        self.storage.storage.recovery_report()
    }

    /// Connects, attaches to the subscription, notes that the server has started, and joins the cluster.
    ///
    /// # Errors
    ///
    /// If nobody answers, the key is wrong, or the topic or the subscription does not exist; or if the
    /// server cannot start with what was found.
    pub async fn join<M: StateMachine>(
        self,
        machine: M,
        host: impl ServerManager + 'static,
    ) -> Result<AzureServer<M>, ServerError> {
        let Self { connection_string, topic, config, storage, marker } = self;
        let me = Address::Server(config.server_id);
        let amqp = AmqpOptions {
            entity: Some(topic.clone()),
            container_id: me.routing_name(),
            ..AmqpOptions::default()
        };
        let bus = Bus::connect(connection_string, amqp).await?;
        let publisher = bus.publisher(&topic);
        let subscriber = bus.subscriber(&topic, &me.routing_name());
        publisher.ready().await?;
        subscriber.ready().await?;

        let cluster_manager = AzureClusterManager::new(publisher.clone(), time_to_live(&config));
        let carried = cluster_manager.carried();
        let receiver = MessageReceiver::new(subscriber, me);
        let sifted = receiver.sifted();
        let (driver, handle) = make_driver(config, machine, storage, cluster_manager, host)?;
        // Before the first promise: only who has made none may be taken for new.
        let noted = tokio::task::spawn_blocking(|| marker.and_then(|marker| marker.note())).await;
        let not_noted = noted.map_err(|_| ServerError::Panicked)?.err();
        if let Some(error) = &not_noted {
            tracing::warn!(%error, "nobody will know that this server has started");
        }
        let driver = tokio::spawn(driver);
        let delivery = tokio::spawn(deliver(receiver, handle.clone()));
        Ok(AzureServer { handle, bus, publisher, driver, delivery, carried, sifted, not_noted })
    }
}

/// A driver that runs as soon as somebody waits for it.
type Running = Pin<Box<dyn Future<Output = Result<(), DriverError>> + Send>>;

fn make_driver<M: StateMachine>(
    config: Config,
    machine: M,
    storage: ReadStorage,
    cluster_manager: AzureClusterManager,
    host: impl ServerManager + 'static,
) -> Result<(Running, Handle<M>), DriverError> {
    #[cfg(feature = "defects")]
    if config.defect == Some(raft_core::Defect::AcknowledgedBeforeDurable) {
        let storage = crate::late_storage::LateStorage::new(storage);
        let (driver, handle) = Driver::new(config, machine, storage, cluster_manager, host)?;
        return Ok((Box::pin(driver.run()), handle));
    }
    let (driver, handle) = Driver::new(config, machine, storage, cluster_manager, host)?;
    Ok((Box::pin(driver.run()), handle))
}

/// Storage that was read already: the first to load it is given what was found.
#[derive(Debug)]
struct ReadStorage {
    recovered: Option<Recovered>,
    storage: FileStorage,
}

impl Storage for ReadStorage {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        self.recovered.take().map_or_else(|| self.storage.load(), Ok)
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        self.storage.save(saves)
    }

    fn is_instant(&self) -> bool {
        self.storage.is_instant()
    }
}

/// A server on the bus.
#[derive(Debug)]
pub struct AzureServer<M: StateMachine> {
    handle: Handle<M>,
    bus: Bus,
    publisher: Publisher,
    driver: JoinHandle<Result<(), DriverError>>,
    delivery: JoinHandle<Result<(), TransportError>>,
    carried: Arc<Carried>,
    sifted: Arc<Sifted>,
    not_noted: Option<MarkerError>,
}

impl<M: StateMachine> AzureServer<M> {
    /// Opens the log, connects, attaches to the subscription, and joins the cluster.
    ///
    /// # Errors
    ///
    /// Those of [`RecoveredServer::open`] and [`RecoveredServer::join`].
    pub async fn start(
        options: ServerOptions,
        machine: M,
        host: impl ServerManager + 'static,
    ) -> Result<Self, ServerError> {
        // The log first: a second process with the same log must not take its messages away.
        RecoveredServer::open(options).await?.join(machine, host).await
    }

    /// Why nobody will know that this server has started, if its folder is wiped.
    #[must_use]
    pub fn not_noted(&self) -> Option<&MarkerError> {
        self.not_noted.as_ref()
    }

    /// Talks to the server.
    #[must_use]
    pub fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    /// What the connection has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.bus.counters()
    }

    /// Whether messages can flow, to look at or to wait on.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        self.bus.state()
    }

    /// What was handed to the bus, and what was not.
    #[must_use]
    pub fn carried(&self) -> Arc<Carried> {
        Arc::clone(&self.carried)
    }

    /// What arrived and was not for the server.
    #[must_use]
    pub fn sifted(&self) -> Arc<Sifted> {
        Arc::clone(&self.sifted)
    }

    /// Runs until `stop` resolves, or the server has to stop by itself: the saves under way are
    /// finished, the last messages leave, the connection closes.
    ///
    /// # Errors
    ///
    /// Why the server had to stop by itself.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { handle, bus, publisher, mut driver, mut delivery, .. } = self;
        let join = |result: Result<_, tokio::task::JoinError>| match result {
            Ok(result) => result,
            Err(_) => Err(ServerError::Panicked),
        };
        let result = tokio::select! {
            result = &mut driver => join(result.map(|result| result.map_err(ServerError::from))),
            ended = async {
                tokio::select! {
                    () = stop => Ok(()),
                    result = &mut delivery => {
                        join(result.map(|result| result.map_err(ServerError::from)))
                    }
                }
            } => {
                // It may be about to stop by itself; then its own result says why.
                let _: Result<(), Stopped> = handle.stop().await;
                let finished = join(driver.await.map(|result| result.map_err(ServerError::from)));
                ended.and(finished)
            }
        };
        delivery.abort();
        if tokio::time::timeout(FLUSH_TIMEOUT, publisher.flush()).await.is_err() {
            tracing::warn!("some last messages did not leave in time");
        }
        bus.close().await;
        result
    }
}

/// A message that nobody took for so long is of no use to Raft any more, and must not fill the topic
/// while a server is down.
#[must_use]
pub fn time_to_live(config: &Config) -> Duration {
    config.election_timeout_max.max(Duration::from_secs(1))
}

async fn deliver<M: StateMachine>(
    mut receiver: MessageReceiver,
    handle: Handle<M>,
) -> Result<(), TransportError> {
    if handle.notify_joined_service().await.is_err() {
        return Ok(());
    }
    loop {
        let envelope = receiver.receive().await?;
        if handle.deliver(envelope).await.is_err() {
            return Ok(());
        }
    }
}

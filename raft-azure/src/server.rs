//! One Raft server on the bus: a driver, a subscription, and the messages between them.
//!
//! Guarantees: the server hears nothing before it can answer, and joins only when its subscription
//!             is attached; it stops with its saves finished and its connection closed.
//! Elsewhere:  the protocol is in [`raft_core::Server`], the bus in [`crate::bus`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raft_core::driver::{Driver, DriverError, Handle, Stopped};
use raft_core::{
    Address, Config, FileStorage, RealFileSystem, ServerManager, StateMachine, StorageError,
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
    /// Where the server keeps its log. Made if it is missing.
    pub data_dir: PathBuf,
    /// How much its files may grow in this life, in bytes, as if the disk were full then; for tests.
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
    /// The server cannot start, or had to stop.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A task of the server panicked.
    #[error("the server panicked")]
    Panicked,
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
}

impl<M: StateMachine> AzureServer<M> {
    /// Opens the log, connects, attaches to the subscription, and joins the cluster.
    ///
    /// # Errors
    ///
    /// If the log cannot be opened, nobody answers, the key is wrong, or the topic or the
    /// subscription does not exist.
    pub async fn start(
        options: ServerOptions,
        machine: M,
        host: impl ServerManager + 'static,
    ) -> Result<Self, ServerError> {
        let ServerOptions { connection_string, topic, config, data_dir, disk_quota } = options;
        // The log first: a second process with the same log must not take its messages away.
        let fs = disk_quota.map_or_else(RealFileSystem::new, RealFileSystem::with_quota);
        let (cluster_id, server_id) = (config.cluster_id, config.server_id);
        let storage = FileStorage::open_in(fs, data_dir, cluster_id, server_id, &config.voters)?;
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
        #[cfg(feature = "defects")]
        if config.defect == Some(raft_core::Defect::AcknowledgedBeforeDurable) {
            let storage = crate::late_storage::LateStorage::new(storage);
            let (driver, handle) = Driver::new(config, machine, storage, cluster_manager, host)?;
            let driver = tokio::spawn(driver.run());
            let delivery = tokio::spawn(deliver(receiver, handle.clone()));
            return Ok(Self { handle, bus, publisher, driver, delivery, carried, sifted });
        }
        let (driver, handle) = Driver::new(config, machine, storage, cluster_manager, host)?;
        let driver = tokio::spawn(driver.run());
        let delivery = tokio::spawn(deliver(receiver, handle.clone()));
        Ok(Self { handle, bus, publisher, driver, delivery, carried, sifted })
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

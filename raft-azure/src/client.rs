//! One client on the bus.

use std::time::Duration;

use bytes::Bytes;
use raft_core::driver::{Answer, ClientDriver, RequestError};
use raft_core::{Address, ClientConfig};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::amqp::AmqpOptions;
use crate::bus::Bus;
use crate::cluster_manager::AzureClusterManager;
use crate::connection_string::ConnectionString;
use crate::counters::Counters;
use crate::message_receiver::MessageReceiver;
use crate::transport::TransportError;

/// Answers that may wait; more would be repetitions.
const ARRIVALS_MAX: usize = 256;

/// A client on the bus: asks one thing at a time, and asks again until it is answered.
#[derive(Debug)]
pub struct AzureClient {
    driver: ClientDriver<AzureClusterManager>,
    bus: Bus,
    delivery: JoinHandle<TransportError>,
}

impl AzureClient {
    /// Connects, and attaches to the client's subscription, which must exist: see
    /// [`mod@crate::provision`].
    ///
    /// # Errors
    ///
    /// If nobody answers, the key is wrong, or the topic or the subscription does not exist.
    pub async fn start(
        connection_string: ConnectionString,
        topic: &str,
        config: ClientConfig,
        time_to_live: Duration,
    ) -> Result<Self, TransportError> {
        let me = Address::Client(config.client_id);
        let amqp = AmqpOptions {
            entity: Some(topic.to_owned()),
            container_id: me.routing_name(),
            ..AmqpOptions::default()
        };
        let bus = Bus::connect(connection_string, amqp).await?;
        let publisher = bus.publisher(topic);
        let subscriber = bus.subscriber(topic, &me.routing_name());
        publisher.ready().await?;
        subscriber.ready().await?;
        let mut receiver = MessageReceiver::new(subscriber, me);
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let delivery = tokio::spawn(async move {
            loop {
                match receiver.receive().await {
                    Ok(envelope) => {
                        if sender.send(envelope).await.is_err() {
                            return TransportError::Closed;
                        }
                    }
                    Err(error) => return error,
                }
            }
        });
        let cluster_manager = AzureClusterManager::new(publisher, time_to_live);
        Ok(Self { driver: ClientDriver::new(config, cluster_manager, arrivals), bus, delivery })
    }

    /// Has a command applied, exactly once, asking again and elsewhere for as long as it takes.
    ///
    /// # Errors
    ///
    /// If it was refused for good; or if there was no answer `within` this time, and then nobody
    /// knows whether it was or will be applied.
    pub async fn request(
        &mut self,
        command: Bytes,
        within: Duration,
    ) -> Result<Answer, RequestError> {
        self.driver.request(command, within).await
    }

    /// What the connection has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.bus.counters()
    }

    /// Closes the connection.
    pub async fn stop(self) {
        self.delivery.abort();
        self.bus.close().await;
    }
}

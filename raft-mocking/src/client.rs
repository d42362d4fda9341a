//! A client of the hosted servers, on the same bus.
//!
//! Guarantees: a request is retried, also elsewhere, until it is answered or its time is over, and
//!             keeps its sequence number.
//! Relies on:  [`raft_core::driver::ClientDriver`] for all of that.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use raft_core::driver::{Answer, ClientDriver, RequestError};
use raft_core::{ClientConfig, ClientId, ClusterManager, codec};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::bus::BusError;
use crate::cluster_manager::MockClusterManager;
use crate::transcript::Transcript;

/// How many answers may wait for a client that is not asking.
const ANSWERS_MAX: usize = 16;

/// Sends requests over the bus and waits for their answers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use raft_core::{ClientConfig, ClientId, Config, ServerId, decode_outcome};
/// use raft_mocking::bus::Bus;
/// use raft_mocking::{MockClient, MockClusterManager, MockServerHost, SafetyMonitor};
///
/// let cluster_manager = MockClusterManager::new(Bus::new(), "rafttopic")?;
/// let config = Config::new(ServerId(1), [ServerId(1)]);
/// let mut host = MockServerHost::new(config, cluster_manager.clone(), SafetyMonitor::new());
/// host.start().await?;
///
/// let config = ClientConfig::new(ClientId(1), [ServerId(1)]);
/// let mut client = MockClient::new(config, &cluster_manager)?;
/// let answer = client.request("hello").await?;
/// assert_eq!(answer.by, ServerId(1));
/// assert_eq!(decode_outcome(&answer.response)?, Ok(1_u64), "one command applied so far");
/// # Ok(())
/// # }
/// ```
pub struct MockClient {
    driver: ClientDriver<Box<dyn ClusterManager>>,
    within: Duration,
    delivery: JoinHandle<()>,
    transcript: Option<Transcript>,
}

impl MockClient {
    /// A client with a subscription of its own, which gives a request up after a minute.
    ///
    /// # Errors
    ///
    /// As [`MockClusterManager::register_client`].
    pub fn new(
        config: ClientConfig,
        cluster_manager: &MockClusterManager,
    ) -> Result<Self, BusError> {
        Self::with_outbound(config, cluster_manager, Box::new(cluster_manager.clone()))
    }

    /// A client that sends by `outbound` instead, and hears what arrives on `cluster_manager`.
    ///
    /// # Errors
    ///
    /// As [`MockClusterManager::register_client`].
    pub fn with_outbound(
        config: ClientConfig,
        cluster_manager: &MockClusterManager,
        outbound: Box<dyn ClusterManager>,
    ) -> Result<Self, BusError> {
        let mut inbox = cluster_manager.register_client(config.cluster_id, config.client_id)?;
        let (sender, arrivals) = mpsc::channel(ANSWERS_MAX);
        let delivery = tokio::spawn(async move {
            while let Ok(envelope) = inbox.next().await {
                if sender.send(envelope).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            driver: ClientDriver::new(config, outbound, arrivals),
            within: Duration::from_secs(60),
            delivery,
            transcript: cluster_manager.transcript().cloned(),
        })
    }

    /// Has the client give a request up after this time.
    #[must_use]
    pub fn giving_up_after(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// The client.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.driver.id()
    }

    /// Has a text applied by servers that keep a [`CommandList`](raft_core::CommandList).
    ///
    /// # Errors
    ///
    /// As [`ClientDriver::request`].
    pub async fn request(&mut self, text: &str) -> Result<Answer, RequestError> {
        self.request_encoded(codec::encode_value(&text).into()).await
    }

    /// Has a command applied that is in the encoding of its state machine already.
    ///
    /// # Errors
    ///
    /// As [`ClientDriver::request`].
    pub async fn request_encoded(&mut self, command: Bytes) -> Result<Answer, RequestError> {
        let outcome = self.driver.request(command, self.within).await;
        if let Some(transcript) = &self.transcript {
            let client = self.id();
            match &outcome {
                Ok(Answer { sequence_number, by, log_id, attempts, .. }) => {
                    transcript.record(format_args!(
                        "{client}{sequence_number} answered by {by} at {log_id}, attempt {attempts}"
                    ))
                }
                Err(error) => transcript.record(format_args!("{client} {error}")),
            }
        }
        outcome
    }
}

impl Drop for MockClient {
    fn drop(&mut self) {
        self.delivery.abort();
    }
}

impl fmt::Debug for MockClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockClient").field("id", &self.id()).finish_non_exhaustive()
    }
}

//! The way out: every envelope is published to the topic.
//!
//! Guarantees: nothing here waits; what could not be carried is counted, by reason, and logged.
//! Relies on:  the rules on the subscriptions to bring each message where `To` says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raft_core::{ClusterManager, Envelope};

use crate::message::to_bus_message;
use crate::publisher::{PublishError, Publisher};

/// Carries a server's or a client's messages over a Service Bus topic.
#[derive(Clone, Debug)]
pub struct AzureClusterManager {
    publisher: Publisher,
    time_to_live: Duration,
    carried: Arc<Carried>,
}

/// What was handed to the bus, and what was not.
#[derive(Debug, Default)]
pub struct Carried {
    published: AtomicU64,
    too_large: AtomicU64,
    refused: AtomicU64,
}

impl Carried {
    /// Messages handed to the publisher.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Messages that no topic would take.
    pub fn too_large(&self) -> u64 {
        self.too_large.load(Ordering::Relaxed)
    }

    /// Messages that the publisher refused for any other reason.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl AzureClusterManager {
    /// Publishes by `publisher`; messages that are not received within `time_to_live` die.
    #[must_use]
    pub fn new(publisher: Publisher, time_to_live: Duration) -> Self {
        Self { publisher, time_to_live, carried: Arc::default() }
    }

    /// What was handed to the bus so far.
    #[must_use]
    pub fn carried(&self) -> Arc<Carried> {
        Arc::clone(&self.carried)
    }

    fn publish(&self, envelope: &Envelope) {
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let message = match to_bus_message(envelope, self.time_to_live) {
            Ok(message) => message,
            Err(error) => {
                count(&self.carried.too_large);
                tracing::warn!(%envelope, %error, "not sent");
                return;
            }
        };
        match self.publisher.publish(message) {
            Ok(()) => count(&self.carried.published),
            Err(error @ PublishError::TooLarge { .. }) => {
                count(&self.carried.too_large);
                tracing::warn!(%envelope, %error, "not sent");
            }
            // Raft sends again what matters; while the bus is away this happens all the time.
            Err(error) => {
                count(&self.carried.refused);
                tracing::debug!(%envelope, %error, "not sent");
            }
        }
    }
}

impl ClusterManager for AzureClusterManager {
    fn send(&mut self, envelope: Envelope) {
        self.publish(&envelope);
    }

    fn broadcast(&mut self, envelope: Envelope) {
        self.publish(&envelope);
    }

    fn answer(&mut self, envelope: Envelope) {
        self.publish(&envelope);
    }
}

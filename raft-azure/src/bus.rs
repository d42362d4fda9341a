//! The bus as Raft uses it: publish without waiting, receive without caring about reconnects.
//!
//! Guarantees: one connection per process; a publisher never blocks its caller; everything that
//!             was lost on the way is counted; nobody waits for ever.
//! Relies on:  a [`Connector`] for single attempts.
//! Elsewhere:  who keeps the connection and its tokens alive is in `supervisor`; outboxes are in
//!             [`crate::publisher`], inboxes in [`crate::subscriber`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::counters::{Counters, Meter};
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::supervisor::{self, Links};
use crate::transport::{Connector, TransportError};

/// What to do with a message that finds the outbox full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Drop the oldest message that is still waiting: Raft prefers what is new.
    #[default]
    DropOldest,
    /// Refuse the new message.
    Refuse,
}

/// Buffers and limits above the wire.
#[derive(Debug, Clone)]
pub struct BusOptions {
    /// Messages a publisher holds while it cannot send.
    pub outbox_messages: usize,
    /// Bytes a publisher holds while it cannot send.
    pub outbox_bytes: usize,
    /// What happens to a message that finds the outbox full.
    pub when_full: WhenFull,
    /// Messages sent and not yet answered, per publisher.
    pub max_in_flight: usize,
    /// Messages received and not yet taken, per subscriber.
    pub inbox_messages: usize,
    /// Largest message in bytes, until the broker says what it takes.
    pub max_message_bytes: usize,
    /// An answer to a send that takes longer means that the connection is gone.
    pub send_timeout: Duration,
    /// First wait between attempts; it doubles from there.
    pub backoff_first: Duration,
    /// Longest wait between attempts.
    pub backoff_max: Duration,
    /// Seed of the jitter; give each process its own.
    pub jitter_seed: u64,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            outbox_messages: 4096,
            outbox_bytes: 16 * 1024 * 1024,
            when_full: WhenFull::default(),
            max_in_flight: 256,
            inbox_messages: 1024,
            max_message_bytes: 256 * 1024,
            send_timeout: Duration::from_secs(10),
            backoff_first: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            jitter_seed: u64::from(std::process::id()),
        }
    }
}

impl BusOptions {
    /// A back-off whose jitter differs between the users in one process.
    pub(crate) fn backoff(&self, user: u64) -> Backoff {
        let seed = self.jitter_seed ^ user.wrapping_mul(0xA24B_AED4_963E_E407);
        Backoff::new(self.backoff_first, self.backoff_max, seed)
    }
}

/// Whether messages can flow. While they cannot, nobody should conclude that a leader is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// There is a connection.
    Connected,
    /// There was one, and we are trying to get another.
    Reconnecting,
    /// The bus was closed by us.
    Closed,
}

/// Where a link stands; publishers and subscribers tell it to whoever waits in `ready`.
#[derive(Debug, Clone)]
pub(crate) enum LinkState {
    Attaching,
    Attached,
    Refused(TransportError),
}

/// Waits until a link was attached or finally refused.
pub(crate) async fn link_ready(
    mut state: watch::Receiver<LinkState>,
) -> Result<(), TransportError> {
    let settled = state.wait_for(|state| !matches!(state, LinkState::Attaching)).await;
    match settled.as_deref() {
        Ok(LinkState::Refused(error)) => Err(error.clone()),
        Ok(LinkState::Attached | LinkState::Attaching) => Ok(()),
        Err(_) => Err(TransportError::Closed),
    }
}

/// What the tasks of one bus share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) options: Arc<BusOptions>,
    pub(crate) meter: Arc<Meter>,
    /// True once the bus closes; an error means that it was dropped, which is the same.
    pub(crate) closing: watch::Receiver<bool>,
}

impl Shared {
    /// Returns when the bus closes.
    pub(crate) async fn closed(&mut self) {
        // An error: the bus was dropped without being closed.
        let _ = self.closing.wait_for(|closing| *closing).await;
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow() || self.closing.has_changed().is_err()
    }

    /// Waits, or returns true at once when the bus closes.
    pub(crate) async fn closes_within(&mut self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.closed()).await.is_ok()
    }
}

/// One connection to the bus. Dropping it stops everything at once; [`Bus::close`] says good-bye.
///
/// - Publishers and subscribers live until the bus is closed or dropped.
/// - At most one publisher per topic exists; asking again gives the same.
#[derive(Debug)]
pub struct Bus {
    shared: Shared,
    links: Box<dyn Links>,
    state: watch::Receiver<ConnectionState>,
    closing: watch::Sender<bool>,
    publishers: Mutex<BTreeMap<String, Publisher>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Bus {
    /// Opens the bus with any connector. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Whatever the first attempt to connect fails with; later failures are retried.
    pub async fn start<C: Connector>(
        connector: C,
        options: BusOptions,
    ) -> Result<Self, TransportError> {
        let connection = connector.connect().await?;
        let (closing, closing_receiver) = watch::channel(false);
        let shared = Shared {
            options: Arc::new(options),
            meter: Arc::new(Meter::default()),
            closing: closing_receiver,
        };
        let (links, state, task) = supervisor::spawn(connector, connection, shared.clone());
        Ok(Self {
            shared,
            links,
            state,
            closing,
            publishers: Mutex::default(),
            tasks: Mutex::new(vec![task]),
        })
    }

    /// The publisher of a topic. Returns at once; [`Publisher::ready`] tells whether the topic
    /// exists.
    pub fn publisher(&self, topic: &str) -> Publisher {
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(publisher) = publishers.get(topic) {
            return publisher.clone();
        }
        let (publisher, task) = self.links.publisher(topic, self.shared.clone());
        self.keep(task);
        publishers.insert(topic.to_owned(), publisher.clone());
        publisher
    }

    /// A subscriber of `topic/Subscriptions/subscription`, which receives and deletes. Returns at
    /// once; [`Subscriber::ready`] tells whether the subscription exists.
    pub fn subscriber(&self, topic: &str, subscription: &str) -> Subscriber {
        let entity = format!("{topic}/Subscriptions/{subscription}");
        let (subscriber, task) = self.links.subscriber(&entity, self.shared.clone());
        self.keep(task);
        subscriber
    }

    fn keep(&self, task: JoinHandle<()>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.shared.meter.snapshot()
    }

    /// The state of the connection, to look at or to wait on.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Detaches all links and closes the connection, within a few seconds. What is still in an
    /// outbox is lost: [`Publisher::flush`] first.
    pub async fn close(self) {
        // An error means that every task is gone already.
        let _ = self.closing.send(true);
        // The supervisor waits until nobody can ask for a link any more.
        drop(self.links);
        let tasks = self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        for task in tasks {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a task of the bus failed");
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The way in: what arrives in a subscription, decoded and sifted.
//!
//! Guarantees: what is handed out was sent by someone else and is meant for this address; what is
//!             not is counted, by reason. Nothing on the topic can make it fail.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_core::{Address, Envelope};

use crate::message::from_bus_message;
use crate::subscriber::Subscriber;
use crate::transport::TransportError;

/// Receives the messages of one server or client.
#[derive(Debug)]
pub struct MessageReceiver {
    subscriber: Subscriber,
    me: Address,
    waiting: VecDeque<Envelope>,
    sifted: Arc<Sifted>,
}

/// What arrived and was not handed out.
#[derive(Debug, Default)]
pub struct Sifted {
    undecodable: AtomicU64,
    own: AtomicU64,
    misdirected: AtomicU64,
}

impl Sifted {
    /// Messages that are no frame of ours.
    pub fn undecodable(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }

    /// This server's own broadcasts, which the topic brings back.
    pub fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    /// Messages whose frame says that they are for someone else.
    pub fn misdirected(&self) -> u64 {
        self.misdirected.load(Ordering::Relaxed)
    }
}

impl MessageReceiver {
    /// Receives for `me` from its subscription.
    #[must_use]
    pub fn new(subscriber: Subscriber, me: Address) -> Self {
        Self { subscriber, me, waiting: VecDeque::new(), sifted: Arc::default() }
    }

    /// What was not handed out so far.
    #[must_use]
    pub fn sifted(&self) -> Arc<Sifted> {
        Arc::clone(&self.sifted)
    }

    /// Waits for the next message. Cancel-safe.
    ///
    /// # Errors
    ///
    /// If the subscription is gone or refused for good, or the bus is closed.
    pub async fn receive(&mut self) -> Result<Envelope, TransportError> {
        loop {
            if let Some(envelope) = self.waiting.pop_front() {
                return Ok(envelope);
            }
            let message = self.subscriber.receive().await?;
            match from_bus_message(&message) {
                Ok(envelopes) => {
                    let mine = envelopes.into_iter().filter(|envelope| self.is_mine(envelope));
                    self.waiting = mine.collect();
                }
                Err(error) => {
                    self.sifted.undecodable.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, "a message on the topic is not ours");
                }
            }
        }
    }

    fn is_mine(&self, envelope: &Envelope) -> bool {
        let counter = if envelope.from == self.me {
            &self.sifted.own
        } else if envelope.to == self.me
            || envelope.to == Address::AllServers && matches!(self.me, Address::Server(_))
        {
            return true;
        } else {
            &self.sifted.misdirected
        };
        counter.fetch_add(1, Ordering::Relaxed);
        false
    }
}

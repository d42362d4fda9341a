//! Receiving from a subscription: a task that keeps a link open, and an inbox to read from.
//!
//! Guarantees: `receive` is cancel-safe and survives lost connections; it ends with an error only
//!             when asking again is pointless.
//! Relies on:  link credit for back-pressure: a full inbox stops the link, then the broker.

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::bus::{LinkState, Shared, link_ready};
use crate::supervisor::Requests;
use crate::transport::{Connector, LinkReceiver, ReceivedMessage, TransportError};

/// Receives from one subscription. Dropping it detaches the link.
#[derive(Debug)]
pub struct Subscriber {
    inbox: mpsc::Receiver<Result<ReceivedMessage, TransportError>>,
    link: watch::Receiver<LinkState>,
}

impl Subscriber {
    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError::NotFound`] if the subscription is gone, [`TransportError::Unauthorized`]
    /// if a fresh token is refused, [`TransportError::Closed`] after one of these or when the bus
    /// closes.
    pub async fn receive(&mut self) -> Result<ReceivedMessage, TransportError> {
        self.inbox.recv().await.unwrap_or(Err(TransportError::Closed))
    }

    /// Waits until the subscription was found, or finally refused. From then on it misses no
    /// message while connected.
    ///
    /// # Errors
    /// As [`Subscriber::receive`].
    pub async fn ready(&self) -> Result<(), TransportError> {
        link_ready(self.link.clone()).await
    }
}

/// Starts the task that keeps the link open.
pub(crate) fn spawn<C: Connector>(
    entity: &str,
    requests: Requests<C>,
    shared: Shared,
) -> (Subscriber, JoinHandle<()>) {
    let (sender, inbox) = mpsc::channel(shared.options.inbox_messages.max(1));
    let (link, link_receiver) = watch::channel(LinkState::Attaching);
    let worker = Worker {
        entity: entity.to_owned(),
        requests,
        backoff: shared.options.backoff(3),
        shared,
        inbox: sender,
        link,
    };
    let task = tokio::spawn(worker.run());
    (Subscriber { inbox, link: link_receiver }, task)
}

struct Worker<C: Connector> {
    entity: String,
    requests: Requests<C>,
    backoff: Backoff,
    shared: Shared,
    inbox: mpsc::Sender<Result<ReceivedMessage, TransportError>>,
    link: watch::Sender<LinkState>,
}

/// Why a link is no longer used.
enum Ended {
    Closing,
    Failed(TransportError),
}

impl<C: Connector> Worker<C> {
    async fn run(mut self) {
        loop {
            let opened = tokio::select! {
                () = self.shared.closed() => return,
                () = self.inbox.closed() => return,
                opened = self.requests.open_receiver(&self.entity) => opened,
            };
            let error = match opened {
                Ok(mut opened) => {
                    self.link.send_replace(LinkState::Attached);
                    tracing::debug!(entity = self.entity, "receiving");
                    match self.pump(&mut opened.link).await {
                        Ended::Closing => return opened.link.close().await,
                        Ended::Failed(error) => {
                            self.requests.report(opened.generation, &error).await;
                            error
                        }
                    }
                }
                Err(error) if error.is_fatal() => {
                    self.link.send_replace(LinkState::Refused(error.clone()));
                    tracing::warn!(entity = self.entity, error = %error.one_line(), "cannot receive");
                    // An error means that nobody reads any more.
                    let _ = self.inbox.send(Err(error)).await;
                    return;
                }
                Err(error) => error,
            };
            tracing::warn!(
                entity = self.entity,
                error = %error.one_line(),
                "the receiving link is down"
            );
            let was_working = self.backoff.is_fresh();
            let wait = self.backoff.next_wait();
            // A link that worked is worth asking for again at once.
            if !was_working && self.shared.closes_within(wait).await {
                return;
            }
        }
    }

    /// Receives until the link fails, the bus closes, or nobody reads any more.
    async fn pump(&mut self, link: &mut impl LinkReceiver) -> Ended {
        loop {
            let received = tokio::select! {
                () = self.shared.closed() => return Ended::Closing,
                () = self.inbox.closed() => return Ended::Closing,
                received = link.receive() => received,
            };
            match received {
                Ok(message) => {
                    self.shared.meter.count_received(message.message.encoded_size());
                    self.backoff.reset();
                    tokio::select! {
                        () = self.shared.closed() => return Ended::Closing,
                        sent = self.inbox.send(Ok(message)) => {
                            if sent.is_err() {
                                return Ended::Closing;
                            }
                        }
                    }
                }
                Err(error @ TransportError::Undecodable { .. }) => {
                    self.shared.meter.count_undecodable();
                    tracing::debug!(entity = self.entity, error = %error, "skipped");
                }
                Err(error) => return Ended::Failed(error),
            }
        }
    }
}

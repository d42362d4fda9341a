//! Keeps the one connection alive: reconnects with back-off, renews tokens, opens links.
//!
//! Guarantees: a link is opened with a token that was put on this very connection; a token is
//!             renewed after three quarters of its life; a connection that once failed to answer
//!             is not used again.
//! Elsewhere:  what a link does until it fails is in [`crate::publisher`] and [`crate::subscriber`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::bus::{ConnectionState, Shared};
use crate::publisher::{self, Publisher};
use crate::subscriber::{self, Subscriber};
use crate::transport::{Connection, Connector, TransportError};

pub(crate) type SenderOf<C> = <<C as Connector>::Connection as Connection>::Sender;
pub(crate) type ReceiverOf<C> = <<C as Connector>::Connection as Connection>::Receiver;

/// A failed renewal is tried again after so long, while the old token still works.
const RENEWAL_RETRY: Duration = Duration::from_secs(1);

/// Shortest time between renewals, or a ready-made signature, which every renewal finds closer to
/// its end, would be put ever faster.
const RENEWAL_WAIT_MIN: Duration = Duration::from_millis(250);

/// A link and the connection it is on.
#[derive(Debug)]
pub(crate) struct Opened<L> {
    pub(crate) link: L,
    pub(crate) generation: u64,
}

type Reply<L> = oneshot::Sender<Result<Opened<L>, TransportError>>;

/// What publishers and subscribers ask of the supervisor.
enum Request<C: Connector> {
    OpenSender {
        topic: String,
        reply: Reply<SenderOf<C>>,
    },
    OpenReceiver {
        subscription: String,
        reply: Reply<ReceiverOf<C>>,
    },
    /// A link got no answer: the connection is not to be trusted.
    Distrust {
        generation: u64,
    },
}

/// The way to the supervisor.
pub(crate) struct Requests<C: Connector> {
    sender: mpsc::Sender<Request<C>>,
}

impl<C: Connector> Clone for Requests<C> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<C: Connector> fmt::Debug for Requests<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl<C: Connector> Requests<C> {
    /// Opens a sending link as soon as there is a connection.
    pub(crate) async fn open_sender(
        &self,
        topic: &str,
    ) -> Result<Opened<SenderOf<C>>, TransportError> {
        let topic = topic.to_owned();
        self.ask(|reply| Request::OpenSender { topic, reply }).await
    }

    /// Opens a receiving link as soon as there is a connection.
    pub(crate) async fn open_receiver(
        &self,
        subscription: &str,
    ) -> Result<Opened<ReceiverOf<C>>, TransportError> {
        let subscription = subscription.to_owned();
        self.ask(|reply| Request::OpenReceiver { subscription, reply }).await
    }

    /// Tells that a link on this connection failed.
    pub(crate) async fn report(&self, generation: u64, error: &TransportError) {
        if error.breaks_connection() {
            // An error means that the bus is closing, which needs no report.
            let _ = self.sender.send(Request::Distrust { generation }).await;
        }
    }

    async fn ask<L>(
        &self,
        request: impl FnOnce(Reply<L>) -> Request<C>,
    ) -> Result<Opened<L>, TransportError> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(request(reply)).await.map_err(|_| TransportError::Closed)?;
        answer.await.unwrap_or(Err(TransportError::Closed))
    }
}

/// Starts publishers and subscribers, whatever the connector is.
pub(crate) trait Links: fmt::Debug + Send + Sync {
    fn publisher(&self, topic: &str, shared: Shared) -> (Publisher, JoinHandle<()>);
    fn subscriber(&self, entity: &str, shared: Shared) -> (Subscriber, JoinHandle<()>);
}

impl<C: Connector> Links for Requests<C> {
    fn publisher(&self, topic: &str, shared: Shared) -> (Publisher, JoinHandle<()>) {
        publisher::spawn(topic, self.clone(), shared)
    }

    fn subscriber(&self, entity: &str, shared: Shared) -> (Subscriber, JoinHandle<()>) {
        subscriber::spawn(entity, self.clone(), shared)
    }
}

/// Starts the supervisor with a connection that was just opened.
pub(crate) fn spawn<C: Connector>(
    connector: C,
    connection: C::Connection,
    shared: Shared,
) -> (Box<dyn Links>, watch::Receiver<ConnectionState>, JoinHandle<()>) {
    let (sender, requests) = mpsc::channel(64);
    let (state, state_receiver) = watch::channel(ConnectionState::Connected);
    let backoff = shared.options.backoff(0);
    let renewals = BTreeMap::new();
    let supervisor =
        Supervisor { connector, requests, state, shared, backoff, renewals, generation: 0 };
    let task = tokio::spawn(supervisor.run(connection));
    (Box::new(Requests { sender }), state_receiver, task)
}

struct Supervisor<C: Connector> {
    connector: C,
    requests: mpsc::Receiver<Request<C>>,
    state: watch::Sender<ConnectionState>,
    shared: Shared,
    backoff: Backoff,
    /// When to put a new token for which entity, on the present connection.
    renewals: BTreeMap<String, Instant>,
    /// Counts connections, so that a late report does not cut the next one.
    generation: u64,
}

/// Why [`Supervisor::serve`] returned.
enum Served {
    Closing,
    Lost(TransportError),
}

impl<C: Connector> Supervisor<C> {
    async fn run(mut self, connection: C::Connection) {
        let mut connection = Some(connection);
        while let Some(mut current) = connection.take() {
            match self.serve(&mut current).await {
                Served::Closing => {
                    // Links end first: they need the connection to say good-bye. Each takes a
                    // bounded time and then drops its way to us; requests go unanswered.
                    while self.requests.recv().await.is_some() {}
                    current.close().await;
                    break;
                }
                Served::Lost(error) => {
                    drop(current);
                    tracing::warn!(
                        generation = self.generation,
                        error = %error.one_line(),
                        "lost the connection to the bus"
                    );
                    self.state.send_replace(ConnectionState::Reconnecting);
                    connection = self.reconnect().await;
                }
            }
        }
        self.state.send_replace(ConnectionState::Closed);
    }

    async fn serve(&mut self, connection: &mut C::Connection) -> Served {
        loop {
            let renewal = self.renewals.values().min().copied();
            let renewal_due = async {
                match renewal {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.closed() => return Served::Closing,
                error = connection.closed() => return Served::Lost(error),
                () = renewal_due => {
                    if let Err(error) = self.renew(connection).await {
                        return Served::Lost(error);
                    }
                }
                request = self.requests.recv() => {
                    let Some(request) = request else { return Served::Closing };
                    if let Err(error) = self.handle(connection, request).await {
                        return Served::Lost(error);
                    }
                }
            }
        }
    }

    /// Does what a link asks; an error means that the connection is broken.
    async fn handle(
        &mut self,
        connection: &mut C::Connection,
        request: Request<C>,
    ) -> Result<(), TransportError> {
        match request {
            Request::OpenSender { topic, reply } => {
                let opened = match self.authorize(connection, &topic).await {
                    Ok(()) => connection.open_sender(&topic).await,
                    Err(error) => Err(error),
                };
                self.answer(reply, opened)
            }
            Request::OpenReceiver { subscription, reply } => {
                let opened = match self.authorize(connection, &subscription).await {
                    Ok(()) => connection.open_receiver(&subscription).await,
                    Err(error) => Err(error),
                };
                self.answer(reply, opened)
            }
            Request::Distrust { generation } if generation == self.generation => {
                Err(TransportError::Timeout {
                    operation: "a message on a link",
                    after: self.shared.options.send_timeout,
                })
            }
            Request::Distrust { .. } => Ok(()),
        }
    }

    fn answer<L>(
        &self,
        reply: Reply<L>,
        opened: Result<L, TransportError>,
    ) -> Result<(), TransportError> {
        let broken = match &opened {
            Ok(_) => {
                self.shared.meter.count_attach();
                Ok(())
            }
            Err(error) if error.breaks_connection() => Err(error.clone()),
            Err(_) => Ok(()),
        };
        // An error means that whoever asked has gone; the link is dropped with it.
        let _ = reply.send(opened.map(|link| Opened { link, generation: self.generation }));
        broken
    }

    async fn authorize(
        &mut self,
        connection: &mut C::Connection,
        entity: &str,
    ) -> Result<(), TransportError> {
        let lifetime = connection.authorize(entity).await?;
        self.shared.meter.count_token();
        tracing::debug!(entity, lifetime_secs = lifetime.as_secs(), "put a token");
        let wait = lifetime.mul_f64(0.75).max(RENEWAL_WAIT_MIN);
        self.renewals.insert(entity.to_owned(), Instant::now() + wait);
        Ok(())
    }

    /// Renews every token that is due; an error means that the connection is broken.
    async fn renew(&mut self, connection: &mut C::Connection) -> Result<(), TransportError> {
        let now = Instant::now();
        let is_due = |at: &Instant| *at <= now;
        let due: Vec<String> = self
            .renewals
            .iter()
            .filter(|(_, at)| is_due(at))
            .map(|(entity, _)| entity.clone())
            .collect();
        for entity in due {
            match self.authorize(connection, &entity).await {
                Ok(()) => {}
                Err(error) if error.breaks_connection() => return Err(error),
                Err(error) => {
                    // The old token works for a while; when it does not, the broker detaches the
                    // link and opening it again tells the same error to the link's owner.
                    tracing::warn!(entity, error = %error.one_line(), "cannot renew a token");
                    self.renewals.insert(entity, Instant::now() + RENEWAL_RETRY);
                }
            }
        }
        Ok(())
    }

    /// Tries until there is a connection; `None` if the bus closes meanwhile.
    async fn reconnect(&mut self) -> Option<C::Connection> {
        self.renewals.clear();
        self.backoff.reset();
        loop {
            let wait = self.backoff.next_wait();
            if self.shared.closes_within(wait).await {
                return None;
            }
            let connected = tokio::select! {
                connected = self.connector.connect() => connected,
                () = self.shared.closed() => return None,
            };
            match connected {
                Ok(connection) => {
                    self.generation += 1;
                    self.shared.meter.count_reconnect();
                    self.state.send_replace(ConnectionState::Connected);
                    tracing::info!(generation = self.generation, "connected to the bus again");
                    return Some(connection);
                }
                Err(error) => {
                    tracing::warn!(error = %error.one_line(), "cannot reconnect to the bus");
                    if error.is_fatal() {
                        self.refuse_waiting(&error);
                    }
                }
            }
        }
    }

    /// Tells everybody who waits for a link why there will be none for now.
    fn refuse_waiting(&mut self, error: &TransportError) {
        while let Ok(request) = self.requests.try_recv() {
            // An error means that whoever asked has gone.
            match request {
                Request::OpenSender { reply, .. } => drop(reply.send(Err(error.clone()))),
                Request::OpenReceiver { reply, .. } => drop(reply.send(Err(error.clone()))),
                Request::Distrust { .. } => {}
            }
        }
    }
}

//! Carries messages over the in-memory bus as they travel over the real one: one frame per bus
//! message, addressed by `To`, filtered by correlation rules.
//!
//! Guarantees: sending never waits, fails or panics, and what was not carried is counted; an
//!             [`Inbox`] hands out only messages of its own cluster, and no server's own echo.
//! Relies on:  [`crate::bus`] for delivery, [`raft_core::codec`] for the frames.
//! Elsewhere:  who hosts the servers is in [`crate::server_host`].

use std::collections::{BTreeMap, VecDeque};
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft_core::{Address, ClientId, ClusterId, ClusterManager, Envelope, ServerId, codec};

use crate::broker::{BrokerError, BusMessage, CorrelationFilter, Rule};
use crate::bus::{Bus, BusError, Receiver};
use crate::transcript::Transcript;

/// The topic that the sample uses, and a [`Scenario`](crate::Scenario) too.
pub const TOPIC: &str = "rafttopic";

/// How long a message is worth delivering unless [`MockClusterManager::with_time_to_live`] says
/// otherwise: many election timeouts, and short enough that the backlog of a dead server stays small.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(10);

/// The rule for messages to one server or client.
const TO_ME: &str = "to-me";
/// The rule for messages to all servers.
const TO_ALL: &str = "to-all";

/// Publishes what servers and clients send to one topic; clones share the topic and the counts.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), raft_mocking::bus::BusError> {
/// use raft_core::{ClientId, ClientRequest, ClusterId, ClusterManager, Envelope, Message};
/// use raft_core::{SequenceNumber, ServerId};
/// use raft_mocking::MockClusterManager;
/// use raft_mocking::bus::Bus;
///
/// let mut cluster_manager = MockClusterManager::new(Bus::new(), "rafttopic")?;
/// let mut inbox = cluster_manager.register_server(ClusterId::default(), ServerId(1))?;
/// let client_id = ClientId(9);
/// let request =
///     ClientRequest::new(client_id, SequenceNumber(1), "x".into());
/// let envelope = Envelope {
///     cluster_id: ClusterId::default(),
///     from: client_id.into(),
///     to: ServerId(1).into(),
///     message: Message::ClientRequest(request),
/// };
/// cluster_manager.dispatch(envelope.clone());
/// assert_eq!(inbox.next().await?, envelope);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MockClusterManager {
    bus: Bus,
    topic: Arc<str>,
    time_to_live: Duration,
    traffic: Arc<Mutex<Traffic>>,
    transcript: Option<Transcript>,
}

/// What became of everything that was sent over one [`MockClusterManager`] and its clones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that the topic took.
    pub published: u64,
    /// Those of them that no subscription wanted: their receiver was never registered.
    pub unheard: u64,
    /// Messages that do not fit into one bus message. They were dropped.
    pub too_large: u64,
    /// Messages that the bus refused: it was closed, full, or had no such topic. They were dropped.
    pub refused: u64,
    /// What arrived, by receiver.
    pub arrivals: BTreeMap<Address, Arrivals>,
}

/// What arrived in one subscription, since it was registered first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Messages handed out.
    pub delivered: u64,
    /// Bus messages that are no frame of ours.
    pub undecodable: u64,
    /// Messages of other clusters.
    pub foreign: u64,
    /// What the receiver itself had sent to all.
    pub own: u64,
}

impl MockClusterManager {
    /// Sends to this topic, which is created unless it is there.
    ///
    /// # Errors
    ///
    /// If the name is none a topic may have, or the bus is closed.
    pub fn new(bus: Bus, topic: &str) -> Result<Self, BusError> {
        match bus.create_topic(topic, Default::default()) {
            Ok(()) | Err(BusError::Broker(BrokerError::AlreadyExists { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            bus,
            topic: topic.into(),
            time_to_live: TIME_TO_LIVE,
            traffic: Arc::default(),
            transcript: None,
        })
    }

    /// Has the bus drop what nobody received within this time.
    #[must_use]
    pub fn with_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = time_to_live;
        self
    }

    /// Writes down every message that is sent.
    #[must_use]
    pub fn with_transcript(mut self, transcript: Transcript) -> Self {
        self.transcript = Some(transcript);
        self
    }

    /// The bus behind it.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The topic everything is sent to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Where everything that is hosted on this cluster manager writes down what happens.
    #[must_use]
    pub fn transcript(&self) -> Option<&Transcript> {
        self.transcript.as_ref()
    }

    /// What became of everything sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.lock().clone()
    }

    /// What arrived for one receiver so far.
    #[must_use]
    pub fn arrivals(&self, receiver: impl Into<Address>) -> Arrivals {
        self.lock().arrivals.get(&receiver.into()).copied().unwrap_or_default()
    }

    /// Opens the inbox of a server (the sample's `RegisterServer`): what is sent to it and what is
    /// sent to all. Its subscription is created unless it is there: it outlives the server, and
    /// keeps what arrives meanwhile until that expires.
    ///
    /// # Errors
    ///
    /// If the topic is gone or full of subscriptions, or the bus is closed.
    pub fn register_server(
        &self,
        cluster_id: ClusterId,
        server_id: ServerId,
    ) -> Result<Inbox, BusError> {
        let to_all = Rule::new(TO_ALL, CorrelationFilter::to(Address::AllServers.routing_name()));
        self.register(cluster_id, server_id.into(), Some(to_all))
    }

    /// Opens the inbox of a client (the sample's `RegisterClient`): what is sent to it.
    ///
    /// # Errors
    ///
    /// As [`MockClusterManager::register_server`].
    pub fn register_client(
        &self,
        cluster_id: ClusterId,
        client_id: ClientId,
    ) -> Result<Inbox, BusError> {
        self.register(cluster_id, client_id.into(), None)
    }

    fn register(
        &self,
        cluster_id: ClusterId,
        me: Address,
        second_rule: Option<Rule>,
    ) -> Result<Inbox, BusError> {
        let name = me.routing_name();
        // Created with our rule in place of `$Default`, which would let everything through; and in
        // one call on the broker, so that nothing arrives between the two rules.
        self.bus.with_broker(|broker, now| {
            let to_me = Rule::new(TO_ME, CorrelationFilter::to(name.as_str()));
            let options = Default::default();
            match broker.create_subscription_with_rule(now, &self.topic, &name, options, to_me) {
                Ok(_) => {
                    second_rule.map_or(Ok(()), |rule| broker.add_rule(&self.topic, &name, rule))
                }
                Err(BrokerError::AlreadyExists { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        })?;
        let receiver = self.bus.receiver(&self.topic, &name)?;
        let traffic = Arc::clone(&self.traffic);
        Ok(Inbox { me, cluster_id, receiver, waiting: VecDeque::new(), traffic })
    }

    fn publish(&mut self, envelope: Envelope) {
        if let Some(transcript) = &self.transcript {
            transcript.record(&envelope);
        }
        let mut frame = Vec::new();
        let result = match codec::encode_frame(slice::from_ref(&envelope), &mut frame) {
            Ok(()) => {
                let message = BusMessage::new(frame)
                    .with_to(envelope.to.routing_name())
                    .with_time_to_live(self.time_to_live);
                self.bus.publish(&self.topic, message).map_err(Unsent::Refused)
            }
            Err(_) => Err(Unsent::TooLarge),
        };
        let mut traffic = self.lock();
        match result {
            Ok(published) => {
                traffic.published += 1;
                traffic.unheard += u64::from(published.copies == 0);
            }
            Err(
                Unsent::TooLarge
                | Unsent::Refused(BusError::Broker(BrokerError::MessageTooLarge { .. })),
            ) => traffic.too_large += 1,
            Err(Unsent::Refused(_)) => traffic.refused += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        lock(&self.traffic)
    }
}

/// Why a message did not reach the topic.
enum Unsent {
    TooLarge,
    Refused(BusError),
}

impl ClusterManager for MockClusterManager {
    fn send(&mut self, envelope: Envelope) {
        self.publish(envelope);
    }

    fn broadcast(&mut self, envelope: Envelope) {
        self.publish(envelope);
    }

    fn answer(&mut self, envelope: Envelope) {
        self.publish(envelope);
    }
}

/// Receives what is meant for one server or client, and counts what is not fit to be delivered.
#[derive(Debug)]
pub struct Inbox {
    me: Address,
    cluster_id: ClusterId,
    receiver: Receiver,
    /// The rest of the frame received last.
    waiting: VecDeque<Envelope>,
    traffic: Arc<Mutex<Traffic>>,
}

impl Inbox {
    /// Waits for the next message. Nothing is lost if the wait is dropped.
    ///
    /// # Errors
    ///
    /// If the subscription was deleted or the bus closed.
    pub async fn next(&mut self) -> Result<Envelope, BusError> {
        loop {
            if let Some(envelope) = self.waiting.pop_front() {
                self.count(|arrivals| arrivals.delivered += 1);
                return Ok(envelope);
            }
            let received = self.receiver.receive().await?;
            self.open(&received.message);
        }
    }

    fn open(&mut self, message: &BusMessage) {
        // Anybody who has the key may publish to the topic, so whatever is in a body is data.
        let Ok(envelopes) = codec::decode_frame(&message.body) else {
            return self.count(|arrivals| arrivals.undecodable += 1);
        };
        for envelope in envelopes {
            if envelope.cluster_id != self.cluster_id {
                self.count(|arrivals| arrivals.foreign += 1);
            } else if envelope.from == self.me {
                // What is sent to all comes back to its sender, which has acted on it already.
                self.count(|arrivals| arrivals.own += 1);
            } else {
                self.waiting.push_back(envelope);
            }
        }
    }

    fn count(&self, count: impl FnOnce(&mut Arrivals)) {
        count(lock(&self.traffic).arrivals.entry(self.me).or_default());
    }
}

fn lock(traffic: &Mutex<Traffic>) -> MutexGuard<'_, Traffic> {
    // Counts are consistent between any two additions.
    traffic.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sample's `MockClusterManagerWithFailure`: carries every vote request twice, which a network
/// may do, and which elects two leaders if votes are counted instead of voters.
///
/// One overridden method is all it takes; everything else goes the usual way.
#[derive(Clone, Debug)]
pub struct VoteRequestsTwice<C> {
    inner: C,
    repeated: Arc<Mutex<u64>>,
}

impl<C> VoteRequestsTwice<C> {
    /// Carries what `inner` carries, and vote requests twice. `repeated` counts them: a fault that
    /// never fired has tested nothing.
    pub fn new(inner: C, repeated: Arc<Mutex<u64>>) -> Self {
        Self { inner, repeated }
    }
}

impl<C: ClusterManager> ClusterManager for VoteRequestsTwice<C> {
    fn send(&mut self, envelope: Envelope) {
        self.inner.send(envelope);
    }

    fn broadcast(&mut self, envelope: Envelope) {
        self.inner.broadcast(envelope);
    }

    fn answer(&mut self, envelope: Envelope) {
        self.inner.answer(envelope);
    }

    fn broadcast_vote_request(&mut self, envelope: Envelope, _request: raft_core::VoteRequest) {
        *self.repeated.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.inner.broadcast(envelope.clone());
        self.inner.broadcast(envelope);
    }
}

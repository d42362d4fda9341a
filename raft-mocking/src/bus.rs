//! The bus as tests and in-process drivers see it: one broker, many handles, waiting receivers.
//!
//! Guarantees: a receiver that waits is woken by the message that ends its wait; dropping a
//! waiting [`Receiver::receive`] loses no message.
//! Relies on:  tokio's clock, so that paused time works. It is read, never slept on: a message that is
//! late, scheduled or locked wakes nobody by itself, unless somebody runs [`Bus::keep_time`], as the
//! emulator does.
//! Elsewhere:  what the entities do is in [`crate::broker`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::{
    Broker, BrokerConfig, BrokerError, BusMessage, Event, Meter, Published, QueueId, QueueOptions,
    ReceiveMode, ReceivedMessage, Rule, SubscriptionOptions, TopicOptions,
};

/// A handle to a bus in this process. Clones share the bus.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), raft_mocking::bus::BusError> {
/// use raft_mocking::broker::BusMessage;
/// use raft_mocking::bus::Bus;
///
/// let bus = Bus::new();
/// bus.create_topic("rafttopic", Default::default())?;
/// bus.create_subscription("rafttopic", "server-1", Default::default())?;
///
/// let mut receiver = bus.receiver("rafttopic", "server-1")?;
/// bus.publish("rafttopic", BusMessage::new("hello"))?;
/// assert_eq!(&receiver.receive().await?.message.body[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

/// Why a call to the bus failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The broker refused the call and is unchanged.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The bus was closed, and for a receiver: no message is left.
    #[error("the bus is closed")]
    Closed,
}

/// Who is told of everything that happens.
type Reader = dyn Fn(&Event) + Send + Sync;

struct Shared {
    state: Mutex<State>,
    /// The broker's time at `started`.
    epoch: Duration,
    started: Instant,
    /// Something will happen by itself sooner than was known.
    is_sooner: Notify,
    /// Who reads along.
    reader: OnceLock<Box<Reader>>,
}

#[derive(Default)]
struct State {
    broker: Broker,
    listeners: BTreeMap<QueueId, Vec<Weak<Listener>>>,
    is_closed: bool,
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

impl Bus {
    /// An empty bus with the limits of the Standard tier, whose time starts at zero.
    pub fn new() -> Self {
        Self::with_config(BrokerConfig::default(), Duration::ZERO)
    }

    /// An empty bus with these limits, whose time starts at `epoch`.
    pub fn with_config(config: BrokerConfig, epoch: Duration) -> Self {
        let state = State { broker: Broker::new(config), ..State::default() };
        let state = Mutex::new(state);
        let shared = Shared {
            state,
            epoch,
            started: Instant::now(),
            is_sooner: Notify::new(),
            reader: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The broker's time now.
    pub fn now(&self) -> Duration {
        self.shared.epoch + self.shared.started.elapsed()
    }

    /// Creates a queue.
    ///
    /// # Errors
    /// As [`Broker::create_queue`], or `Closed`.
    pub fn create_queue(&self, name: &str, options: QueueOptions) -> Result<(), BusError> {
        self.call(|broker, now| broker.create_queue(now, name, options)).map(drop)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// As [`Broker::create_topic`], or `Closed`.
    pub fn create_topic(&self, name: &str, options: TopicOptions) -> Result<(), BusError> {
        self.call(|broker, now| broker.create_topic(now, name, options))
    }

    /// Creates a subscription with the rule `$Default`, which lets everything through.
    ///
    /// # Errors
    /// As [`Broker::create_subscription`], or `Closed`.
    pub fn create_subscription(
        &self,
        topic: &str,
        name: &str,
        options: SubscriptionOptions,
    ) -> Result<(), BusError> {
        self.call(|broker, now| broker.create_subscription(now, topic, name, options)).map(drop)
    }

    /// Adds a rule to a subscription.
    ///
    /// # Errors
    /// As [`Broker::add_rule`], or `Closed`.
    pub fn add_rule(&self, topic: &str, subscription: &str, rule: Rule) -> Result<(), BusError> {
        self.call(|broker, _| broker.add_rule(topic, subscription, rule))
    }

    /// Removes a rule from a subscription.
    ///
    /// # Errors
    /// As [`Broker::remove_rule`], or `Closed`.
    pub fn remove_rule(&self, topic: &str, subscription: &str, rule: &str) -> Result<(), BusError> {
        self.call(|broker, _| broker.remove_rule(topic, subscription, rule))
    }

    /// Deletes a topic; its receivers get [`BrokerError::Deleted`].
    ///
    /// # Errors
    /// `NotFound`, or `Closed`.
    pub fn delete_topic(&self, name: &str) -> Result<(), BusError> {
        self.call(|broker, _| broker.delete_topic(name))
    }

    /// Deletes a subscription; its receivers get [`BrokerError::Deleted`].
    ///
    /// # Errors
    /// `NotFound`, or `Closed`.
    pub fn delete_subscription(&self, topic: &str, name: &str) -> Result<(), BusError> {
        self.call(|broker, _| broker.delete_subscription(topic, name))
    }

    /// Sends a message to a topic.
    ///
    /// # Errors
    /// As [`Broker::publish`], or `Closed`.
    pub fn publish(&self, topic: &str, message: BusMessage) -> Result<Published, BusError> {
        self.publish_batch(topic, vec![message])
    }

    /// Sends messages to a topic: all of them, or none.
    ///
    /// # Errors
    /// As [`Broker::publish_batch`], or `Closed`.
    pub fn publish_batch(
        &self,
        topic: &str,
        messages: Vec<BusMessage>,
    ) -> Result<Published, BusError> {
        self.call(|broker, now| broker.publish_batch(now, topic, messages))
    }

    /// A receiver of a subscription that deletes what it receives. Several share the messages.
    ///
    /// # Errors
    /// `NotFound`, or `Closed`.
    pub fn receiver(&self, topic: &str, subscription: &str) -> Result<Receiver, BusError> {
        self.receiver_at(&format!("{topic}/Subscriptions/{subscription}"))
    }

    /// A receiver of a queue, a subscription, or the dead-letter queue of either, by its address, that
    /// deletes what it receives.
    ///
    /// # Errors
    /// `NotFound`, or `Closed`.
    pub fn receiver_at(&self, address: &str) -> Result<Receiver, BusError> {
        let queue = self.call(|broker, _| broker.queue_at(address))?;
        let listener = Arc::new(Listener::default());
        self.listen(queue, &listener);
        Ok(Receiver { bus: self.clone(), queue, listener })
    }

    /// Ends the bus: senders are refused, receivers get what is left and then `Closed`.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.wake_all();
    }

    /// What has been billed so far.
    pub fn meter(&self) -> Meter {
        self.state().broker.meter().clone()
    }

    /// Runs `call` on the broker itself, and wakes whoever waits for what it did.
    pub fn with_broker<R>(&self, call: impl FnOnce(&mut Broker, Duration) -> R) -> R {
        let now = self.now();
        self.shared.run(&mut self.state(), now, call)
    }

    /// Has `reader` told of everything that happens from now on, in its order. There is one at most: a
    /// second call changes nothing.
    pub fn read_along(&self, reader: impl Fn(&Event) + Send + Sync + 'static) {
        _ = self.shared.reader.set(Box::new(reader));
        self.state().broker.keep_events(true);
    }

    /// Does what time does to the broker, when it does it, for ever: a task to spawn if messages are to
    /// be scheduled, to expire into a dead-letter queue, to wait for credits, or to come back when their
    /// locks end while everybody waits. On paused time hours pass in no time.
    pub async fn keep_time(self) {
        loop {
            let (now, next) = self.with_broker(|broker, now| (now, broker.next_due()));
            match next {
                Some(at) if at <= now => self.expire(),
                Some(at) => {
                    // Something else may come sooner.
                    _ = tokio::time::timeout(at - now, self.shared.is_sooner.notified()).await;
                }
                None => self.shared.is_sooner.notified().await,
            }
        }
    }

    /// Does what time has done to the broker by now.
    pub fn expire(&self) {
        let now = self.now();
        let mut state = self.state();
        // An entity for which somebody waits is not idle.
        let waiting: Vec<_> = state.listeners.keys().copied().collect();
        waiting.into_iter().for_each(|queue| state.broker.touch(now, queue));
        let awake = state.broker.expire(now);
        self.shared.read_along(&mut state);
        state.wake(&awake);
    }

    /// Has `listener` told whenever `queue` may have a message.
    pub(crate) fn listen(&self, queue: QueueId, listener: &Arc<Listener>) {
        let mut state = self.state();
        let listeners = state.listeners.entry(queue).or_default();
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    /// Takes back [`Bus::listen`].
    #[cfg(feature = "emulator")]
    pub(crate) fn stop_listening(&self, queue: QueueId, listener: &Arc<Listener>) {
        let mut state = self.state();
        if let Some(listeners) = state.listeners.get_mut(&queue) {
            // One entry only: a connection may have several links to one queue.
            let is_it =
                |known: &Weak<Listener>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(listener));
            if let Some(place) = listeners.iter().position(is_it) {
                listeners.swap_remove(place);
            }
            if listeners.is_empty() {
                state.listeners.remove(&queue);
            }
        }
    }

    /// Tells every listener to look again, for instance because its queue is gone.
    pub(crate) fn wake_all(&self) {
        let mut state = self.state();
        let queues: Vec<_> = state.listeners.keys().copied().collect();
        state.wake(&queues);
    }

    fn call<R>(
        &self,
        call: impl FnOnce(&mut Broker, Duration) -> Result<R, BrokerError>,
    ) -> Result<R, BusError> {
        let now = self.now();
        Ok(self.shared.run(&mut *self.open_state()?, now, call)?)
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, BusError> {
        let state = self.state();
        if state.is_closed { Err(BusError::Closed) } else { Ok(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the broker consistent: it changes only after its checks.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn read_along(&self, state: &mut State) {
        if let Some(reader) = self.reader.get() {
            state.broker.take_events().iter().for_each(reader);
        }
    }

    fn run<R>(
        &self,
        state: &mut State,
        now: Duration,
        call: impl FnOnce(&mut Broker, Duration) -> R,
    ) -> R {
        let due = state.broker.next_due();
        let result = call(&mut state.broker, now);
        self.read_along(state);
        let woken = state.broker.take_woken();
        if !woken.is_empty() {
            state.wake(&woken);
        }
        let is_sooner = match (due, state.broker.next_due()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(after)) => after < before,
        };
        if is_sooner {
            self.is_sooner.notify_one();
        }
        result
    }
}

impl State {
    fn wake<'a>(&mut self, queues: impl IntoIterator<Item = &'a QueueId>) {
        for queue in queues {
            let listeners = self.listeners.get(queue).into_iter().flatten();
            listeners.filter_map(Weak::upgrade).for_each(|listener| listener.tell(*queue));
        }
    }
}

/// Receives the messages of one subscription.
pub struct Receiver {
    bus: Bus,
    queue: QueueId,
    listener: Arc<Listener>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Waits for the next message and deletes it from the subscription.
    ///
    /// Cancel-safe: a message is taken only when it is returned.
    ///
    /// # Errors
    /// [`BrokerError::Deleted`] when the subscription is gone, `Closed` when the bus is.
    pub async fn receive(&mut self) -> Result<ReceivedMessage, BusError> {
        loop {
            if let Some(received) = self.try_receive()? {
                return Ok(received);
            }
            self.listener.told().await;
        }
    }

    /// Takes the next message if there is one now.
    ///
    /// # Errors
    /// As [`Receiver::receive`].
    pub fn try_receive(&mut self) -> Result<Option<ReceivedMessage>, BusError> {
        let now = self.bus.now();
        let mut state = self.bus.state();
        let received = self.bus.shared.run(&mut state, now, |broker, now| {
            broker.receive(now, self.queue, ReceiveMode::ReceiveAndDelete)
        })?;
        if received.is_none() && state.is_closed {
            return Err(BusError::Closed);
        }
        Ok(received)
    }
}

/// Whoever waits for messages of one or more queues.
#[derive(Default)]
pub(crate) struct Listener {
    queues: Mutex<BTreeSet<QueueId>>,
    notify: Notify,
}

impl Listener {
    /// Waits until some queue may have a message. A telling before the wait counts.
    pub(crate) async fn told(&self) -> BTreeSet<QueueId> {
        self.notify.notified().await;
        self.take()
    }

    /// The queues that were told of since the last look.
    pub(crate) fn take(&self) -> BTreeSet<QueueId> {
        mem::take(&mut self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, queue: QueueId) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).insert(queue);
        self.notify.notify_one();
    }
}

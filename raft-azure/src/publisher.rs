//! Publishing to a topic: a bounded outbox that never blocks, and a task that empties it.
//!
//! Guarantees: `publish` returns at once; messages leave in the order they came, several in
//!             flight; the outbox is bounded in messages and bytes.
//! Not promised: that a message arrives. What was in flight when a link failed is counted as
//!             failed and not sent again; Raft sends again what still matters.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff::Backoff;
use crate::bus::{LinkState, Shared, WhenFull, link_ready};
use crate::supervisor::Requests;
use crate::transport::{BusMessage, Connector, LinkSender, TransportError};

/// Longest pause after the broker said it is busy: it asks for two seconds, and a longer silence
/// would look like a dead leader.
const THROTTLE_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a message was not taken. It was dropped; nothing else changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The message can never be sent as it is.
    #[error("a message of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// About how large it is, in bytes.
        size: usize,
        /// What the broker takes, in bytes.
        limit: usize,
    },
    /// The outbox is full and the bus was told to refuse ([`WhenFull::Refuse`]).
    #[error("the outbox is full")]
    OutboxFull,
    /// The broker refuses this topic, for now or for good.
    #[error("cannot publish to the topic")]
    Unavailable {
        /// Why.
        source: TransportError,
    },
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

/// Publishes to one topic; clones share the outbox.
#[derive(Debug, Clone)]
pub struct Publisher {
    outbox: Arc<Outbox>,
}

impl Publisher {
    /// Puts a message into the outbox and returns at once.
    ///
    /// # Errors
    /// See [`PublishError`]. With [`WhenFull::DropOldest`] a full outbox is no error: the oldest
    /// waiting message makes room and is counted.
    pub fn publish(&self, message: BusMessage) -> Result<(), PublishError> {
        self.outbox.push(message)
    }

    /// Waits until everything published so far was taken by the broker, refused or dropped.
    ///
    /// # Errors
    /// [`PublishError::Closed`] if the bus closes first. While the bus is away this waits.
    pub async fn flush(&self) -> Result<(), PublishError> {
        self.outbox.flush().await
    }

    /// Waits until the topic was found, or finally refused.
    ///
    /// # Errors
    /// [`TransportError::NotFound`], [`TransportError::Unauthorized`] or [`TransportError::Closed`].
    pub async fn ready(&self) -> Result<(), TransportError> {
        link_ready(self.outbox.link.subscribe()).await
    }
}

/// Messages between `publish` and the link.
#[derive(Debug)]
struct Outbox {
    queue: Mutex<Queue>,
    /// Something was pushed.
    pushed: Notify,
    /// Something left, was dropped, or the bus closed.
    settled: Notify,
    link: watch::Sender<LinkState>,
    /// Largest message in bytes the broker takes.
    limit: AtomicUsize,
    shared: Shared,
}

/// - `waiting` is in the order of `number`, which counts up from 0.
/// - Every number in `in_flight` is below every number in `waiting`.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    in_flight: VecDeque<u64>,
    next_number: u64,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    size: usize,
    since: Instant,
    message: BusMessage,
}

impl Queue {
    /// Every number below this has been dealt with.
    fn settled_below(&self) -> u64 {
        let waiting = self.waiting.front().map(|waiting| waiting.number);
        self.in_flight.front().copied().or(waiting).unwrap_or(self.next_number)
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes -= waiting.size;
        Some(waiting)
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock, and the queue would still be sound if it did.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: BusMessage) -> Result<(), PublishError> {
        let options = &self.shared.options;
        let size = message.encoded_size();
        let limit = self.limit.load(Ordering::Relaxed);
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        match &*self.link.borrow() {
            LinkState::Refused(TransportError::Closed) => return Err(PublishError::Closed),
            LinkState::Refused(error) => {
                return Err(PublishError::Unavailable { source: error.clone() });
            }
            LinkState::Attaching | LinkState::Attached => {}
        }
        let mut dropped = 0;
        {
            let mut queue = self.lock();
            if queue.closed || self.shared.is_closing() {
                return Err(PublishError::Closed);
            }
            while queue.waiting.len() >= options.outbox_messages
                || queue.waiting_bytes + size > options.outbox_bytes
            {
                if options.when_full == WhenFull::Refuse || queue.pop().is_none() {
                    self.shared.meter.count_dropped_full(1);
                    return Err(PublishError::OutboxFull);
                }
                dropped += 1;
            }
            let number = queue.next_number;
            queue.next_number += 1;
            queue.waiting_bytes += size;
            queue.waiting.push_back(Waiting { number, size, since: Instant::now(), message });
        }
        if dropped > 0 {
            self.shared.meter.count_dropped_full(dropped);
            self.settled.notify_waiters();
        }
        self.pushed.notify_one();
        Ok(())
    }

    /// The next message worth sending; it counts as in flight. Cancel-safe.
    async fn next(&self) -> Waiting {
        loop {
            if let Some(waiting) = self.try_next() {
                return waiting;
            }
            self.pushed.notified().await;
        }
    }

    fn try_next(&self) -> Option<Waiting> {
        let mut expired = false;
        let next = {
            let mut queue = self.lock();
            loop {
                let Some(waiting) = queue.pop() else { break None };
                let ttl = waiting.message.time_to_live;
                if ttl.is_some_and(|ttl| waiting.since.elapsed() >= ttl) {
                    self.shared.meter.count_expired();
                    expired = true;
                    continue;
                }
                queue.in_flight.push_back(waiting.number);
                break Some(waiting);
            }
        };
        if expired {
            self.settled.notify_waiters();
        }
        next
    }

    /// The oldest message in flight was dealt with.
    fn settle_oldest(&self) {
        self.lock().in_flight.pop_front();
        self.settled.notify_waiters();
    }

    /// The link is gone, and with it every answer. Returns how many were in flight.
    fn forget_in_flight(&self) -> u64 {
        let mut queue = self.lock();
        let lost = queue.in_flight.len() as u64;
        queue.in_flight.clear();
        drop(queue);
        self.settled.notify_waiters();
        lost
    }

    async fn flush(&self) -> Result<(), PublishError> {
        let target = self.lock().next_number;
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            // Registers before looking, so that no news is missed in between.
            settled.as_mut().enable();
            {
                let queue = self.lock();
                if queue.settled_below() >= target {
                    return Ok(());
                }
                if queue.closed {
                    return Err(PublishError::Closed);
                }
            }
            settled.await;
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.settled.notify_waiters();
        self.link.send_replace(LinkState::Refused(TransportError::Closed));
    }
}

/// Closes the outbox when its task ends, however it ends.
struct CloseOnDrop(Arc<Outbox>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Starts the task that empties the outbox.
pub(crate) fn spawn<C: Connector>(
    topic: &str,
    requests: Requests<C>,
    shared: Shared,
) -> (Publisher, JoinHandle<()>) {
    let outbox = Arc::new(Outbox {
        queue: Mutex::default(),
        pushed: Notify::new(),
        settled: Notify::new(),
        link: watch::Sender::new(LinkState::Attaching),
        limit: AtomicUsize::new(shared.options.max_message_bytes),
        shared: shared.clone(),
    });
    let worker = Worker {
        topic: topic.to_owned(),
        requests,
        backoff: shared.options.backoff(1),
        shared,
        outbox: Arc::clone(&outbox),
    };
    let task = tokio::spawn(worker.run());
    (Publisher { outbox }, task)
}

struct Worker<C: Connector> {
    topic: String,
    requests: Requests<C>,
    backoff: Backoff,
    shared: Shared,
    outbox: Arc<Outbox>,
}

/// Why a link is no longer used.
enum Ended {
    Closing,
    Failed(TransportError),
}

/// A message that was sent and not yet answered.
struct InFlight<O> {
    outcome: O,
    size: usize,
    deadline: Instant,
}

impl<C: Connector> Worker<C> {
    async fn run(mut self) {
        let _closes = CloseOnDrop(Arc::clone(&self.outbox));
        loop {
            let opened = tokio::select! {
                () = self.shared.closed() => return,
                opened = self.requests.open_sender(&self.topic) => opened,
            };
            let error = match opened {
                Ok(mut opened) => {
                    if let Some(limit) = opened.link.max_message_size() {
                        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                        self.outbox.limit.store(limit, Ordering::Relaxed);
                    }
                    self.outbox.link.send_replace(LinkState::Attached);
                    tracing::debug!(topic = self.topic, "publishing");
                    let ended = self.pump(&mut opened.link).await;
                    let lost = self.outbox.forget_in_flight();
                    self.shared.meter.count_send_failures(lost);
                    match ended {
                        Ended::Closing => return opened.link.close().await,
                        Ended::Failed(error) => {
                            self.requests.report(opened.generation, &error).await;
                            error
                        }
                    }
                }
                Err(error) => {
                    // A topic can be created again and a key corrected, so we keep asking.
                    if error.is_fatal() {
                        self.outbox.link.send_replace(LinkState::Refused(error.clone()));
                    }
                    error
                }
            };
            tracing::warn!(
                topic = self.topic,
                error = %error.one_line(),
                "the publishing link is down"
            );
            let was_working = self.backoff.is_fresh();
            let wait = self.backoff.next_wait();
            // A link that worked is worth asking for again at once.
            if !was_working && self.shared.closes_within(wait).await {
                return;
            }
        }
    }

    /// Sends until the link fails or the bus closes.
    async fn pump<L: LinkSender>(&mut self, link: &mut L) -> Ended {
        let max_in_flight = self.shared.options.max_in_flight.max(1);
        let send_timeout = self.shared.options.send_timeout;
        let mut in_flight: VecDeque<InFlight<L::Outcome>> = VecDeque::new();
        let mut throttle = self.shared.options.backoff(2);
        let mut paused_until: Option<Instant> = None;
        let mut is_refusing = false;
        loop {
            let may_send = in_flight.len() < max_in_flight && paused_until.is_none();
            tokio::select! {
                biased;
                () = self.shared.closed() => return Ended::Closing,
                outcome = oldest_outcome(&mut in_flight) => {
                    let (size, outcome) = outcome;
                    match outcome {
                        Ok(()) => {
                            self.shared.meter.count_sent(size);
                            self.backoff.reset();
                            throttle.reset();
                            is_refusing = false;
                        }
                        // The message stays in flight, so the caller counts it with the others.
                        Err(error) if is_end_of_link(&error) => return Ended::Failed(error),
                        Err(error) => {
                            self.shared.meter.count_send_failures(1);
                            if let TransportError::Throttled { .. } = error {
                                self.shared.meter.count_throttled();
                                let pause = throttle.next_wait().min(THROTTLE_PAUSE_MAX);
                                paused_until = Some(Instant::now() + pause);
                            }
                            // A full topic refuses thousands; the first of them says it all.
                            if !is_refusing {
                                tracing::warn!(
                                    topic = self.topic,
                                    error = %error.one_line(),
                                    "the broker does not take a message"
                                );
                                is_refusing = true;
                            }
                        }
                    }
                    self.outbox.settle_oldest();
                }
                () = until(paused_until) => paused_until = None,
                waiting = self.outbox.next(), if may_send => {
                    let size = waiting.size;
                    let deadline = Instant::now() + send_timeout;
                    match timeout(send_timeout, link.send(waiting.message)).await {
                        Ok(Ok(outcome)) => in_flight.push_back(InFlight { outcome, size, deadline }),
                        Ok(Err(error)) if is_end_of_link(&error) => return Ended::Failed(error),
                        Ok(Err(error)) => {
                            self.shared.meter.count_send_failures(1);
                            tracing::warn!(topic = self.topic, error = %error.one_line(), "not sent");
                            self.outbox.lock().in_flight.pop_back();
                            self.outbox.settled.notify_waiters();
                        }
                        Err(_) => return Ended::Failed(no_answer(send_timeout)),
                    }
                }
                error = link.closed() => return Ended::Failed(error),
            }
        }
    }
}

/// The answer to the oldest message in flight, with the message's size; pending if there is none.
/// Answers come in order, so waiting for the oldest holds nobody up.
async fn oldest_outcome<O>(
    in_flight: &mut VecDeque<InFlight<O>>,
) -> (usize, Result<(), TransportError>)
where
    O: Future<Output = Result<(), TransportError>> + Unpin,
{
    let Some(oldest) = in_flight.front_mut() else { return std::future::pending().await };
    let outcome = timeout_at(oldest.deadline, &mut oldest.outcome).await;
    let size = oldest.size;
    in_flight.pop_front();
    (size, outcome.unwrap_or_else(|_| Err(no_answer(Duration::ZERO))))
}

fn no_answer(after: Duration) -> TransportError {
    TransportError::Timeout { operation: "send", after }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether the link is gone with this error, as opposed to one message being refused.
fn is_end_of_link(error: &TransportError) -> bool {
    match error {
        TransportError::Timeout { .. }
        | TransportError::Detached { .. }
        | TransportError::ConnectionLost { .. }
        | TransportError::NotFound { .. }
        | TransportError::Unauthorized { .. }
        | TransportError::Connect { .. }
        | TransportError::Tls { .. }
        | TransportError::Closed => true,
        TransportError::MessageTooLarge { .. }
        | TransportError::Throttled { .. }
        | TransportError::QuotaExceeded { .. }
        | TransportError::Undecodable { .. }
        | TransportError::Other { .. } => false,
    }
}

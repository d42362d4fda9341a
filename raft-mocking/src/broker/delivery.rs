//! Messages through the broker: publish, receive, settle, expire.

use std::sync::Arc;
use std::time::Duration;

use super::entity::{QueueId, Topic};
use super::error::{BrokerError, Quota};
use super::message::{BusMessage, Lock, LockToken, ReceiveMode, ReceivedMessage};
use super::meter::OperationKind;
use super::queue::MessageQueue;
use super::{Broker, name, not_found};
use crate::dice::Dice;

/// A queue with what delivery needs to know of its subscription.
#[derive(Debug, Clone)]
pub(super) struct QueueEntry {
    pub(super) path: String,
    pub(super) lock_duration: Duration,
    pub(super) queue: MessageQueue,
}

impl QueueEntry {
    pub(super) fn new(path: String, lock_duration: Duration) -> Self {
        Self { path, lock_duration, queue: MessageQueue::default() }
    }
}

/// What became of a publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The queues that got a copy, each once: their receivers should be woken.
    pub queues: Vec<QueueId>,
    /// How many copies were made, those that are late included.
    pub copies: usize,
    /// How many of them arrive later.
    pub late: usize,
}

/// One copy to be made: which message, for which queue, and for how long.
struct PlannedCopy {
    message: usize,
    queue: QueueId,
    time_to_live: Option<Duration>,
}

/// Messages.
impl Broker {
    /// Sends one message to a topic: a copy for each subscription with a matching rule.
    ///
    /// # Errors
    /// `NotFound`, `MessageTooLarge`, `PropertiesTooLarge`, `MessageIdTooLong`, `QuotaExceeded`,
    /// `ServerBusy`.
    pub fn publish(
        &mut self,
        now: Duration,
        topic: &str,
        message: BusMessage,
    ) -> Result<Published, BrokerError> {
        self.publish_batch(now, topic, vec![message])
    }

    /// Sends messages to a topic: all of them, or none. The size limit holds for their sum.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_batch(
        &mut self,
        now: Duration,
        topic: &str,
        messages: Vec<BusMessage>,
    ) -> Result<Published, BrokerError> {
        let bytes_max = self.config.message_bytes_max;
        messages.iter().try_for_each(|message| message.validate(bytes_max))?;
        let bytes = messages.iter().map(BusMessage::size_bytes).sum::<u64>();
        if bytes > bytes_max {
            return Err(BrokerError::MessageTooLarge { bytes, bytes_max });
        }

        let topic = self.topics.get(&*name::key(topic)).ok_or_else(|| not_found(topic))?;
        let evaluations_before = self.meter.filter_evaluations();
        let mut plan = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            for subscription in topic.subscriptions.values() {
                if subscription.wants(message, &mut self.meter) {
                    let caps = [
                        message.time_to_live,
                        topic.options.default_message_time_to_live,
                        subscription.options.default_message_time_to_live,
                    ];
                    let time_to_live = caps.into_iter().flatten().min();
                    plan.push(PlannedCopy {
                        message: index,
                        queue: subscription.queue,
                        time_to_live,
                    });
                }
            }
        }
        let new_bytes = plan.iter().map(|copy| messages[copy.message].size_bytes()).sum::<u64>();
        let is_quota_left = |queues: &_| fits(&self.config, topic, queues, new_bytes, plan.len());
        if let Err(quota) = is_quota_left(&self.queues) {
            for subscription in topic.subscriptions.values() {
                if let Some(entry) = self.queues.get_mut(&subscription.queue) {
                    entry.queue.sweep(now);
                }
            }
            if is_quota_left(&self.queues).is_err() {
                return Err(BrokerError::QuotaExceeded { topic: topic.name.clone(), quota });
            }
        }

        let evaluations = self.meter.filter_evaluations() - evaluations_before;
        let credits = (messages.len() + plan.len()) as u64 + evaluations;
        if self.faults.is_throttled(now, credits) {
            return Err(BrokerError::ServerBusy);
        }

        for message in &messages {
            self.meter.record(&topic.name, OperationKind::Send, message.size_bytes());
        }
        let messages: Vec<_> = messages.into_iter().map(Arc::new).collect();
        let mut published = Published::default();
        for PlannedCopy { message, queue, time_to_live } in plan {
            let entry = self.queues.get_mut(&queue).expect("each subscription has its queue");
            for late in self.faults.copies().into_iter().flatten() {
                let message = Arc::clone(&messages[message]);
                published.copies += 1;
                if late.is_zero() {
                    entry.queue.push(now, time_to_live, message);
                    published.queues.push(queue);
                } else {
                    published.late += 1;
                    entry.queue.push_late(now, late, time_to_live, message);
                }
            }
        }
        published.queues.sort_unstable();
        published.queues.dedup();
        Ok(published)
    }

    /// Hands out the next message of a queue, if there is one that has not expired.
    ///
    /// # Errors
    /// `Deleted`.
    pub fn receive(
        &mut self,
        now: Duration,
        queue: QueueId,
        mode: ReceiveMode,
    ) -> Result<Option<ReceivedMessage>, BrokerError> {
        let entry = self.queues.get_mut(&queue).ok_or(BrokerError::Deleted)?;
        let received = match mode {
            ReceiveMode::ReceiveAndDelete => entry.queue.pop(now),
            ReceiveMode::PeekLock => {
                let token = lock_token(self.config.seed, self.next_token);
                self.next_token += 1;
                let locked_until = now.saturating_add(entry.lock_duration);
                entry.queue.lock(now, Lock { token, locked_until })
            }
        };
        if let Some(received) = &received {
            let bytes = received.message.size_bytes();
            self.meter.record(&entry.path, OperationKind::Receive, bytes);
        }
        Ok(received)
    }

    /// Deletes a locked message: it has been handled.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn complete(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<(), BrokerError> {
        let entry = self.queues.get_mut(&queue).ok_or(BrokerError::Deleted)?;
        entry.queue.complete(now, token)?;
        self.meter.record(&entry.path, OperationKind::Settle, 0);
        Ok(())
    }

    /// Gives a locked message back; its delivery count rises.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn abandon(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<(), BrokerError> {
        let entry = self.queues.get_mut(&queue).ok_or(BrokerError::Deleted)?;
        entry.queue.abandon(now, token, true)?;
        self.meter.record(&entry.path, OperationKind::Settle, 0);
        Ok(())
    }

    /// Gives back a locked message whose receiver went away; not billed, not counted.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn release(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<(), BrokerError> {
        let entry = self.queues.get_mut(&queue).ok_or(BrokerError::Deleted)?;
        entry.queue.abandon(now, token, false)
    }

    /// Prolongs a lock by the subscription's lock duration; returns when it will end.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn renew_lock(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<Duration, BrokerError> {
        let entry = self.queues.get_mut(&queue).ok_or(BrokerError::Deleted)?;
        let locked_until = now.saturating_add(entry.lock_duration);
        entry.queue.renew(now, token, locked_until)?;
        self.meter.record(&entry.path, OperationKind::Settle, 0);
        Ok(locked_until)
    }

    /// Drops every expired message, ends every expired lock and lets in what was late; returns the
    /// queues that have messages again.
    pub fn expire(&mut self, now: Duration) -> Vec<QueueId> {
        let mut awake = Vec::new();
        for (&id, entry) in &mut self.queues {
            let has_arrived = entry.queue.let_in(now);
            if entry.queue.expire_locks(now) || has_arrived {
                awake.push(id);
            }
            entry.queue.sweep(now);
        }
        awake
    }

    /// When the next late message arrives, if any is late: [`Broker::expire`] has work then.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.queues.values().filter_map(|entry| entry.queue.next_arrival()).min()
    }

    /// When the next lock ends, if any message is locked: [`Broker::expire`] has work then.
    pub fn next_lock_expiry(&self) -> Option<Duration> {
        self.queues.values().filter_map(|entry| entry.queue.next_lock_expiry()).min()
    }
}

fn fits(
    config: &super::BrokerConfig,
    topic: &Topic,
    queues: &std::collections::BTreeMap<QueueId, QueueEntry>,
    new_bytes: u64,
    new_messages: usize,
) -> Result<(), Quota> {
    let bytes_max = topic.options.bytes_max.unwrap_or(config.topic_bytes_max);
    let (mut bytes, mut messages) = (new_bytes, new_messages as u64);
    for entry in topic.subscriptions.values().filter_map(|s| queues.get(&s.queue)) {
        bytes += entry.queue.bytes();
        messages += entry.queue.len();
    }
    if bytes > bytes_max {
        return Err(Quota::Bytes(bytes_max));
    }
    if messages > config.topic_messages_max {
        return Err(Quota::Messages(config.topic_messages_max));
    }
    Ok(())
}

/// A token that looks random, differs for each lock, and repeats with the seed.
fn lock_token(seed: u64, number: u64) -> LockToken {
    let mix = |seed| Dice::new(seed).bits();
    let high = mix(seed ^ mix(number));
    // The low half is a bijection of the number alone, so tokens never collide.
    LockToken((u128::from(high) << 64 | u128::from(mix(number))).to_be_bytes())
}

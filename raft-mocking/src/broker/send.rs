//! Messages into the broker: checks, copies by rule, schedules, duplicates and forwarding.

use std::sync::Arc;
use std::time::Duration;

use super::entity::{Subscription, Topic};
use super::error::{BrokerError, Quota};
use super::message::BusMessage;
use super::meter::OperationKind;
use super::queue::{Arrival, Origin};
use super::{Broker, Happening, QueueId, name, not_found};

/// How often a message is forwarded before it is dead-lettered.
const HOPS_MAX: u8 = 4;

/// What became of a publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The queues that got a copy, each once.
    pub queues: Vec<QueueId>,
    /// How many copies were made, those that are late included.
    pub copies: usize,
    /// How many of them arrive later.
    pub late: usize,
    /// The numbers of the messages that wait for their time, in their order.
    pub scheduled: Vec<u64>,
}

/// One copy to be made: for which queue, and for how long.
struct PlannedCopy {
    queue: QueueId,
    time_to_live: Option<Duration>,
    /// Another message than the one that was sent: a rule changed it.
    changed: Option<BusMessage>,
    /// Why it goes to the dead-letter queue instead.
    failure: Option<String>,
}

/// Where messages are sent to.
enum Target {
    Topic(String),
    Queue(String),
}

/// Sending.
impl Broker {
    /// Sends one message to a queue or topic: for a topic, a copy for each subscription with a
    /// matching rule.
    ///
    /// # Errors
    /// `NotFound`, `MessageTooLarge`, `PropertiesTooLarge`, `MessageIdTooLong`, `PropertyTooLong`,
    /// `QuotaExceeded`, `ServerBusy`, `EntityDisabled`, `SessionRequired`.
    pub fn publish(
        &mut self,
        now: Duration,
        entity: &str,
        message: BusMessage,
    ) -> Result<Published, BrokerError> {
        self.publish_batch(now, entity, vec![message])
    }

    /// Sends messages to a queue or topic: all of them, or none. The size limit holds for their sum.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_batch(
        &mut self,
        now: Duration,
        entity: &str,
        messages: Vec<BusMessage>,
    ) -> Result<Published, BrokerError> {
        let bytes_max = self.config.message_bytes_max;
        messages.iter().try_for_each(|message| message.validate(bytes_max))?;
        let bytes = messages.iter().map(BusMessage::size_bytes).sum::<u64>();
        if bytes > bytes_max {
            return Err(BrokerError::MessageTooLarge { bytes, bytes_max });
        }
        let key = name::key(entity);
        let target = if self.topics.contains_key(&*key) {
            Target::Topic(key.into_owned())
        } else if self.queue_entities.contains_key(&*key) {
            Target::Queue(key.into_owned())
        } else {
            return Err(not_found(entity));
        };
        self.check_sendable(&target, &messages)?;

        let evaluations_before = self.meter.filter_evaluations();
        let plans: Vec<Vec<PlannedCopy>> =
            messages.iter().map(|message| self.plan(now, &target, message)).collect();
        let copies = plans.iter().map(Vec::len).sum::<usize>();
        let sizes = messages.iter().zip(&plans);
        let new_bytes = sizes.map(|(message, plan)| message.size_bytes() * plan.len() as u64).sum();
        self.check_quota(now, &target, new_bytes, copies as u64)?;
        let evaluations = self.meter.filter_evaluations() - evaluations_before;
        if self.faults.is_send_throttled(now, messages.len() as u64 + evaluations) {
            return Err(BrokerError::ServerBusy);
        }

        let path = self.name_of(&target);
        for message in &messages {
            self.meter.record(&path, OperationKind::Send, message.size_bytes());
        }
        let mut published = Published::default();
        for (message, plan) in messages.into_iter().zip(plans) {
            if self.is_duplicate(now, &target, &message) {
                let message_id = message.message_id;
                self.note_sent(now, &path, || Happening::Duplicate { message_id });
                continue;
            }
            self.note_sent(now, &path, || Happening::Sent {
                message_id: message.message_id.clone(),
                bytes: message.size_bytes(),
                copies: plan.len(),
            });
            match message.scheduled_at {
                Some(at) if at > now => {
                    let sequence_number = self.put_on_schedule(now, &target, at, message);
                    published.scheduled.push(sequence_number);
                    let what = || Happening::Scheduled { sequence_number, until: at };
                    self.note_sent(now, &path, what);
                }
                _ => self.make_copies(now, Arc::new(message), plan, &mut published),
            }
        }
        published.queues.sort_unstable();
        published.queues.dedup();
        Ok(published)
    }

    /// Takes back a message that waits for its time.
    ///
    /// # Errors
    /// `NotFound`, or `MessageNotFound` if it is not scheduled any more.
    pub fn cancel_scheduled(
        &mut self,
        entity: &str,
        sequence_number: u64,
    ) -> Result<(), BrokerError> {
        let key = name::key(entity);
        let (intake, path) = if let Some(topic) = self.topics.get_mut(&*key) {
            (&mut topic.intake, &topic.name)
        } else if let Some(queue) = self.queue_entities.get_mut(&*key) {
            (&mut queue.intake, &queue.name)
        } else {
            return Err(not_found(entity));
        };
        if !intake.cancel(sequence_number) {
            return Err(BrokerError::MessageNotFound { sequence_number });
        }
        self.meter.record(path, OperationKind::Settle, 0);
        Ok(())
    }

    /// Whether a message of a queue or topic waits for its time.
    pub fn is_scheduled(&self, entity: &str, sequence_number: u64) -> bool {
        let key = name::key(entity);
        let topic = self.topics.get(&*key).map(|topic| &topic.intake);
        let intake = topic.or_else(|| self.queue_entities.get(&*key).map(|queue| &queue.intake));
        intake.is_some_and(|intake| intake.is_scheduled(sequence_number))
    }

    /// Enqueues what is due.
    pub(super) fn let_in_scheduled(&mut self, now: Duration) {
        let topics = self.topics.iter_mut().filter_map(|(key, topic)| {
            let due: Vec<_> = std::iter::from_fn(|| topic.intake.take_due(now)).collect();
            (!due.is_empty()).then(|| (Target::Topic(key.clone()), due))
        });
        let queues = self.queue_entities.iter_mut().filter_map(|(key, queue)| {
            let due: Vec<_> = std::iter::from_fn(|| queue.intake.take_due(now)).collect();
            (!due.is_empty()).then(|| (Target::Queue(key.clone()), due))
        });
        let due: Vec<_> = topics.chain(queues).collect();
        for (target, messages) in due {
            for message in messages {
                let plan = self.plan(now, &target, &message);
                self.make_copies(now, message, plan, &mut Published::default());
            }
        }
    }

    fn name_of(&self, target: &Target) -> String {
        let name = match target {
            Target::Topic(key) => self.topics.get(key).map(|topic| &topic.name),
            Target::Queue(key) => self.queue_entities.get(key).map(|queue| &queue.name),
        };
        name.cloned().unwrap_or_default()
    }

    fn check_sendable(
        &mut self,
        target: &Target,
        messages: &[BusMessage],
    ) -> Result<(), BrokerError> {
        let (status, needs_session, path) = match target {
            Target::Topic(key) => {
                let topic = self.topics.get(key).ok_or_else(|| not_found(key))?;
                (topic.options.status, false, &topic.name)
            }
            Target::Queue(key) => {
                let queue = self.queue_entities.get(key).ok_or_else(|| not_found(key))?;
                let options = &self.entry(queue.queue)?.options;
                (options.status, options.requires_session, &queue.name)
            }
        };
        if !status.may_send() {
            return Err(BrokerError::EntityDisabled { path: path.clone() });
        }
        if needs_session && messages.iter().any(|message| message.session_id.is_none()) {
            return Err(BrokerError::SessionRequired { path: path.clone() });
        }
        Ok(())
    }

    /// Which copies a message comes to.
    fn plan(&mut self, now: Duration, target: &Target, message: &BusMessage) -> Vec<PlannedCopy> {
        match target {
            Target::Queue(key) => {
                let Some(queue) = self.queue_entities.get(key) else { return Vec::new() };
                let entry = self.queues.get_mut(&queue.queue);
                let cap = entry.and_then(|entry| {
                    entry.accessed_at = now;
                    entry.options.default_message_time_to_live
                });
                vec![PlannedCopy {
                    queue: queue.queue,
                    time_to_live: [message.time_to_live, cap].into_iter().flatten().min(),
                    changed: None,
                    failure: None,
                }]
            }
            Target::Topic(key) => {
                let Some(topic) = self.topics.get_mut(key) else { return Vec::new() };
                topic.accessed_at = now;
                let caps = [message.time_to_live, topic.options.default_message_time_to_live];
                let cap = caps.into_iter().flatten().min();
                let mut plan = Vec::with_capacity(topic.subscriptions.len());
                let mut evaluated = 0;
                for subscription in topic.subscriptions.values() {
                    let Some(entry) = self.queues.get(&subscription.queue) else { continue };
                    if !entry.options.status.may_send() {
                        continue;
                    }
                    let own = entry.options.default_message_time_to_live;
                    let time_to_live = [cap, own].into_iter().flatten().min();
                    let is_told = entry.options.dead_letters_filter_errors;
                    evaluated +=
                        plan_copies(subscription, message, time_to_live, is_told, &mut plan);
                }
                self.meter.record_filter_evaluations(evaluated);
                plan
            }
        }
    }

    fn check_quota(
        &mut self,
        now: Duration,
        target: &Target,
        bytes: u64,
        messages: u64,
    ) -> Result<(), BrokerError> {
        let Err(quota) = self.fits(target, bytes, messages) else { return Ok(()) };
        for queue in self.queues_of(target) {
            if let Some(entry) = self.queues.get_mut(&queue) {
                entry.queue.sweep(now);
                self.after(now, queue);
            }
        }
        if self.fits(target, bytes, messages).is_err() {
            return Err(BrokerError::QuotaExceeded { topic: self.name_of(target), quota });
        }
        Ok(())
    }

    fn queues_of(&self, target: &Target) -> Vec<QueueId> {
        match target {
            Target::Topic(key) => {
                let topic = self.topics.get(key);
                let subscriptions =
                    topic.into_iter().flat_map(|topic| topic.subscriptions.values());
                subscriptions.map(|subscription| subscription.queue).collect()
            }
            Target::Queue(key) => {
                self.queue_entities.get(key).map(|queue| queue.queue).into_iter().collect()
            }
        }
    }

    fn fits(&self, target: &Target, new_bytes: u64, new_messages: u64) -> Result<(), Quota> {
        let (own, held) = match target {
            Target::Topic(key) => match self.topics.get(key) {
                Some(topic) => (topic.options.bytes_max, self.held_by_topic(topic)),
                None => return Ok(()),
            },
            Target::Queue(key) => match self.queue_entities.get(key) {
                Some(queue) => {
                    let (bytes, messages) = self.held_by(queue.queue);
                    let scheduled = &queue.intake;
                    let held = (bytes + scheduled.bytes(), messages + scheduled.scheduled_count());
                    (queue.bytes_max, held)
                }
                None => return Ok(()),
            },
        };
        let bytes_max = own.unwrap_or(self.config.topic_bytes_max);
        if self.faults.faults.is_full || held.0 + new_bytes > bytes_max {
            return Err(Quota::Bytes(bytes_max));
        }
        if held.1 + new_messages > self.config.topic_messages_max {
            return Err(Quota::Messages(self.config.topic_messages_max));
        }
        Ok(())
    }

    /// Bytes and messages of all subscriptions.
    pub(super) fn held_by_topic(&self, topic: &Topic) -> (u64, u64) {
        let mut held = (topic.intake.bytes(), topic.intake.scheduled_count());
        for subscription in topic.subscriptions.values() {
            let (bytes, messages) = self.held_by(subscription.queue);
            held = (held.0 + bytes, held.1 + messages);
        }
        held
    }

    /// Bytes and messages of a queue and its dead-letter queue.
    pub(super) fn held_by(&self, queue: QueueId) -> (u64, u64) {
        let Some(entry) = self.queues.get(&queue) else { return (0, 0) };
        let dead = entry.dead_letter.and_then(|dead| self.queues.get(&dead));
        let (bytes, messages) = dead.map_or((0, 0), |dead| (dead.queue.bytes, dead.queue.len()));
        (entry.queue.bytes + bytes, entry.queue.len() + messages)
    }

    fn is_duplicate(&mut self, now: Duration, target: &Target, message: &BusMessage) -> bool {
        let (intake, window) = match target {
            Target::Topic(key) => match self.topics.get_mut(key) {
                Some(topic) => (&mut topic.intake, topic.options.duplicate_window),
                None => return false,
            },
            Target::Queue(key) => match self.queue_entities.get_mut(key) {
                Some(queue) => (&mut queue.intake, queue.duplicate_window),
                None => return false,
            },
        };
        match (window, &message.message_id) {
            (Some(window), Some(id)) => intake.is_duplicate(now, window, id),
            _ => false,
        }
    }

    fn put_on_schedule(
        &mut self,
        now: Duration,
        target: &Target,
        at: Duration,
        message: BusMessage,
    ) -> u64 {
        self.note_due(at);
        let message = Arc::new(message);
        match target {
            Target::Topic(key) => {
                let Some(topic) = self.topics.get_mut(key) else { return 0 };
                topic.last_sequence_number += 1;
                topic.intake.schedule(now, at, topic.last_sequence_number, message);
                topic.last_sequence_number
            }
            Target::Queue(key) => {
                let Some(queue) = self.queue_entities.get_mut(key) else { return 0 };
                let Some(entry) = self.queues.get_mut(&queue.queue) else { return 0 };
                let number = entry.queue.next_sequence_number();
                queue.intake.schedule(now, at, number, message);
                number
            }
        }
    }

    fn make_copies(
        &mut self,
        now: Duration,
        message: Arc<BusMessage>,
        plan: Vec<PlannedCopy>,
        published: &mut Published,
    ) {
        for PlannedCopy { queue, time_to_live, changed, failure } in plan {
            let message = changed.map_or_else(|| Arc::clone(&message), Arc::new);
            if let Some(description) = failure {
                let reason = "FilterEvaluationException";
                self.dead_letter_sent(now, queue, message, reason, &description);
                continue;
            }
            for late in self.faults.copies().into_iter().flatten() {
                published.copies += 1;
                published.late += usize::from(!late.is_zero());
                let message = Arc::clone(&message);
                let arrival = Arrival { time_to_live, hops: 0, origin: None, message };
                if self.arrive(now, queue, late, arrival) {
                    published.queues.push(queue);
                }
            }
        }
    }

    /// Puts a message into a queue, or into that which the queue forwards to; whether this one has it.
    fn arrive(&mut self, now: Duration, queue: QueueId, late: Duration, arrival: Arrival) -> bool {
        let Some(entry) = self.queues.get_mut(&queue) else { return false };
        if let Some(target) = entry.options.forward_to.clone() {
            let sequence_number = entry.queue.next_sequence_number();
            let path = entry.path.clone();
            self.forward(now, queue, &path, &target, sequence_number, arrival);
            return false;
        }
        if entry.options.requires_session && arrival.message.session_id.is_none() {
            let description =
                "Session enabled entity doesn't allow a message whose session identifier is null.";
            self.dead_letter_sent(now, queue, arrival.message, "Session id is null.", description);
            return false;
        }
        let expires_at = arrival.time_to_live.and_then(|ttl| now.checked_add(ttl));
        if late.is_zero() {
            entry.queue.push(now, arrival);
            self.wake(queue);
        } else {
            entry.queue.push_late(now, late, arrival);
            self.note_due(now.saturating_add(late));
        }
        if let Some(at) = expires_at {
            self.note_due(at.saturating_add(super::clock::SWEEP_EVERY));
        }
        true
    }

    /// Sends a message on from one queue to what it forwards to.
    pub(super) fn forward(
        &mut self,
        now: Duration,
        from: QueueId,
        path: &str,
        target: &str,
        sequence_number: u64,
        arrival: Arrival,
    ) {
        let Arrival { hops, origin, message, .. } = arrival;
        if hops >= HOPS_MAX {
            let description = "The maximum number of allowed hops when forwarding between queues \
                               exceeded the limit. The value is set to four (4).";
            let reason = "MaxTransferHopCountExceeded";
            return self.dead_letter_sent(now, from, message, reason, description);
        }
        let key = name::key(target);
        let found = if self.topics.contains_key(&*key) {
            Some(Target::Topic(key.into_owned()))
        } else if self.queue_entities.contains_key(&*key) {
            Some(Target::Queue(key.into_owned()))
        } else {
            None
        };
        let refusal = match &found {
            None => Some(not_found(target)),
            Some(found) => self.check_sendable(found, std::slice::from_ref(&*message)).err(),
        };
        let refusal = refusal.or_else(|| {
            let size = message.size_bytes();
            found.as_ref().and_then(|found| self.check_quota(now, found, size, 1).err())
        });
        let (Some(found), None) = (found, &refusal) else {
            let description = refusal.map(|error| error.to_string()).unwrap_or_default();
            return self.fail_transfer(now, from, message, &description);
        };
        self.meter.record(path, OperationKind::Send, message.size_bytes());
        let origin = origin
            .unwrap_or_else(|| Arc::new(Origin { dead_letter_source: None, sequence_number }));
        for copy in self.plan(now, &found, &message) {
            let message = copy.changed.map_or_else(|| Arc::clone(&message), Arc::new);
            let arrival = Arrival {
                time_to_live: copy.time_to_live,
                hops: hops + 1,
                origin: Some(Arc::clone(&origin)),
                message,
            };
            self.arrive(now, copy.queue, Duration::ZERO, arrival);
        }
    }
}

/// Plans the copies of one subscription; returns how many filters were evaluated.
fn plan_copies(
    subscription: &Subscription,
    message: &BusMessage,
    time_to_live: Option<Duration>,
    is_told: bool,
    plan: &mut Vec<PlannedCopy>,
) -> u64 {
    let queue = subscription.queue;
    let mut copy = |changed, failure| {
        plan.push(PlannedCopy { queue, time_to_live, changed, failure });
    };
    let (mut evaluated, mut is_wanted) = (0, false);
    let mut failed = None;
    for rule in subscription.rules.values() {
        if rule.action.is_none() && is_wanted {
            continue;
        }
        evaluated += 1;
        let matched = match (rule.filter.matches(message), &rule.action) {
            (Ok(false), _) => Ok(()),
            (Ok(true), None) => {
                is_wanted = true;
                Ok(())
            }
            (Ok(true), Some(action)) => {
                let mut changed = message.clone();
                action.apply(&mut changed).map(|()| copy(Some(changed), None))
            }
            (Err(error), _) => Err(error),
        };
        if let Err(error) = matched {
            failed = Some(format!("Rule '{}': {error}.", rule.name));
        }
    }
    if is_wanted {
        copy(None, None);
    }
    if let Some(description) = failed.filter(|_| is_told) {
        copy(None, Some(description));
    }
    evaluated
}

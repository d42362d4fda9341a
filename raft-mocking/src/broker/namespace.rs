//! Entities: created, read, changed, deleted; and which queue an address means.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::time::Duration;

use super::entity::{
    MessageCounts, Queue, QueueEntry, QueueInfo, QueueOptions, RuleCounts, Subscription,
    SubscriptionInfo, SubscriptionOptions, Topic, TopicInfo, TopicOptions, check_count,
    validate_idle, validate_window,
};
use super::error::{BrokerError, EntityKind};
use super::filter::{Filter, Rule};
use super::intake::Intake;
use super::meter::OperationKind;
use super::{Broker, QueueId, name, not_found};

/// What follows the address of a queue or subscription in that of its dead-letter queue.
const DEAD_LETTER: &str = "/$deadletterqueue";
/// The same, for what could not be forwarded.
const TRANSFER: &str = "/$transfer";

/// Queues and topics.
impl Broker {
    /// Creates a queue.
    ///
    /// # Errors
    /// `InvalidName`, `InvalidOption`, `AlreadyExists`, `TooManyEntities`, or `NotFound` if it is to
    /// forward to something that is not there.
    pub fn create_queue(
        &mut self,
        now: Duration,
        name: &str,
        options: QueueOptions,
    ) -> Result<QueueId, BrokerError> {
        name::validate(EntityKind::Queue, name)?;
        validate_window(options.duplicate_window)?;
        self.validate_delivery(name, &options.delivery)?;
        let key = self.free_key(EntityKind::Queue, name)?;
        let QueueOptions { bytes_max, duplicate_window, delivery } = options;
        let queue = self.add_queue_entry(now, name.to_owned(), delivery);
        let entity = Queue {
            name: name.to_owned(),
            bytes_max,
            duplicate_window,
            created_at: now,
            updated_at: now,
            intake: Intake::default(),
            queue,
        };
        self.queue_entities.insert(key, entity);
        self.meter.record(name, OperationKind::Management, 0);
        Ok(queue)
    }

    /// Changes the options of a queue; they hold for later messages and locks.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidOption`, also if the queue is to have sessions or duplicate detection
    /// and was made without, or the other way round.
    pub fn update_queue(
        &mut self,
        now: Duration,
        name: &str,
        options: QueueOptions,
    ) -> Result<(), BrokerError> {
        validate_window(options.duplicate_window)?;
        let queue = self.queue_ref(name)?;
        let (id, path) = (queue.queue, queue.name.clone());
        let is_changed = queue.duplicate_window.is_some() != options.duplicate_window.is_some();
        check_unchanged(is_changed, "RequiresDuplicateDetection")?;
        self.update_delivery(&path, id, options.delivery)?;
        if let Some(queue) = self.queue_entities.get_mut(&*name::key(name)) {
            queue.bytes_max = options.bytes_max;
            queue.duplicate_window = options.duplicate_window;
            queue.updated_at = now;
        }
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// Deletes a queue with its messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete_queue(&mut self, name: &str) -> Result<(), BrokerError> {
        let name = self.remove_queue(name)?;
        self.meter.record(&name, OperationKind::Management, 0);
        Ok(())
    }

    pub(super) fn remove_queue(&mut self, name: &str) -> Result<String, BrokerError> {
        let removed = self.queue_entities.remove(&*name::key(name));
        let queue = removed.ok_or_else(|| not_found(name))?;
        self.remove_queue_entry(queue.queue);
        Ok(queue.name)
    }

    /// What is known about one queue.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn queue(&self, name: &str) -> Result<QueueInfo, BrokerError> {
        self.queue_ref(name).map(|queue| self.queue_info(queue))
    }

    /// All queues, by name.
    pub fn queues(&self) -> impl Iterator<Item = QueueInfo> {
        self.queue_entities.values().map(|queue| self.queue_info(queue))
    }

    /// The queue that an address means: that of a queue, of `topic/Subscriptions/name`, or of the
    /// `$DeadLetterQueue` or `$Transfer/$DeadLetterQueue` below one of these.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn queue_at(&self, address: &str) -> Result<QueueId, BrokerError> {
        let key = name::key(address);
        let (path, is_dead) = match key.strip_suffix(DEAD_LETTER) {
            Some(path) => (path, true),
            None => (&*key, false),
        };
        let (path, is_transfer) = match path.strip_suffix(TRANSFER) {
            Some(path) if is_dead => (path, true),
            _ => (path, false),
        };
        let main = match self.queue_entities.get(path) {
            Some(queue) => Some(queue.queue),
            None => path.rsplit_once("/subscriptions/").and_then(|(topic, name)| {
                self.topics.get(topic)?.subscriptions.get(name).map(|found| found.queue)
            }),
        };
        let found = main.and_then(|main| match (is_dead, is_transfer) {
            (false, _) => Some(main),
            (true, false) => self.queues.get(&main)?.dead_letter,
            (true, true) => self.queues.get(&main)?.transfer_dead_letter,
        });
        found.ok_or_else(|| not_found(address))
    }

    /// Whether receivers of a queue accept a session first.
    ///
    /// # Errors
    /// `Deleted`.
    pub fn requires_session(&self, queue: QueueId) -> Result<bool, BrokerError> {
        self.entry(queue).map(|entry| entry.options.requires_session)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// `InvalidName`, `InvalidOption`, `AlreadyExists`, or `TooManyEntities`.
    pub fn create_topic(
        &mut self,
        now: Duration,
        name: &str,
        options: TopicOptions,
    ) -> Result<(), BrokerError> {
        name::validate(EntityKind::Topic, name)?;
        validate_window(options.duplicate_window)?;
        validate_idle(options.auto_delete_on_idle)?;
        let key = self.free_key(EntityKind::Topic, name)?;
        self.note_idle(now, options.auto_delete_on_idle);
        let topic = Topic {
            name: name.to_owned(),
            options,
            created_at: now,
            updated_at: now,
            accessed_at: now,
            intake: Intake::default(),
            last_sequence_number: 0,
            subscriptions: Default::default(),
            rule_counts: RuleCounts::default(),
        };
        self.topics.insert(key, topic);
        self.meter.record(name, OperationKind::Management, 0);
        Ok(())
    }

    /// Changes the options of a topic.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidOption`, also if duplicate detection would change.
    pub fn update_topic(
        &mut self,
        now: Duration,
        name: &str,
        options: TopicOptions,
    ) -> Result<(), BrokerError> {
        validate_window(options.duplicate_window)?;
        validate_idle(options.auto_delete_on_idle)?;
        self.note_idle(now, options.auto_delete_on_idle);
        let topic = self.topic_mut(name)?;
        let was_detecting = topic.options.duplicate_window.is_some();
        let is_changed = was_detecting != options.duplicate_window.is_some();
        check_unchanged(is_changed, "RequiresDuplicateDetection")?;
        topic.options = options;
        topic.updated_at = now;
        self.meter.record(name, OperationKind::Management, 0);
        Ok(())
    }

    /// Deletes a topic with its subscriptions and their messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), BrokerError> {
        let name = self.remove_topic(name)?;
        self.meter.record(&name, OperationKind::Management, 0);
        Ok(())
    }

    pub(super) fn remove_topic(&mut self, name: &str) -> Result<String, BrokerError> {
        let topic = self.topics.remove(&*name::key(name)).ok_or_else(|| not_found(name))?;
        for subscription in topic.subscriptions.values() {
            self.remove_queue_entry(subscription.queue);
        }
        Ok(topic.name)
    }

    /// What is known about one topic.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn topic(&self, name: &str) -> Result<TopicInfo, BrokerError> {
        self.topic_ref(name).map(|topic| self.topic_info(topic))
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = TopicInfo> {
        self.topics.values().map(|topic| self.topic_info(topic))
    }

    /// The name under which a new queue or topic is filed; they share their names.
    fn free_key(&self, kind: EntityKind, name: &str) -> Result<String, BrokerError> {
        let key = name::key(name).into_owned();
        if self.topics.contains_key(&key) || self.queue_entities.contains_key(&key) {
            return Err(BrokerError::AlreadyExists { path: name.to_owned() });
        }
        let count = self.topics.len() + self.queue_entities.len();
        check_count(kind, count, self.config.topics_max)?;
        Ok(key)
    }

    fn validate_delivery(
        &self,
        path: &str,
        options: &SubscriptionOptions,
    ) -> Result<(), BrokerError> {
        options.validate()?;
        for (option, target) in [
            ("ForwardTo", &options.forward_to),
            ("ForwardDeadLetteredMessagesTo", &options.forward_dead_letters_to),
        ] {
            let Some(target) = target else { continue };
            if target.eq_ignore_ascii_case(path) {
                let reason = "an entity cannot forward to itself";
                return Err(BrokerError::InvalidOption { name: option, reason });
            }
            let key = name::key(target);
            if !self.topics.contains_key(&*key) && !self.queue_entities.contains_key(&*key) {
                return Err(not_found(target));
            }
        }
        Ok(())
    }

    fn update_delivery(
        &mut self,
        path: &str,
        queue: QueueId,
        options: SubscriptionOptions,
    ) -> Result<(), BrokerError> {
        self.validate_delivery(path, &options)?;
        let entry = self.entry_mut(queue)?;
        let is_changed = entry.options.requires_session != options.requires_session;
        check_unchanged(is_changed, "RequiresSession")?;
        let accessed_at = entry.accessed_at;
        let idle = options.auto_delete_on_idle;
        entry.options = options;
        entry.note_options();
        self.note_idle(accessed_at, idle);
        Ok(())
    }

    fn note_idle(&mut self, now: Duration, idle: Option<Duration>) {
        if let Some(idle) = idle {
            self.note_due(now.saturating_add(idle));
        }
    }

    /// Makes a queue with its dead-letter queues.
    fn add_queue_entry(
        &mut self,
        now: Duration,
        path: String,
        options: SubscriptionOptions,
    ) -> QueueId {
        let [main, dead_letter, transfer] = [0, 1, 2].map(|i| QueueId(self.next_queue + i));
        self.next_queue += 3;
        self.note_idle(now, options.auto_delete_on_idle);
        let dead_options = SubscriptionOptions {
            lock_duration: options.lock_duration,
            ..SubscriptionOptions::default()
        };
        for (id, name) in
            [(dead_letter, "$DeadLetterQueue"), (transfer, "$Transfer/$DeadLetterQueue")]
        {
            let entry = QueueEntry::new(now, format!("{path}/{name}"), dead_options.clone());
            self.queues.insert(id, entry);
        }
        let mut entry = QueueEntry::new(now, path, options);
        entry.dead_letter = Some(dead_letter);
        entry.transfer_dead_letter = Some(transfer);
        entry.note_options();
        self.queues.insert(main, entry);
        main
    }

    fn remove_queue_entry(&mut self, queue: QueueId) {
        let Some(entry) = self.queues.remove(&queue) else { return };
        for id in [entry.dead_letter, entry.transfer_dead_letter].into_iter().flatten() {
            self.queues.remove(&id);
            self.wake(id);
        }
        // Whoever waits learns that it is gone.
        self.wake(queue);
    }
}

/// Subscriptions and rules.
impl Broker {
    /// Creates a subscription with the rule `$Default`, which lets everything through.
    ///
    /// # Errors
    /// `InvalidName`, `NotFound` (the topic), `AlreadyExists`, or `TooManyEntities`.
    pub fn create_subscription(
        &mut self,
        now: Duration,
        topic: &str,
        name: &str,
        options: SubscriptionOptions,
    ) -> Result<QueueId, BrokerError> {
        self.create_subscription_with_rule(
            now,
            topic,
            name,
            options,
            Rule::new(Rule::DEFAULT_NAME, Filter::True),
        )
    }

    /// Creates a subscription whose first rule is `rule` instead of `$Default`.
    ///
    /// # Errors
    /// As [`Broker::create_subscription`].
    pub fn create_subscription_with_rule(
        &mut self,
        now: Duration,
        topic: &str,
        name: &str,
        options: SubscriptionOptions,
        rule: Rule,
    ) -> Result<QueueId, BrokerError> {
        name::validate(EntityKind::Subscription, name)?;
        name::validate(EntityKind::Rule, &rule.name)?;
        let count_max = self.config.subscriptions_max;
        let topic = self.topic_ref(topic)?;
        let path = format!("{}/Subscriptions/{name}", topic.name);
        let key = name::key(name).into_owned();
        if topic.subscriptions.contains_key(&key) {
            return Err(BrokerError::AlreadyExists { path });
        }
        check_count(EntityKind::Subscription, topic.subscriptions.len(), count_max)?;
        topic.rule_counts.check(&rule.filter, &self.config)?;
        self.validate_delivery(&path, &options)?;
        let topic_key = name::key(&topic.name).into_owned();
        let queue = self.add_queue_entry(now, path.clone(), options);
        let subscription = Subscription {
            name: name.to_owned(),
            path: path.clone(),
            created_at: now,
            updated_at: now,
            rules: BTreeMap::new(),
            queue,
        };
        let topic = self.topic_mut(&topic_key)?;
        topic.rule_counts.add(&rule.filter);
        let subscription = topic.subscriptions.entry(key).or_insert(subscription);
        subscription.rules.insert(name::key(&rule.name).into_owned(), rule);
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(queue)
    }

    /// Changes the options of a subscription; they hold for later messages and locks.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidOption`, also if sessions are to come or go.
    pub fn update_subscription(
        &mut self,
        now: Duration,
        topic: &str,
        name: &str,
        options: SubscriptionOptions,
    ) -> Result<(), BrokerError> {
        let subscription = self.subscription_mut(topic, name)?;
        let (queue, path) = (subscription.queue, subscription.path.clone());
        self.update_delivery(&path, queue, options)?;
        self.subscription_mut(topic, name)?.updated_at = now;
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// Deletes a subscription with its messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete_subscription(&mut self, topic: &str, name: &str) -> Result<(), BrokerError> {
        let path = self.remove_subscription(topic, name)?;
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    pub(super) fn remove_subscription(
        &mut self,
        topic: &str,
        name: &str,
    ) -> Result<String, BrokerError> {
        let topic = self.topic_mut(topic)?;
        let path = format!("{}/Subscriptions/{name}", topic.name);
        let removed = topic.subscriptions.remove(&*name::key(name));
        let subscription = removed.ok_or_else(|| not_found(&path))?;
        subscription.rules.values().for_each(|rule| topic.rule_counts.remove(&rule.filter));
        self.remove_queue_entry(subscription.queue);
        Ok(subscription.path)
    }

    /// What is known about one subscription.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn subscription(&self, topic: &str, name: &str) -> Result<SubscriptionInfo, BrokerError> {
        let topic = self.topic_ref(topic)?;
        let subscription = topic.subscriptions.get(&*name::key(name));
        subscription
            .map(|subscription| self.subscription_info(topic, subscription))
            .ok_or_else(|| not_found(&format!("{}/Subscriptions/{name}", topic.name)))
    }

    /// All subscriptions of a topic, by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn subscriptions(&self, topic: &str) -> Result<Vec<SubscriptionInfo>, BrokerError> {
        let topic = self.topic_ref(topic)?;
        Ok(topic.subscriptions.values().map(|s| self.subscription_info(topic, s)).collect())
    }

    /// Adds a rule to a subscription, for messages sent from now on.
    ///
    /// # Errors
    /// `InvalidName`, `NotFound`, `AlreadyExists`, or `TooManyEntities`.
    pub fn add_rule(&mut self, topic: &str, name: &str, rule: Rule) -> Result<(), BrokerError> {
        name::validate(EntityKind::Rule, &rule.name)?;
        let limits = self.topic_ref(topic)?.rule_counts.check(&rule.filter, &self.config);
        let (subscription, counts) = self.rules_mut(topic, name)?;
        let key = name::key(&rule.name).into_owned();
        if subscription.rules.contains_key(&key) {
            let path = format!("{}/Rules/{}", subscription.path, rule.name);
            return Err(BrokerError::AlreadyExists { path });
        }
        limits?;
        counts.add(&rule.filter);
        subscription.rules.insert(key, rule);
        let path = subscription.path.clone();
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// Replaces a rule of the same name.
    ///
    /// # Errors
    /// `NotFound`, or `TooManyEntities` if it is of another kind.
    pub fn update_rule(&mut self, topic: &str, name: &str, rule: Rule) -> Result<(), BrokerError> {
        let limits = self.topic_ref(topic)?.rule_counts.check(&rule.filter, &self.config);
        let (subscription, counts) = self.rules_mut(topic, name)?;
        let path = subscription.path.clone();
        let Some(old) = subscription.rules.get_mut(&*name::key(&rule.name)) else {
            return Err(not_found(&format!("{path}/Rules/{}", rule.name)));
        };
        // One of the same kind takes its place and needs none of its own.
        if discriminant(&old.filter) != discriminant(&rule.filter) {
            limits?;
        }
        counts.remove(&old.filter);
        counts.add(&rule.filter);
        *old = rule;
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// Removes a rule. A subscription without rules gets no messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_rule(&mut self, topic: &str, name: &str, rule: &str) -> Result<(), BrokerError> {
        let (subscription, counts) = self.rules_mut(topic, name)?;
        let path = subscription.path.clone();
        let removed = subscription.rules.remove(&*name::key(rule));
        let removed = removed.ok_or_else(|| not_found(&format!("{path}/Rules/{rule}")))?;
        counts.remove(&removed.filter);
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// The rules of a subscription, by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn rules(&self, topic: &str, name: &str) -> Result<Vec<Rule>, BrokerError> {
        let topic = self.topic_ref(topic)?;
        let subscription = topic.subscriptions.get(&*name::key(name));
        subscription
            .map(|subscription| subscription.rules.values().cloned().collect())
            .ok_or_else(|| not_found(&format!("{}/Subscriptions/{name}", topic.name)))
    }

    fn topic_ref(&self, name: &str) -> Result<&Topic, BrokerError> {
        self.topics.get(&*name::key(name)).ok_or_else(|| not_found(name))
    }

    fn topic_mut(&mut self, name: &str) -> Result<&mut Topic, BrokerError> {
        self.topics.get_mut(&*name::key(name)).ok_or_else(|| not_found(name))
    }

    fn subscription_mut(
        &mut self,
        topic: &str,
        name: &str,
    ) -> Result<&mut Subscription, BrokerError> {
        self.rules_mut(topic, name).map(|(subscription, _)| subscription)
    }

    /// A subscription, and the counts that a change of its rules must keep true.
    fn rules_mut(
        &mut self,
        topic: &str,
        name: &str,
    ) -> Result<(&mut Subscription, &mut RuleCounts), BrokerError> {
        let topic = self.topic_mut(topic)?;
        let subscription = topic.subscriptions.get_mut(&*name::key(name));
        let subscription =
            subscription.ok_or_else(|| not_found(&format!("{}/Subscriptions/{name}", topic.name)));
        Ok((subscription?, &mut topic.rule_counts))
    }

    fn queue_ref(&self, name: &str) -> Result<&Queue, BrokerError> {
        self.queue_entities.get(&*name::key(name)).ok_or_else(|| not_found(name))
    }

    fn counts(&self, queue: QueueId) -> MessageCounts {
        let Some(entry) = self.queues.get(&queue) else { return MessageCounts::default() };
        let length = |id: Option<QueueId>| {
            id.and_then(|id| self.queues.get(&id)).map_or(0, |entry| entry.queue.len())
        };
        MessageCounts {
            active: entry.queue.len(),
            deferred: entry.queue.deferred_count(),
            dead_letter: length(entry.dead_letter),
            scheduled: 0,
            transfer_dead_letter: length(entry.transfer_dead_letter),
        }
    }

    fn queue_info(&self, queue: &Queue) -> QueueInfo {
        let entry = self.queues.get(&queue.queue);
        QueueInfo {
            name: queue.name.clone(),
            options: QueueOptions {
                bytes_max: queue.bytes_max,
                duplicate_window: queue.duplicate_window,
                delivery: entry.map(|entry| entry.options.clone()).unwrap_or_default(),
            },
            created_at: queue.created_at,
            updated_at: queue.updated_at,
            accessed_at: entry.map_or(queue.created_at, |entry| entry.accessed_at),
            counts: MessageCounts {
                scheduled: queue.intake.scheduled_count(),
                ..self.counts(queue.queue)
            },
            bytes: self.held_by(queue.queue).0 + queue.intake.bytes(),
            queue: queue.queue,
        }
    }

    fn topic_info(&self, topic: &Topic) -> TopicInfo {
        TopicInfo {
            name: topic.name.clone(),
            options: topic.options.clone(),
            created_at: topic.created_at,
            updated_at: topic.updated_at,
            accessed_at: topic.accessed_at,
            subscription_count: topic.subscriptions.len(),
            scheduled_count: topic.intake.scheduled_count(),
            bytes: self.held_by_topic(topic).0,
        }
    }

    fn subscription_info(&self, topic: &Topic, subscription: &Subscription) -> SubscriptionInfo {
        let entry = self.queues.get(&subscription.queue);
        let counts = self.counts(subscription.queue);
        SubscriptionInfo {
            topic: topic.name.clone(),
            name: subscription.name.clone(),
            options: entry.map(|entry| entry.options.clone()).unwrap_or_default(),
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
            accessed_at: entry.map_or(subscription.created_at, |entry| entry.accessed_at),
            message_count: counts.active,
            counts,
            queue: subscription.queue,
        }
    }
}

fn check_unchanged(is_changed: bool, name: &'static str) -> Result<(), BrokerError> {
    let reason = "it is chosen when the entity is created, and stays so";
    if is_changed { Err(BrokerError::InvalidOption { name, reason }) } else { Ok(()) }
}

//! The bus as a pure model: topics, subscriptions, rules, messages, limits and the bill.
//!
//! Guarantees: the same calls with the same `now` and seed give the same answers; a refused call
//! changes nothing; memory is bounded by the quotas; an expired message is never delivered.
//! Relies on:  `now` that does not run backwards. It is the time since an epoch of the caller's
//! choice; the emulator takes the Unix epoch, tests take zero.
//! Elsewhere:  waiting for messages is in [`crate::bus`], the network in `crate::emulator`.
//!
//! One difference from the service is deliberate: expired messages stop counting towards the
//! quota as soon as it is reached, even if nobody receives.
//!
//! ```
//! use std::time::Duration;
//! use raft_mocking::broker::{Broker, BusMessage, CorrelationFilter, ReceiveMode, Rule};
//!
//! let now = Duration::ZERO;
//! let mut broker = Broker::default();
//! broker.create_topic(now, "rafttopic", Default::default())?;
//! broker.create_subscription(now, "rafttopic", "server-1", Default::default())?;
//! broker.remove_rule("rafttopic", "server-1", Rule::DEFAULT_NAME)?;
//! broker.add_rule("rafttopic", "server-1", Rule::new("me", CorrelationFilter::to("server-1")))?;
//!
//! broker.publish(now, "rafttopic", BusMessage::new("for another").with_to("server-2"))?;
//! broker.publish(now, "rafttopic", BusMessage::new("for me").with_to("server-1"))?;
//!
//! let queue = broker.subscription("rafttopic", "server-1")?.queue;
//! let received = broker.receive(now, queue, ReceiveMode::ReceiveAndDelete)?;
//! assert_eq!(&received.unwrap().message.body[..], b"for me");
//! assert_eq!(broker.receive(now, queue, ReceiveMode::ReceiveAndDelete)?, None);
//! # Ok::<(), raft_mocking::broker::BrokerError>(())
//! ```

mod delivery;
mod entity;
mod error;
mod fault;
mod filter;
mod message;
mod meter;
mod name;
mod queue;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::delivery::Published;
pub use self::entity::{
    BrokerConfig, QueueId, SubscriptionInfo, SubscriptionOptions, TopicInfo, TopicOptions,
};
pub use self::error::{BrokerError, EntityKind, NameProblem, Quota};
pub use self::fault::{FaultCounts, Faults};
pub use self::filter::{CorrelationFilter, Filter, Rule};
pub use self::message::{BusMessage, Lock, LockToken, PropertyValue, ReceiveMode, ReceivedMessage};
pub use self::meter::{Meter, OperationKind, Tally};

use self::delivery::QueueEntry;
use self::entity::{Subscription, Topic};
use self::fault::FaultPlan;

/// A namespace: all entities and their messages.
///
/// Cheap enough to clone for an explorer: message bodies are shared.
#[derive(Debug, Clone, Default)]
pub struct Broker {
    config: BrokerConfig,
    topics: BTreeMap<String, Topic>,
    queues: BTreeMap<QueueId, QueueEntry>,
    next_queue: u64,
    next_token: u64,
    meter: Meter,
    faults: FaultPlan,
}

/// Entities.
impl Broker {
    /// An empty namespace with these limits.
    pub fn new(config: BrokerConfig) -> Self {
        let faults = FaultPlan::new(config.seed);
        Self { config, faults, ..Self::default() }
    }

    /// What goes wrong from now on; what is late already stays so.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults.faults = faults;
    }

    /// What goes wrong now.
    pub fn faults(&self) -> &Faults {
        &self.faults.faults
    }

    /// How often something went wrong so far.
    pub fn fault_counts(&self) -> FaultCounts {
        self.faults.counts
    }

    /// The limits.
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// What has been billed.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Bills a management call that only reads.
    pub fn record_management_read(&mut self, path: &str) {
        self.meter.record(path, OperationKind::Management, 0);
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// `InvalidName`, `AlreadyExists`, or `TooManyEntities`.
    pub fn create_topic(
        &mut self,
        now: Duration,
        name: &str,
        options: TopicOptions,
    ) -> Result<(), BrokerError> {
        name::validate(EntityKind::Topic, name)?;
        let key = name::key(name).into_owned();
        if self.topics.contains_key(&key) {
            return Err(BrokerError::AlreadyExists { path: name.to_owned() });
        }
        check_count(EntityKind::Topic, self.topics.len(), self.config.topics_max)?;
        let topic = Topic {
            name: name.to_owned(),
            options,
            created_at: now,
            subscriptions: BTreeMap::new(),
        };
        self.topics.insert(key, topic);
        self.meter.record(name, OperationKind::Management, 0);
        Ok(())
    }

    /// Changes the options of a topic.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn update_topic(&mut self, name: &str, options: TopicOptions) -> Result<(), BrokerError> {
        let topic = self.topic_mut(name)?;
        topic.options = options;
        self.meter.record(name, OperationKind::Management, 0);
        Ok(())
    }

    /// Deletes a topic with its subscriptions and their messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), BrokerError> {
        let topic = self.topics.remove(&*name::key(name)).ok_or_else(|| not_found(name))?;
        for subscription in topic.subscriptions.values() {
            self.queues.remove(&subscription.queue);
        }
        self.meter.record(name, OperationKind::Management, 0);
        Ok(())
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
        let queue = QueueId(self.next_queue);
        let topic = self.topic_mut(topic)?;
        let path = format!("{}/Subscriptions/{name}", topic.name);
        let key = name::key(name).into_owned();
        if topic.subscriptions.contains_key(&key) {
            return Err(BrokerError::AlreadyExists { path });
        }
        check_count(EntityKind::Subscription, topic.subscriptions.len(), count_max)?;
        let entry = QueueEntry::new(path.clone(), options.lock_duration);
        let subscription = Subscription {
            name: name.to_owned(),
            path: path.clone(),
            options,
            created_at: now,
            rules: [(name::key(&rule.name).into_owned(), rule)].into(),
            queue,
        };
        topic.subscriptions.insert(key, subscription);
        self.next_queue += 1;
        self.queues.insert(queue, entry);
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(queue)
    }

    /// Changes the options of a subscription; they hold for later messages and locks.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn update_subscription(
        &mut self,
        topic: &str,
        name: &str,
        options: SubscriptionOptions,
    ) -> Result<(), BrokerError> {
        let subscription = self.subscription_mut(topic, name)?;
        let (queue, path) = (subscription.queue, subscription.path.clone());
        let lock_duration = options.lock_duration;
        subscription.options = options;
        if let Some(entry) = self.queues.get_mut(&queue) {
            entry.lock_duration = lock_duration;
        }
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// Deletes a subscription with its messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete_subscription(&mut self, topic: &str, name: &str) -> Result<(), BrokerError> {
        let topic = self.topic_mut(topic)?;
        let path = format!("{}/Subscriptions/{name}", topic.name);
        let removed = topic.subscriptions.remove(&*name::key(name));
        let subscription = removed.ok_or_else(|| not_found(&path))?;
        self.queues.remove(&subscription.queue);
        self.meter.record(&subscription.path, OperationKind::Management, 0);
        Ok(())
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
        let count_max = self.config.rules_max;
        let subscription = self.subscription_mut(topic, name)?;
        let key = name::key(&rule.name).into_owned();
        if subscription.rules.contains_key(&key) {
            let path = format!("{}/Rules/{}", subscription.path, rule.name);
            return Err(BrokerError::AlreadyExists { path });
        }
        check_count(EntityKind::Rule, subscription.rules.len(), count_max)?;
        subscription.rules.insert(key, rule);
        let path = subscription.path.clone();
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// Replaces a rule of the same name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn update_rule(&mut self, topic: &str, name: &str, rule: Rule) -> Result<(), BrokerError> {
        let subscription = self.subscription_mut(topic, name)?;
        let path = subscription.path.clone();
        let Some(old) = subscription.rules.get_mut(&*name::key(&rule.name)) else {
            return Err(not_found(&format!("{path}/Rules/{}", rule.name)));
        };
        *old = rule;
        self.meter.record(&path, OperationKind::Management, 0);
        Ok(())
    }

    /// Removes a rule. A subscription without rules gets no messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_rule(&mut self, topic: &str, name: &str, rule: &str) -> Result<(), BrokerError> {
        let subscription = self.subscription_mut(topic, name)?;
        let path = subscription.path.clone();
        let removed = subscription.rules.remove(&*name::key(rule));
        removed.ok_or_else(|| not_found(&format!("{path}/Rules/{rule}")))?;
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
        let topic = self.topic_mut(topic)?;
        let subscription = topic.subscriptions.get_mut(&*name::key(name));
        subscription.ok_or_else(|| not_found(&format!("{}/Subscriptions/{name}", topic.name)))
    }

    fn topic_info(&self, topic: &Topic) -> TopicInfo {
        let queues = topic.subscriptions.values().filter_map(|s| self.queues.get(&s.queue));
        TopicInfo {
            name: topic.name.clone(),
            options: topic.options.clone(),
            created_at: topic.created_at,
            subscription_count: topic.subscriptions.len(),
            bytes: queues.map(|entry| entry.queue.bytes()).sum(),
        }
    }

    fn subscription_info(&self, topic: &Topic, subscription: &Subscription) -> SubscriptionInfo {
        SubscriptionInfo {
            topic: topic.name.clone(),
            name: subscription.name.clone(),
            options: subscription.options.clone(),
            created_at: subscription.created_at,
            message_count: self
                .queues
                .get(&subscription.queue)
                .map_or(0, |entry| entry.queue.len()),
            queue: subscription.queue,
        }
    }
}

fn check_count(kind: EntityKind, count: usize, count_max: usize) -> Result<(), BrokerError> {
    if count < count_max { Ok(()) } else { Err(BrokerError::TooManyEntities { kind, count_max }) }
}

fn not_found(path: &str) -> BrokerError {
    BrokerError::NotFound { path: path.to_owned() }
}

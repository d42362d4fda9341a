//! Queues, topics and subscriptions: their options, and what the broker tells about them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::{BrokerError, EntityKind};
use super::filter::{Filter, Rule};
use super::intake::Intake;
use super::queue::MessageQueue;

/// What the broker enforces for every entity. The default is the Standard tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The largest message, or batch, in bytes.
    pub message_bytes_max: u64,
    /// The most bytes that all subscriptions of one topic hold, unless the topic says otherwise.
    pub topic_bytes_max: u64,
    /// The most messages that all subscriptions of one topic hold.
    pub topic_messages_max: u64,
    /// The most queues and topics together.
    pub topics_max: usize,
    /// The most subscriptions of one topic.
    pub subscriptions_max: usize,
    /// The most rules with a filter in SQL of one topic.
    pub rules_max: usize,
    /// The most rules with a correlation filter of one topic.
    pub correlation_rules_max: usize,
    /// Where lock tokens come from.
    pub seed: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: 256 * 1024,
            topic_bytes_max: 1024 * 1024 * 1024,
            topic_messages_max: 1_000_000,
            topics_max: 10_000,
            subscriptions_max: 2_000,
            rules_max: 2_000,
            correlation_rules_max: 100_000,
            seed: 0,
        }
    }
}

/// How a topic treats its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicOptions {
    /// Caps the time to live of each message.
    pub default_message_time_to_live: Option<Duration>,
    /// The most bytes that all subscriptions hold; `None` for the broker's default.
    pub bytes_max: Option<u64>,
    /// A message whose id was sent within this time is taken and forgotten.
    pub duplicate_window: Option<Duration>,
    /// The topic is deleted when nobody used it for this long.
    pub auto_delete_on_idle: Option<Duration>,
    /// What it does at all.
    pub status: EntityStatus,
    /// Free text of the creator.
    pub user_metadata: Option<String>,
}

/// How a queue treats its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueOptions {
    /// The most bytes that it holds; `None` for the broker's default.
    pub bytes_max: Option<u64>,
    /// A message whose id was sent within this time is taken and forgotten.
    pub duplicate_window: Option<Duration>,
    /// How it hands them out, which is as a subscription does.
    pub delivery: SubscriptionOptions,
}

/// How a subscription, or a queue, hands out its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Caps the time to live of each message, below the topic's cap.
    pub default_message_time_to_live: Option<Duration>,
    /// How long a receiver may hold a message, or a session, before it goes to another.
    pub lock_duration: Duration,
    /// How often a message is handed out before it is dead-lettered.
    pub max_delivery_count: u32,
    /// Receivers accept a session first, and every message has one.
    pub requires_session: bool,
    /// Expired messages are dead-lettered rather than forgotten.
    pub dead_letters_expired: bool,
    /// Messages on which a filter fails are dead-lettered; of no meaning for a queue.
    pub dead_letters_filter_errors: bool,
    /// The queue or topic that gets everything instead of receivers.
    pub forward_to: Option<String>,
    /// The queue or topic that gets what would be dead-lettered.
    pub forward_dead_letters_to: Option<String>,
    /// The entity is deleted when nobody used it for this long.
    pub auto_delete_on_idle: Option<Duration>,
    /// What it does at all.
    pub status: EntityStatus,
    /// Free text of the creator.
    pub user_metadata: Option<String>,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self {
            default_message_time_to_live: None,
            lock_duration: Duration::from_secs(60),
            max_delivery_count: 10,
            requires_session: false,
            dead_letters_expired: false,
            dead_letters_filter_errors: false,
            forward_to: None,
            forward_dead_letters_to: None,
            auto_delete_on_idle: None,
            status: EntityStatus::Active,
            user_metadata: None,
        }
    }
}

/// The shortest time after which an idle entity is deleted.
const AUTO_DELETE_MIN: Duration = Duration::from_secs(300);
/// The longest time that a lock may hold without being renewed.
const LOCK_DURATION_MAX: Duration = Duration::from_secs(300);
/// The longest window of duplicate detection, and the shortest.
const DUPLICATE_WINDOW_MAX: Duration = Duration::from_secs(7 * 86_400);
const DUPLICATE_WINDOW_MIN: Duration = Duration::from_secs(20);

impl SubscriptionOptions {
    pub(super) fn validate(&self) -> Result<(), BrokerError> {
        let refused = |name, reason| Err(BrokerError::InvalidOption { name, reason });
        if self.lock_duration.is_zero() || self.lock_duration > LOCK_DURATION_MAX {
            return refused("LockDuration", "it must be above zero and at most PT5M");
        }
        if !(1..=2_000).contains(&self.max_delivery_count) {
            return refused("MaxDeliveryCount", "it must be from 1 to 2,000");
        }
        if self.requires_session && self.forward_to.is_some() {
            return refused("ForwardTo", "an entity that requires sessions cannot forward");
        }
        validate_idle(self.auto_delete_on_idle)
    }
}

pub(super) fn validate_idle(auto_delete_on_idle: Option<Duration>) -> Result<(), BrokerError> {
    if auto_delete_on_idle.is_some_and(|idle| idle < AUTO_DELETE_MIN) {
        let reason = "it must be at least PT5M";
        return Err(BrokerError::InvalidOption { name: "AutoDeleteOnIdle", reason });
    }
    Ok(())
}

pub(super) fn validate_window(window: Option<Duration>) -> Result<(), BrokerError> {
    let is_allowed = |window| (DUPLICATE_WINDOW_MIN..=DUPLICATE_WINDOW_MAX).contains(&window);
    if window.is_none_or(is_allowed) {
        return Ok(());
    }
    let name = "DuplicateDetectionHistoryTimeWindow";
    Err(BrokerError::InvalidOption { name, reason: "it must be from PT20S to P7D" })
}

/// What an entity does at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntityStatus {
    /// Everything.
    #[default]
    Active,
    /// Nothing.
    Disabled,
    /// It sends, and takes nothing.
    SendDisabled,
    /// It takes, and hands out nothing.
    ReceiveDisabled,
}

impl EntityStatus {
    pub(super) fn may_send(self) -> bool {
        matches!(self, Self::Active | Self::ReceiveDisabled)
    }

    pub(super) fn may_receive(self) -> bool {
        matches!(self, Self::Active | Self::SendDisabled)
    }
}

/// Names one queue of a broker, for as long as it exists. Ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId(pub(super) u64);

/// How many messages are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Ready, locked or deferred.
    pub active: u64,
    /// Of these, deferred.
    pub deferred: u64,
    /// In the dead-letter queue.
    pub dead_letter: u64,
    /// Not yet due.
    pub scheduled: u64,
    /// Those that could not be forwarded.
    pub transfer_dead_letter: u64,
}

/// What the broker tells about a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// The name, as its creator wrote it.
    pub name: String,
    /// Its options.
    pub options: QueueOptions,
    /// When it was created.
    pub created_at: Duration,
    /// When its options were changed last.
    pub updated_at: Duration,
    /// When it was used last.
    pub accessed_at: Duration,
    /// How many messages it holds.
    pub counts: MessageCounts,
    /// Bytes that it holds, with its dead-letter queue.
    pub bytes: u64,
    /// The queue that holds them.
    pub queue: QueueId,
}

/// What the broker tells about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The name, as its creator wrote it.
    pub name: String,
    /// Its options.
    pub options: TopicOptions,
    /// When it was created.
    pub created_at: Duration,
    /// When its options were changed last.
    pub updated_at: Duration,
    /// When it was used last.
    pub accessed_at: Duration,
    /// How many subscriptions it has.
    pub subscription_count: usize,
    /// Messages that are not yet due.
    pub scheduled_count: u64,
    /// Bytes held by all subscriptions.
    pub bytes: u64,
}

/// What the broker tells about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionInfo {
    /// The topic's name, as its creator wrote it.
    pub topic: String,
    /// The name, as its creator wrote it.
    pub name: String,
    /// Its options.
    pub options: SubscriptionOptions,
    /// When it was created.
    pub created_at: Duration,
    /// When its options were changed last.
    pub updated_at: Duration,
    /// When it was used last.
    pub accessed_at: Duration,
    /// Messages held: ready, locked or deferred.
    pub message_count: u64,
    /// How many messages are where.
    pub counts: MessageCounts,
    /// The queue that holds them.
    pub queue: QueueId,
}

#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) options: TopicOptions,
    pub(super) created_at: Duration,
    pub(super) updated_at: Duration,
    pub(super) accessed_at: Duration,
    pub(super) intake: Intake,
    pub(super) last_sequence_number: u64,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    /// Those of all subscriptions.
    pub(super) rule_counts: RuleCounts,
}

/// How many rules there are of the kinds that are limited. One that lets everything through, or nothing,
/// is no condition that anybody wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RuleCounts {
    sql: usize,
    correlation: usize,
}

impl RuleCounts {
    /// The count that a rule with this filter is part of.
    fn of(&mut self, filter: &Filter) -> Option<&mut usize> {
        match filter {
            Filter::True | Filter::False => None,
            Filter::Correlation(_) => Some(&mut self.correlation),
            Filter::Sql(_) => Some(&mut self.sql),
        }
    }

    pub(super) fn add(&mut self, filter: &Filter) {
        self.of(filter).into_iter().for_each(|count| *count += 1);
    }

    pub(super) fn remove(&mut self, filter: &Filter) {
        self.of(filter).into_iter().for_each(|count| *count -= 1);
    }

    /// Whether there may be one more.
    pub(super) fn check(&self, filter: &Filter, config: &BrokerConfig) -> Result<(), BrokerError> {
        let (count, count_max) = match filter {
            Filter::True | Filter::False => return Ok(()),
            Filter::Correlation(_) => (self.correlation, config.correlation_rules_max),
            Filter::Sql(_) => (self.sql, config.rules_max),
        };
        check_count(EntityKind::Rule, count, count_max)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) name: String,
    /// `topic/Subscriptions/name`: the address of receivers and the key of the meter.
    pub(super) path: String,
    pub(super) created_at: Duration,
    pub(super) updated_at: Duration,
    pub(super) rules: BTreeMap<String, Rule>,
    pub(super) queue: QueueId,
}

/// A queue that messages are sent to.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) bytes_max: Option<u64>,
    pub(super) duplicate_window: Option<Duration>,
    pub(super) created_at: Duration,
    pub(super) updated_at: Duration,
    pub(super) intake: Intake,
    pub(super) queue: QueueId,
}

/// Messages, with what their delivery needs to know of their entity.
#[derive(Debug, Clone)]
pub(super) struct QueueEntry {
    pub(super) path: String,
    pub(super) options: SubscriptionOptions,
    /// Where messages go that nobody can handle; a dead-letter queue has none.
    pub(super) dead_letter: Option<QueueId>,
    /// Where messages go that cannot be forwarded.
    pub(super) transfer_dead_letter: Option<QueueId>,
    pub(super) accessed_at: Duration,
    pub(super) queue: MessageQueue,
}

impl QueueEntry {
    pub(super) fn new(now: Duration, path: String, options: SubscriptionOptions) -> Self {
        let mut entry = Self {
            path,
            options,
            dead_letter: None,
            transfer_dead_letter: None,
            accessed_at: now,
            queue: MessageQueue::default(),
        };
        entry.note_options();
        entry
    }

    /// Has the queue know what changed in the options.
    pub(super) fn note_options(&mut self) {
        let has_dead_letter = self.dead_letter.is_some();
        self.queue.keeps_fallen = has_dead_letter;
        self.queue.max_delivery_count = has_dead_letter.then_some(self.options.max_delivery_count);
        self.queue.sessions.is_required = self.options.requires_session;
    }
}

/// Whether there may be one more.
pub(super) fn check_count(
    kind: EntityKind,
    count: usize,
    count_max: usize,
) -> Result<(), BrokerError> {
    if count < count_max { Ok(()) } else { Err(BrokerError::TooManyEntities { kind, count_max }) }
}

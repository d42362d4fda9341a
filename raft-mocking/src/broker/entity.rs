//! Topics and subscriptions: their options, and what the broker tells about them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::filter::Rule;
use super::meter::Meter;

/// What the broker enforces for every entity. The default is the Standard tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The largest message, or batch, in bytes.
    pub message_bytes_max: u64,
    /// The most bytes that all subscriptions of one topic hold, unless the topic says otherwise.
    pub topic_bytes_max: u64,
    /// The most messages that all subscriptions of one topic hold.
    pub topic_messages_max: u64,
    /// The most topics.
    pub topics_max: usize,
    /// The most subscriptions of one topic.
    pub subscriptions_max: usize,
    /// The most rules of one subscription.
    pub rules_max: usize,
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
    /// Free text of the creator.
    pub user_metadata: Option<String>,
}

/// How a subscription treats its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Caps the time to live of each message, below the topic's cap.
    pub default_message_time_to_live: Option<Duration>,
    /// How long a receiver may hold a message before it goes to another.
    pub lock_duration: Duration,
    /// Free text of the creator.
    pub user_metadata: Option<String>,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self {
            default_message_time_to_live: None,
            lock_duration: Duration::from_secs(60),
            user_metadata: None,
        }
    }
}

/// Names one queue of a broker, for as long as it exists. Ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId(pub(super) u64);

/// What the broker tells about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The name, as its creator wrote it.
    pub name: String,
    /// Its options.
    pub options: TopicOptions,
    /// When it was created.
    pub created_at: Duration,
    /// How many subscriptions it has.
    pub subscription_count: usize,
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
    /// Messages held: ready, or locked by a receiver.
    pub message_count: u64,
    /// The queue that holds them.
    pub queue: QueueId,
}

#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) options: TopicOptions,
    pub(super) created_at: Duration,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
}

#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) name: String,
    /// `topic/Subscriptions/name`: the address of receivers and the key of the meter.
    pub(super) path: String,
    pub(super) options: SubscriptionOptions,
    pub(super) created_at: Duration,
    pub(super) rules: BTreeMap<String, Rule>,
    pub(super) queue: QueueId,
}

impl Subscription {
    pub(super) fn wants(&self, message: &super::BusMessage, meter: &mut Meter) -> bool {
        let mut evaluated = 0;
        let is_wanted = self.rules.values().any(|rule| {
            evaluated += 1;
            rule.filter.matches(message)
        });
        meter.record_filter_evaluations(evaluated);
        is_wanted
    }
}

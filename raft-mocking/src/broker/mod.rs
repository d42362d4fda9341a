//! The bus as a pure model: queues, topics, subscriptions, rules, sessions, messages, limits, the bill.
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

mod clock;
mod entity;
mod error;
mod event;
mod fault;
mod filter;
mod intake;
mod message;
mod meter;
mod name;
mod namespace;
mod queue;
mod receive;
mod send;
mod session;
mod settle;
mod sql;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::entity::{
    BrokerConfig, EntityStatus, MessageCounts, QueueId, QueueInfo, QueueOptions, SubscriptionInfo,
    SubscriptionOptions, TopicInfo, TopicOptions,
};
pub use self::error::{BrokerError, EntityKind, NameProblem, Quota};
pub use self::event::{Event, Happening};
pub use self::fault::{FaultCounts, Faults};
pub use self::filter::{CorrelationFilter, Filter, Rule};
pub use self::message::{
    BusMessage, Lock, LockToken, MessageState, PropertyValue, ReceiveMode, ReceivedMessage, Unpack,
};
pub use self::meter::{Meter, OperationKind, Tally};
pub use self::send::Published;
pub use self::session::AcceptedSession;
pub use self::settle::Properties;
pub use self::sql::{EvaluationError, SqlAction, SqlError, SqlFilter, SqlProblem};

use self::entity::{Queue, QueueEntry, Topic};
use self::fault::FaultPlan;

/// A namespace: all entities and their messages.
///
/// Cheap enough to clone for an explorer: message bodies are shared.
#[derive(Debug, Clone, Default)]
pub struct Broker {
    config: BrokerConfig,
    topics: BTreeMap<String, Topic>,
    queue_entities: BTreeMap<String, Queue>,
    /// Those of queues and subscriptions, and their dead-letter queues.
    queues: BTreeMap<QueueId, QueueEntry>,
    next_queue: u64,
    next_token: u64,
    /// Queues that may have messages since somebody asked.
    woken: BTreeSet<QueueId>,
    /// Queues whose messages wait for credits.
    starving: BTreeSet<QueueId>,
    /// What happened, if somebody wants to know.
    events: Option<Vec<Event>>,
    /// No later than the first time at which something happens by itself.
    next_due: Option<Duration>,
    meter: Meter,
    faults: FaultPlan,
}

/// The whole namespace.
impl Broker {
    /// An empty namespace with these limits.
    pub fn new(config: BrokerConfig) -> Self {
        let faults = FaultPlan::new(config.seed);
        Self { config, faults, ..Self::default() }
    }

    /// What goes wrong from now on; what is late already stays so.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults.faults = faults;
        // There may be credit now, or no need for any.
        self.woken.append(&mut self.starving);
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

    /// Pays for a management call, in the credits that a tier is throttled by.
    ///
    /// # Errors
    /// `ServerBusy`.
    pub fn admit_management(&mut self, now: Duration) -> Result<(), BrokerError> {
        match self.faults.is_throttled(now, meter::MANAGEMENT_CREDITS) {
            true => Err(BrokerError::ServerBusy),
            false => Ok(()),
        }
    }

    /// Bills a management call that only reads.
    pub fn record_management_read(&mut self, path: &str) {
        self.meter.record(path, OperationKind::Management, 0);
    }

    fn entry(&self, queue: QueueId) -> Result<&QueueEntry, BrokerError> {
        self.queues.get(&queue).ok_or(BrokerError::Deleted)
    }

    fn entry_mut(&mut self, queue: QueueId) -> Result<&mut QueueEntry, BrokerError> {
        self.queues.get_mut(&queue).ok_or(BrokerError::Deleted)
    }
}

fn not_found(path: &str) -> BrokerError {
    BrokerError::NotFound { path: path.to_owned() }
}

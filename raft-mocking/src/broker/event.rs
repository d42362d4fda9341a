//! What happens in a broker, one event at a time, for whoever wants to read along.

use std::fmt;
use std::time::Duration;

use super::{Broker, QueueId};

/// Something that happened to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Duration,
    /// The queue, topic, subscription or dead-letter queue.
    pub entity: String,
    /// What.
    pub what: Happening,
}

/// What happened to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// It was sent.
    Sent {
        /// The sender's name for it.
        message_id: Option<String>,
        /// What it counts against quotas.
        bytes: u64,
        /// For how many queues copies are made.
        copies: usize,
    },
    /// It was sent before, and forgotten.
    Duplicate {
        /// The sender's name for it.
        message_id: Option<String>,
    },
    /// It waits for its time.
    Scheduled {
        /// Its number until then.
        sequence_number: u64,
        /// Its time.
        until: Duration,
    },
    /// It was handed out.
    Received {
        /// Its number.
        sequence_number: u64,
        /// How often it had been before.
        delivery_count: u32,
        /// Whether it is locked, rather than gone.
        is_locked: bool,
    },
    /// It was handled and is gone.
    Completed {
        /// Its number.
        sequence_number: u64,
    },
    /// It was given back.
    Abandoned {
        /// Its number.
        sequence_number: u64,
    },
    /// It was set aside.
    Deferred {
        /// Its number.
        sequence_number: u64,
    },
    /// It was dead-lettered.
    DeadLettered {
        /// Its number.
        sequence_number: u64,
        /// Why.
        reason: Option<String>,
    },
    /// Its time ran out.
    Expired {
        /// Its number.
        sequence_number: u64,
    },
}

impl Happening {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Duplicate { .. } => "duplicate",
            Self::Scheduled { .. } => "scheduled",
            Self::Received { .. } => "received",
            Self::Completed { .. } => "completed",
            Self::Abandoned { .. } => "abandoned",
            Self::Deferred { .. } => "deferred",
            Self::DeadLettered { .. } => "dead-lettered",
            Self::Expired { .. } => "expired",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, entity, what } = self;
        write!(f, "{:.3} {entity} {}", at.as_secs_f64(), what.name())
    }
}

/// Reading along.
impl Broker {
    /// Whether events are kept for [`Broker::take_events`], which must then be called.
    pub fn keep_events(&mut self, is_keeping: bool) {
        self.events = is_keeping.then(Vec::new);
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes what happened to a message of a queue.
    pub(super) fn note(&mut self, at: Duration, queue: QueueId, what: impl FnOnce() -> Happening) {
        let Some(events) = &mut self.events else { return };
        if let Some(entry) = self.queues.get(&queue) {
            events.push(Event { at, entity: entry.path.clone(), what: what() });
        }
    }

    /// Notes what happened to a message that was sent to an entity.
    pub(super) fn note_sent(
        &mut self,
        at: Duration,
        entity: &str,
        what: impl FnOnce() -> Happening,
    ) {
        if let Some(events) = &mut self.events {
            events.push(Event { at, entity: entity.to_owned(), what: what() });
        }
    }
}

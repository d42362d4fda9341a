//! Why the broker refused a call. A refused call changes nothing.

use std::fmt;

/// Why the [`Broker`](super::Broker) refused a call. The broker is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// No topic, subscription or rule has this path.
    #[error("the messaging entity '{path}' could not be found")]
    NotFound {
        /// The path that was asked for, such as `rafttopic/Subscriptions/server-1`.
        path: String,
    },
    /// The queue behind a [`QueueId`](super::QueueId) has been deleted.
    #[error("the messaging entity has been deleted")]
    Deleted,
    /// Something with this path is there already.
    #[error("the messaging entity '{path}' already exists")]
    AlreadyExists {
        /// The path of the existing entity.
        path: String,
    },
    /// The name breaks the service's rules for names.
    #[error("the {kind} name '{name}' is invalid: {problem}")]
    InvalidName {
        /// What was to be named.
        kind: EntityKind,
        /// The refused name, cut to a printable length.
        name: String,
        /// What is wrong with it.
        problem: NameProblem,
    },
    /// The namespace or the parent entity holds as many entities as it may.
    #[error("no more than {count_max} entities of kind {kind} are allowed here")]
    TooManyEntities {
        /// What was to be created.
        kind: EntityKind,
        /// How many are allowed.
        count_max: usize,
    },
    /// The message is larger than the tier allows.
    #[error("the message of {bytes} bytes exceeds the limit of {bytes_max} bytes")]
    MessageTooLarge {
        /// Size of the refused message (for a batch: of the whole batch).
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// One property, or all of them together, are larger than allowed.
    #[error("the properties of {bytes} bytes exceed the limit of {bytes_max} bytes")]
    PropertiesTooLarge {
        /// Size of the refused property or properties.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A message id has at most 128 characters.
    #[error("a message id of {length} characters exceeds the limit of {length_max}")]
    MessageIdTooLong {
        /// Characters in the refused id.
        length: usize,
        /// The limit.
        length_max: usize,
    },
    /// A property of the service's own is longer than allowed.
    #[error("a {name} of {length} characters exceeds the limit of {length_max}")]
    PropertyTooLong {
        /// Which property.
        name: &'static str,
        /// Characters in the refused value.
        length: usize,
        /// The limit.
        length_max: usize,
    },
    /// The topic or queue is full: its receivers are slower than its senders, or gone.
    #[error(
        "the maximum entity size has been reached or exceeded: '{topic}' reached its quota of {quota}"
    )]
    QuotaExceeded {
        /// The full topic or queue.
        topic: String,
        /// Which quota.
        quota: Quota,
    },
    /// The namespace is throttled; try again after a while.
    #[error("the request was terminated because the namespace is being throttled")]
    ServerBusy,
    /// Sending to the entity, or receiving from it, is switched off.
    #[error("the messaging entity '{path}' is disabled")]
    EntityDisabled {
        /// The entity.
        path: String,
    },
    /// A message without a session id was sent to a queue that wants one.
    #[error(
        "the SessionId was not set on a message, and it cannot be sent to the entity '{path}'; \
         entities that have session support enabled can only receive messages that have the SessionId \
         set to a valid value"
    )]
    SessionRequired {
        /// The queue.
        path: String,
    },
    /// The entity has sessions, and none was accepted.
    #[error(
        "it is not possible for an entity that requires sessions to create a non-sessionful message \
         receiver: '{path}'"
    )]
    SessionReceiverRequired {
        /// The queue or subscription.
        path: String,
    },
    /// The entity has no sessions.
    #[error(
        "a sessionful message receiver cannot be created on an entity that does not require sessions: \
         '{path}'"
    )]
    SessionsNotSupported {
        /// The queue or subscription.
        path: String,
    },
    /// Another receiver holds the session.
    #[error(
        "the requested session '{id}' cannot be accepted; it may be locked by another receiver"
    )]
    SessionCannotBeLocked {
        /// The session.
        id: String,
    },
    /// The lock of the session expired, or was given back.
    #[error("the session lock has expired on the message session; accept a new one")]
    SessionLockLost,
    /// No message, deferred or scheduled, has this number.
    #[error("the message with the sequence number {sequence_number} could not be found")]
    MessageNotFound {
        /// The number that was asked for.
        sequence_number: u64,
    },
    /// The entity forwards what it gets, so nothing can be received from it.
    #[error("cannot create a message receiver on the entity '{path}' with auto-forwarding enabled")]
    ForwardingEnabled {
        /// The queue or subscription.
        path: String,
    },
    /// An option has a value that is not allowed, or that cannot be changed.
    #[error("the value of '{name}' is not allowed: {reason}")]
    InvalidOption {
        /// The option.
        name: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The lock expired, or the message was settled already.
    #[error("the lock supplied is invalid: it expired, or the message was settled already")]
    LockLost,
}

/// What kind of entity an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntityKind {
    /// A queue.
    Queue,
    /// A topic.
    Topic,
    /// A subscription of a topic.
    Subscription,
    /// A rule of a subscription.
    Rule,
}

impl fmt::Display for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "queue",
            Self::Topic => "topic",
            Self::Subscription => "subscription",
            Self::Rule => "rule",
        })
    }
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// The empty string names nothing.
    #[error("it is empty")]
    Empty,
    /// Longer than the service allows.
    #[error("it is longer than {length_max} characters")]
    TooLong {
        /// The limit.
        length_max: usize,
    },
    /// A character outside letters, digits, `.`, `-`, `_` (and `/` in a topic path).
    #[error("it contains the character {character:?}")]
    Character {
        /// The first offender.
        character: char,
    },
    /// The first and the last character must be a letter or a digit.
    #[error("it must start and end with a letter or a digit")]
    Edge,
    /// A path segment that is empty, or a word with a meaning in entity paths.
    #[error("a path segment is empty or reserved")]
    Segment,
}

/// Which quota a topic reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Quota {
    /// Bytes held by all subscriptions of the topic.
    #[error("{0} bytes")]
    Bytes(u64),
    /// Messages held by all subscriptions of the topic.
    #[error("{0} messages")]
    Messages(u64),
}

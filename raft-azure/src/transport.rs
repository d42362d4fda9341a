//! What Raft needs of a bus, in our own words: connect, publish to a topic, receive from a subscription.
//!
//! Guarantees: no type of an AMQP library shows here, so the library can be replaced; an error says
//!             what to do next (give up, ask again, connect again).
//! Elsewhere:  [`crate::amqp`] speaks to Service Bus; [`crate::bus`] reconnects, buffers and counts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::event::one_line;

/// The value of an application property.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PropertyValue {
    /// Text; the only kind a correlation rule of ours compares.
    Text(String),
    /// Any integer that fits.
    Integer(i64),
    /// True or false.
    Boolean(bool),
}

impl From<&str> for PropertyValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for PropertyValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for PropertyValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for PropertyValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

/// A message as Raft hands it to the bus. Absent fields are not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusMessage {
    /// Address of the receiver; correlation rules compare it.
    pub to: Option<String>,
    /// Where an answer should go.
    pub reply_to: Option<String>,
    /// What kind of message this is (Service Bus also calls it label).
    pub subject: Option<String>,
    /// Identity given by the sender.
    pub message_id: Option<String>,
    /// Identity of the message this one answers.
    pub correlation_id: Option<String>,
    /// Age at which the bus may drop the message. Without one a stopped receiver fills the topic
    /// until everybody's sends fail, so give one to every message.
    pub time_to_live: Option<Duration>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// The payload; a topic of the Standard tier takes 256 KiB with all the above.
    pub body: Bytes,
    /// Further properties.
    pub application_properties: BTreeMap<String, PropertyValue>,
}

impl BusMessage {
    /// About how many bytes this message is on the wire, rounded up.
    ///
    /// The encoding adds at most 5 bytes to a text and some 80 to the whole.
    pub fn encoded_size(&self) -> usize {
        let texts = [
            &self.to,
            &self.reply_to,
            &self.subject,
            &self.message_id,
            &self.correlation_id,
            &self.content_type,
        ];
        let fields: usize = texts.into_iter().flatten().map(|text| text.len() + 5).sum();
        let value_size = |value: &PropertyValue| match value {
            PropertyValue::Text(text) => text.len() + 5,
            PropertyValue::Integer(_) | PropertyValue::Boolean(_) => 9,
        };
        let properties: usize = self
            .application_properties
            .iter()
            .map(|(name, value)| name.len() + 5 + value_size(value))
            .sum();
        80 + fields + properties + self.body.len()
    }
}

/// A message as the bus delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Place in the topic's order, as the broker numbered it; ascending within a subscription.
    pub sequence_number: Option<i64>,
    /// When the broker took the message, by the broker's clock (milliseconds).
    pub enqueued_time: Option<SystemTime>,
    /// What the sender sent. `time_to_live` is what the sender asked for, not what is left.
    pub message: BusMessage,
}

impl ReceivedMessage {
    /// The payload.
    pub fn body(&self) -> &Bytes {
        &self.message.body
    }

    /// Further properties.
    pub fn properties(&self) -> &BTreeMap<String, PropertyValue> {
        &self.message.application_properties
    }
}

/// The reason behind an error, shared so that one failure can be told to many waiters.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// What the broker said when it refused something: an AMQP condition and its description.
/// Signatures in the description are blotted out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerError {
    /// AMQP error condition, such as `amqp:not-found`, or an HTTP-like status code.
    pub condition: String,
    /// The broker's words, possibly none.
    pub description: String,
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description.as_str() {
            "" => f.write_str(&self.condition),
            description => write!(f, "{description} ({})", self.condition),
        }
    }
}

impl Error for BrokerError {}

/// Why the bus did not do what it was asked. `Display` is one line and never holds a secret; the
/// cause is in [`Error::source`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nobody answers at this address, or not in AMQP.
    #[error("cannot connect to {host}:{port}")]
    Connect {
        /// Host that was tried.
        host: String,
        /// Port that was tried.
        port: u16,
        /// What the operating system or the peer said.
        source: Cause,
    },
    /// The TLS handshake failed, for instance because the certificate is not trusted.
    #[error("cannot trust or encrypt the connection to {host}:{port}")]
    Tls {
        /// Host that was tried.
        host: String,
        /// Port that was tried.
        port: u16,
        /// What the TLS library said.
        source: Cause,
    },
    /// The topic or subscription does not exist, or no longer.
    #[error("{entity} does not exist")]
    NotFound {
        /// Path of the topic or subscription.
        entity: String,
        /// What the broker said.
        source: BrokerError,
    },
    /// The key is wrong, expired, or lacks the right (Send, Listen or Manage).
    #[error("the key of the connection string is not authorized for {entity}")]
    Unauthorized {
        /// Path of the topic or subscription.
        entity: String,
        /// What the broker said.
        source: BrokerError,
    },
    /// The message can never be sent as it is.
    #[error("a message of {size} bytes is over the limit of {limit} bytes")]
    MessageTooLarge {
        /// Encoded size in bytes; 0 where only the broker knows.
        size: u64,
        /// What the broker accepts, in bytes; 0 where only the broker knows.
        limit: u64,
    },
    /// The tier's rate is exceeded. The message was not taken; wait a little.
    #[error("the bus is too busy to take more of {entity}")]
    Throttled {
        /// Path of the topic or subscription.
        entity: String,
        /// What the broker said.
        source: BrokerError,
    },
    /// The topic is full, usually because a receiver stopped and messages carry no time to live.
    #[error("{entity} is full")]
    QuotaExceeded {
        /// Path of the topic or subscription.
        entity: String,
        /// What the broker said.
        source: BrokerError,
    },
    /// No answer in time. The connection is no longer trusted.
    #[error("no answer to {operation} within {after:?}")]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// The broker ended this link only; the connection may be fine.
    #[error("the link to {entity} was detached")]
    Detached {
        /// Path of the topic or subscription.
        entity: String,
        /// What the broker said.
        source: Cause,
    },
    /// The connection is gone.
    #[error("the connection to the bus was lost")]
    ConnectionLost {
        /// What the operating system or the peer said.
        source: Cause,
    },
    /// One message could not be read; the link goes on with the next.
    #[error("a message from {entity} cannot be decoded")]
    Undecodable {
        /// Path of the subscription.
        entity: String,
    },
    /// We closed the bus ourselves.
    #[error("the bus is closed")]
    Closed,
    /// Anything else the broker refuses.
    #[error("{operation} failed")]
    Other {
        /// What was asked.
        operation: &'static str,
        /// What the broker said.
        source: Cause,
    },
}

impl TransportError {
    /// Whether asking again is pointless until a human changes something.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Unauthorized { .. } | Self::Closed => true,
            Self::MessageTooLarge { .. } => true,
            Self::Connect { .. } | Self::Tls { .. } | Self::ConnectionLost { .. } => false,
            Self::Throttled { .. } | Self::QuotaExceeded { .. } | Self::Timeout { .. } => false,
            Self::Detached { .. } | Self::Undecodable { .. } | Self::Other { .. } => false,
        }
    }

    /// Whether the whole connection must be rebuilt, not only the link.
    pub fn breaks_connection(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. } | Self::Timeout { .. })
    }

    /// The error and all its causes on one line, for a terminal or a log.
    pub fn one_line(&self) -> String {
        one_line(self)
    }
}

/// Opens connections to one namespace. Tries once; whoever calls it retries.
pub trait Connector: Send + Sync + 'static {
    /// What [`Connector::connect`] opens.
    type Connection: Connection;

    /// Connects and proves who we are.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, TransportError>> + Send;
}

/// One connection; dropping it cuts it at once, [`Connection::close`] ends it politely.
pub trait Connection: Send + 'static {
    /// A link that publishes to a topic.
    type Sender: LinkSender;
    /// A link that receives from a subscription.
    type Receiver: LinkReceiver;

    /// Gives the broker a fresh token for an entity; returns how long it is good for.
    fn authorize(
        &mut self,
        entity: &str,
    ) -> impl Future<Output = Result<Duration, TransportError>> + Send;

    /// Attaches a sending link. The entity has been authorized.
    fn open_sender(
        &mut self,
        topic: &str,
    ) -> impl Future<Output = Result<Self::Sender, TransportError>> + Send;

    /// Attaches a link that receives and deletes. The entity has been authorized.
    fn open_receiver(
        &mut self,
        subscription: &str,
    ) -> impl Future<Output = Result<Self::Receiver, TransportError>> + Send;

    /// Returns when the connection is gone. Cancel-safe; asked once more after it returned, it may
    /// return anything.
    fn closed(&mut self) -> impl Future<Output = TransportError> + Send;

    /// Ends the connection politely, within a bounded time.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A link that publishes.
pub trait LinkSender: Send + 'static {
    /// Resolves when the broker took or refused the message.
    type Outcome: Future<Output = Result<(), TransportError>> + Send + Unpin + 'static;

    /// Largest encoded message the broker takes, in bytes, if it said so.
    fn max_message_size(&self) -> Option<u64>;

    /// Hands a message over and returns without waiting for the broker's answer. May wait for
    /// link credit.
    fn send(
        &mut self,
        message: BusMessage,
    ) -> impl Future<Output = Result<Self::Outcome, TransportError>> + Send;

    /// Returns when the link is gone. Cancel-safe.
    fn closed(&mut self) -> impl Future<Output = TransportError> + Send;

    /// Detaches politely, within a bounded time.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A link that receives.
pub trait LinkReceiver: Send + 'static {
    /// The next message. After [`TransportError::Undecodable`] the link goes on; after any other
    /// error it is gone. Cancel-safe.
    fn receive(&mut self) -> impl Future<Output = Result<ReceivedMessage, TransportError>> + Send;

    /// Detaches politely, within a bounded time.
    fn close(self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_joins_the_causes_without_repeating_them() {
        let source = BrokerError { condition: "amqp:not-found".into(), description: "gone".into() };
        let error = TransportError::NotFound { entity: "rafttopic".into(), source };
        assert_eq!(error.one_line(), "rafttopic does not exist: gone (amqp:not-found)");
        assert!(error.is_fatal() && !error.breaks_connection());
    }

    #[test]
    fn encoded_size_counts_every_field() {
        let mut message =
            BusMessage { body: Bytes::from_static(&[0; 100]), ..BusMessage::default() };
        let bare = message.encoded_size();
        message.to = Some("server-1".into());
        message.application_properties.insert("boot".into(), 7.into());
        assert_eq!(message.encoded_size(), bare + 13 + 18);
    }
}

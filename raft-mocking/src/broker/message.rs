//! Messages: what a sender gives, and what a receiver gets.
//!
//! A [`BusMessage`] has the properties that rules can see, and a body that nobody looks at.
//! A message that came over AMQP also keeps its encoded form, so that it leaves as it came.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::BrokerError;

/// A message as its sender sees it.
///
/// ```
/// use raft_mocking::broker::BusMessage;
///
/// let message = BusMessage::new("vote for me").with_to("server-2").with_property("term", 7);
/// assert_eq!(message.to.as_deref(), Some("server-2"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BusMessage {
    /// Identifies the message; the sender's choice, at most 128 characters.
    pub message_id: Option<String>,
    /// Relates the message to another, for instance an answer to its request.
    pub correlation_id: Option<String>,
    /// Who should get it. Rules filter on it; the broker itself does not route by it.
    pub to: Option<String>,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// What it is about (`Label` in older clients).
    pub subject: Option<String>,
    /// The session it belongs to (the group id of AMQP).
    pub session_id: Option<String>,
    /// The session that answers belong to.
    pub reply_to_session_id: Option<String>,
    /// How to read the body.
    pub content_type: Option<String>,
    /// The sender's own properties, visible to rules.
    pub application_properties: BTreeMap<String, PropertyValue>,
    /// How long the message is worth delivering; `None` leaves it to the entity.
    pub time_to_live: Option<Duration>,
    /// When the message is to be enqueued, if not at once.
    pub scheduled_at: Option<Duration>,
    /// The sender's own annotations; no rule sees them.
    pub annotations: BTreeMap<String, PropertyValue>,
    /// The payload; shared, never copied.
    pub body: Bytes,
    /// The bare AMQP message as it arrived (properties, application properties, body), if it
    /// arrived over AMQP. The broker never reads it.
    pub encoded: Option<Bytes>,
    /// The broker changed properties since then, so `encoded` holds old ones.
    pub is_changed: bool,
    /// How to read `encoded` again: a long line of messages keeps nothing but that.
    pub unpack: Option<Unpack>,
}

/// Reads an encoded message, which was read before.
#[derive(Clone, Copy)]
pub struct Unpack(pub fn(Bytes) -> BusMessage);

impl fmt::Debug for Unpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpack")
    }
}

impl PartialEq for Unpack {
    /// How a message is read makes no difference between two messages.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The longest message id, session id, and so on.
const MESSAGE_ID_LENGTH_MAX: usize = 128;
/// The largest single property.
const PROPERTY_BYTES_MAX: u64 = 32 * 1024;
/// The largest sum of all properties.
const PROPERTIES_BYTES_MAX: u64 = 64 * 1024;

impl BusMessage {
    /// A message with nothing but a body.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The same message, addressed.
    #[must_use]
    pub fn with_to(mut self, to: impl Into<String>) -> Self {
        self.to = Some(to.into());
        self
    }

    /// The same message with a subject.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The same message with a message id.
    #[must_use]
    pub fn with_message_id(mut self, message_id: impl Into<String>) -> Self {
        self.message_id = Some(message_id.into());
        self
    }

    /// The same message with a correlation id.
    #[must_use]
    pub fn with_correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self
    }

    /// The same message, worth delivering for `time_to_live` only.
    #[must_use]
    pub fn with_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }

    /// The same message, of a session.
    #[must_use]
    pub fn with_session_id(mut self, session_id: impl Into<String>) -> Self {
        self.session_id = Some(session_id.into());
        self
    }

    /// The same message, to be enqueued at a later time.
    #[must_use]
    pub fn with_scheduled_at(mut self, at: Duration) -> Self {
        self.scheduled_at = Some(at);
        self
    }

    /// The same message with one more application property.
    #[must_use]
    pub fn with_property(
        mut self,
        name: impl Into<String>,
        value: impl Into<PropertyValue>,
    ) -> Self {
        self.application_properties.insert(name.into(), value.into());
        self
    }

    /// What the message counts against limits and quotas, in bytes.
    pub fn size_bytes(&self) -> u64 {
        match &self.encoded {
            Some(encoded) => encoded.len() as u64,
            None => self.body.len() as u64 + self.properties_bytes(),
        }
    }

    fn properties_bytes(&self) -> u64 {
        let fixed = self.fixed_properties().into_iter().flatten();
        let application = self.application_properties.iter();
        fixed.map(|text| text.len() as u64).sum::<u64>()
            + application.map(|(name, value)| name.len() as u64 + value.size_bytes()).sum::<u64>()
    }

    fn fixed_properties(&self) -> [Option<&String>; 8] {
        [
            self.message_id.as_ref(),
            self.correlation_id.as_ref(),
            self.to.as_ref(),
            self.reply_to.as_ref(),
            self.subject.as_ref(),
            self.session_id.as_ref(),
            self.reply_to_session_id.as_ref(),
            self.content_type.as_ref(),
        ]
    }

    /// Checks the limits that hold for each message, whatever the entity.
    pub(crate) fn validate(&self, bytes_max: u64) -> Result<(), BrokerError> {
        let bytes = self.size_bytes();
        if bytes > bytes_max {
            return Err(BrokerError::MessageTooLarge { bytes, bytes_max });
        }
        let length = self.message_id.as_ref().map_or(0, |id| id.chars().count());
        if length > MESSAGE_ID_LENGTH_MAX {
            return Err(BrokerError::MessageIdTooLong {
                length,
                length_max: MESSAGE_ID_LENGTH_MAX,
            });
        }
        for (name, id) in
            [("session id", &self.session_id), ("reply-to session id", &self.reply_to_session_id)]
        {
            let length = id.as_ref().map_or(0, |id| id.chars().count());
            if length > MESSAGE_ID_LENGTH_MAX {
                let length_max = MESSAGE_ID_LENGTH_MAX;
                return Err(BrokerError::PropertyTooLong { name, length, length_max });
            }
        }
        let application = self.application_properties.values().map(PropertyValue::size_bytes);
        let fixed = self.fixed_properties().into_iter().flatten().map(|text| text.len() as u64);
        let largest = application.chain(fixed).max().unwrap_or(0);
        if largest > PROPERTY_BYTES_MAX {
            return Err(BrokerError::PropertiesTooLarge {
                bytes: largest,
                bytes_max: PROPERTY_BYTES_MAX,
            });
        }
        let bytes = self.properties_bytes();
        if bytes > PROPERTIES_BYTES_MAX {
            return Err(BrokerError::PropertiesTooLarge { bytes, bytes_max: PROPERTIES_BYTES_MAX });
        }
        Ok(())
    }
}

/// The value of an application property.
///
/// Integers of every width are one kind, so that a filter made by a client that writes `long`
/// matches a message from a client that writes `int`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PropertyValue {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any integer that fits.
    Int(i64),
    /// An unsigned integer above `i64::MAX`.
    UInt(u64),
    /// A floating-point number of either width.
    Double(f64),
    /// Text, or a symbol.
    String(String),
    /// Opaque bytes.
    Binary(Bytes),
    /// A UUID in network order.
    Uuid([u8; 16]),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
}

impl PropertyValue {
    /// What the value counts against the limits, in bytes.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Null | Self::Bool(_) => 1,
            Self::Int(_) | Self::UInt(_) | Self::Double(_) | Self::Timestamp(_) => 8,
            Self::String(text) => text.len() as u64,
            Self::Binary(bytes) => bytes.len() as u64,
            Self::Uuid(_) => 16,
        }
    }
}

impl From<&str> for PropertyValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for PropertyValue {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for PropertyValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for PropertyValue {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<i64> for PropertyValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for PropertyValue {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::UInt(value), Self::Int)
    }
}

impl From<f64> for PropertyValue {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

/// A message as its receiver sees it: one subscription's copy.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedMessage {
    /// What was sent; shared between the subscriptions.
    pub message: Arc<BusMessage>,
    /// The broker's number for this copy: rising, per queue or subscription, from 1.
    pub sequence_number: u64,
    /// The number it had where it was sent to, if it was forwarded or dead-lettered since; else 0.
    pub enqueued_sequence_number: u64,
    /// When the broker took the message.
    pub enqueued_time: Duration,
    /// From this moment on the message is not delivered any more.
    pub expires_at: Option<Duration>,
    /// How often this copy was handed out before.
    pub delivery_count: u32,
    /// The queue or subscription that dead-lettered it.
    pub dead_letter_source: Option<String>,
    /// What it was doing.
    pub state: MessageState,
    /// The lock, if the copy was received with [`ReceiveMode::PeekLock`].
    pub lock: Option<Lock>,
}

/// What a message does in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageState {
    /// It waits for a receiver, or is with one.
    Active,
    /// It waits to be asked for by its number.
    Deferred,
    /// It waits for its time.
    Scheduled,
}

/// The right to settle one received message, for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Names the lock.
    pub token: LockToken,
    /// When the message goes back to the queue unless it was settled.
    pub locked_until: Duration,
}

/// The name of a lock: a UUID in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockToken(pub [u8; 16]);

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// When a received message leaves the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveMode {
    /// At once: one operation, and a message lost with a crashed receiver stays lost.
    ReceiveAndDelete,
    /// When the receiver completes it; until then it is locked.
    PeekLock,
}

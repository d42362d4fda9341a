//! How deliveries, links and sessions end: outcomes (part 3, section 3.4) and errors (part 2,
//! section 2.8.14).

use bytes::BytesMut;

use super::value::{self, Value};

/// How a delivery ended (part 3, section 3.4).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Accepted,
    Rejected(Option<AmqpError>),
    Released,
    Modified {
        delivery_failed: bool,
        undeliverable_here: bool,
        /// Application properties to set, as the service reads them.
        annotations: Vec<(Value, Value)>,
    },
    /// To be decided by a transaction.
    Transactional,
    /// Received, or a state we do not know: nothing is decided yet.
    Other,
}

impl Outcome {
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let Value::Described(described) = value else { return None };
        let (descriptor, value) = &**described;
        let items = match value {
            Value::List(items) => items.as_slice(),
            _ => &[],
        };
        let is_true = |index: usize| items.get(index) == Some(&Value::Bool(true));
        Some(match (descriptor.as_u64(), descriptor.as_text()) {
            (Some(0x24), _) | (_, Some("amqp:accepted:list")) => Self::Accepted,
            (Some(0x25), _) | (_, Some("amqp:rejected:list")) => {
                Self::Rejected(items.first().and_then(AmqpError::from_value))
            }
            (Some(0x26), _) | (_, Some("amqp:released:list")) => Self::Released,
            (Some(0x27), _) | (_, Some("amqp:modified:list")) => {
                let annotations = match items.get(2) {
                    Some(Value::Map(pairs)) => pairs.clone(),
                    _ => Vec::new(),
                };
                Self::Modified {
                    delivery_failed: is_true(0),
                    undeliverable_here: is_true(1),
                    annotations,
                }
            }
            (Some(0x34), _) | (_, Some("amqp:transactional-state:list")) => Self::Transactional,
            _ => Self::Other,
        })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Accepted => value::put_described_list(out, 0x24, 0, |_| {}),
            Self::Rejected(None) => value::put_described_list(out, 0x25, 0, |_| {}),
            Self::Rejected(Some(error)) => {
                value::put_described_list(out, 0x25, 1, |out| error.encode(out));
            }
            Self::Released => value::put_described_list(out, 0x26, 0, |_| {}),
            Self::Modified { delivery_failed, undeliverable_here, .. } => {
                value::put_described_list(out, 0x27, 2, |out| {
                    value::put_value(out, &Value::Bool(*delivery_failed));
                    value::put_value(out, &Value::Bool(*undeliverable_here));
                });
            }
            Self::Transactional | Self::Other => value::put_value(out, &Value::Null),
        }
    }
}

/// What a peer is told about a failure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AmqpError {
    pub(crate) condition: String,
    pub(crate) description: String,
    /// What a peer adds, by name.
    pub(crate) info: Vec<(Value, Value)>,
}

impl AmqpError {
    pub(crate) fn new(condition: &str, description: impl Into<String>) -> Self {
        let (condition, description) = (condition.to_owned(), description.into());
        Self { condition, description, info: Vec::new() }
    }

    /// Text of the additional information.
    pub(crate) fn info_text(&self, name: &str) -> Option<&str> {
        let found = self.info.iter().find(|(key, _)| key.as_text() == Some(name));
        found.and_then(|(_, value)| value.as_text())
    }

    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let Value::List(items) = value.undescribed() else { return None };
        let text = |index: usize| items.get(index).and_then(Value::as_text).unwrap_or_default();
        let info = match items.get(2) {
            Some(Value::Map(pairs)) => pairs.clone(),
            _ => Vec::new(),
        };
        Some(Self { info, ..Self::new(text(0), text(1)) })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        // Always three fields: a Python sender waits for ever if `info` is left out.
        value::put_described_list(out, 0x1d, 3, |out| {
            value::put_symbol(out, &self.condition);
            value::put_string(out, &self.description);
            value::put_value(out, &Value::Null);
        });
    }
}

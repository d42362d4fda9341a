//! Messages (part 3, section 3.2): from their encoded sections to the broker's form and back.
//!
//! Guarantees: the bare message (properties, application properties, body) leaves byte for byte as
//! it came; only a missing message id is filled in, because JavaScript cannot settle without one.
//! A message that waits keeps at most twice the bytes that the quota counts for it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeError;
use super::performative::descriptor_code;
use super::value::{self, Decoder, Value};
use crate::broker::{BusMessage, MessageState, PropertyValue, ReceivedMessage, Unpack};

/// The message format of a batch: each data section is an encoded message.
pub(crate) const BATCH_FORMAT: u32 = 0x8001_3700;

const HEADER: u64 = 0x70;
const DELIVERY_ANNOTATIONS: u64 = 0x71;
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const APPLICATION_PROPERTIES: u64 = 0x74;
const DATA: u64 = 0x75;
const AMQP_VALUE: u64 = 0x77;

/// The annotation of a message that must not be delivered yet.
const SCHEDULED: &str = "x-opt-scheduled-enqueue-time";
/// The annotations that are the service's to write.
const OWN_ANNOTATIONS: [&str; 7] = [
    "x-opt-enqueued-time",
    "x-opt-sequence-number",
    "x-opt-enqueue-sequence-number",
    "x-opt-locked-until",
    "x-opt-lock-token",
    "x-opt-deadletter-source",
    "x-opt-message-state",
];
/// Annotations that a message may have besides; more are not kept.
const ANNOTATIONS_MAX: usize = 64;

/// Reads one message. `fresh_id` makes a message id if the sender gave none.
pub(crate) fn decode(
    encoded: Bytes,
    fresh_id: impl FnOnce() -> String,
) -> Result<BusMessage, DecodeError> {
    let buffer_bytes = encoded.len();
    decode_within(buffer_bytes, encoded, fresh_id)
}

/// Reads one message that is part of a buffer of so many bytes.
fn decode_within(
    buffer_bytes: usize,
    encoded: Bytes,
    fresh_id: impl FnOnce() -> String,
) -> Result<BusMessage, DecodeError> {
    let mut message = BusMessage { unpack: Some(Unpack(unpack)), ..BusMessage::default() };
    let mut decoder = Decoder::new(encoded);
    let mut properties = Vec::new();
    // Where the bare message starts, and where its properties end.
    let mut bare: Option<(usize, usize)> = None;
    while !decoder.is_empty() {
        let start = decoder.position();
        let section = descriptor_code(&decoder.descriptor()?);
        if section >= PROPERTIES && bare.is_none() {
            bare = Some((start, start));
        }
        match section {
            HEADER => {
                if let Value::List(items) = decoder.value()? {
                    let ttl_ms = items.get(2).and_then(Value::as_u64);
                    message.time_to_live = ttl_ms.map(Duration::from_millis);
                }
            }
            PROPERTIES => {
                let Value::List(items) = decoder.value()? else {
                    return Err(DecodeError::Expected("a list of properties"));
                };
                properties = items;
                bare = Some((bare.map_or(start, |b| b.0), decoder.position()));
            }
            APPLICATION_PROPERTIES => {
                message.application_properties = application_properties(decoder.value()?);
            }
            DATA => {
                if let Value::Binary(data) = decoder.value()? {
                    message.body = join(&message.body, data);
                }
            }
            AMQP_VALUE => message.body = body_of_value(&mut decoder)?,
            MESSAGE_ANNOTATIONS => {
                if let Value::Map(pairs) = decoder.value()? {
                    note_annotations(&mut message, pairs);
                }
            }
            _ => decoder.skip()?,
        }
    }
    let text = |index: usize| properties.get(index).and_then(id_text);
    message.message_id = text(0);
    message.to = text(2);
    message.subject = text(3);
    message.reply_to = text(4);
    message.correlation_id = text(5);
    message.content_type = text(6);
    message.session_id = text(10);
    message.reply_to_session_id = text(12);

    let (start, properties_end) = bare.unwrap_or((decoder.position(), decoder.position()));
    let end = decoder.position();
    let kept = if message.message_id.is_some() {
        let bare = decoder.between(start, end);
        if bare.len() * 2 >= buffer_bytes {
            message.encoded = Some(bare);
            return Ok(message);
        }
        // A slice would keep the whole buffer alive, of which the quota counts only the slice.
        Bytes::copy_from_slice(&bare)
    } else {
        let id = fresh_id();
        let rest = decoder.between(properties_end, end);
        let mut bare = BytesMut::with_capacity(rest.len() + 256);
        let items = properties.get(1..).unwrap_or_default();
        value::put_described_list(&mut bare, PROPERTIES, items.len() + 1, |out| {
            value::put_string(out, &id);
            items.iter().for_each(|item| value::put_value(out, item));
        });
        bare.put_slice(&rest);
        bare.freeze()
    };
    // Read once more: body and properties must be slices of what is kept, not of the buffer.
    let BusMessage { time_to_live, scheduled_at, annotations, .. } = message;
    let again = decode(kept, String::new)?;
    Ok(BusMessage { time_to_live, scheduled_at, annotations, ..again })
}

fn note_annotations(message: &mut BusMessage, pairs: Vec<(Value, Value)>) {
    for (key, value) in pairs {
        let Some(name) = key.as_text() else { continue };
        if name == SCHEDULED {
            message.scheduled_at = time_of(&value);
        } else if !OWN_ANNOTATIONS.contains(&name) && message.annotations.len() < ANNOTATIONS_MAX {
            message.annotations.insert(name.to_owned(), property_value(value));
        }
    }
}

/// A time of the broker from one on the wire.
pub(crate) fn time_of(value: &Value) -> Option<Duration> {
    match *value {
        Value::Timestamp(ms) => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        _ => None,
    }
}

/// Reads a bare message that was read before.
fn unpack(encoded: Bytes) -> BusMessage {
    // It was read without an error, and bytes do not change.
    decode(encoded, String::new).unwrap_or_default()
}

/// Reads the messages of a batch.
pub(crate) fn decode_batch(
    encoded: Bytes,
    mut fresh_id: impl FnMut() -> String,
) -> Result<Vec<BusMessage>, DecodeError> {
    let buffer_bytes = encoded.len();
    let mut decoder = Decoder::new(encoded);
    let mut messages = Vec::new();
    while !decoder.is_empty() {
        if descriptor_code(&decoder.descriptor()?) != DATA {
            decoder.skip()?;
            continue;
        }
        let Value::Binary(inner) = decoder.value()? else {
            return Err(DecodeError::Expected("an encoded message"));
        };
        messages.push(decode_within(buffer_bytes, inner, &mut fresh_id)?);
    }
    Ok(messages)
}

/// What a subscriber's copy has in front of the bare message.
pub(crate) fn put_delivery_sections(out: &mut BytesMut, received: &ReceivedMessage) {
    put_header(out, received);
    put_annotations(out, received);
}

fn put_header(out: &mut BytesMut, received: &ReceivedMessage) {
    let time_to_live = received.expires_at.map(|at| at.saturating_sub(received.enqueued_time));
    value::put_described_list(out, HEADER, 5, |out| {
        value::put_value(out, &Value::Bool(true));
        value::put_value(out, &Value::Ubyte(4));
        match time_to_live.map(|ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)) {
            Some(ttl_ms) => value::put_uint(out, ttl_ms),
            None => value::put_value(out, &Value::Null),
        }
        value::put_value(out, &Value::Bool(received.delivery_count == 0));
        value::put_uint(out, received.delivery_count);
    });
}

fn put_annotations(out: &mut BytesMut, received: &ReceivedMessage) {
    out.put_u8(0);
    value::put_ulong(out, MESSAGE_ANNOTATIONS);
    let message = &received.message;
    let state = match received.state {
        MessageState::Active => 0,
        MessageState::Deferred => 1,
        MessageState::Scheduled => 2,
    };
    let optional = [
        received.lock.map(|lock| ("x-opt-locked-until", timestamp(lock.locked_until))),
        message.scheduled_at.map(|at| (SCHEDULED, timestamp(at))),
        (received.enqueued_sequence_number > 0).then(|| {
            let number = received.enqueued_sequence_number.cast_signed();
            ("x-opt-enqueue-sequence-number", Value::Long(number))
        }),
        received
            .dead_letter_source
            .as_ref()
            .map(|source| ("x-opt-deadletter-source", Value::String(source.clone()))),
        (state > 0).then_some(("x-opt-message-state", Value::Int(state))),
    ];
    let count = 2 + optional.iter().flatten().count() + message.annotations.len();
    value::put_compound(out, 0xd1, count * 2, |out| {
        value::put_symbol(out, "x-opt-enqueued-time");
        value::put_value(out, &timestamp(received.enqueued_time));
        value::put_symbol(out, "x-opt-sequence-number");
        value::put_value(out, &Value::Long(received.sequence_number.cast_signed()));
        for (name, value) in optional.iter().flatten() {
            value::put_symbol(out, name);
            value::put_value(out, value);
        }
        for (name, value) in &message.annotations {
            value::put_symbol(out, name);
            value::put_value(out, &wire_value(value));
        }
    });
}

/// A whole message, as requests to `$management` get it.
pub(crate) fn encode_received(received: &ReceivedMessage) -> Bytes {
    let bare = bare_message(&received.message);
    let mut out = BytesMut::with_capacity(bare.len() + 192);
    put_header(&mut out, received);
    if let Some(lock) = received.lock {
        // There is no delivery tag to read it from; Python before 7.15 looks here only.
        let token = (Value::Symbol("x-opt-lock-token".to_owned()), Value::Uuid(lock.token.0));
        put_section(&mut out, DELIVERY_ANNOTATIONS, &Value::Map(vec![token]));
    }
    put_annotations(&mut out, received);
    out.extend_from_slice(&bare);
    out.freeze()
}

/// The bare message of a subscriber's copy; encoded now if it did not come over AMQP.
pub(crate) fn bare_message(message: &BusMessage) -> Bytes {
    match &message.encoded {
        Some(encoded) if message.is_changed => {
            // It was read once, so it can be read again.
            rewritten(message, encoded.clone()).unwrap_or_else(|_| encode_bare(message))
        }
        Some(encoded) => encoded.clone(),
        None => encode_bare(message),
    }
}

/// The bare message with the properties that the broker changed; all else stays as it came.
fn rewritten(message: &BusMessage, encoded: Bytes) -> Result<Bytes, DecodeError> {
    let mut decoder = Decoder::new(encoded);
    let (mut properties, mut application) = (Vec::new(), Vec::new());
    let mut rest = BytesMut::new();
    while !decoder.is_empty() {
        let start = decoder.position();
        match descriptor_code(&decoder.descriptor()?) {
            PROPERTIES => {
                if let Value::List(items) = decoder.value()? {
                    properties = items;
                }
            }
            APPLICATION_PROPERTIES => {
                if let Value::Map(pairs) = decoder.value()? {
                    application = pairs;
                }
            }
            _ => {
                decoder.skip()?;
                rest.put_slice(&decoder.between(start, decoder.position()));
            }
        }
    }
    properties.resize(properties.len().max(13), Value::Null);
    for (index, text) in [
        (0, &message.message_id),
        (2, &message.to),
        (3, &message.subject),
        (4, &message.reply_to),
        (5, &message.correlation_id),
        (6, &message.content_type),
        (10, &message.session_id),
        (12, &message.reply_to_session_id),
    ] {
        if id_text(&properties[index]) != *text {
            properties[index] = text.clone().map_or(Value::Null, Value::String);
        }
    }
    let mut out = BytesMut::with_capacity(rest.len() + 256);
    value::put_described_list(&mut out, PROPERTIES, properties.len(), |out| {
        properties.iter().for_each(|item| value::put_value(out, item));
    });
    let pairs = message.application_properties.iter().map(|(name, value)| {
        // A value that did not change keeps its type.
        let old = application.iter().find(|(key, _)| key.as_text() == Some(name));
        let same = old.filter(|(_, old)| property_value(old.clone()) == *value);
        let value = same.map_or_else(|| wire_value(value), |(_, old)| old.clone());
        (Value::from(name.as_str()), value)
    });
    put_section(&mut out, APPLICATION_PROPERTIES, &Value::Map(pairs.collect()));
    out.put_slice(&rest);
    Ok(out.freeze())
}

fn encode_bare(message: &BusMessage) -> Bytes {
    let mut out = BytesMut::with_capacity(message.body.len() + 256);
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    let symbol = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Symbol);
    let properties = [
        text(&message.message_id),
        Value::Null,
        text(&message.to),
        text(&message.subject),
        text(&message.reply_to),
        text(&message.correlation_id),
        symbol(&message.content_type),
        Value::Null,
        Value::Null,
        Value::Null,
        text(&message.session_id),
        Value::Null,
        text(&message.reply_to_session_id),
    ];
    value::put_described_list(&mut out, PROPERTIES, properties.len(), |out| {
        properties.iter().for_each(|property| value::put_value(out, property));
    });
    let pairs = message.application_properties.iter();
    let pairs =
        pairs.map(|(name, value)| (Value::from(name.as_str()), wire_value(value))).collect();
    put_section(&mut out, APPLICATION_PROPERTIES, &Value::Map(pairs));
    out.put_u8(0);
    value::put_ulong(&mut out, DATA);
    value::put_binary(&mut out, &message.body);
    out.freeze()
}

/// A request to `$cbs` or `$management`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Request {
    /// As it came: the answer's correlation id repeats it.
    pub(crate) message_id: Option<Value>,
    pub(crate) reply_to: Option<String>,
    pub(crate) properties: BTreeMap<String, Value>,
    pub(crate) body: Option<Value>,
}

impl Request {
    /// A property that holds text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name).and_then(Value::as_text)
    }

    pub(crate) fn decode(encoded: Bytes) -> Result<Self, DecodeError> {
        let mut request = Self::default();
        let mut decoder = Decoder::new(encoded);
        while !decoder.is_empty() {
            match descriptor_code(&decoder.descriptor()?) {
                PROPERTIES => {
                    if let Value::List(items) = decoder.value()? {
                        request.message_id = items.first().filter(|v| **v != Value::Null).cloned();
                        request.reply_to = items.get(4).and_then(Value::as_text).map(str::to_owned);
                    }
                }
                APPLICATION_PROPERTIES => {
                    if let Value::Map(pairs) = decoder.value()? {
                        let named = |(key, value): (Value, Value)| {
                            key.as_text().map(|name| (name.to_owned(), value))
                        };
                        request.properties = pairs.into_iter().filter_map(named).collect();
                    }
                }
                DATA | AMQP_VALUE => request.body = Some(decoder.value()?),
                _ => decoder.skip()?,
            }
        }
        Ok(request)
    }

    /// The encoded answer: a status in the given property names, and a body.
    pub(crate) fn answer(&self, properties: Vec<(&str, Value)>, body: &Value) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        value::put_described_list(&mut out, PROPERTIES, 6, |out| {
            value::put_value(out, &Value::Null);
            value::put_value(out, &Value::Null);
            let to = self.reply_to.clone().map_or(Value::Null, Value::String);
            value::put_value(out, &to);
            value::put_value(out, &Value::Null);
            value::put_value(out, &Value::Null);
            value::put_value(out, self.message_id.as_ref().unwrap_or(&Value::Null));
        });
        let pairs =
            properties.into_iter().map(|(name, value)| (Value::from(name), value)).collect();
        put_section(&mut out, APPLICATION_PROPERTIES, &Value::Map(pairs));
        put_section(&mut out, AMQP_VALUE, body);
        out.freeze()
    }
}

/// The broker's time on the wire: milliseconds since the Unix epoch.
pub(crate) fn timestamp(time: Duration) -> Value {
    Value::Timestamp(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

fn put_section(out: &mut BytesMut, descriptor: u64, value: &Value) {
    out.put_u8(0);
    value::put_ulong(out, descriptor);
    value::put_value(out, value);
}

fn join(body: &Bytes, more: Bytes) -> Bytes {
    if body.is_empty() { more } else { [&body[..], &more[..]].concat().into() }
}

/// What a receiver in this process gets as the body of a value section.
fn body_of_value(decoder: &mut Decoder) -> Result<Bytes, DecodeError> {
    let start = decoder.position();
    decoder.skip()?;
    let encoded = decoder.between(start, decoder.position());
    let is_plain = matches!(encoded.first(), Some(0xa0 | 0xb0 | 0xa1 | 0xb1));
    if !is_plain {
        return Ok(encoded);
    }
    match Decoder::new(encoded).value()? {
        Value::Binary(bytes) => Ok(bytes),
        Value::String(text) => Ok(text.into()),
        _ => Ok(Bytes::new()),
    }
}

/// Message ids and correlation ids may be text, numbers, UUIDs or bytes; rules compare text.
fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::Ulong(number) => Some(number.to_string()),
        Value::Uuid(uuid) => {
            let hex = format!("{:032x}", u128::from_be_bytes(*uuid));
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            Some(parts.join("-"))
        }
        Value::Binary(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        other => other.as_text().map(str::to_owned),
    }
}

fn application_properties(value: Value) -> BTreeMap<String, PropertyValue> {
    let Value::Map(pairs) = value else { return BTreeMap::new() };
    let named = |(key, value): (Value, Value)| {
        key.as_text().map(|name| (name.to_owned(), property_value(value)))
    };
    pairs.into_iter().filter_map(named).collect()
}

pub(crate) fn property_value(value: Value) -> PropertyValue {
    match value {
        Value::Bool(value) => PropertyValue::Bool(value),
        Value::Byte(v) => PropertyValue::Int(v.into()),
        Value::Short(v) => PropertyValue::Int(v.into()),
        Value::Int(v) => PropertyValue::Int(v.into()),
        Value::Long(v) => PropertyValue::Int(v),
        Value::Float(v) => PropertyValue::Double(v.into()),
        Value::Double(v) => PropertyValue::Double(v),
        Value::Timestamp(v) => PropertyValue::Timestamp(v),
        Value::Uuid(v) => PropertyValue::Uuid(v),
        Value::Binary(v) => PropertyValue::Binary(v),
        Value::String(v) | Value::Symbol(v) => PropertyValue::String(v),
        Value::Char(v) => {
            PropertyValue::String(char::from_u32(v).map(String::from).unwrap_or_default())
        }
        Value::Described(inner) => property_value(inner.1),
        other => other.as_u64().map_or(PropertyValue::Null, PropertyValue::from),
    }
}

pub(crate) fn wire_value(value: &PropertyValue) -> Value {
    match value {
        PropertyValue::Null => Value::Null,
        PropertyValue::Bool(v) => Value::Bool(*v),
        PropertyValue::Int(v) => Value::Long(*v),
        PropertyValue::UInt(v) => Value::Ulong(*v),
        PropertyValue::Double(v) => Value::Double(*v),
        PropertyValue::String(v) => Value::String(v.clone()),
        PropertyValue::Binary(v) => Value::Binary(v.clone()),
        PropertyValue::Uuid(v) => Value::Uuid(*v),
        PropertyValue::Timestamp(v) => Value::Timestamp(*v),
    }
}

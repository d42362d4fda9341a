//! Between our [`BusMessage`] and an AMQP message.
//!
//! Guarantees: decoding never panics; a body that is not bytes or text is refused, not guessed.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{
    AmqpValue, ApplicationProperties, Body, Data, Header, Message, MessageAnnotations, MessageId,
    Properties,
};
use fe2o3_amqp_types::primitives::{Binary, OrderedMap, SimpleValue, Symbol, Value};

use crate::transport::{BusMessage, PropertyValue, ReceivedMessage};

/// Builds the AMQP message; copies the body once.
pub(super) fn encode(message: BusMessage) -> Message<Data> {
    let header = message.time_to_live.map(|ttl| Header {
        ttl: Some(u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)),
        ..Header::default()
    });
    let properties = Properties {
        message_id: message.message_id.map(MessageId::String),
        to: message.to,
        subject: message.subject,
        reply_to: message.reply_to,
        correlation_id: message.correlation_id.map(MessageId::String),
        content_type: message.content_type.map(Symbol::from),
        ..Properties::default()
    };
    let mut map = OrderedMap::new();
    for (name, value) in message.application_properties {
        map.insert(
            name,
            match value {
                PropertyValue::Text(text) => SimpleValue::String(text),
                PropertyValue::Integer(number) => SimpleValue::Long(number),
                PropertyValue::Boolean(value) => SimpleValue::Bool(value),
            },
        );
    }
    let application_properties = (!map.is_empty()).then_some(ApplicationProperties(map));
    Message::builder()
        .header(header)
        .properties(properties)
        .application_properties(application_properties)
        .data(Binary::from(message.body.to_vec()))
        .build()
}

/// Reads an AMQP message; `None` if its body is neither bytes nor text.
pub(super) fn decode(message: Message<Body<Value>>) -> Option<ReceivedMessage> {
    let body = decode_body(message.body)?;
    let annotations = message.message_annotations.unwrap_or_default();
    let properties = message.properties.unwrap_or_default();
    let application_properties = message.application_properties.unwrap_or_default().0;
    let ttl = message.header.and_then(|header| header.ttl);
    Some(ReceivedMessage {
        sequence_number: match annotation(&annotations, "x-opt-sequence-number") {
            Some(Value::Long(number)) => Some(*number),
            Some(Value::Ulong(number)) => i64::try_from(*number).ok(),
            _ => None,
        },
        enqueued_time: match annotation(&annotations, "x-opt-enqueued-time") {
            Some(Value::Timestamp(time)) => system_time(time.milliseconds()),
            _ => None,
        },
        message: BusMessage {
            to: properties.to,
            reply_to: properties.reply_to,
            subject: properties.subject,
            message_id: properties.message_id.and_then(text_of),
            correlation_id: properties.correlation_id.and_then(text_of),
            time_to_live: ttl.map(|ttl| Duration::from_millis(ttl.into())),
            content_type: properties.content_type.map(|symbol| symbol.0),
            body,
            application_properties: application_properties
                .into_iter()
                .filter_map(|(name, value)| Some((name, property_value(value)?)))
                .collect(),
        },
    })
}

fn decode_body(body: Body<Value>) -> Option<Bytes> {
    match body {
        Body::Data(batch) => {
            let mut sections = batch.into_iter();
            let first = sections.next().map(|data| data.0.into_vec()).unwrap_or_default();
            let body = sections.fold(first, |mut body, data| {
                body.extend_from_slice(&data.0);
                body
            });
            Some(Bytes::from(body))
        }
        Body::Value(AmqpValue(Value::Binary(bytes))) => Some(Bytes::from(bytes.into_vec())),
        Body::Value(AmqpValue(Value::String(text))) => Some(Bytes::from(text)),
        Body::Empty => Some(Bytes::new()),
        Body::Value(_) | Body::Sequence(_) => None,
    }
}

fn annotation<'a>(annotations: &'a MessageAnnotations, name: &str) -> Option<&'a Value> {
    annotations.0.get(&OwnedKey::Symbol(Symbol::from(name)))
}

fn system_time(milliseconds: i64) -> Option<SystemTime> {
    let since_epoch = Duration::from_millis(u64::try_from(milliseconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}

/// Identities of ours are text; of others' we keep what can be written as text.
fn text_of(id: MessageId) -> Option<String> {
    match id {
        MessageId::String(text) => Some(text),
        MessageId::Ulong(number) => Some(number.to_string()),
        MessageId::Uuid(_) | MessageId::Binary(_) => None,
    }
}

fn property_value(value: SimpleValue) -> Option<PropertyValue> {
    Some(match value {
        SimpleValue::String(text) => PropertyValue::Text(text),
        SimpleValue::Symbol(symbol) => PropertyValue::Text(symbol.0),
        SimpleValue::Bool(value) => PropertyValue::Boolean(value),
        SimpleValue::Ubyte(number) => PropertyValue::Integer(number.into()),
        SimpleValue::Ushort(number) => PropertyValue::Integer(number.into()),
        SimpleValue::Uint(number) => PropertyValue::Integer(number.into()),
        SimpleValue::Ulong(number) => PropertyValue::Integer(i64::try_from(number).ok()?),
        SimpleValue::Byte(number) => PropertyValue::Integer(number.into()),
        SimpleValue::Short(number) => PropertyValue::Integer(number.into()),
        SimpleValue::Int(number) => PropertyValue::Integer(number.into()),
        SimpleValue::Long(number) => PropertyValue::Integer(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp_types::messaging::Batch;

    use super::*;

    fn message() -> BusMessage {
        BusMessage {
            to: Some("server-1".into()),
            reply_to: Some("server-2".into()),
            subject: Some("raft".into()),
            message_id: Some("m-1".into()),
            correlation_id: Some("c-1".into()),
            time_to_live: Some(Duration::from_secs(7)),
            content_type: Some("application/x-raft".into()),
            body: Bytes::from_static(b"\0\xffbody"),
            application_properties: [
                ("boot".to_owned(), 9.into()),
                ("cluster".to_owned(), "a".into()),
                ("last".to_owned(), true.into()),
            ]
            .into(),
        }
    }

    #[test]
    fn a_message_survives_the_trip() {
        let encoded = encode(message()).map_body(|data| Body::Data(Batch::from(vec![data])));
        let decoded = decode(encoded).expect("bytes are a body");
        assert_eq!(decoded.message, message());
        assert_eq!(decoded.sequence_number, None);
    }

    #[test]
    fn encoded_size_is_an_upper_bound_and_close() {
        let encoded = encode(message());
        let bytes = serde_amqp::to_vec(
            &fe2o3_amqp_types::messaging::message::__private::Serializable(encoded),
        )
        .expect("our messages can be encoded");
        let estimate = message().encoded_size();
        assert!(estimate >= bytes.len(), "{estimate} for {}", bytes.len());
        assert!(estimate < bytes.len() + 120, "{estimate} for {}", bytes.len());
    }

    #[test]
    fn text_and_empty_bodies_are_read_and_other_values_refused() {
        let table = [
            (Body::Value(AmqpValue(Value::String("x".into()))), Some(&b"x"[..])),
            (Body::Empty, Some(&b""[..])),
            (Body::Value(AmqpValue(Value::Bool(true))), None),
        ];
        for (body, expected) in table {
            let message = Message::builder().data(Binary::new()).build().map_body(|_| body);
            let decoded = decode(message);
            assert_eq!(decoded.as_ref().map(|m| &m.body()[..]), expected);
        }
    }
}

//! The codec against random, mutated and truncated bytes, and against itself.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::frame::{FrameKind, put_frame, take_frame};
use super::message::{self, Request};
use super::outcome::{AmqpError, Outcome};
use super::performative::{Attach, Begin, Detach, Disposition, Flow, Open, Performative, Transfer};
use super::value::{Decoder, Value, put_described_list, put_value};
use crate::broker::{BusMessage, ReceivedMessage};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        any::<u32>().prop_map(Value::Uint),
        any::<u64>().prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        any::<i32>().prop_map(Value::Int),
        any::<i64>().prop_map(Value::Long),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Binary(bytes.into())),
        "\\PC{0,90}".prop_map(Value::String),
        "[a-z:-]{0,20}".prop_map(Value::Symbol),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Map),
            (inner.clone(), inner).prop_map(|pair| Value::Described(Box::new(pair))),
        ]
    })
}

fn encoded(value: &Value) -> Bytes {
    let mut out = BytesMut::new();
    put_value(&mut out, value);
    out.freeze()
}

/// Everything that reads bytes of a peer.
fn read_in_every_way(bytes: &Bytes) {
    _ = Decoder::new(bytes.clone()).value();
    _ = Decoder::new(bytes.clone()).skip();
    _ = Performative::decode(bytes.clone());
    _ = message::decode(bytes.clone(), String::new);
    _ = message::decode_batch(bytes.clone(), String::new);
    _ = Request::decode(bytes.clone());
    let mut input = BytesMut::from(&bytes[..]);
    while let Ok(Some(_)) = take_frame(&mut input, 512) {}
}

fn samples() -> Vec<Bytes> {
    let encode = |put: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        put(&mut out);
        out.freeze()
    };
    let terminus =
        encode(&|out| put_described_list(out, 0x28, 1, |out| put_value(out, &"t".into())));
    let attach = Attach {
        name: "link".to_owned(),
        source: Some(terminus.clone()),
        target: Some(terminus),
        ..Attach::default()
    };
    let disposition = Disposition {
        is_receiver: true,
        first: 1,
        last: 9,
        settled: true,
        outcome: Some(Outcome::Rejected(Some(AmqpError::new("a:b", "c")))),
    };
    let message = BusMessage::new("body").with_to("server-1").with_property("term", 7);
    let flow = Flow { handle: Some(1), link_credit: Some(5), ..Flow::default() };
    let transfer =
        Transfer { delivery_id: Some(7), message_format: Some(0), ..Transfer::default() };
    let detach = Detach { handle: 1, closed: true, error: Some(AmqpError::new("a:b", "c")) };
    vec![
        encode(&|out| Open::default().encode(out)),
        encode(&|out| Begin::default().encode(out)),
        encode(&|out| attach.encode(out)),
        encode(&|out| flow.encode(out)),
        encode(&|out| transfer.encode(out)),
        encode(&|out| disposition.encode(out)),
        encode(&|out| detach.encode(out)),
        message::bare_message(&message),
    ]
}

proptest! {
    #[test]
    fn values_survive_the_wire(value in value()) {
        let bytes = encoded(&value);
        let mut decoder = Decoder::new(bytes.clone());
        prop_assert_eq!(decoder.value(), Ok(value));
        prop_assert!(decoder.is_empty());
        let mut skipper = Decoder::new(bytes);
        // A descriptor that is itself described is read but not skipped over.
        if skipper.skip().is_ok() {
            prop_assert!(skipper.is_empty());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        read_in_every_way(&bytes.into());
    }

    #[test]
    fn mutated_and_truncated_samples_never_panic(
        sample in 0..8_usize,
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = samples()[sample].to_vec();
        for (place, byte) in mutations {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_in_every_way(&bytes.clone().into());
        bytes.truncate(cut.index(bytes.len()));
        read_in_every_way(&bytes.into());
    }

    #[test]
    fn frames_survive_any_segmentation(bodies in vec(vec(any::<u8>(), 0..200), 1..6), size in 1..64_usize) {
        let mut stream = BytesMut::new();
        for (channel, body) in (0..).zip(&bodies) {
            put_frame(&mut stream, FrameKind::Amqp, channel, |out| out.extend_from_slice(body));
        }
        let (mut input, mut found) = (BytesMut::new(), Vec::new());
        for segment in stream.chunks(size) {
            input.extend_from_slice(segment);
            while let Some(frame) = take_frame(&mut input, 1024).unwrap() {
                found.push(frame.body.to_vec());
            }
        }
        prop_assert_eq!(found, bodies);
    }
}

#[test]
fn claimed_counts_and_sizes_allocate_nothing() {
    let liars: [&[u8]; 7] = [
        &[0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
        &[0xd1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
        &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40],
        &[0xe0, 3, 0xff, 0x40, 0x40],
        &[0xb0, 0xff, 0xff, 0xff, 0xff],
        &[0xb1, 0x7f, 0xff, 0xff, 0xff, b'a'],
        &[0xc0, 0xff, 1],
    ];
    for liar in liars {
        assert!(Decoder::new(Bytes::from_static(liar)).value().is_err(), "{liar:x?}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let mut nested = Bytes::from_static(&[0x40]);
    for _ in 0..60 {
        let mut out = BytesMut::new();
        out.put_slice(&[0xd0]);
        out.put_u32(nested.len() as u32 + 4);
        out.put_u32(1);
        out.put_slice(&nested);
        nested = out.freeze();
    }
    assert!(Decoder::new(nested).value().is_err());
    assert!(Decoder::new(Bytes::from(vec![0; 100_000])).value().is_err());
    assert!(Decoder::new(Bytes::from(vec![0; 100_000])).skip().is_err());
}

#[test]
fn what_peers_write_against_the_letter_is_understood() {
    // A symbolic descriptor, a delivery count of another width, a missing tail, an extra tail.
    let flow = Value::List(vec![Value::Null, Value::Ulong(5), Value::Ubyte(1), Value::Uint(5)]);
    let flow = Value::Described(Box::new((Value::Symbol("amqp:flow:list".into()), flow)));
    let (flow, _) = Performative::decode(encoded(&flow)).unwrap();
    assert!(matches!(flow, Performative::Flow(Flow { incoming_window: 5, handle: None, .. })));

    // String keys where the standard says symbol, and an unknown state.
    let info = Value::Map(vec![("DeadLetterReason".into(), "x".into())]);
    let error = Value::List(vec!["a:b".into(), Value::Null, info]);
    let error = Value::Described(Box::new((Value::Ulong(0x1d), error)));
    let rejected = Value::Described(Box::new((Value::Ulong(0x25), Value::List(vec![error]))));
    let unknown = Value::Described(Box::new((Value::Ulong(0x34), Value::List(vec![]))));
    for (state, is_rejected) in [(rejected, true), (unknown, false)] {
        let fields = vec![Value::Bool(true), Value::Uint(1), Value::Null, Value::Null, state];
        let fields = [fields, vec![Value::Null; 9]].concat();
        let bytes = encoded(&Value::Described(Box::new((Value::Ulong(0x15), Value::List(fields)))));
        let (Performative::Disposition(disposition), _) = Performative::decode(bytes).unwrap()
        else {
            panic!("a disposition was written");
        };
        assert_eq!((disposition.first, disposition.last), (1, 1));
        assert_eq!(matches!(disposition.outcome, Some(Outcome::Rejected(Some(_)))), is_rejected);
    }
}

#[test]
fn bare_message_is_not_touched_and_a_missing_id_is_filled_in() {
    let original = message::bare_message(&BusMessage::new("body").with_message_id("mine"));
    let decoded = message::decode(original.clone(), || unreachable!()).unwrap();
    assert_eq!(decoded.encoded, Some(original));
    assert_eq!((&decoded.body[..], decoded.message_id.as_deref()), (&b"body"[..], Some("mine")));

    let anonymous = BusMessage::new("body").with_to("x").with_property("term", 7);
    let decoded = message::decode(message::bare_message(&anonymous), || "fresh".into()).unwrap();
    let again = message::decode(decoded.encoded.clone().unwrap(), || unreachable!()).unwrap();
    assert_eq!(again.message_id.as_deref(), Some("fresh"));
    assert_eq!(
        (again.to, again.application_properties),
        (anonymous.to, anonymous.application_properties)
    );
}

#[test]
fn delivered_copy_carries_its_annotations() {
    use std::time::Duration;
    let message = BusMessage::new("body").with_message_id("m");
    let received = ReceivedMessage {
        enqueued_sequence_number: 0,
        dead_letter_source: None,
        state: crate::broker::MessageState::Active,
        message: message.clone().into(),
        sequence_number: 42,
        enqueued_time: Duration::from_secs(5),
        expires_at: Some(Duration::from_secs(65)),
        delivery_count: 0,
        lock: None,
    };
    let mut out = BytesMut::new();
    message::put_delivery_sections(&mut out, &received);
    let sections = out.clone().freeze();
    out.extend_from_slice(&message::bare_message(&message));
    let copy = message::decode(out.freeze(), || unreachable!()).unwrap();
    assert_eq!(copy.time_to_live, Some(Duration::from_secs(60)));
    let mut decoder = Decoder::new(sections);
    decoder.skip().unwrap();
    let annotations = decoder.value().unwrap();
    let expected = [
        (Value::Symbol("x-opt-enqueued-time".into()), Value::Timestamp(5_000)),
        (Value::Symbol("x-opt-sequence-number".into()), Value::Long(42)),
    ];
    assert_eq!(annotations.undescribed(), &Value::Map(expected.to_vec()));
}

#[test]
fn a_performative_carries_every_field_the_specification_gives_it() {
    let field_count = |put: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        put(&mut out);
        let mut decoder = Decoder::new(out.freeze());
        let descriptor = decoder.descriptor().unwrap().as_u64();
        let Value::List(fields) = decoder.value().unwrap() else { panic!("no list") };
        assert!(decoder.rest().is_empty());
        (descriptor, fields.len())
    };
    assert_eq!(field_count(&|out| Open::default().encode(out)), (Some(0x10), 10));
    assert_eq!(field_count(&|out| Begin::default().encode(out)), (Some(0x11), 8));
    assert_eq!(field_count(&|out| Attach::default().encode(out)), (Some(0x12), 14));
    assert_eq!(field_count(&|out| Flow::default().encode(out)), (Some(0x13), 11));
    assert_eq!(field_count(&|out| Transfer::default().encode(out)), (Some(0x14), 11));
}

/// A described section.
fn section(code: u64, value: Value) -> Bytes {
    encoded(&Value::Described(Box::new((Value::Ulong(code), value))))
}

#[test]
fn kept_message_does_not_keep_what_was_skipped() {
    let junk = section(0x71, Value::Binary(vec![0; 250_000].into()));
    let named = BusMessage::new("x").with_message_id("id").with_property("bytes", "y");
    for message in [BusMessage::new("x"), named] {
        let bare = message::bare_message(&message);
        let single: Bytes = [&junk[..], &bare[..]].concat().into();
        let kept = message::decode(single.clone(), || "fresh".to_owned()).unwrap();
        assert!(single.is_unique(), "{kept:?} keeps its delivery");
        assert_eq!((kept.body.clone(), kept.size_bytes() < 500), ("x".into(), true));
        assert_eq!(kept.application_properties, message.application_properties);

        let inside = section(0x75, Value::Binary(bare));
        let batch: Bytes = [&inside[..], &junk[..], &inside[..]].concat().into();
        let kept = message::decode_batch(batch.clone(), || "fresh".to_owned()).unwrap();
        assert!(batch.is_unique() && kept.len() == 2, "{kept:?} keep their batch");
    }
}

#[test]
fn copied_message_keeps_its_time_to_live() {
    let header = section(0x70, Value::List(vec![Value::Null, Value::Null, Value::Uint(7_000)]));
    let bare = message::bare_message(&BusMessage::new("x"));
    let junk = section(0x71, Value::Binary(vec![0; 10_000].into()));
    let whole: Bytes = [&header[..], &junk[..], &bare[..]].concat().into();
    let message = message::decode(whole, || "fresh".to_owned()).unwrap();
    assert_eq!(message.time_to_live, Some(std::time::Duration::from_secs(7)));
    assert_eq!(message.message_id.as_deref(), Some("fresh"));
}

#[test]
fn message_that_waited_in_a_long_line_comes_out_as_it_was_sent() {
    use crate::broker::{Broker, ReceiveMode};
    use std::time::Duration;
    let now = Duration::from_secs(1_000);
    let mut broker = Broker::default();
    let queue = broker.create_queue(now, "q", Default::default()).unwrap();
    let sent = |number: i64| {
        let message = BusMessage::new(format!("body {number}"))
            .with_message_id(format!("m-{number}"))
            .with_to("server-1")
            .with_property("number", number);
        let decoded = message::decode(message::bare_message(&message), || unreachable!()).unwrap();
        decoded.with_time_to_live(Duration::from_secs(60))
    };
    const COUNT: i64 = 10_050;
    for number in 0..COUNT {
        broker.publish(now, "q", sent(number)).unwrap();
    }
    let bytes = broker.queue("q").unwrap().bytes;
    assert_eq!(bytes, (0..COUNT).map(|number| sent(number).size_bytes()).sum::<u64>());
    for number in 0..COUNT {
        let mode = ReceiveMode::ReceiveAndDelete;
        let received = broker.receive(now, queue, mode).unwrap().unwrap();
        assert_eq!(*received.message, sent(number), "{number}");
    }
    assert_eq!(broker.queue("q").unwrap().bytes, 0);
}

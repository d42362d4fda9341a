//! Bytes as they come: what can be read can be written, and is read the same again.

use bytes::{Bytes, BytesMut};

use super::Sight;
use crate::broker::BusMessage;
use crate::emulator::amqp::DecodeError;
use crate::emulator::amqp::frame::{FrameError, FrameKind, put_frame, take_frame};
use crate::emulator::amqp::message::{self, Request};
use crate::emulator::amqp::performative::Performative;
use crate::emulator::amqp::value::{Decoder, Value, put_value};
use crate::emulator::engine::FRAME_BYTES_MAX;

/// One of each kind, with as many fields as it may have.
pub(super) fn samples() -> Vec<Vec<u8>> {
    let some = |text: &str| Some(text.to_owned());
    let message = BusMessage {
        correlation_id: some("correlation"),
        to: some("to"),
        reply_to: some("reply"),
        subject: some("subject"),
        session_id: some("session"),
        reply_to_session_id: some("reply session"),
        content_type: some("text/plain"),
        ..BusMessage::new("body").with_message_id("id")
    };
    let message = message.with_property("whole", 7).with_property("half", 0.5);
    let message = message.with_property("text", "value").with_property("truth", true);
    let bare = message::bare_message(&message);
    let mut batch = BytesMut::new();
    let data = Value::Described(Box::new((Value::Ulong(0x75), Value::Binary(bare.clone()))));
    (0..2).for_each(|_| put_value(&mut batch, &data));
    let mut frames = BytesMut::new();
    let fields = [
        (0x10, vec!["container".into(), Value::Null, Value::Uint(512)]),
        (0x11, vec![Value::Null, Value::Uint(0), Value::Uint(9), Value::Uint(9)]),
        (0x12, vec!["link".into(), Value::Uint(0), Value::Bool(true)]),
        (0x13, vec![Value::Uint(1), Value::Uint(9), Value::Uint(0), Value::Uint(9)]),
        (0x14, vec![Value::Uint(0), Value::Uint(0), Value::Binary(Bytes::from_static(b"tag"))]),
        (0x15, vec![Value::Bool(true), Value::Uint(0), Value::Uint(3), Value::Bool(true)]),
        (0x16, vec![Value::Uint(0), Value::Bool(true)]),
        (0x17, vec![]),
        (0x18, vec![]),
    ];
    for (code, fields) in fields {
        put_frame(&mut frames, FrameKind::Amqp, 0, |out| {
            let list = Value::List(fields);
            put_value(out, &Value::Described(Box::new((Value::Ulong(code), list))));
        });
    }
    let kinds = [&frames[..], &bare, &batch, &bare, &bare];
    let inputs = kinds.into_iter().enumerate();
    inputs.map(|(kind, data)| [&[kind as u8], data].concat()).collect()
}

/// The first byte says what the others are.
pub(super) fn run(data: &[u8], see: &mut dyn FnMut(Sight)) {
    let (&kind, rest) = data.split_first().unwrap_or((&0, &[]));
    let data = Bytes::copy_from_slice(rest);
    let (what, outcome) = match kind % 5 {
        0 => return frames(&data, see),
        1 => ("message", message::decode(data, fresh_id).map(|message| check_message(&message))),
        2 => {
            let messages = message::decode_batch(data, fresh_id);
            ("batch", messages.map(|messages| messages.iter().for_each(check_message)))
        }
        3 => ("request", Request::decode(data).map(drop)),
        _ => ("value", Decoder::new(data).value().map(|value| check_value(&value))),
    };
    see(("peer", what, outcome.map_or_else(word, |()| "read")));
}

fn word(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Truncated => "truncated",
        DecodeError::Constructor(_) => "constructor",
        DecodeError::Utf8 => "utf8",
        DecodeError::TooDeep => "too deep",
        DecodeError::Count => "count",
        DecodeError::Expected(what) => what,
    }
}

fn frames(data: &Bytes, see: &mut dyn FnMut(Sight)) {
    let mut input = BytesMut::from(&data[..]);
    loop {
        let before = input.len();
        let outcome = match take_frame(&mut input, FRAME_BYTES_MAX) {
            Ok(None) => break,
            Ok(Some(frame)) => {
                assert!(input.len() < before, "a frame has bytes");
                match Performative::decode(frame.body) {
                    Ok((performative, _)) => check_performative(&performative),
                    Err(error) => word(error),
                }
            }
            Err(FrameError::TooLarge { .. }) => "too large",
            Err(FrameError::Malformed(error)) => word(error),
        };
        see(("peer", "frame", outcome));
        if input.len() == before {
            break;
        }
    }
}

/// What was read once is written and read without a change; returns its name.
fn check_performative(performative: &Performative) -> &'static str {
    let again = |performative: &Performative| {
        let mut out = BytesMut::new();
        match performative {
            Performative::Open(open) => open.encode(&mut out),
            Performative::Begin(begin) => begin.encode(&mut out),
            Performative::Attach(attach) => attach.encode(&mut out),
            Performative::Flow(flow) => flow.encode(&mut out),
            Performative::Transfer(transfer) => transfer.encode(&mut out),
            Performative::Disposition(disposition) => disposition.encode(&mut out),
            Performative::Detach(detach) => detach.encode(&mut out),
            _ => return None,
        }
        let (again, rest) = Performative::decode(out.freeze()).expect("what we write can be read");
        assert!(rest.is_empty(), "nothing is left of what we write");
        Some(again)
    };
    if let Some(once) = again(performative) {
        // Some of what a peer may say we never do, so it is lost the first time.
        let twice = again(&once).expect("it is of the same kind");
        assert_eq!(format!("{once:?}"), format!("{twice:?}"));
    }
    name(performative)
}

pub(super) fn name(performative: &Performative) -> &'static str {
    match performative {
        Performative::Open(_) => "open",
        Performative::Begin(_) => "begin",
        Performative::Attach(_) => "attach",
        Performative::Flow(_) => "flow",
        Performative::Transfer(_) => "transfer",
        Performative::Disposition(_) => "disposition",
        Performative::Detach(_) => "detach",
        Performative::End => "end",
        Performative::Close(_) => "close",
        Performative::SaslInit(_) => "sasl init",
        Performative::Unknown(_) => "unknown",
    }
}

/// A message is the same after it was written as it came, and after it was written anew.
fn check_message(message: &BusMessage) {
    let fields = |message: &BusMessage| {
        let BusMessage { message_id, to, subject, reply_to, correlation_id, .. } = message;
        let BusMessage { content_type, session_id, reply_to_session_id, body, .. } = message;
        let one = (message_id, to, subject, reply_to, correlation_id);
        let two = (content_type, session_id, reply_to_session_id);
        format!("{one:?} {two:?} {:?} {body:?}", message.application_properties)
    };
    for is_changed in [false, true] {
        let bare = message::bare_message(&BusMessage { is_changed, ..message.clone() });
        let again = message::decode(bare, String::new).expect("what we write can be read");
        assert_eq!(fields(message), fields(&again), "changed: {is_changed}");
    }
}

fn check_value(value: &Value) {
    let again = |value: &Value| {
        let mut out = BytesMut::new();
        put_value(&mut out, value);
        Decoder::new(out.freeze()).value().expect("what we write can be read")
    };
    let once = again(value);
    // Some arrays become lists the first time.
    assert_eq!(format!("{once:?}"), format!("{:?}", again(&once)));
    if !format!("{value:?}").contains("Array") {
        assert_eq!(format!("{value:?}"), format!("{once:?}"));
    }
}

fn fresh_id() -> String {
    "fresh".to_owned()
}

//! Peers that do anything in any order: whole frames that make sense one by one, and seldom together.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::peer::{Peer, START};
use super::{FRAME_BYTES_MAX, OUTPUT_BYTES_MAX};
use crate::broker::{BusMessage, QueueOptions, SubscriptionOptions};
use crate::emulator::amqp::frame::{FrameKind, put_frame};
use crate::emulator::amqp::message;
use crate::emulator::amqp::outcome::{AmqpError, Outcome};
use crate::emulator::amqp::performative::{
    Attach, Detach, Disposition, Flow, Transfer, put_ending,
};
use crate::emulator::amqp::value::{Value, put_described_list, put_value};
use std::time::Duration;

/// What a peer may do next.
#[derive(Debug, Clone)]
enum Step {
    Attach { handle: u32, is_receiver: bool, address: usize, session: Option<Option<u8>> },
    Detach { handle: u32 },
    Credit { handle: u32, credit: u32, drain: bool },
    Send { handle: u32, id: u32, session: Option<u8>, is_cut: bool },
    Settle { first: u32, last: u32, outcome: u8, settled: bool },
    Ask { handle: u32, id: u32, operation: usize, number: i64 },
    Wait { seconds: u64 },
    Idle,
    Expire,
}

const ADDRESSES: [&str; 8] = [
    "t",
    "q",
    "s",
    "t/Subscriptions/s",
    "q/$DeadLetterQueue",
    "$cbs",
    "q/$management",
    "s/$management",
];
const OPERATIONS: [&str; 14] = [
    "peek-message",
    "renew-lock",
    "schedule-message",
    "cancel-scheduled-message",
    "receive-by-sequence-number",
    "update-disposition",
    "get-message-sessions",
    "renew-session-lock",
    "get-session-state",
    "set-session-state",
    "add-rule",
    "remove-rule",
    "enumerate-rules",
    "nonsense",
];

fn step() -> impl Strategy<Value = Step> {
    let (handle, small) = (0..5_u32, 0..12_u32);
    let session = || prop::option::of(prop::option::of(0..3_u8));
    prop_oneof![
        4 => (handle.clone(), any::<bool>(), 0..ADDRESSES.len(), session()).prop_map(
            |(handle, is_receiver, address, session)| {
                Step::Attach { handle, is_receiver, address, session }
            }
        ),
        1 => handle.clone().prop_map(|handle| Step::Detach { handle }),
        3 => (handle.clone(), 0..20_u32, any::<bool>())
            .prop_map(|(handle, credit, drain)| Step::Credit { handle, credit, drain }),
        4 => (handle.clone(), small.clone(), prop::option::of(0..3_u8), any::<bool>())
            .prop_map(|(handle, id, session, is_cut)| Step::Send { handle, id, session, is_cut }),
        3 => (small.clone(), small.clone(), 0..6_u8, any::<bool>())
            .prop_map(|(first, last, outcome, settled)| Step::Settle { first, last, outcome, settled }),
        3 => (handle, small, 0..OPERATIONS.len(), -2..9_i64)
            .prop_map(|(handle, id, operation, number)| Step::Ask { handle, id, operation, number }),
        1 => (0..40_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Idle),
        1 => Just(Step::Expire),
    ]
}

fn session_name(session: u8) -> String {
    format!("session-{session}")
}

fn take(peer: &mut Peer, step: Step) {
    match step {
        Step::Attach { handle, is_receiver, address, session } => {
            let mut terminus = BytesMut::new();
            put_described_list(&mut terminus, 0x28, 8, |out| {
                put_value(out, &ADDRESSES[address].into());
                (0..6).for_each(|_| put_value(out, &Value::Null));
                let filters = session.map(|session| {
                    let name = session.map_or(Value::Null, |s| Value::String(session_name(s)));
                    (Value::Symbol("com.microsoft:session-filter".to_owned()), name)
                });
                put_value(out, &Value::Map(filters.into_iter().collect()));
            });
            let terminus = terminus.freeze();
            let attach = Attach {
                name: format!("link-{handle}"),
                handle,
                is_receiver,
                source: Some(terminus.clone()),
                target: Some(terminus),
                ..Attach::default()
            };
            peer.send(0, |out| attach.encode(out));
        }
        Step::Detach { handle } => {
            let detach = Detach { handle, closed: true, error: None };
            peer.send(0, |out| detach.encode(out));
        }
        Step::Credit { handle, credit, drain } => {
            let flow = Flow {
                incoming_window: 50,
                handle: Some(handle),
                link_credit: Some(credit),
                drain,
                ..Flow::default()
            };
            peer.send(0, |out| flow.encode(out));
        }
        Step::Send { handle, id, session, is_cut } => {
            let message = BusMessage::new("body").with_message_id(format!("{id}"));
            let session_id = session.map(session_name);
            let payload = message::bare_message(&BusMessage { session_id, ..message });
            put_transfer(peer, handle, id, &payload[..payload.len() / (1 + usize::from(is_cut))]);
        }
        Step::Settle { first, last, outcome, settled } => {
            let outcome = match outcome {
                0 => None,
                1 => Some(Outcome::Accepted),
                2 => Some(Outcome::Rejected(Some(AmqpError::new("a:b", "c")))),
                3 => Some(Outcome::Released),
                flags => Some(Outcome::Modified {
                    delivery_failed: true,
                    undeliverable_here: flags == 4,
                    annotations: vec![("why".into(), Value::Int(1))],
                }),
            };
            let disposition = Disposition { is_receiver: true, first, last, settled, outcome };
            peer.send(0, |out| disposition.encode(out));
        }
        Step::Ask { handle, id, operation, number } => {
            put_transfer(peer, handle, id, &request(OPERATIONS[operation], number));
        }
        Step::Wait { seconds } => peer.wait_until(peer.now + Duration::from_secs(seconds)),
        Step::Idle => peer.connection.detach_idle(peer.now),
        Step::Expire => peer.connection.expire_tokens(peer.now),
    }
}

fn put_transfer(peer: &mut Peer, handle: u32, id: u32, payload: &[u8]) {
    let transfer = Transfer { handle, delivery_id: Some(id), ..Transfer::default() };
    peer.send(0, |out| {
        transfer.encode(out);
        out.extend_from_slice(payload);
    });
}

/// A request that has every field of any operation, some of them wrong.
fn request(operation: &str, number: i64) -> Bytes {
    let text = |text: &str| Value::String(text.to_owned());
    let scheduled = message::bare_message(&BusMessage::new("later").with_message_id("m"));
    let fields = [
        ("from-sequence-number", Value::Long(number)),
        ("message-count", Value::Int(number as i32)),
        ("sequence-numbers", Value::Array(vec![Value::Long(number)])),
        ("lock-tokens", Value::Array(vec![Value::Uuid([number as u8; 16])])),
        ("receiver-settle-mode", Value::Uint(number.unsigned_abs() as u32 % 3)),
        ("disposition-status", text(if number > 3 { "completed" } else { "defered" })),
        ("session-id", text(&session_name(number as u8))),
        ("session-state", Value::Binary(Bytes::from_static(b"state"))),
        ("skip", Value::Int(number as i32)),
        ("top", Value::Int(number as i32)),
        ("rule-name", text("rule")),
        (
            "messages",
            Value::List(vec![Value::Map(vec![(text("message"), Value::Binary(scheduled))])]),
        ),
    ];
    let body = fields.map(|(name, value)| (text(name), value)).to_vec();
    let properties = vec![(text("operation"), text(&format!("com.microsoft:{operation}")))];
    let described = |code, value| Value::Described(Box::new((Value::Ulong(code), value)));
    let mut out = BytesMut::new();
    put_described_list(&mut out, 0x73, 1, |out| put_value(out, &text("id")));
    put_value(&mut out, &described(0x74, Value::Map(properties)));
    put_value(&mut out, &described(0x77, Value::Map(body)));
    out.freeze()
}

proptest! {
    #[test]
    fn garbage_never_panics(chunks in vec(vec(any::<u8>(), 0..200), 1..8), is_opened in any::<bool>()) {
        let mut peer = if is_opened { Peer::opened(false) } else { Peer::new(true) };
        for chunk in chunks {
            peer.write(&chunk);
            peer.take_output();
        }
    }

    #[test]
    fn mutated_conversations_never_panic(
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut conversation = BytesMut::new();
        let mut terminus = BytesMut::new();
        put_described_list(&mut terminus, 0x28, 1, |out| put_value(out, &"t/Subscriptions/s".into()));
        let attach = Attach { is_receiver: true, source: Some(terminus.freeze()), ..Attach::default() };
        let flow = Flow { handle: Some(0), link_credit: Some(9), incoming_window: 9, ..Flow::default() };
        let outcome = Some(Outcome::Accepted);
        let disposition = Disposition { is_receiver: true, first: 0, last: 2, settled: false, outcome };
        let detach = Detach { handle: 0, closed: true, error: None };
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| attach.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| flow.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| disposition.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| detach.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| put_ending(out, 0x17, None));
        for (place, byte) in mutations {
            let place = place.index(conversation.len());
            conversation[place] = byte;
        }
        let mut peer = Peer::opened(false);
        peer.publish(3);
        peer.write(&conversation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn no_order_of_frames_panics_or_keeps_what_the_peer_held(steps in vec(step(), 1..60)) {
        let mut peer = Peer::opened(false);
        let options = QueueOptions {
            delivery: SubscriptionOptions { max_delivery_count: 3, ..SubscriptionOptions::default() },
            ..QueueOptions::default()
        };
        peer.bus.create_queue("q", options).unwrap();
        let delivery = SubscriptionOptions { requires_session: true, ..Default::default() };
        peer.bus.create_queue("s", QueueOptions { delivery, ..Default::default() }).unwrap();
        // Deferred messages that were asked for are locked by no link.
        let is_by_number = |step: &Step| matches!(step, Step::Ask { operation: 4, .. });
        let has_asked = steps.iter().any(is_by_number);
        for step in steps {
            take(&mut peer, step);
            prop_assert!(peer.take_output().len() <= OUTPUT_BYTES_MAX + FRAME_BYTES_MAX);
            if peer.connection.is_closed() {
                break;
            }
        }
        // When the peer is gone, nobody holds a message or a session but by a request's lock, and those
        // end by themselves.
        let bus = peer.bus.clone();
        let end = peer.now.max(START) + Duration::from_secs(3_600);
        drop(peer);
        bus.with_broker(|broker, _| {
            assert!(has_asked || broker.next_lock_expiry().is_none(), "nobody holds a lock");
            broker.expire(end);
            assert_eq!(broker.next_lock_expiry(), None);
            for name in ["q", "s"] {
                let info = broker.queue(name).unwrap();
                let peeked = broker.peek(end, info.queue, 0, 10_000, None).unwrap();
                let counted = info.counts.active + info.counts.scheduled;
                assert_eq!(peeked.len() as u64, counted, "{name} counts what it has");
            }
        });
    }
}

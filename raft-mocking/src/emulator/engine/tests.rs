//! The engine as a peer sees it that writes its own frames, without sockets and without a clock.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::OUTPUT_BYTES_MAX;
use super::peer::{Peer, START, close_error, detach_condition, transfers};
use crate::broker::BusMessage;
use crate::emulator::amqp::frame::{AMQP_HEADER, FrameKind, SASL_HEADER, put_frame};
use crate::emulator::amqp::message;
use crate::emulator::amqp::outcome::Outcome;
use crate::emulator::amqp::performative::{
    Attach, Begin, Detach, Disposition, Flow, Open, Performative, Transfer, put_ending,
};
use crate::emulator::amqp::value::{Value, put_described_list, put_value};

#[test]
fn unknown_protocol_is_answered_with_the_sasl_header() {
    for header in [*b"AMQP\x02\x01\x00\x00", *b"AMQP\x00\x00\x09\x01"] {
        let mut peer = Peer::new(true);
        peer.write(&header);
        assert_eq!(&peer.take_output()[..], SASL_HEADER);
        assert!(peer.connection.is_closed());
    }
}

#[test]
fn peer_without_sasl_is_nobody_until_it_puts_a_token() {
    let mut peer = Peer::new(true);
    peer.write(&AMQP_HEADER);
    assert_eq!(&peer.take_output()[..], AMQP_HEADER);
    peer.send(0, |out| Open::default().encode(out));
    assert!(matches!(peer.frames()[..], [Performative::Open(_)]));
    peer.begin(0, 1_000);
    peer.attach(0, false, "t", true);
    assert_eq!(detach_condition(&peer.frames()), "amqp:unauthorized-access");
    peer.attach(8, true, "$cbs", true);
    peer.attach(9, false, "$cbs", false);
    peer.put_token(0, "sb://localhost/t", 2_000);
    peer.frames();
    peer.attach(1, false, "t", true);
    assert!(matches!(peer.frames()[..], [Performative::Attach(_), Performative::Flow(_)]));
}

#[test]
fn refused_link_gets_a_null_terminus_then_a_detach_and_no_flow() {
    for (is_receiver, address, condition) in [
        (false, "nope", "amqp:not-found"),
        (true, "t/Subscriptions/nope", "amqp:not-found"),
        (true, "t", "amqp:not-allowed"),
        (false, "t/Subscriptions/s", "amqp:not-allowed"),
        (true, "t/Subscriptions/s/$Nope", "amqp:not-found"),
        (false, "t/Subscriptions/s/$DeadLetterQueue", "amqp:not-allowed"),
    ] {
        let mut peer = Peer::opened(false);
        peer.attach(0, is_receiver, address, true);
        let frames = peer.frames();
        let Performative::Attach(attach) = &frames[0] else { panic!("expected an attach") };
        let terminus = if is_receiver { &attach.source } else { &attach.target };
        assert_eq!((terminus, frames.len()), (&None, 2), "{address}");
        assert_eq!(detach_condition(&frames), condition, "{address}");
        // What the client pipelined is ignored, and the handle is free after its detach.
        peer.credit(0, 10, 0, false);
        let detach = Detach { handle: 0, closed: true, error: None };
        peer.send(0, |out| detach.encode(out));
        peer.attach(0, true, "t/Subscriptions/s", true);
        assert!(matches!(peer.frames()[..], [Performative::Attach(_)]));
    }
}

#[test]
fn no_message_is_sent_beyond_the_credit() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, "t/Subscriptions/s", true);
    peer.publish(5);
    assert_eq!(transfers(&peer.frames()), 0);
    peer.credit(0, 2, 0, false);
    assert_eq!(transfers(&peer.frames()), 2);
    // The peer had not seen the two when it wrote this.
    peer.credit(0, 3, 0, false);
    assert_eq!(transfers(&peer.frames()), 1);
    peer.credit(0, 10, 3, false);
    assert_eq!(transfers(&peer.frames()), 2);
}

#[test]
fn drain_uses_up_the_credit_after_what_is_there() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, "t/Subscriptions/s", true);
    peer.publish(2);
    peer.credit(0, 10, 0, true);
    let frames = peer.frames();
    assert_eq!(transfers(&frames), 2);
    let Some(Performative::Flow(flow)) = frames.last() else { panic!("expected a flow") };
    assert_eq!((flow.delivery_count, flow.link_credit, flow.drain), (Some(10), Some(0), true));
    peer.publish(1);
    assert_eq!(transfers(&peer.frames()), 0);
}

#[test]
fn session_window_holds_back_the_rest_of_a_large_message() {
    let mut peer = Peer::new(false);
    peer.open(&Open { max_frame_size: Some(512), ..Open::default() });
    peer.begin(0, 3);
    peer.attach(0, true, "t/Subscriptions/s", true);
    peer.frames();
    peer.bus.publish("t", BusMessage::new(vec![7; 2_000])).unwrap();
    peer.connection.tell(peer.connection.listener().take());
    let flow =
        Flow { handle: Some(0), link_credit: Some(1), incoming_window: 3, ..Flow::default() };
    peer.send(0, |out| flow.encode(out));
    let mut frames = peer.frames_with_payload();
    assert_eq!(frames.len(), 3);
    let flow = Flow { next_incoming_id: Some(4), incoming_window: 10, ..Flow::default() };
    peer.send(0, |out| flow.encode(out));
    frames.extend(peer.frames_with_payload());
    let more: Vec<_> = frames
        .iter()
        .map(|(frame, _)| matches!(frame, Performative::Transfer(Transfer { more: true, .. })))
        .collect();
    assert!(more[..more.len() - 1].iter().all(|&more| more) && !more[more.len() - 1]);
    let whole: Vec<u8> = frames.iter().flat_map(|(_, payload)| payload.to_vec()).collect();
    assert_eq!(message::decode(whole.into(), String::new).unwrap().body.len(), 2_000);
}

#[test]
fn accepted_messages_are_told_in_one_disposition() {
    let mut peer = Peer::opened(false);
    peer.attach(0, false, "t", false);
    peer.frames();
    let payload = message::bare_message(&BusMessage::new("x"));
    let mut input = BytesMut::new();
    for id in 0..10 {
        put_frame(&mut input, FrameKind::Amqp, 0, |out| {
            Transfer { delivery_id: Some(id), ..Transfer::default() }.encode(out);
            out.extend_from_slice(&payload);
        });
    }
    peer.write(&input);
    let [Performative::Disposition(disposition)] = &peer.frames()[..] else {
        panic!("expected one disposition")
    };
    assert_eq!((disposition.first, disposition.last, disposition.settled), (0, 9, true));
    assert_eq!(peer.bus.with_broker(|b, _| b.subscription("t", "s").unwrap().message_count), 10);
}

#[test]
fn batch_is_enqueued_as_its_messages() {
    let mut peer = Peer::opened(false);
    peer.attach(0, false, "t", false);
    peer.frames();
    let mut batch = BytesMut::new();
    for body in ["a", "b", "c"] {
        let inner = Value::Binary(message::bare_message(&BusMessage::new(body)));
        put_value(&mut batch, &Value::Described(Box::new((Value::Ulong(0x75), inner))));
    }
    let message_format = Some(message::BATCH_FORMAT);
    let transfer = Transfer { delivery_id: Some(0), message_format, ..Transfer::default() };
    peer.send(0, |out| {
        transfer.encode(out);
        out.extend_from_slice(&batch);
    });
    let mut receiver = peer.bus.receiver("t", "s").unwrap();
    let mut next = || receiver.try_receive().unwrap().map(|received| received.message.body.clone());
    assert_eq!([next(), next(), next()], ["a", "b", "c"].map(|body| Some(Bytes::from(body))));
    assert_eq!(next(), None);
}

#[test]
fn oversized_message_is_rejected_and_the_link_goes_on() {
    let mut peer = Peer::opened(false);
    peer.attach(0, false, "t", false);
    peer.frames();
    for part in 0..10 {
        peer.transfer(0, 0, part < 9, &[0; 40_000]);
    }
    let [Performative::Disposition(disposition)] = &peer.frames()[..] else {
        panic!("expected one disposition")
    };
    let Some(Outcome::Rejected(Some(error))) = &disposition.outcome else { panic!("not rejected") };
    assert_eq!(error.condition, "amqp:link:message-size-exceeded");
    peer.transfer(0, 1, false, &message::bare_message(&BusMessage::new("x")));
    let accepted = peer.frames();
    assert!(matches!(
        &accepted[..],
        [Performative::Disposition(Disposition { outcome: Some(Outcome::Accepted), .. })]
    ));
}

#[test]
fn unsettled_message_returns_when_its_receiver_goes() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, "t/Subscriptions/s", false);
    peer.publish(1);
    peer.credit(0, 10, 0, false);
    assert_eq!(transfers(&peer.frames()), 1);
    drop(peer.connection);
    let mut receiver = peer.bus.receiver("t", "s").unwrap();
    assert!(receiver.try_receive().unwrap().is_some());
}

fn modified(undeliverable_here: bool) -> Outcome {
    Outcome::Modified { delivery_failed: true, undeliverable_here, annotations: Vec::new() }
}

#[test]
fn settlement_is_answered_in_kind_and_a_lost_lock_is_told() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, "t/Subscriptions/s", false);
    peer.publish(2);
    peer.credit(0, 10, 0, false);
    peer.frames();
    let modified = modified(false);
    peer.settle(0, modified.clone());
    let frames = peer.frames();
    let Performative::Disposition(answer) = &frames[0] else { panic!("expected a disposition") };
    assert_eq!((answer.is_receiver, answer.settled), (false, true));
    assert_eq!(answer.outcome, Some(modified));
    peer.settle(1, Outcome::Accepted);
    peer.credit(0, 10, 2, false);
    let frames = peer.frames();
    assert_eq!(transfers(&frames), 1, "the abandoned message comes again");

    let expiry = peer.bus.with_broker(|broker, _| broker.next_lock_expiry()).unwrap();
    peer.wait_until(expiry + Duration::from_millis(1));
    peer.frames();
    peer.settle(2, Outcome::Accepted);
    let frames = peer.frames();
    let Some(Performative::Disposition(answer)) = frames.last() else { panic!("no answer") };
    let Some(Outcome::Rejected(Some(error))) = &answer.outcome else { panic!("not rejected") };
    assert_eq!(error.condition, "com.microsoft:message-lock-lost");
}

#[test]
fn peer_that_never_settles_gets_no_more_than_the_bound() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, "t/Subscriptions/s", false);
    peer.publish(6_000);
    peer.frames();
    let mut received = 0;
    loop {
        let flow = Flow {
            next_incoming_id: Some(1 + received),
            incoming_window: 10_000,
            handle: Some(0),
            link_credit: Some(10_000),
            delivery_count: Some(received),
            ..Flow::default()
        };
        peer.send(0, |out| flow.encode(out));
        let count = transfers(&peer.frames());
        if count == 0 {
            break;
        }
        received += count as u32;
    }
    assert!((5_000..5_100).contains(&received), "{received}");
    for id in 0..100 {
        peer.settle(id, Outcome::Accepted);
    }
    assert!(transfers(&peer.frames()) > 0, "settling makes room");
}

#[test]
fn link_needs_a_token_and_is_detached_when_it_expires() {
    let mut peer = Peer::opened(true);
    peer.attach(0, false, "t", false);
    assert_eq!(detach_condition(&peer.frames()), "amqp:unauthorized-access");

    peer.attach(8, true, "$cbs", true);
    peer.attach(9, false, "$cbs", false);
    peer.credit(8, 10, 0, false);
    let expiry_secs = peer.now.as_secs() + 30;
    peer.put_token(0, "sb://localhost/t", expiry_secs);
    assert_eq!(transfers(&peer.frames()), 1, "the answer of $cbs");
    peer.attach(1, false, "amqps://localhost/t", false);
    assert!(matches!(peer.frames()[..], [Performative::Attach(_), Performative::Flow(_)]));

    assert_eq!(peer.connection.next_timeout(), Some(Duration::from_secs(expiry_secs)));
    peer.wait_until(Duration::from_secs(expiry_secs));
    assert_eq!(detach_condition(&peer.frames()), "amqp:unauthorized-access");
}

#[test]
fn renewed_token_keeps_its_links() {
    let mut peer = Peer::opened(true);
    peer.attach(8, true, "$cbs", true);
    peer.attach(9, false, "$cbs", false);
    peer.credit(8, 10, 0, false);
    let expiry_secs = peer.now.as_secs() + 30;
    peer.put_token(0, "sb://localhost/t", expiry_secs);
    peer.attach(1, false, "t", false);
    peer.put_token(1, "sb://localhost/t", expiry_secs + 30);
    peer.frames();
    peer.wait_until(Duration::from_secs(expiry_secs));
    assert_eq!(peer.frames(), []);
}

#[test]
fn silent_peer_is_closed_and_a_waiting_one_gets_signs_of_life() {
    let mut peer = Peer::new(false);
    peer.open(&Open { idle_time_out_ms: Some(10_000), ..Open::default() });
    let start = peer.now;
    let heartbeat = peer.connection.next_timeout().unwrap();
    assert!(heartbeat <= start + Duration::from_secs(5));
    peer.wait_until(heartbeat);
    assert_eq!(&peer.take_output()[..], [0, 0, 0, 8, 2, 0, 0, 0]);
    peer.wait_until(start + Duration::from_secs(60));
    assert_eq!(close_error(&peer.frames()).condition, "amqp:connection:forced");
    peer.wait_until(start + Duration::from_secs(63));
    assert!(peer.connection.is_closed());
}

#[test]
fn peer_that_never_opens_is_dropped() {
    let mut peer = Peer::new(false);
    peer.write(&SASL_HEADER);
    let deadline = peer.connection.next_timeout().unwrap();
    peer.wait_until(deadline);
    assert!(peer.connection.is_closed());
}

#[test]
fn wrong_frames_end_with_the_right_error() {
    let unknown = |out: &mut BytesMut| put_described_list(out, 0x99, 0, |_| {});
    type Wrong<'a> = (&'a str, &'a dyn Fn(&mut Peer));
    let table: [Wrong<'_>; 7] = [
        ("amqp:not-implemented", &|peer| peer.send(0, unknown)),
        ("amqp:decode-error", &|peer| peer.send(0, |out| out.extend_from_slice(b"garbage"))),
        ("amqp:illegal-state", &|peer| peer.send(5, |out| Flow::default().encode(out))),
        ("amqp:illegal-state", &|peer| peer.send(0, |out| Begin::default().encode(out))),
        ("amqp:connection:framing-error", &|peer| peer.write(&[0, 1, 0, 1, 2, 0, 0, 0])),
        ("amqp:decode-error", &|peer| peer.write(&[0, 0, 0, 9, 1, 0, 0, 0, 0])),
        ("amqp:connection:framing-error", &|peer| {
            peer.send(2_000, |out| Begin::default().encode(out));
        }),
    ];
    for (index, (condition, act)) in table.into_iter().enumerate() {
        let mut peer = Peer::opened(false);
        act(&mut peer);
        assert_eq!(close_error(&peer.frames()).condition, condition, "case {index}");
    }
}

#[test]
fn wrong_link_frames_end_the_session_alone() {
    let mut peer = Peer::opened(false);
    peer.transfer(3, 0, false, b"");
    let ended = peer.frames();
    assert!(matches!(ended[..], [Performative::End]));
    // What was under way is ignored until the peer ends, too; then the channel is free.
    peer.transfer(3, 1, false, b"");
    peer.send(0, |out| put_ending(out, 0x17, None));
    assert_eq!(peer.frames(), []);
    peer.begin(0, 10);
}

#[test]
fn transactions_are_refused_and_do_nothing() {
    let mut peer = Peer::opened(false);
    let mut coordinator = BytesMut::new();
    put_described_list(&mut coordinator, 0x30, 0, |_| {});
    let target = Some(coordinator.freeze());
    let attach = Attach { name: "c".to_owned(), target, ..Attach::default() };
    peer.send(0, |out| attach.encode(out));
    assert_eq!(detach_condition(&peer.frames()), "amqp:not-implemented");

    let in_transaction = |code: u8, fields: &[Value]| {
        let state = Value::List(vec![Value::Binary(Bytes::from_static(b"1"))]);
        let state = Value::Described(Box::new((Value::Ulong(0x34), state)));
        let mut out = BytesMut::new();
        put_described_list(&mut out, code.into(), fields.len() + 1, |out| {
            fields.iter().chain([&state]).for_each(|field| put_value(out, field));
        });
        out
    };
    peer.attach(1, false, "t", false);
    peer.frames();
    let tag = Value::Binary(Bytes::from_static(b"tag"));
    let (no, null) = (Value::Bool(false), Value::Null);
    let id = Value::Uint(0);
    let transfer =
        [Value::Uint(1), id.clone(), tag, id.clone(), no.clone(), no.clone(), null.clone()];
    peer.send(0, |out| out.extend_from_slice(&in_transaction(0x14, &transfer)));
    let condition = |peer: &mut Peer| match &peer.frames()[..] {
        [
            Performative::Disposition(Disposition {
                outcome: Some(Outcome::Rejected(error)), ..
            }),
        ] => error.clone().unwrap().condition,
        other => panic!("expected a rejection, not {other:?}"),
    };
    assert_eq!(condition(&mut peer), "amqp:transaction:unknown-id");

    peer.attach(2, true, "t/Subscriptions/s", false);
    peer.publish(1);
    peer.credit(2, 1, 0, false);
    peer.frames();
    let disposition = [Value::Bool(true), id.clone(), id, no];
    peer.send(0, |out| out.extend_from_slice(&in_transaction(0x15, &disposition)));
    assert_eq!(condition(&mut peer), "amqp:transaction:unknown-id");
    let mut receiver = peer.bus.receiver("t", "s").unwrap();
    assert!(receiver.try_receive().unwrap().is_some(), "the message is given back");
    assert!(receiver.try_receive().unwrap().is_none(), "nothing was sent");
}

#[test]
fn flood_of_links_is_bounded() {
    let mut peer = Peer::opened(false);
    for handle in 0..8 {
        peer.attach(handle, true, "t/Subscriptions/s", true);
    }
    peer.frames();
    peer.attach(8, true, "t/Subscriptions/s", true);
    assert_eq!(detach_condition(&peer.frames()), "amqp:resource-limit-exceeded");
}

#[test]
fn flood_of_refused_links_is_bounded() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, &"q".repeat(10_000), true);
    assert_eq!(detach_condition(&peer.frames()), "amqp:invalid-field");
    let mut refused = 1;
    for channel in 1..3 {
        peer.begin(channel, 1_000);
        for handle in 0..1_000 {
            let attach = Attach { name: format!("{handle}"), handle, ..Attach::default() };
            peer.send(channel, |out| attach.encode(out));
            let frames = peer.frames();
            if let [.., Performative::Close(_)] = frames[..] {
                assert_eq!(close_error(&frames).condition, "amqp:resource-limit-exceeded");
                assert_eq!(refused, 1_024 + 8);
                return;
            }
            refused += 1;
        }
    }
    panic!("{refused} links were refused, one by one");
}

#[test]
fn reading_stops_while_the_output_waits() {
    let mut peer = Peer::opened(false);
    let mut input = BytesMut::new();
    let echo = Flow { echo: true, ..Flow::default() };
    for _ in 0..50_000 {
        put_frame(&mut input, FrameKind::Amqp, 0, |out| echo.encode(out));
    }
    peer.connection.read(peer.now, &mut input);
    assert!(!input.is_empty());
    assert!(peer.connection.output().len() < OUTPUT_BYTES_MAX + 1_000);
}

#[test]
fn waiting_messages_do_not_pile_up_in_the_output() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, "t/Subscriptions/s", true);
    for _ in 0..20 {
        peer.bus.publish("t", BusMessage::new(vec![0; 200_000])).unwrap();
    }
    peer.credit(0, 1_000, 0, false);
    assert!(peer.connection.output().len() < 2 * OUTPUT_BYTES_MAX);
    let mut count = 0;
    while !peer.connection.output().is_empty() {
        let frames = peer.frames();
        let is_last = |frame: &&Performative| {
            matches!(frame, Performative::Transfer(Transfer { more: false, .. }))
        };
        count += frames.iter().filter(is_last).count();
        peer.connection.pump(peer.now);
    }
    assert_eq!(count, 20);
}

#[test]
fn session_receiver_is_refused_where_no_session_is_required() {
    let described = |name: &str, value| Value::Described(Box::new((name.into(), value)));
    let filters = [
        ("com.microsoft:session-filter", described("other", "one".into())),
        // The next session, whichever it is.
        ("com.microsoft:session-filter", Value::Null),
        ("filter", described("com.microsoft:session-filter", "one".into())),
    ];
    for (key, filter) in filters {
        let mut peer = Peer::opened(false);
        let mut source = BytesMut::new();
        put_described_list(&mut source, 0x28, 8, |out| {
            put_value(out, &"t/Subscriptions/s".into());
            (0..6).for_each(|_| put_value(out, &Value::Null));
            put_value(out, &Value::Map(vec![(Value::Symbol(key.to_owned()), filter)]));
        });
        let source = Some(source.freeze());
        let attach = Attach { is_receiver: true, source, ..Attach::default() };
        peer.send(0, |out| attach.encode(out));
        let frames = peer.frames();
        assert_eq!(detach_condition(&frames), "amqp:not-allowed");
        let Performative::Attach(answer) = &frames[0] else { panic!("expected an attach") };
        assert_eq!(answer.source, None);
    }
}

#[test]
fn scheduled_message_waits_for_its_time() {
    let at = START + Duration::from_secs(100);
    let scheduled =
        (Value::Symbol("x-opt-scheduled-enqueue-time".to_owned()), message::timestamp(at));
    let annotations = Value::Described(Box::new((Value::Ulong(0x72), Value::Map(vec![scheduled]))));
    let mut message = BytesMut::new();
    put_value(&mut message, &annotations);
    message.extend_from_slice(&message::bare_message(&BusMessage::new("later")));
    let mut batch = BytesMut::new();
    let inner = Value::Binary(message.clone().freeze());
    put_value(&mut batch, &Value::Described(Box::new((Value::Ulong(0x75), inner))));

    let mut peer = Peer::opened(false);
    peer.attach(0, false, "t", false);
    peer.frames();
    let payloads = [(0, message), (message::BATCH_FORMAT, batch)];
    for (id, (format, payload)) in (0..).zip(payloads) {
        let transfer =
            Transfer { delivery_id: Some(id), message_format: Some(format), ..Transfer::default() };
        peer.send(0, |out| {
            transfer.encode(out);
            out.extend_from_slice(&payload);
        });
    }
    let count = |peer: &Peer| {
        peer.bus.with_broker(|broker, _| broker.subscription("t", "s").unwrap().message_count)
    };
    peer.wait_until(at - Duration::from_millis(1));
    assert_eq!(count(&peer), 0);
    peer.wait_until(at);
    assert_eq!(count(&peer), 2);
}

#[test]
fn deferred_message_is_answered_and_set_aside() {
    let mut peer = Peer::opened(false);
    peer.attach(0, true, "t/Subscriptions/s", false);
    peer.publish(1);
    peer.credit(0, 1, 0, false);
    peer.frames();
    peer.settle(0, modified(true));
    let frames = peer.frames();
    let Some(Performative::Disposition(answer)) = frames.first() else { panic!("no answer") };
    assert_eq!(answer.outcome, Some(modified(true)));
    let mut receiver = peer.bus.receiver("t", "s").unwrap();
    assert!(receiver.try_receive().unwrap().is_none(), "it is received by its number only");
}

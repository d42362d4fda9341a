//! A peer for tests: it writes its own frames, without sockets and without a clock.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Connection, FRAME_BYTES_MAX, Settings};
use crate::broker::{BrokerConfig, BusMessage, SubscriptionOptions};
use crate::bus::Bus;
use crate::emulator::amqp::frame::{AMQP_HEADER, FrameKind, SASL_HEADER, put_frame, take_frame};
use crate::emulator::amqp::outcome::{AmqpError, Outcome};
use crate::emulator::amqp::performative::{
    Attach, Begin, Detach, Disposition, Flow, Open, Performative, Transfer,
};
use crate::emulator::amqp::value::{Value, put_described_list, put_symbol, put_value};
use crate::emulator::sas::tests::sign;
use crate::emulator::sas::{DEFAULT_KEY, DEFAULT_KEY_NAME, Key, KeyRing};

/// A peer that writes frames by hand, and the connection it talks to.
pub(super) struct Peer {
    pub(super) bus: Bus,
    pub(super) connection: Connection,
    pub(super) now: Duration,
}

/// The start of the test's clock.
pub(super) const START: Duration = Duration::from_secs(1_000);

impl Peer {
    pub(super) fn new(is_checking: bool) -> Self {
        let bus = Bus::with_config(BrokerConfig::default(), START);
        bus.create_topic("t", Default::default()).unwrap();
        let lock_duration = Duration::from_secs(10);
        let options = SubscriptionOptions { lock_duration, ..Default::default() };
        bus.create_subscription("t", "s", options).unwrap();
        let settings = Settings {
            keys: KeyRing { is_checking, keys: vec![Key::root(DEFAULT_KEY_NAME, DEFAULT_KEY)] },
            idle_timeout: Duration::from_secs(60),
            link_idle_timeout: Duration::from_secs(600),
            links_max: 8,
            counter: AtomicU64::new(1),
        };
        let connection = Connection::new(bus.clone(), Arc::new(settings));
        // A little later than the real clock, which stands still by comparison.
        Self { bus, connection, now: START + Duration::from_secs(1) }
    }

    /// A peer whose session on channel 0 has begun.
    pub(super) fn opened(is_checking: bool) -> Self {
        let mut peer = Self::new(is_checking);
        peer.open(&Open { container_id: "peer".to_owned(), ..Open::default() });
        peer.begin(0, 1_000);
        peer
    }

    pub(super) fn open(&mut self, open: &Open) {
        self.write(&SASL_HEADER);
        let mut init = BytesMut::new();
        put_frame(&mut init, FrameKind::Sasl, 0, |out| {
            put_described_list(out, 0x41, 1, |out| put_symbol(out, "ANONYMOUS"));
        });
        self.write(&init);
        self.write(&AMQP_HEADER);
        let output = self.take_output();
        assert!(output.starts_with(&SASL_HEADER) && output.ends_with(&AMQP_HEADER));
        self.send(0, |out| open.encode(out));
        assert!(matches!(self.frames()[..], [Performative::Open(_)]));
    }

    pub(super) fn begin(&mut self, channel: u16, incoming_window: u32) {
        let begin = Begin { incoming_window, ..Begin::default() };
        self.send(channel, |out| begin.encode(out));
        assert!(matches!(self.frames()[..], [Performative::Begin(_)]));
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.connection.read(self.now, &mut input);
        self.connection.pump(self.now);
    }

    pub(super) fn send(&mut self, channel: u16, body: impl FnOnce(&mut BytesMut)) {
        let mut frame = BytesMut::new();
        put_frame(&mut frame, FrameKind::Amqp, channel, body);
        self.write(&frame);
    }

    pub(super) fn attach(
        &mut self,
        handle: u32,
        is_receiver: bool,
        address: &str,
        is_settled: bool,
    ) {
        let mut terminus = BytesMut::new();
        put_described_list(&mut terminus, 0x28, 1, |out| put_value(out, &address.into()));
        let attach = Attach {
            name: format!("link-{handle}"),
            handle,
            is_receiver,
            sender_settle_mode: u8::from(is_settled),
            receiver_settle_mode: u8::from(!is_settled),
            source: Some(terminus.clone().freeze()),
            target: Some(terminus.freeze()),
            initial_delivery_count: (!is_receiver).then_some(0),
            ..Attach::default()
        };
        self.send(0, |out| attach.encode(out));
    }

    pub(super) fn credit(&mut self, handle: u32, credit: u32, delivery_count: u32, drain: bool) {
        let flow = Flow {
            next_incoming_id: Some(1),
            incoming_window: 1_000,
            handle: Some(handle),
            link_credit: Some(credit),
            delivery_count: Some(delivery_count),
            drain,
            ..Flow::default()
        };
        self.send(0, |out| flow.encode(out));
    }

    pub(super) fn transfer(&mut self, handle: u32, id: u32, more: bool, payload: &[u8]) {
        let transfer = Transfer {
            handle,
            delivery_id: Some(id),
            more,
            settled: Some(false),
            ..Transfer::default()
        };
        self.send(0, |out| {
            transfer.encode(out);
            out.extend_from_slice(payload);
        });
    }

    pub(super) fn settle(&mut self, id: u32, outcome: Outcome) {
        let disposition = Disposition {
            is_receiver: true,
            first: id,
            last: id,
            settled: false,
            outcome: Some(outcome),
        };
        self.send(0, |out| disposition.encode(out));
    }

    pub(super) fn take_output(&mut self) -> Bytes {
        self.connection.output().split().freeze()
    }

    /// What came since the last call.
    pub(super) fn frames(&mut self) -> Vec<Performative> {
        self.frames_with_payload().into_iter().map(|(performative, _)| performative).collect()
    }

    pub(super) fn frames_with_payload(&mut self) -> Vec<(Performative, Bytes)> {
        let mut output = BytesMut::from(&self.take_output()[..]);
        let mut frames = Vec::new();
        while let Some(frame) = take_frame(&mut output, FRAME_BYTES_MAX).unwrap() {
            if !frame.body.is_empty() {
                frames.push(Performative::decode(frame.body).unwrap());
            }
        }
        assert!(output.is_empty(), "output ends with a whole frame");
        frames
    }

    pub(super) fn publish(&mut self, count: usize) {
        for number in 0..count {
            self.bus.publish("t", BusMessage::new(format!("{number}"))).unwrap();
        }
        self.connection.tell(self.connection.listener().take());
        self.connection.pump(self.now);
    }

    pub(super) fn wait_until(&mut self, now: Duration) {
        self.now = now;
        self.bus.with_broker(|broker, _| broker.expire(now));
        self.connection.handle_timeout(now);
        self.connection.pump(now);
    }

    pub(super) fn put_token(&mut self, id: u32, resource: &str, expiry_secs: u64) {
        let token = sign(resource, expiry_secs, DEFAULT_KEY_NAME, DEFAULT_KEY);
        let mut request = BytesMut::new();
        put_described_list(&mut request, 0x73, 1, |out| put_value(out, &"id".into()));
        let properties = [("operation", "put-token"), ("type", "jwt"), ("name", resource)];
        let properties = properties.map(|(name, value)| (name.into(), value.into()));
        let described = |code, value| Value::Described(Box::new((Value::Ulong(code), value)));
        put_value(&mut request, &described(0x74, Value::Map(properties.to_vec())));
        put_value(&mut request, &described(0x77, token.as_str().into()));
        self.transfer(9, id, false, &request);
    }
}

pub(super) fn close_error(frames: &[Performative]) -> &AmqpError {
    match frames.last() {
        Some(Performative::Close(Some(error))) => error,
        other => panic!("expected a close with an error, not {other:?}"),
    }
}

pub(super) fn detach_condition(frames: &[Performative]) -> &str {
    match frames.last() {
        Some(Performative::Detach(Detach { closed: true, error: Some(error), .. })) => {
            &error.condition
        }
        other => panic!("expected a detach with an error, not {other:?}"),
    }
}

pub(super) fn transfers(frames: &[Performative]) -> usize {
    frames.iter().filter(|frame| matches!(frame, Performative::Transfer(_))).count()
}

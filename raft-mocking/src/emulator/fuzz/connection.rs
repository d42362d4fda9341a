//! A peer that does anything in any order: frames that make sense one by one, seldom together, and
//! bytes that make none.
//!
//! What must hold: the output is bounded, though the peer may not read it; it consists of whole frames
//! that we would understand ourselves; whoever has no credit gets no message; and when the peer is
//! gone, it holds nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Sight, Source, frame};
use crate::broker::{
    Broker, BrokerConfig, BusMessage, Faults, QueueOptions, Rule, SubscriptionOptions,
};
use crate::bus::Bus;
use crate::emulator::amqp::frame::{AMQP_HEADER, FrameKind, SASL_HEADER, put_frame, take_frame};
use crate::emulator::amqp::message;
use crate::emulator::amqp::outcome::Outcome;
use crate::emulator::amqp::performative::Performative;
use crate::emulator::amqp::value::{Value, put_value};
use crate::emulator::engine::{Connection, FRAME_BYTES_MAX, OUTPUT_BYTES_MAX, Settings};
use crate::emulator::sas::{DEFAULT_KEY, DEFAULT_KEY_NAME, Key, KeyRing};

const START: Duration = Duration::from_secs(1_000);
/// What one input may come to.
const STEPS_MAX: usize = 300;

const ADDRESSES: [&str; 12] = [
    "t",
    "q",
    "s",
    "t/Subscriptions/s",
    "q/$DeadLetterQueue",
    "$cbs",
    "q/$management",
    "s/$management",
    "t/Subscriptions/s/$management",
    "nothing",
    "q/",
    "",
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
/// The operation after which a message may be locked by no link.
const BY_NUMBER: usize = 4;

/// The conditions of errors, so that what was seen has a name for as long as the program runs.
const CONDITIONS: [&str; 23] = [
    "amqp:decode-error",
    "amqp:connection:framing-error",
    "amqp:connection:forced",
    "amqp:link:detach-forced",
    "amqp:illegal-state",
    "amqp:invalid-field",
    "amqp:not-allowed",
    "amqp:not-implemented",
    "amqp:resource-limit-exceeded",
    "amqp:link:message-size-exceeded",
    "amqp:link:transfer-limit-exceeded",
    "amqp:session:handle-in-use",
    "amqp:session:unattached-handle",
    "amqp:unauthorized-access",
    "amqp:not-found",
    "amqp:transaction:unknown-id",
    "com.microsoft:argument-error",
    "com.microsoft:server-busy",
    "com.microsoft:message-lock-lost",
    "com.microsoft:session-lock-lost",
    "com.microsoft:session-cannot-be-locked",
    "com.microsoft:entity-disabled",
    "com.microsoft:timeout",
];

pub(super) fn run(data: &[u8], see: &mut dyn FnMut(Sight)) {
    let mut source = Source { rest: data };
    let mut peer = Peer::new(source.byte());
    for _ in 0..STEPS_MAX {
        if source.rest.is_empty() || peer.connection.is_closed() {
            break;
        }
        let what = peer.step(&mut source);
        peer.check(what, see);
    }
    peer.leave();
}

struct Peer {
    bus: Bus,
    connection: Connection,
    now: Duration,
    /// What was sent and not read by the connection yet.
    input: BytesMut,
    is_reading: bool,
    /// The most deliveries that each link may have by now: what was granted, ever.
    granted: BTreeMap<(u16, u32), u64>,
    has_asked_by_number: bool,
}

fn create(broker: &mut Broker, now: Duration) {
    let lock_duration = Duration::from_secs(10);
    let delivery =
        SubscriptionOptions { lock_duration, max_delivery_count: 3, ..Default::default() };
    let sessions = SubscriptionOptions { requires_session: true, ..delivery.clone() };
    let queue = |delivery| QueueOptions { delivery, ..QueueOptions::default() };
    // One that is there already may stay.
    _ = broker.create_topic(now, "t", Default::default());
    _ = broker.create_subscription(now, "t", "s", delivery.clone());
    _ = broker.create_queue(now, "q", queue(delivery));
    _ = broker.create_queue(now, "s", queue(sessions));
}

impl Peer {
    fn new(flags: u8) -> Self {
        let is_checking = flags & 1 == 1;
        let config = BrokerConfig { message_bytes_max: 2_000, ..BrokerConfig::default() };
        let bus = Bus::with_config(config, START);
        bus.with_broker(|broker, _| create(broker, START));
        let settings = Settings {
            keys: KeyRing { is_checking, keys: vec![Key::root(DEFAULT_KEY_NAME, DEFAULT_KEY)] },
            idle_timeout: Duration::from_secs(60),
            link_idle_timeout: Duration::from_secs(100),
            links_max: 4,
            counter: AtomicU64::new(1),
        };
        let connection = Connection::new(bus.clone(), Arc::new(settings));
        let mut peer = Self {
            bus,
            connection,
            now: START + Duration::from_secs(1),
            input: BytesMut::new(),
            is_reading: true,
            granted: BTreeMap::new(),
            has_asked_by_number: false,
        };
        if flags & 2 == 0 {
            // As far as two sessions that have begun.
            let anonymous = [Value::Symbol("ANONYMOUS".to_owned())];
            if flags & 4 == 0 {
                peer.input.extend_from_slice(&SASL_HEADER);
                peer.frame(FrameKind::Sasl, 0, 0x41, &anonymous, b"");
            }
            peer.input.extend_from_slice(&AMQP_HEADER);
            let frame_size = if flags & 8 == 0 { 65_536 } else { 512 };
            peer.put(0, 0x10, &["peer".into(), Value::Null, Value::Uint(frame_size)], b"");
            for channel in 0..2 {
                peer.put(channel, 0x11, &begin(100), b"");
            }
            peer.work();
        }
        peer
    }

    fn frame(
        &mut self,
        kind: FrameKind,
        channel: u16,
        code: u64,
        fields: &[Value],
        payload: &[u8],
    ) {
        let list = Value::List(fields.to_vec());
        put_frame(&mut self.input, kind, channel, |out| {
            put_value(out, &described(code, list));
            out.extend_from_slice(payload);
        });
    }

    fn put(&mut self, channel: u16, code: u64, fields: &[Value], payload: &[u8]) {
        self.frame(FrameKind::Amqp, channel, code, fields, payload);
    }

    /// Does one thing; returns its name.
    fn step(&mut self, source: &mut Source<'_>) -> &'static str {
        let choice = source.byte();
        let channel = u16::from(choice >> 7);
        let name = match choice % 20 {
            0..3 => self.attach(channel, source),
            3 => {
                let fields = [handle(source), Value::Bool(source.flag())];
                self.put(channel, 0x16, &fields, b"");
                "detach"
            }
            4..7 => self.flow(channel, source),
            7..9 => self.send(channel, source),
            9..11 => self.settle(channel, source),
            11..13 => self.ask(channel, source),
            13 => {
                let fields = begin(source.number());
                match source.below(4) {
                    0 => self.put(source.number() as u16, 0x11, &fields, b""),
                    1 => self.put(channel, 0x17, &[], b""),
                    2 => self.put(channel, 0x10, &["again".into()], b""),
                    _ => self.put(channel, 0x18, &[], b""),
                }
                "begin or end"
            }
            14 => {
                let is_framed = source.flag();
                let bytes = source.bytes();
                if is_framed {
                    put_frame(&mut self.input, FrameKind::Amqp, channel, |out| {
                        out.extend_from_slice(bytes);
                    });
                } else {
                    self.input.extend_from_slice(bytes);
                }
                "bytes"
            }
            15 => {
                self.wait(Duration::from_secs(source.below(80) as u64));
                "wait"
            }
            16 => {
                self.others(source);
                "others"
            }
            17 => {
                self.broker(source);
                "broker"
            }
            18 => {
                self.is_reading = source.flag();
                "reading"
            }
            _ => {
                match source.flag() {
                    true => self.connection.detach_idle(self.now),
                    false => self.connection.expire_tokens(self.now),
                }
                "control"
            }
        };
        // Now and then it comes in two parts.
        if choice & 0x40 != 0 && !self.input.is_empty() {
            let rest = self.input.split_off(source.below(256).min(self.input.len()));
            self.work();
            self.input.unsplit(rest);
        }
        self.work();
        name
    }

    /// What the task of a connection does.
    fn work(&mut self) {
        self.connection.read(self.now, &mut self.input);
        self.connection.tell(self.connection.listener().take());
        self.connection.pump(self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        self.bus.with_broker(|broker, _| broker.expire(now));
        self.connection.handle_timeout(now);
    }

    fn attach(&mut self, channel: u16, source: &mut Source<'_>) -> &'static str {
        let link = handle(source);
        let is_receiver = source.flag();
        let address = ADDRESSES[source.below(ADDRESSES.len())];
        let filter = match source.below(4) {
            0 => Some(Value::Null),
            1 => Some(session_name(source.byte())),
            _ => None,
        };
        let filters =
            filter.map(|filter| (Value::Symbol("com.microsoft:session-filter".to_owned()), filter));
        let mut terminus = vec![Value::Null; 8];
        terminus[0] = address.into();
        terminus[7] = Value::Map(filters.into_iter().collect());
        let source_terminus = described(0x28, Value::List(terminus.clone()));
        let target = match source.below(16) {
            0 => described(0x30, Value::List(Vec::new())),
            1 => Value::Null,
            _ => described(0x29, Value::List(vec![address.into()])),
        };
        let Value::Uint(number) = link else { return "attach" };
        let fields = [
            Value::String(format!("link-{number}")),
            link,
            Value::Bool(is_receiver),
            Value::Ubyte(source.below(3) as u8),
            Value::Ubyte(source.below(2) as u8),
            source_terminus,
            target,
            Value::Null,
            Value::Null,
            Value::Uint(0),
        ];
        self.put(channel, 0x12, &fields, b"");
        "attach"
    }

    fn flow(&mut self, channel: u16, source: &mut Source<'_>) -> &'static str {
        let link = if source.below(8) == 0 { Value::Null } else { handle(source) };
        let credit = source.number();
        if let Value::Uint(number) = link {
            *self.granted.entry((channel, number)).or_default() += u64::from(credit);
        }
        let window = if source.flag() { 100 } else { source.number() };
        let fields = [
            Value::Uint(1),
            Value::Uint(window),
            Value::Uint(0),
            Value::Uint(100),
            link,
            if source.flag() { Value::Null } else { Value::Uint(source.number()) },
            Value::Uint(credit),
            Value::Null,
            Value::Bool(source.flag()),
            Value::Bool(source.flag()),
        ];
        self.put(channel, 0x13, &fields, b"");
        "flow"
    }

    fn send(&mut self, channel: u16, source: &mut Source<'_>) -> &'static str {
        let session_id = source.flag().then(|| session_text(source.byte()));
        let body = vec![b'x'; source.number().min(3_000) as usize];
        let sent = BusMessage::new(body).with_message_id(format!("{}", source.below(8)));
        let bare = message::bare_message(&BusMessage { session_id, ..sent });
        let cut = if source.below(4) == 0 { source.below(256).min(bare.len()) } else { bare.len() };
        let (first, second) = bare.split_at(cut);
        let more = !second.is_empty() && source.flag();
        self.transfer(channel, source, more, first);
        if more && source.flag() {
            self.transfer(channel, source, false, second);
        }
        "transfer"
    }

    fn transfer(&mut self, channel: u16, source: &mut Source<'_>, more: bool, payload: &[u8]) {
        let state = match source.below(16) {
            0 => described(0x34, Value::List(vec![Value::Binary(Bytes::from_static(b"1"))])),
            _ => Value::Null,
        };
        let format = if source.below(8) == 0 { message::BATCH_FORMAT } else { 0 };
        let fields = [
            handle(source),
            Value::Uint(source.number()),
            Value::Binary(Bytes::from_static(b"tag")),
            Value::Uint(format),
            Value::Bool(source.flag()),
            Value::Bool(more),
            Value::Null,
            state,
            Value::Null,
            Value::Bool(source.below(16) == 1),
        ];
        self.put(channel, 0x14, &fields, payload);
    }

    fn settle(&mut self, channel: u16, source: &mut Source<'_>) -> &'static str {
        let why = Value::Map(vec![("why".into(), Value::Int(1))]);
        let state = match source.below(7) {
            0 => Value::Null,
            1 => described(0x24, Value::List(Vec::new())),
            2 => {
                let error = vec![Value::Symbol("a:b".to_owned()), "c".into(), why];
                described(0x25, Value::List(vec![described(0x1d, Value::List(error))]))
            }
            3 => described(0x26, Value::List(Vec::new())),
            4 => described(0x34, Value::List(Vec::new())),
            kind => {
                let fields = vec![Value::Bool(true), Value::Bool(kind == 5), why];
                described(0x27, Value::List(fields))
            }
        };
        let (first, last) = (source.number(), source.number());
        let fields = [
            Value::Bool(source.below(8) != 0),
            Value::Uint(first),
            Value::Uint(last),
            Value::Bool(source.flag()),
            state,
        ];
        self.put(channel, 0x15, &fields, b"");
        "disposition"
    }

    /// A request that has every field of any operation, some of them wrong.
    fn ask(&mut self, channel: u16, source: &mut Source<'_>) -> &'static str {
        let operation = source.below(OPERATIONS.len() + 1);
        let number = i64::from(source.byte() as i8);
        self.has_asked_by_number |= operation == BY_NUMBER;
        let text = |text: &str| Value::String(text.to_owned());
        let scheduled = message::bare_message(&BusMessage::new("later").with_message_id("m"));
        let token = Value::Uuid([number as u8; 16]);
        let fields = [
            ("from-sequence-number", Value::Long(number)),
            ("message-count", Value::Int(number as i32)),
            ("sequence-numbers", Value::Array(vec![Value::Long(number)])),
            ("lock-tokens", Value::Array(vec![token])),
            ("receiver-settle-mode", Value::Uint(number.unsigned_abs() as u32 % 3)),
            ("disposition-status", text(if number > 3 { "completed" } else { "defered" })),
            ("session-id", session_name(number as u8)),
            ("session-state", Value::Binary(Bytes::from_static(b"state"))),
            ("skip", Value::Int(number as i32)),
            ("top", Value::Int(number as i32)),
            ("rule-name", text("rule")),
            (
                "messages",
                Value::List(vec![Value::Map(vec![(text("message"), Value::Binary(scheduled))])]),
            ),
        ];
        let body = Value::Map(fields.map(|(name, value)| (text(name), value)).to_vec());
        let properties = match OPERATIONS.get(operation) {
            Some(operation) => {
                vec![(text("operation"), text(&format!("com.microsoft:{operation}")))]
            }
            None => {
                let words = [("operation", "put-token"), ("type", "jwt"), ("name", "q")];
                words.map(|(name, value)| (text(name), text(value))).to_vec()
            }
        };
        let mut payload = BytesMut::new();
        put_value(&mut payload, &described(0x73, Value::List(vec![text("id")])));
        put_value(&mut payload, &described(0x74, Value::Map(properties)));
        put_value(&mut payload, &described(0x77, body));
        self.transfer(channel, source, false, &payload);
        "request"
    }

    /// What others do to the same entities.
    fn others(&mut self, source: &mut Source<'_>) {
        let name = ["t", "q", "s"][source.below(3)];
        let session_id = Some(session_text(source.byte()));
        let size = source.number().min(1_500) as usize;
        for _ in 0..source.below(20) {
            let message = BusMessage::new(vec![b'y'; size]);
            // The entity may be gone, or full.
            _ = self.bus.publish(name, BusMessage { session_id: session_id.clone(), ..message });
        }
    }

    /// What becomes of the entities.
    fn broker(&mut self, source: &mut Source<'_>) {
        let (now, choice) = (self.now, source.below(8));
        self.bus.with_broker(|broker, _| match choice {
            0 => _ = broker.delete_queue("q"),
            1 => _ = broker.delete_queue("s"),
            2 => _ = broker.delete_subscription("t", "s"),
            3 => _ = broker.remove_rule("t", "s", Rule::DEFAULT_NAME),
            4 => broker.set_faults(Faults { is_busy: true, ..Faults::default() }),
            5 => broker.set_faults(Faults { credits_per_second: Some(3), ..Faults::default() }),
            6 => broker.set_faults(Faults::default()),
            _ => create(broker, now),
        });
        self.bus.wake_all();
    }

    /// What must hold after each step.
    fn check(&mut self, what: &'static str, see: &mut dyn FnMut(Sight)) {
        let waiting = self.connection.output().len();
        assert!(waiting <= OUTPUT_BYTES_MAX + 2 * FRAME_BYTES_MAX, "{waiting} bytes of output");
        if !self.is_reading {
            see((what, "reads nothing", ""));
            return;
        }
        let mut output = self.connection.output().split();
        let mut is_silent = true;
        while !output.is_empty() {
            is_silent = false;
            if output.starts_with(b"AMQP") {
                _ = output.split_to(AMQP_HEADER.len());
                continue;
            }
            let frame = take_frame(&mut output, FRAME_BYTES_MAX);
            let frame = frame.expect("the output consists of frames");
            let frame = frame.expect("the output ends with a whole frame");
            if frame.kind == FrameKind::Sasl || frame.body.is_empty() {
                continue;
            }
            let (performative, _) =
                Performative::decode(frame.body).expect("we understand what we say");
            if let Performative::Transfer(transfer) = &performative
                && transfer.delivery_id.is_some()
            {
                let granted = self.granted.get_mut(&(frame.channel, transfer.handle));
                let left = granted.and_then(|left| left.checked_sub(1).map(|less| *left = less));
                assert!(left.is_some(), "a message came without credit");
            }
            see((what, frame::name(&performative), condition(&performative)));
        }
        if is_silent {
            see((what, "silence", ""));
        }
    }

    /// Goes away: nobody holds a message or a session then but by a request's lock, and those end by
    /// themselves.
    fn leave(self) {
        let Self { bus, connection, has_asked_by_number, now, .. } = self;
        drop(connection);
        let end = now + Duration::from_secs(3_600);
        bus.with_broker(|broker, _| {
            let is_held = broker.next_lock_expiry().is_some();
            assert!(has_asked_by_number || !is_held, "nobody holds a lock");
            broker.set_faults(Faults::default());
            broker.expire(end);
            assert_eq!(broker.next_lock_expiry(), None);
            for name in ["q", "s"] {
                let Ok(info) = broker.queue(name) else { continue };
                let peeked = broker.peek(end, info.queue, 0, 100_000, None);
                let counted = info.counts.active + info.counts.scheduled;
                let peeked = peeked.map(|peeked| peeked.len() as u64);
                assert_eq!(peeked, Ok(counted), "{name} counts what it has");
            }
        });
    }
}

fn described(code: u64, value: Value) -> Value {
    Value::Described(Box::new((Value::Ulong(code), value)))
}

fn begin(window: u32) -> [Value; 4] {
    [Value::Null, Value::Uint(0), Value::Uint(window), Value::Uint(100)]
}

fn handle(source: &mut Source<'_>) -> Value {
    Value::Uint(match source.byte() {
        byte @ 0..248 => u32::from(byte % 6),
        _ => source.number(),
    })
}

fn session_text(byte: u8) -> String {
    format!("session-{}", byte % 3)
}

fn session_name(byte: u8) -> Value {
    Value::String(session_text(byte))
}

fn condition(performative: &Performative) -> &'static str {
    let error = match performative {
        Performative::Close(error) => error.as_ref(),
        Performative::Detach(detach) => detach.error.as_ref(),
        Performative::Disposition(disposition) => match &disposition.outcome {
            Some(Outcome::Rejected(error)) => error.as_ref(),
            _ => None,
        },
        _ => None,
    };
    let Some(error) = error else { return "" };
    CONDITIONS.into_iter().find(|known| *known == error.condition).unwrap_or("another")
}

//! Performatives: what connections, sessions and links say to each other (part 2, section 2.7).
//!
//! Only the fields the emulator acts on are kept. Missing fields take their defaults, extra ones
//! are ignored.

use bytes::{Bytes, BytesMut};

use super::DecodeError;
use super::outcome::{AmqpError, Outcome};
use super::value::{self, Decoder, Value};

/// Any performative of an AMQP or SASL frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Performative {
    Open(Open),
    Begin(Begin),
    Attach(Box<Attach>),
    Flow(Flow),
    Transfer(Transfer),
    Disposition(Disposition),
    Detach(Detach),
    End,
    Close(Option<AmqpError>),
    SaslInit(SaslInit),
    /// A descriptor that means nothing here.
    Unknown(u64),
}

/// The descriptor codes, with the names that may stand for them.
const DESCRIPTORS: [(u64, &str); 10] = [
    (0x10, "amqp:open:list"),
    (0x11, "amqp:begin:list"),
    (0x12, "amqp:attach:list"),
    (0x13, "amqp:flow:list"),
    (0x14, "amqp:transfer:list"),
    (0x15, "amqp:disposition:list"),
    (0x16, "amqp:detach:list"),
    (0x17, "amqp:end:list"),
    (0x18, "amqp:close:list"),
    (0x41, "amqp:sasl-init:list"),
];

/// The code of a descriptor, 0 if it has none.
pub(crate) fn descriptor_code(descriptor: &Value) -> u64 {
    let by_name = |name: &str| DESCRIPTORS.iter().find(|(_, known)| *known == name).map(|d| d.0);
    descriptor.as_u64().or_else(|| descriptor.as_text().and_then(by_name)).unwrap_or(0)
}

impl Performative {
    /// Reads the body of a frame; what follows the performative is the payload.
    pub(crate) fn decode(body: Bytes) -> Result<(Self, Bytes), DecodeError> {
        let mut decoder = Decoder::new(body);
        let code = descriptor_code(&decoder.descriptor()?);
        let start = decoder.position();
        let Value::List(values) = decoder.value()? else {
            return Err(DecodeError::Expected("a list of fields"));
        };
        let raw = decoder.between(start, decoder.position());
        let payload = decoder.rest();
        let mut fields = Fields { values: values.into_iter() };
        let performative = match code {
            0x10 => Self::Open(Open::from_fields(&mut fields)?),
            0x11 => Self::Begin(Begin::from_fields(&mut fields)?),
            0x12 => Self::Attach(Box::new(Attach::from_fields(&mut fields, raw)?)),
            0x13 => Self::Flow(Flow::from_fields(&mut fields)?),
            0x14 => Self::Transfer(Transfer::from_fields(&mut fields)?),
            0x15 => Self::Disposition(Disposition::from_fields(&mut fields)?),
            0x16 => Self::Detach(Detach::from_fields(&mut fields)?),
            0x17 => Self::End,
            0x18 => Self::Close(fields.error()),
            0x41 => Self::SaslInit(SaslInit::from_fields(&mut fields)?),
            other => Self::Unknown(other),
        };
        Ok((performative, payload))
    }
}

/// How many fields the specification gives a performative of a connection, session or link.
fn field_count(descriptor: u64) -> usize {
    match descriptor {
        0x10 => 10,
        0x11 => 8,
        0x12 => 14,
        0x13 | 0x14 => 11,
        0x15 => 6,
        0x16 => 3,
        _ => 1,
    }
}

/// Appends a performative with every field it has, the last ones null. A sender may leave them out
/// (part 1, section 1.4), but there are official clients that look every field up by its place: Python
/// before 7.15 fails on an `open` of fewer than ten.
fn put_performative(
    out: &mut BytesMut,
    descriptor: u64,
    count: usize,
    fields: impl FnOnce(&mut BytesMut),
) {
    let total = field_count(descriptor);
    value::put_described_list(out, descriptor, total, |out| {
        fields(out);
        (count..total).for_each(|_| value::put_value(out, &Value::Null));
    });
}

/// Opens a connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Open {
    pub(crate) container_id: String,
    pub(crate) hostname: Option<String>,
    pub(crate) max_frame_size: Option<u32>,
    pub(crate) channel_max: Option<u16>,
    pub(crate) idle_time_out_ms: Option<u32>,
}

impl Open {
    fn from_fields(fields: &mut Fields) -> Result<Self, DecodeError> {
        Ok(Self {
            container_id: fields.text()?.unwrap_or_default(),
            hostname: fields.text()?,
            max_frame_size: fields.uint()?,
            channel_max: fields.uint()?.map(|v| u16::try_from(v).unwrap_or(u16::MAX)),
            idle_time_out_ms: fields.uint()?,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_performative(out, 0x10, 5, |out| {
            value::put_string(out, &self.container_id);
            put_option(out, self.hostname.as_deref(), value::put_string);
            put_option(out, self.max_frame_size, value::put_uint);
            let channel_max = self.channel_max.map(Value::Ushort);
            value::put_value(out, &channel_max.unwrap_or(Value::Null));
            put_option(out, self.idle_time_out_ms, value::put_uint);
        });
    }
}

/// Begins a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Begin {
    pub(crate) remote_channel: Option<u16>,
    pub(crate) next_outgoing_id: u32,
    pub(crate) incoming_window: u32,
    pub(crate) outgoing_window: u32,
    pub(crate) handle_max: Option<u32>,
}

impl Begin {
    fn from_fields(fields: &mut Fields) -> Result<Self, DecodeError> {
        Ok(Self {
            remote_channel: fields.uint()?.and_then(|v| u16::try_from(v).ok()),
            next_outgoing_id: fields.uint()?.unwrap_or(0),
            incoming_window: fields.uint()?.unwrap_or(0),
            outgoing_window: fields.uint()?.unwrap_or(0),
            handle_max: fields.uint()?,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_performative(out, 0x11, 5, |out| {
            let remote_channel = self.remote_channel.map(Value::Ushort);
            value::put_value(out, &remote_channel.unwrap_or(Value::Null));
            value::put_uint(out, self.next_outgoing_id);
            value::put_uint(out, self.incoming_window);
            value::put_uint(out, self.outgoing_window);
            put_option(out, self.handle_max, value::put_uint);
        });
    }
}

/// Attaches a link.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Attach {
    pub(crate) name: String,
    pub(crate) handle: u32,
    /// Whether the peer that sends the attach is the receiver of the link.
    pub(crate) is_receiver: bool,
    pub(crate) sender_settle_mode: u8,
    pub(crate) receiver_settle_mode: u8,
    /// As they came, to be echoed; `None` for null.
    pub(crate) source: Option<Bytes>,
    pub(crate) target: Option<Bytes>,
    pub(crate) source_address: Option<String>,
    pub(crate) target_address: Option<String>,
    pub(crate) is_dynamic: bool,
    /// The target is a coordinator of transactions.
    pub(crate) is_coordinator: bool,
    /// The session of the entity that the receiver asks for, if it asks for any: `Some(None)` is the
    /// next one that is free.
    pub(crate) session: Option<Option<String>>,
    /// How long the peer waits for our answer, in milliseconds.
    pub(crate) timeout_ms: Option<u64>,
    /// What we tell about the link, by name.
    pub(crate) properties: Vec<(&'static str, Value)>,
    pub(crate) initial_delivery_count: Option<u32>,
    pub(crate) max_message_size: Option<u64>,
}

impl Attach {
    fn from_fields(fields: &mut Fields, raw: Bytes) -> Result<Self, DecodeError> {
        let name = fields.text()?.unwrap_or_default();
        let handle = fields.uint()?.ok_or(DecodeError::Expected("a handle"))?;
        let is_receiver = fields.bool()?.ok_or(DecodeError::Expected("a role"))?;
        let sender_settle_mode = fields.small()?.unwrap_or(2);
        let receiver_settle_mode = fields.small()?.unwrap_or(0);
        let (source, target) = (fields.next(), fields.next());
        let (_unsettled, _incomplete) = (fields.next(), fields.next());
        let initial_delivery_count = fields.uint()?;
        let max_message_size = fields.ulong()?;
        let (_offered, _desired) = (fields.next(), fields.next());
        let properties = fields.next();
        let raw = raw_items(raw, 7)?;
        let raw_of = |value: &Value, index: usize| match value {
            Value::Null => None,
            _ => raw.get(index).cloned(),
        };
        Ok(Self {
            name,
            handle,
            is_receiver,
            sender_settle_mode,
            receiver_settle_mode,
            source: raw_of(&source, 5),
            target: raw_of(&target, 6),
            source_address: terminus_item(&source, 0).and_then(Value::as_text).map(str::to_owned),
            target_address: terminus_item(&target, 0).and_then(Value::as_text).map(str::to_owned),
            is_dynamic: [&source, &target]
                .into_iter()
                .any(|terminus| terminus_item(terminus, 4) == Some(&Value::Bool(true))),
            is_coordinator: matches!(&target, Value::Described(described)
                if described.0.as_u64() == Some(0x30)
                    || described.0.as_text() == Some("amqp:coordinator:list")),
            session: session_filter(&source),
            timeout_ms: map_item(&properties, "com.microsoft:timeout").and_then(Value::as_u64),
            properties: Vec::new(),
            initial_delivery_count,
            max_message_size,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let count = if self.properties.is_empty() { 11 } else { 14 };
        put_performative(out, 0x12, count, |out| {
            value::put_string(out, &self.name);
            value::put_uint(out, self.handle);
            value::put_value(out, &Value::Bool(self.is_receiver));
            value::put_value(out, &Value::Ubyte(self.sender_settle_mode));
            value::put_value(out, &Value::Ubyte(self.receiver_settle_mode));
            for terminus in [&self.source, &self.target] {
                put_option(out, terminus.as_deref(), BytesMut::extend_from_slice);
            }
            value::put_value(out, &Value::Null);
            value::put_value(out, &Value::Null);
            put_option(out, self.initial_delivery_count, value::put_uint);
            put_option(out, self.max_message_size, value::put_ulong);
            if count > 11 {
                (0..2).for_each(|_| value::put_value(out, &Value::Null));
                value::put_compound(out, 0xd1, self.properties.len() * 2, |out| {
                    for (name, value) in &self.properties {
                        value::put_symbol(out, name);
                        value::put_value(out, value);
                    }
                });
            }
        });
    }

    /// The source, with the session that was chosen for the receiver in its filter.
    pub(crate) fn source_with_session(&self, id: &str) -> Bytes {
        let mut out = BytesMut::new();
        let address = self.source_address.as_deref().unwrap_or_default();
        value::put_described_list(&mut out, 0x28, 8, |out| {
            value::put_string(out, address);
            (0..6).for_each(|_| value::put_value(out, &Value::Null));
            value::put_compound(out, 0xd1, 2, |out| {
                value::put_symbol(out, SESSION_FILTER);
                value::put_string(out, id);
            });
        });
        out.freeze()
    }
}

/// The service's filter by session.
const SESSION_FILTER: &str = "com.microsoft:session-filter";

/// The filter by session of a source, named by its key or by its descriptor.
fn session_filter(source: &Value) -> Option<Option<String>> {
    let Some(Value::Map(filters)) = terminus_item(source, 7) else { return None };
    let is_name = |value: &Value| value.as_text() == Some(SESSION_FILTER);
    let found = filters.iter().find(|(key, filter)| {
        is_name(key) || matches!(filter, Value::Described(filter) if is_name(&filter.0))
    });
    found.map(|(_, filter)| filter.undescribed().as_text().map(str::to_owned))
}

/// The value of a name in a map.
fn map_item<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(pairs) = map else { return None };
    pairs.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
}

/// Updates windows and credit.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Flow {
    pub(crate) next_incoming_id: Option<u32>,
    pub(crate) incoming_window: u32,
    pub(crate) next_outgoing_id: u32,
    pub(crate) outgoing_window: u32,
    /// `None` when only the session is meant.
    pub(crate) handle: Option<u32>,
    pub(crate) delivery_count: Option<u32>,
    pub(crate) link_credit: Option<u32>,
    pub(crate) drain: bool,
    pub(crate) echo: bool,
}

impl Flow {
    fn from_fields(fields: &mut Fields) -> Result<Self, DecodeError> {
        let next_incoming_id = fields.uint()?;
        let incoming_window = fields.uint()?.unwrap_or(0);
        let next_outgoing_id = fields.uint()?.unwrap_or(0);
        let outgoing_window = fields.uint()?.unwrap_or(0);
        let handle = fields.uint()?;
        let delivery_count = fields.uint()?;
        let link_credit = fields.uint()?;
        let _available = fields.next();
        let drain = fields.bool()?.unwrap_or(false);
        let echo = fields.bool()?.unwrap_or(false);
        Ok(Self {
            next_incoming_id,
            incoming_window,
            next_outgoing_id,
            outgoing_window,
            handle,
            delivery_count,
            link_credit,
            drain,
            echo,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_performative(out, 0x13, 10, |out| {
            put_option(out, self.next_incoming_id, value::put_uint);
            value::put_uint(out, self.incoming_window);
            value::put_uint(out, self.next_outgoing_id);
            value::put_uint(out, self.outgoing_window);
            put_option(out, self.handle, value::put_uint);
            put_option(out, self.delivery_count, value::put_uint);
            put_option(out, self.link_credit, value::put_uint);
            value::put_value(out, &Value::Null);
            value::put_value(out, &Value::Bool(self.drain));
            value::put_value(out, &Value::Bool(self.echo));
        });
    }
}

/// Carries a message, or a part of one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Transfer {
    pub(crate) handle: u32,
    pub(crate) delivery_id: Option<u32>,
    pub(crate) delivery_tag: Option<Bytes>,
    pub(crate) message_format: Option<u32>,
    pub(crate) settled: Option<bool>,
    pub(crate) more: bool,
    pub(crate) aborted: bool,
    /// The delivery is part of a transaction; we never say so.
    pub(crate) is_transactional: bool,
}

impl Transfer {
    fn from_fields(fields: &mut Fields) -> Result<Self, DecodeError> {
        let handle = fields.uint()?.ok_or(DecodeError::Expected("a handle"))?;
        let delivery_id = fields.uint()?;
        let delivery_tag = match fields.next() {
            Value::Binary(tag) => Some(tag),
            _ => None,
        };
        let message_format = fields.uint()?;
        let settled = fields.bool()?;
        let more = fields.bool()?.unwrap_or(false);
        let (_rcv_settle_mode, state, _resume) = (fields.next(), fields.next(), fields.next());
        Ok(Self {
            handle,
            delivery_id,
            delivery_tag,
            message_format,
            settled,
            more,
            aborted: fields.bool()?.unwrap_or(false),
            is_transactional: Outcome::from_value(&state) == Some(Outcome::Transactional),
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_performative(out, 0x14, 6, |out| {
            value::put_uint(out, self.handle);
            put_option(out, self.delivery_id, value::put_uint);
            put_option(out, self.delivery_tag.as_deref(), value::put_binary);
            put_option(out, self.message_format, value::put_uint);
            value::put_value(out, &self.settled.map_or(Value::Null, Value::Bool));
            value::put_value(out, &Value::Bool(self.more));
        });
    }
}

/// Tells the state of deliveries `first..=last`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disposition {
    pub(crate) is_receiver: bool,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) settled: bool,
    pub(crate) outcome: Option<Outcome>,
}

impl Disposition {
    fn from_fields(fields: &mut Fields) -> Result<Self, DecodeError> {
        let is_receiver = fields.bool()?.ok_or(DecodeError::Expected("a role"))?;
        let first = fields.uint()?.ok_or(DecodeError::Expected("a delivery id"))?;
        let last = fields.uint()?.unwrap_or(first);
        let settled = fields.bool()?.unwrap_or(false);
        let outcome = Outcome::from_value(&fields.next());
        Ok(Self { is_receiver, first, last, settled, outcome })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_performative(out, 0x15, 5, |out| {
            value::put_value(out, &Value::Bool(self.is_receiver));
            value::put_uint(out, self.first);
            value::put_uint(out, self.last);
            value::put_value(out, &Value::Bool(self.settled));
            match &self.outcome {
                None => value::put_value(out, &Value::Null),
                Some(outcome) => outcome.encode(out),
            }
        });
    }
}

/// Detaches a link, for good if `closed`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Detach {
    pub(crate) handle: u32,
    pub(crate) closed: bool,
    pub(crate) error: Option<AmqpError>,
}

impl Detach {
    fn from_fields(fields: &mut Fields) -> Result<Self, DecodeError> {
        let handle = fields.uint()?.ok_or(DecodeError::Expected("a handle"))?;
        let closed = fields.bool()?.unwrap_or(false);
        Ok(Self { handle, closed, error: fields.error() })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_performative(out, 0x16, 3, |out| {
            value::put_uint(out, self.handle);
            value::put_value(out, &Value::Bool(self.closed));
            put_error(out, self.error.as_ref());
        });
    }
}

/// Appends an End or Close.
pub(crate) fn put_ending(out: &mut BytesMut, descriptor: u64, error: Option<&AmqpError>) {
    put_performative(out, descriptor, 1, |out| put_error(out, error));
}

/// Chooses a SASL mechanism.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SaslInit {
    pub(crate) mechanism: String,
    pub(crate) initial_response: Bytes,
}

impl SaslInit {
    fn from_fields(fields: &mut Fields) -> Result<Self, DecodeError> {
        let mechanism = fields.text()?.unwrap_or_default();
        let initial_response = match fields.next() {
            Value::Binary(response) => response,
            _ => Bytes::new(),
        };
        Ok(Self { mechanism, initial_response })
    }
}

fn put_option<T>(out: &mut BytesMut, field: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    match field {
        Some(field) => put(out, field),
        None => value::put_value(out, &Value::Null),
    }
}

fn put_error(out: &mut BytesMut, error: Option<&AmqpError>) {
    put_option(out, error, |out, error| error.encode(out));
}

/// Item `index` of a source or target.
fn terminus_item(terminus: &Value, index: usize) -> Option<&Value> {
    match terminus.undescribed() {
        Value::List(items) => items.get(index),
        _ => None,
    }
}

/// The first items of an encoded list, still encoded.
fn raw_items(list: Bytes, count_max: usize) -> Result<Vec<Bytes>, DecodeError> {
    let header = match list.first() {
        Some(0xc0) => 3,
        Some(0xd0) => 9,
        _ => return Ok(Vec::new()),
    };
    let mut decoder = Decoder::new(list.slice(header.min(list.len())..));
    let mut items = Vec::with_capacity(count_max);
    while items.len() < count_max && !decoder.is_empty() {
        let start = decoder.position();
        decoder.skip()?;
        items.push(decoder.between(start, decoder.position()));
    }
    Ok(items)
}

/// The fields of a performative in their order; past the end everything is null.
struct Fields {
    values: std::vec::IntoIter<Value>,
}

impl Fields {
    fn next(&mut self) -> Value {
        self.values.next().unwrap_or(Value::Null)
    }

    fn uint(&mut self) -> Result<Option<u32>, DecodeError> {
        let wide = self.ulong()?;
        wide.map(|v| u32::try_from(v).map_err(|_| DecodeError::Expected("a uint"))).transpose()
    }

    fn ulong(&mut self) -> Result<Option<u64>, DecodeError> {
        match self.next() {
            Value::Null => Ok(None),
            value => value.as_u64().map(Some).ok_or(DecodeError::Expected("an integer")),
        }
    }

    fn small(&mut self) -> Result<Option<u8>, DecodeError> {
        let wide = self.ulong()?;
        wide.map(|v| u8::try_from(v).map_err(|_| DecodeError::Expected("a ubyte"))).transpose()
    }

    fn bool(&mut self) -> Result<Option<bool>, DecodeError> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(value)),
            _ => Err(DecodeError::Expected("a boolean")),
        }
    }

    fn text(&mut self) -> Result<Option<String>, DecodeError> {
        match self.next() {
            Value::Null => Ok(None),
            Value::String(text) | Value::Symbol(text) => Ok(Some(text)),
            _ => Err(DecodeError::Expected("a string")),
        }
    }

    fn error(&mut self) -> Option<AmqpError> {
        AmqpError::from_value(&self.next())
    }
}

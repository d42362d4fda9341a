//! AMQP values (part 1): decode into [`Value`], skip without decoding, and encode.

use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeError;

/// Values nested deeper than this have no use in what we read.
const DEPTH_MAX: usize = 16;
/// The most elements of an array whose elements take no bytes, so that small input stays small.
const EMPTY_ELEMENTS_MAX: usize = 8;

/// Any AMQP value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Byte(i8),
    Short(i16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// A decimal of any width, unread: constructor and bytes.
    Decimal(u8, Bytes),
    Char(u32),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    Uuid([u8; 16]),
    Binary(Bytes),
    String(String),
    Symbol(String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Array(Vec<Self>),
    /// Descriptor and value.
    Described(Box<(Self, Self)>),
}

impl Value {
    /// The text of a string or a symbol: peers mix them up.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// A non-negative integer of any width.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Ubyte(v) => Some(v.into()),
            Self::Ushort(v) => Some(v.into()),
            Self::Uint(v) => Some(v.into()),
            Self::Ulong(v) => Some(v),
            Self::Byte(v) => v.try_into().ok(),
            Self::Short(v) => v.try_into().ok(),
            Self::Int(v) => v.try_into().ok(),
            Self::Long(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// The value under any descriptors.
    pub(crate) fn undescribed(&self) -> &Self {
        let mut value = self;
        while let Self::Described(inner) = value {
            value = &inner.1;
        }
        value
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

/// Reads values one after the other. Binary data are slices of the input, not copies.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    bytes: Bytes,
    position: usize,
}

impl Decoder {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.position >= self.bytes.len()
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> Bytes {
        self.bytes.slice(self.position..)
    }

    /// What lies between two positions that [`Decoder::position`] gave.
    pub(crate) fn between(&self, start: usize, end: usize) -> Bytes {
        self.bytes.slice(start..end)
    }

    /// Reads one value.
    pub(crate) fn value(&mut self) -> Result<Value, DecodeError> {
        self.value_at(0)
    }

    /// Reads the descriptor of a described value: its code, or the name it stands for.
    pub(crate) fn descriptor(&mut self) -> Result<Value, DecodeError> {
        match self.u8()? {
            0 => self.value(),
            _ => Err(DecodeError::Expected("a described value")),
        }
    }

    /// Passes over one value without allocating.
    pub(crate) fn skip(&mut self) -> Result<(), DecodeError> {
        let mut constructor = self.u8()?;
        let mut depth = 0;
        while constructor == 0 {
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(DecodeError::TooDeep);
            }
            // A descriptor is a plain value in everything we accept.
            let descriptor = self.u8()?;
            if descriptor == 0 {
                return Err(DecodeError::TooDeep);
            }
            self.skip_data(descriptor)?;
            constructor = self.u8()?;
        }
        self.skip_data(constructor)
    }

    fn skip_data(&mut self, constructor: u8) -> Result<(), DecodeError> {
        // The high nibble of every constructor tells how its data are measured.
        let size = match constructor >> 4 {
            0x4 => 0,
            0x5 => 1,
            0x6 => 2,
            0x7 => 4,
            0x8 => 8,
            0x9 => 16,
            0xa | 0xc | 0xe => self.u8()?.into(),
            0xb | 0xd | 0xf => self.u32()? as usize,
            _ => return Err(DecodeError::Constructor(constructor)),
        };
        self.take(size).map(drop)
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let constructor = self.u8()?;
        self.value_of(constructor, depth)
    }

    fn value_of(&mut self, constructor: u8, depth: usize) -> Result<Value, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        Ok(match constructor {
            0x00 => {
                let descriptor = self.value_at(depth + 1)?;
                Value::Described(Box::new((descriptor, self.value_at(depth + 1)?)))
            }
            0x40 => Value::Null,
            0x41 => Value::Bool(true),
            0x42 => Value::Bool(false),
            0x43 => Value::Uint(0),
            0x44 => Value::Ulong(0),
            0x45 => Value::List(Vec::new()),
            0x50 => Value::Ubyte(self.u8()?),
            0x51 => Value::Byte(self.u8()?.cast_signed()),
            0x52 => Value::Uint(self.u8()?.into()),
            0x53 => Value::Ulong(self.u8()?.into()),
            0x54 => Value::Int(self.u8()?.cast_signed().into()),
            0x55 => Value::Long(self.u8()?.cast_signed().into()),
            0x56 => Value::Bool(self.u8()? != 0),
            0x60 => Value::Ushort(u16::from_be_bytes(self.array()?)),
            0x61 => Value::Short(i16::from_be_bytes(self.array()?)),
            0x70 => Value::Uint(self.u32()?),
            0x71 => Value::Int(i32::from_be_bytes(self.array()?)),
            0x72 => Value::Float(f32::from_be_bytes(self.array()?)),
            0x73 => Value::Char(self.u32()?),
            0x74 => Value::Decimal(constructor, self.take(4)?),
            0x80 => Value::Ulong(u64::from_be_bytes(self.array()?)),
            0x81 => Value::Long(i64::from_be_bytes(self.array()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.array()?)),
            0x83 => Value::Timestamp(i64::from_be_bytes(self.array()?)),
            0x84 => Value::Decimal(constructor, self.take(8)?),
            0x94 => Value::Decimal(constructor, self.take(16)?),
            0x98 => Value::Uuid(self.array()?),
            0xa0 | 0xb0 => {
                let size = self.size(constructor)?;
                Value::Binary(self.take(size)?)
            }
            0xa1 | 0xb1 => Value::String(self.text(constructor)?),
            0xa3 | 0xb3 => Value::Symbol(self.text(constructor)?),
            0xc0 | 0xd0 => {
                let (mut inner, count) = self.compound(constructor)?;
                let items = (0..count).map(|_| inner.value_at(depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            0xc1 | 0xd1 => {
                let (mut inner, count) = self.compound(constructor)?;
                let mut pair = || Ok((inner.value_at(depth + 1)?, inner.value_at(depth + 1)?));
                Value::Map((0..count / 2).map(|_| pair()).collect::<Result<_, DecodeError>>()?)
            }
            0xe0 | 0xf0 => {
                let (mut inner, count) = self.compound(constructor)?;
                Value::Array(inner.elements(count, depth)?)
            }
            other => return Err(DecodeError::Constructor(other)),
        })
    }

    /// The elements of an array, which share one constructor.
    fn elements(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, DecodeError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut constructor = self.u8()?;
        let mut nesting = depth;
        // Elements of a described type: the descriptor is the same for all and tells us nothing.
        while constructor == 0 {
            nesting += 1;
            if nesting > DEPTH_MAX {
                return Err(DecodeError::TooDeep);
            }
            self.value_at(nesting + 1)?;
            constructor = self.u8()?;
        }
        if constructor >> 4 == 4 && count > EMPTY_ELEMENTS_MAX {
            return Err(DecodeError::Count);
        }
        (0..count).map(|_| self.value_of(constructor, nesting + 1)).collect()
    }

    /// The inside of a list, map or array, and how many items it claims to have.
    fn compound(&mut self, constructor: u8) -> Result<(Self, usize), DecodeError> {
        let is_wide = constructor & 0x10 != 0;
        let size = self.size(constructor)?;
        let mut inner = Self::new(self.take(size)?);
        let count = if is_wide { inner.u32()? as usize } else { inner.u8()?.into() };
        // Items of a list take a byte each; arrays check their empty elements themselves.
        let is_array = constructor & 0xe0 == 0xe0;
        let left = inner.bytes.len() - inner.position;
        if count > left && !(is_array && count <= EMPTY_ELEMENTS_MAX) {
            return Err(DecodeError::Count);
        }
        Ok((inner, count))
    }

    /// The size of a variable value: one byte, or four if bit 4 of the constructor is set.
    fn size(&mut self, constructor: u8) -> Result<usize, DecodeError> {
        if constructor & 0x10 == 0 { Ok(self.u8()?.into()) } else { Ok(self.u32()? as usize) }
    }

    fn text(&mut self, constructor: u8) -> Result<String, DecodeError> {
        let size = self.size(constructor)?;
        let bytes = self.take(size)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| DecodeError::Utf8)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.position).ok_or(DecodeError::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let rest = self.bytes.get(self.position..).ok_or(DecodeError::Truncated)?;
        let array = *rest.first_chunk().ok_or(DecodeError::Truncated)?;
        self.position += N;
        Ok(array)
    }

    fn take(&mut self, size: usize) -> Result<Bytes, DecodeError> {
        let end = self.position.checked_add(size).ok_or(DecodeError::Truncated)?;
        if end > self.bytes.len() {
            return Err(DecodeError::Truncated);
        }
        let taken = self.bytes.slice(self.position..end);
        self.position = end;
        Ok(taken)
    }
}

/// Appends one value.
pub(crate) fn put_value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => out.put_u8(0x40),
        Value::Bool(value) => out.put_u8(if *value { 0x41 } else { 0x42 }),
        Value::Ubyte(v) => out.put_slice(&[0x50, *v]),
        Value::Ushort(v) => put_fixed(out, 0x60, &v.to_be_bytes()),
        Value::Uint(v) => put_uint(out, *v),
        Value::Ulong(v) => put_ulong(out, *v),
        Value::Byte(v) => out.put_slice(&[0x51, v.cast_unsigned()]),
        Value::Short(v) => put_fixed(out, 0x61, &v.to_be_bytes()),
        Value::Int(v) => put_fixed(out, 0x71, &v.to_be_bytes()),
        Value::Long(v) => put_fixed(out, 0x81, &v.to_be_bytes()),
        Value::Float(v) => put_fixed(out, 0x72, &v.to_be_bytes()),
        Value::Double(v) => put_fixed(out, 0x82, &v.to_be_bytes()),
        Value::Decimal(constructor, bytes) => put_fixed(out, *constructor, bytes),
        Value::Char(v) => put_fixed(out, 0x73, &v.to_be_bytes()),
        Value::Timestamp(v) => put_fixed(out, 0x83, &v.to_be_bytes()),
        Value::Uuid(v) => put_fixed(out, 0x98, v),
        Value::Binary(v) => put_binary(out, v),
        Value::String(v) => put_string(out, v),
        Value::Symbol(v) => put_symbol(out, v),
        Value::Array(items) if put_array(out, items) => {}
        // What cannot be an array becomes a list.
        Value::List(items) | Value::Array(items) => {
            put_compound(out, 0xd0, items.len(), |out| {
                items.iter().for_each(|v| put_value(out, v))
            });
        }
        Value::Map(pairs) => put_compound(out, 0xd1, pairs.len() * 2, |out| {
            for (key, value) in pairs {
                put_value(out, key);
                put_value(out, value);
            }
        }),
        Value::Described(inner) => {
            out.put_u8(0);
            put_value(out, &inner.0);
            put_value(out, &inner.1);
        }
    }
}

/// Appends an array if all items have one type that we write arrays of; `false` if they have not.
fn put_array(out: &mut BytesMut, items: &[Value]) -> bool {
    let constructor = |item: &Value| match item {
        Value::Long(_) => Some(0x81),
        Value::Timestamp(_) => Some(0x83),
        Value::Uuid(_) => Some(0x98),
        Value::String(_) => Some(0xb1),
        _ => None,
    };
    let Some(common) = items.first().and_then(constructor) else { return false };
    if !items.iter().all(|item| constructor(item) == Some(common)) {
        return false;
    }
    put_compound(out, 0xf0, items.len(), |out| {
        out.put_u8(common);
        for item in items {
            match item {
                Value::Long(v) | Value::Timestamp(v) => out.put_i64(*v),
                Value::Uuid(v) => out.put_slice(v),
                Value::String(text) => {
                    out.put_u32(text.len() as u32);
                    out.put_slice(text.as_bytes());
                }
                _ => {}
            }
        }
    });
    true
}

pub(crate) fn put_uint(out: &mut BytesMut, value: u32) {
    match u8::try_from(value) {
        Ok(0) => out.put_u8(0x43),
        Ok(small) => out.put_slice(&[0x52, small]),
        Err(_) => put_fixed(out, 0x70, &value.to_be_bytes()),
    }
}

pub(crate) fn put_ulong(out: &mut BytesMut, value: u64) {
    match u8::try_from(value) {
        Ok(0) => out.put_u8(0x44),
        Ok(small) => out.put_slice(&[0x53, small]),
        Err(_) => put_fixed(out, 0x80, &value.to_be_bytes()),
    }
}

pub(crate) fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    put_variable(out, 0xa0, bytes);
}

pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    put_variable(out, 0xa1, text.as_bytes());
}

pub(crate) fn put_symbol(out: &mut BytesMut, text: &str) {
    put_variable(out, 0xa3, text.as_bytes());
}

/// Appends an array of symbols.
pub(crate) fn put_symbols(out: &mut BytesMut, symbols: &[&str]) {
    put_compound(out, 0xf0, symbols.len(), |out| {
        out.put_u8(0xb3);
        for symbol in symbols {
            out.put_u32(symbol.len() as u32);
            out.put_slice(symbol.as_bytes());
        }
    });
}

/// Appends a described list: what every performative, outcome and terminus is.
pub(crate) fn put_described_list(
    out: &mut BytesMut,
    descriptor: u64,
    count: usize,
    fields: impl FnOnce(&mut BytesMut),
) {
    out.put_u8(0);
    put_ulong(out, descriptor);
    put_compound(out, 0xd0, count, fields);
}

/// Appends a list, map or array whose items `items` writes.
pub(crate) fn put_compound(
    out: &mut BytesMut,
    constructor: u8,
    count: usize,
    items: impl FnOnce(&mut BytesMut),
) {
    out.put_u8(constructor);
    let start = out.len();
    out.put_u32(0);
    out.put_u32(count as u32);
    items(out);
    let size = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

fn put_fixed(out: &mut BytesMut, constructor: u8, bytes: &[u8]) {
    out.put_u8(constructor);
    out.put_slice(bytes);
}

fn put_variable(out: &mut BytesMut, narrow: u8, bytes: &[u8]) {
    if let Ok(size) = u8::try_from(bytes.len()) {
        out.put_slice(&[narrow, size]);
    } else {
        out.put_u8(narrow | 0x10);
        out.put_u32(bytes.len() as u32);
    }
    out.put_slice(bytes);
}

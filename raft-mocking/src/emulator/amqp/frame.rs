//! Frames, protocol headers and the SASL frames we send (part 2, sections 2.2 and 2.3; part 5).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::DecodeError;
use super::value::{self, Value};

/// `AMQP`, then what follows: 0 AMQP, 2 TLS, 3 SASL; then version 1.0.0.
pub(crate) const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
pub(crate) const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// What every frame starts with.
const FRAME_HEADER_BYTES: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Amqp,
    Sasl,
}

/// One frame; an empty body is a sign of life and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    pub(crate) channel: u16,
    pub(crate) body: Bytes,
}

/// Why no frame could be taken from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Larger than we announced to accept.
    #[error("a frame of {bytes} bytes exceeds the limit of {bytes_max} bytes")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// Not a frame at all.
    #[error("malformed frame: {0}")]
    Malformed(#[from] DecodeError),
}

/// Takes the next frame from `input`, if it is all there.
pub(crate) fn take_frame(
    input: &mut BytesMut,
    bytes_max: usize,
) -> Result<Option<Frame>, FrameError> {
    let Some(&[a, b, c, d, offset, kind, e, f]) = input.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(None);
    };
    let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
    let offset = usize::from(offset) * 4;
    if bytes > bytes_max {
        return Err(FrameError::TooLarge { bytes, bytes_max });
    }
    if bytes < FRAME_HEADER_BYTES || offset < FRAME_HEADER_BYTES || offset > bytes {
        return Err(DecodeError::Expected("a frame header").into());
    }
    let kind = match kind {
        0 => FrameKind::Amqp,
        1 => FrameKind::Sasl,
        _ => return Err(DecodeError::Expected("an AMQP or SASL frame").into()),
    };
    if input.len() < bytes {
        return Ok(None);
    }
    let mut body = input.split_to(bytes);
    body.advance(offset);
    Ok(Some(Frame { kind, channel: u16::from_be_bytes([e, f]), body: body.freeze() }))
}

/// Appends a frame whose body `body` writes.
pub(crate) fn put_frame(
    out: &mut BytesMut,
    kind: FrameKind,
    channel: u16,
    body: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(&[2, u8::from(kind == FrameKind::Sasl)]);
    out.put_u16(channel);
    body(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a SASL frame that offers mechanisms.
pub(crate) fn put_sasl_mechanisms(out: &mut BytesMut, mechanisms: &[&str]) {
    put_frame(out, FrameKind::Sasl, 0, |out| {
        value::put_described_list(out, 0x40, 1, |out| value::put_symbols(out, mechanisms));
    });
}

/// Appends a SASL frame with the outcome: 0 is success, 1 a failed authentication.
pub(crate) fn put_sasl_outcome(out: &mut BytesMut, code: u8) {
    put_frame(out, FrameKind::Sasl, 0, |out| {
        value::put_described_list(out, 0x44, 1, |out| value::put_value(out, &Value::Ubyte(code)));
    });
}

//! AMQP 1.0 as bytes: values, frames, performatives and messages (OASIS AMQP 1.0, parts 1 to 3).
//!
//! Guarantees: decoding is total (no panic on any input), bounded (it never allocates more than a
//! small multiple of its input, and recursion has a limit) and tolerant (see below).
//!
//! This is our own codec because peers must be understood that break the letter of the standard:
//! `error.info` with string keys from JavaScript, missing or extra trailing fields, symbolic
//! descriptors, integers of another width, unknown delivery states. The typed decoders we tried
//! drop the connection on these. Uniform constructors make an own one small, and message bodies
//! pass through it as slices of the frame they came in.

pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod outcome;
pub(crate) mod performative;
#[cfg(test)]
mod tests;
pub(crate) mod value;

/// The bytes are not AMQP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DecodeError {
    /// The input ends within a value.
    #[error("the data ends within a value")]
    Truncated,
    /// No type has this constructor.
    #[error("0x{0:02x} is no constructor")]
    Constructor(u8),
    /// Text that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// Values within values beyond any use.
    #[error("values are nested too deeply")]
    TooDeep,
    /// A count that the size of its value cannot hold.
    #[error("a count exceeds the size of its value")]
    Count,
    /// Something else was expected here.
    #[error("expected {0}")]
    Expected(&'static str),
}

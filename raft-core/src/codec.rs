//! Bytes on the wire and in files; the only module that knows bincode.
//!
//! A *frame* is what one bus message carries:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | magic `RAFT` |
//! | 2 | format version, 2 |
//! | 8 | cluster id |
//! | 9 | sender: kind and id |
//! | 4 | how many envelopes follow |
//! | each | 4 bytes length, then receiver (kind and id), then the message |
//!
//! Integers are little-endian and of fixed width. Every length is checked against the bytes that are
//! there before anything is allocated, so a decode never takes more memory than a small multiple of
//! the frame, and payloads are slices of the frame, not copies.
//!
//! Guarantees: decoding is total (never panics) and exact (no trailing bytes), and what was encoded
//!             decodes to itself.
//! Relies on:  a frame being at most [`FRAME_BYTES_MAX`] long; larger ones are refused unread.
//! Elsewhere:  how a snapshot begins is in `codec/snapshot.rs`.

mod client;
mod snapshot;

use bincode::config::{self, Config, Fixint, Limit, LittleEndian, NoLimit, standard};
use bincode::de::{BorrowDecode, BorrowDecoder};
use bincode::enc::write::Writer;
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError as BincodeError, EncodeError as BincodeEncodeError};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use std::sync::Arc;

pub(crate) use snapshot::{decode_snapshot_header, encode_snapshot_header};

use crate::log::{Entry, Payload};
use crate::membership::Configuration;
use crate::message::{
    Address, AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ConflictHint,
    Envelope, InstallSnapshotRequest, InstallSnapshotResponse, Message, ReadIndexRequest,
    ReadIndexResponse, RegisterClient, TimeoutNow, VoteRequest, VoteResponse,
};
use crate::snapshot::SnapshotId;
use crate::types::{
    ClientId, ClusterId, Index, LogId, ReadId, Round, SequenceNumber, ServerId, SessionId, Term,
};

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"RAFT";
/// The format this version writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 2;
/// The longest frame that is read or written, in bytes: a Service Bus message on the Standard tier
/// holds 256 KB, headers included.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

const CONFIG: config::Configuration<LittleEndian, Fixint, Limit<FRAME_BYTES_MAX>> =
    standard().with_little_endian().with_fixed_int_encoding().with_limit::<FRAME_BYTES_MAX>();

/// Why bytes are no frame, or no value. Nothing was taken from them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They do not start like a frame of ours.
    #[error("not a Raft frame")]
    NotAFrame,
    /// They are of a version that this one does not read.
    #[error("frame format {found} is not known here, only {FORMAT_VERSION}")]
    UnknownVersion {
        /// The version found.
        found: u16,
    },
    /// They are longer than any frame.
    #[error("{bytes} bytes are more than a frame's {FRAME_BYTES_MAX}")]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
    /// Bytes are left over after the last value.
    #[error("{bytes} bytes are left over")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// They end too early, or hold something no encoder writes.
    #[error("malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

impl From<BincodeError> for DecodeError {
    fn from(error: BincodeError) -> Self {
        let reason = match error {
            // Our own words; the rest are bincode's.
            BincodeError::Other(reason) => reason.to_owned(),
            other => other.to_string(),
        };
        Self::Malformed { reason }
    }
}

/// Why envelopes cannot become a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Together they are longer than a frame may be.
    #[error("the frame would be longer than {FRAME_BYTES_MAX} bytes")]
    TooLong,
    /// They are of several senders or clusters.
    #[error("one frame holds envelopes of one sender only")]
    MixedSenders,
    /// There is none.
    #[error("a frame holds at least one envelope")]
    Empty,
}

/// Appends a frame with these envelopes, all of one sender, to `buffer`.
///
/// # Errors
///
/// If they do not fit into one frame. `buffer` is as before then.
pub fn encode_frame(envelopes: &[Envelope], buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = buffer.len();
    let result = append_frame(envelopes, buffer);
    if result.is_err() {
        buffer.truncate(start);
    }
    result
}

fn append_frame(envelopes: &[Envelope], buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    let first = envelopes.first().ok_or(EncodeError::Empty)?;
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    buffer.extend_from_slice(&first.cluster_id.0.to_le_bytes());
    append(&first.from, buffer)?;
    let count = u32::try_from(envelopes.len()).map_err(|_| EncodeError::TooLong)?;
    buffer.extend_from_slice(&count.to_le_bytes());
    for envelope in envelopes {
        if (envelope.cluster_id, envelope.from) != (first.cluster_id, first.from) {
            return Err(EncodeError::MixedSenders);
        }
        let length_at = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        append(&envelope.to, buffer)?;
        append(&envelope.message, buffer)?;
        if buffer.len() - start > FRAME_BYTES_MAX {
            return Err(EncodeError::TooLong);
        }
        let length = (buffer.len() - length_at - 4) as u32;
        buffer[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

/// Reads a frame; the payloads of its entries are slices of `frame`.
///
/// # Errors
///
/// If it is anything but exactly one frame of this version.
pub fn decode_frame(frame: &Bytes) -> Result<Vec<Envelope>, DecodeError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLong { bytes: frame.len() });
    }
    let mut rest = frame.strip_prefix(&MAGIC).ok_or(DecodeError::NotAFrame)?;
    let version = u16::from_le_bytes(*take(&mut rest)?);
    if version != FORMAT_VERSION {
        return Err(DecodeError::UnknownVersion { found: version });
    }
    let cluster_id = ClusterId(u64::from_le_bytes(*take(&mut rest)?));
    let (from, read) = read_one::<Address>(rest, frame)?;
    rest = &rest[read..];
    let count = u32::from_le_bytes(*take(&mut rest)?) as usize;
    if count == 0 {
        return Err(malformed("no envelope"));
    }
    if count > rest.len() / ENVELOPE_BYTES_MIN {
        return Err(malformed("more envelopes than bytes"));
    }
    let mut envelopes = Vec::with_capacity(count);
    for _ in 0..count {
        let length = u32::from_le_bytes(*take(&mut rest)?) as usize;
        let body = rest.get(..length).ok_or_else(|| malformed("an envelope is cut off"))?;
        let ((to, message), read) = read_one::<(Address, Message)>(body, frame)?;
        if read != length {
            return Err(DecodeError::Trailing { bytes: length - read });
        }
        envelopes.push(Envelope { cluster_id, from, to, message });
        rest = &rest[length..];
    }
    match rest.len() {
        0 => Ok(envelopes),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}

/// Appends an entry, as files keep it.
///
/// # Errors
///
/// If it is longer than a frame may be.
pub fn encode_entry(entry: &Entry, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    append(entry, buffer)
}

/// Reads an entry that fills `bytes` exactly; its payload is a slice of them.
///
/// # Errors
///
/// If they are anything else.
pub fn decode_entry(bytes: &Bytes) -> Result<Entry, DecodeError> {
    decode_entry_of(bytes, bytes)
}

/// Reads an entry that fills `bytes` exactly, which are a part of `frame`; its payload is a slice of it.
pub(crate) fn decode_entry_of(bytes: &[u8], frame: &Bytes) -> Result<Entry, DecodeError> {
    match read_one(bytes, frame)? {
        (entry, read) if read == bytes.len() => Ok(entry),
        (_, read) => Err(DecodeError::Trailing { bytes: bytes.len() - read }),
    }
}

/// Encodes an application's value: a command, a response, a snapshot.
#[must_use]
pub fn encode_value<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, VALUE_CONFIG)
        .expect("a value that serde can serialize has a length and no unknown parts")
}

/// Reads an application's value that fills `bytes` exactly.
///
/// # Errors
///
/// If they are anything else.
pub fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, read) = if bytes.len() <= VALUE_BYTES_MAX {
        bincode::serde::decode_from_slice(bytes, VALUE_CONFIG)?
    } else {
        bincode::serde::decode_from_slice(bytes, UNLIMITED)?
    };
    match bytes.len() - read {
        0 => Ok(value),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}

/// An application's values may be longer than a frame, so the limit only keeps a hostile length from
/// asking for absurd memory. What is longer itself came in no frame: it is a snapshot, whose checksum
/// was right.
const VALUE_CONFIG: config::Configuration<LittleEndian, Fixint, Limit<VALUE_BYTES_MAX>> =
    standard().with_little_endian().with_fixed_int_encoding().with_limit::<VALUE_BYTES_MAX>();
const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// For what code of ours reads, which takes no memory before it has seen the bytes, and for snapshots.
const UNLIMITED: config::Configuration<LittleEndian, Fixint, NoLimit> =
    standard().with_little_endian().with_fixed_int_encoding().with_no_limit();

/// The shortest envelope: its length, the receiver that all servers are, and a vote.
const ENVELOPE_BYTES_MIN: usize = 4 + 1 + 10;

/// Takes the next `N` bytes off.
fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], DecodeError> {
    let (head, tail) = rest.split_first_chunk().ok_or_else(|| malformed("the frame is cut off"))?;
    *rest = tail;
    Ok(head)
}

fn malformed(reason: &'static str) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_owned() }
}

/// Encodes with bincode behind what is already in `buffer`, in one pass.
fn append<T: Encode>(value: &T, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    append_up_to(value, buffer, FRAME_BYTES_MAX, CONFIG)
}

fn append_up_to<T: Encode>(
    value: &T,
    buffer: &mut Vec<u8>,
    room: usize,
    config: impl Config,
) -> Result<(), EncodeError> {
    /// Appends, as long as there is room.
    struct Appender<'a> {
        buffer: &'a mut Vec<u8>,
        room: usize,
    }

    impl Writer for Appender<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), BincodeEncodeError> {
            let room = self.room.checked_sub(bytes.len());
            self.room = room.ok_or(BincodeEncodeError::UnexpectedEnd)?;
            self.buffer.extend_from_slice(bytes);
            Ok(())
        }
    }

    let appender = Appender { buffer, room };
    bincode::encode_into_writer(value, appender, config).map_err(|_| EncodeError::TooLong)
}

/// Decodes one value from the start of `bytes`, which lie inside `frame`; says how many it took.
fn read_one<'a, T: BorrowDecode<'a, Bytes>>(
    bytes: &'a [u8],
    frame: &Bytes,
) -> Result<(T, usize), DecodeError> {
    let (value, read) =
        bincode::borrow_decode_from_slice_with_context(bytes, CONFIG, frame.clone())?;
    Ok((value, read))
}

/// Declares how a struct of ours is written: its fields in this order.
macro_rules! fields {
    ($type:ident { $($field:ident),+ }) => {
        impl Encode for $type {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
                $(self.$field.encode(encoder)?;)+
                Ok(())
            }
        }

        impl<'de> BorrowDecode<'de, Bytes> for $type {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
                decoder: &mut D,
            ) -> Result<Self, BincodeError> {
                Ok(Self { $($field: Field::decode(decoder)?),+ })
            }
        }
    };
}

/// Declares how an enum of ours is written: a byte for the variant, then its fields in this order.
macro_rules! variants {
    ($type:ident { $($tag:literal => $variant:ident $({ $($field:ident),* })? $(($inner:ident))?),+ $(,)? }) => {
        impl Encode for $type {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
                match self {
                    $(Self::$variant $({ $($field),* })? $(($inner))? => {
                        let tag: u8 = $tag;
                        tag.encode(encoder)?;
                        $($($field.encode(encoder)?;)*)?
                        $($inner.encode(encoder)?;)?
                    })+
                }
                Ok(())
            }
        }

        impl<'de> BorrowDecode<'de, Bytes> for $type {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
                decoder: &mut D,
            ) -> Result<Self, BincodeError> {
                match u8::decode(decoder)? {
                    $($tag => Ok(Self::$variant
                        $({ $($field: Field::decode(decoder)?),* })?
                        $(({ let $inner = Field::decode(decoder)?; $inner }))?),)+
                    _ => Err(BincodeError::Other(concat!("unknown kind of ", stringify!($type)))),
                }
            }
        }
    };
}

/// Reads a value of ours or a plain number, always with the frame as context.
trait Field<'de>: Sized {
    fn decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError>;
}

impl<'de, T: BorrowDecode<'de, Bytes>> Field<'de> for T {
    fn decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        Self::borrow_decode(decoder)
    }
}

/// Declares how a number of ours is written: as its 64 bits.
macro_rules! numbers {
    ($($type:ident),+) => {$(
        impl Encode for $type {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
                self.0.encode(encoder)
            }
        }

        impl<'de> BorrowDecode<'de, Bytes> for $type {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
                decoder: &mut D,
            ) -> Result<Self, BincodeError> {
                Ok(Self(Field::decode(decoder)?))
            }
        }
    )+};
}

numbers!(Term, Index, ServerId, ClientId, SequenceNumber, SessionId, ReadId, Round);
fields!(LogId { term, index });
fields!(VoteRequest { term, candidate_id, last_log_index, last_log_term, is_transfer });
fields!(VoteResponse { term, vote_granted });
fields!(AppendEntriesResponse { term, round, result });
fields!(SnapshotId { last, size_bytes, checksum });
fields!(InstallSnapshotResponse { term, round, id, offset });
fields!(TimeoutNow { term, leader_id, last });
fields!(ReadIndexRequest { id, is_lease_enough });
fields!(ReadIndexResponse { id, index });
fields!(RegisterClient { client_id, registration });
fields!(ConflictHint { term, index });
variants!(Address { 0 => Server(server), 1 => Client(client), 2 => AllServers });
variants!(AppendEntriesResult {
    0 => Success { match_index },
    1 => Conflict { prev_log_index, hint },
    2 => StaleTerm,
});
variants!(Message {
    0 => VoteRequest(request),
    1 => VoteResponse(response),
    2 => AppendEntriesRequest(request),
    3 => AppendEntriesResponse(response),
    4 => ClientRequest(request),
    5 => ClientResponse(response),
    6 => PreVoteRequest(request),
    7 => PreVoteResponse(response),
    8 => InstallSnapshotRequest(request),
    9 => InstallSnapshotResponse(response),
    10 => TimeoutNow(request),
    11 => ReadIndexRequest(request),
    12 => ReadIndexResponse(response),
    13 => RegisterClient(request),
});

impl Encode for Payload {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        match self {
            Self::Noop => 0_u8.encode(encoder),
            Self::Command(request) => {
                1_u8.encode(encoder)?;
                request.encode(encoder)
            }
            Self::Proposal(command) => {
                2_u8.encode(encoder)?;
                encode_bytes(command, encoder)
            }
            Self::RegisterClient { client_id, registration, sessions_max } => {
                3_u8.encode(encoder)?;
                client_id.encode(encoder)?;
                registration.encode(encoder)?;
                sessions_max.encode(encoder)
            }
            Self::Configuration(configuration) => {
                4_u8.encode(encoder)?;
                configuration.encode(encoder)
            }
        }
    }
}

impl Encode for Entry {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        self.term.encode(encoder)?;
        self.index.encode(encoder)?;
        self.payload.encode(encoder)
    }
}

impl<'de> BorrowDecode<'de, Bytes> for Entry {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        // A frame holds many entries, so what each of them has is read at once.
        let [head @ .., tag] = *take_array::<ENTRY_BYTES_MIN, _>(decoder)?;
        let (term, index) = head.split_at(8);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("it is a half"));
        let (term, index) = (Term(number(term)), Index(number(index)));
        let payload = Payload::decode_tagged(tag, decoder)?;
        Ok(Self { term, index, payload })
    }
}

/// An entry without a command: term, index and tag.
const ENTRY_BYTES_MIN: usize = 17;

impl Payload {
    fn decode_tagged<'de, D: BorrowDecoder<'de, Context = Bytes>>(
        tag: u8,
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        match tag {
            0 => Ok(Self::Noop),
            1 => Ok(Self::Command(Arc::new(Field::decode(decoder)?))),
            2 => Ok(Self::Proposal(decode_bytes(decoder)?)),
            3 => Ok(Self::RegisterClient {
                client_id: Field::decode(decoder)?,
                registration: Field::decode(decoder)?,
                sessions_max: Field::decode(decoder)?,
            }),
            4 => Ok(Self::Configuration(Arc::new(Field::decode(decoder)?))),
            _ => Err(BincodeError::Other("unknown kind of Payload")),
        }
    }
}

/// How many there are in 4 bytes, then one after the other.
fn encode_list<E: Encoder, T: Encode>(
    items: impl ExactSizeIterator<Item = T>,
    encoder: &mut E,
) -> Result<(), BincodeEncodeError> {
    let count = u32::try_from(items.len()).map_err(|_| BincodeEncodeError::UnexpectedEnd)?;
    count.encode(encoder)?;
    items.into_iter().try_for_each(|item| item.encode(encoder))
}

/// Reads a list of items that take at least so many bytes each. Whoever claims more than the frame
/// has bytes for gets no memory for them.
fn decode_list<'de, D: BorrowDecoder<'de, Context = Bytes>, T: BorrowDecode<'de, Bytes>>(
    item_bytes_min: usize,
    decoder: &mut D,
) -> Result<Vec<T>, BincodeError> {
    let count = u32::decode(decoder)? as usize;
    if count > decoder.context().len() / item_bytes_min {
        return Err(BincodeError::Other("more items than bytes"));
    }
    let mut items = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        items.push(T::borrow_decode(decoder)?);
    }
    Ok(items)
}

impl Encode for Configuration {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        encode_list(self.voters().iter(), encoder)?;
        encode_list(self.old_voters().unwrap_or_default().iter(), encoder)?;
        let learners: Vec<_> = self.learners().collect();
        encode_list(learners.iter(), encoder)
    }
}

impl<'de> BorrowDecode<'de, Bytes> for Configuration {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        let voters: Vec<ServerId> = decode_list(8, decoder)?;
        let old_voters: Vec<ServerId> = decode_list(8, decoder)?;
        let learners: Vec<ServerId> = decode_list(8, decoder)?;
        let is_joint = !old_voters.is_empty();
        let found = (voters.clone(), old_voters.clone(), learners.clone());
        if voters.is_empty() {
            return Err(BincodeError::Other("a cluster without voters"));
        }
        let configuration = if is_joint {
            Self::joint(old_voters, voters, learners)
        } else {
            Self::new(voters, learners)
        };
        // One set of servers has one encoding: in ascending order, each once.
        let old_voters = configuration.old_voters().unwrap_or_default();
        let is_canonical = configuration.voters() == found.0
            && old_voters == found.1
            && configuration.learners().eq(found.2);
        if is_canonical {
            Ok(configuration)
        } else {
            Err(BincodeError::Other("a configuration out of order"))
        }
    }
}

impl Encode for InstallSnapshotRequest {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        (self.term, self.leader_id, self.round, self.id, self.offset).encode(encoder)?;
        encode_bytes(&self.data, encoder)
    }
}

impl<'de> BorrowDecode<'de, Bytes> for InstallSnapshotRequest {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        let (term, leader_id, round, id, offset) = Field::decode(decoder)?;
        Ok(Self { term, leader_id, round, id, offset, data: decode_bytes(decoder)? })
    }
}

impl Encode for AppendEntriesRequest {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        self.term.encode(encoder)?;
        self.leader_id.encode(encoder)?;
        self.prev_log_index.encode(encoder)?;
        self.prev_log_term.encode(encoder)?;
        self.leader_commit.encode(encoder)?;
        self.round.encode(encoder)?;
        encode_list(self.entries.iter(), encoder)
    }
}

impl<'de> BorrowDecode<'de, Bytes> for AppendEntriesRequest {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        let term = Field::decode(decoder)?;
        let leader_id = Field::decode(decoder)?;
        let prev_log_index = Field::decode(decoder)?;
        let prev_log_term = Field::decode(decoder)?;
        let leader_commit = Field::decode(decoder)?;
        let round = Field::decode(decoder)?;
        let entries: Vec<Entry> = decode_list(ENTRY_BYTES_MIN, decoder)?;
        let entries = entries.into();
        Ok(Self { term, leader_id, prev_log_index, prev_log_term, entries, leader_commit, round })
    }
}

/// Length in 4 bytes, then the bytes.
fn encode_bytes<E: Encoder>(bytes: &Bytes, encoder: &mut E) -> Result<(), BincodeEncodeError> {
    let length = u32::try_from(bytes.len()).map_err(|_| BincodeEncodeError::UnexpectedEnd)?;
    length.encode(encoder)?;
    encoder.writer().write(bytes)
}

/// The next `N` bytes.
fn take_array<'de, const N: usize, D: BorrowDecoder<'de, Context = Bytes>>(
    decoder: &mut D,
) -> Result<&'de [u8; N], BincodeError> {
    use bincode::de::read::BorrowReader;

    decoder.claim_bytes_read(N)?;
    let bytes = decoder.borrow_reader().take_bytes(N)?;
    Ok(bytes.try_into().expect("so many were taken"))
}

/// A slice of the frame, not a copy.
fn decode_bytes<'de, D: BorrowDecoder<'de, Context = Bytes>>(
    decoder: &mut D,
) -> Result<Bytes, BincodeError> {
    use bincode::de::read::BorrowReader;

    let length = u32::from_le_bytes(*take_array(decoder)?) as usize;
    decoder.claim_bytes_read(length)?;
    let bytes = decoder.borrow_reader().take_bytes(length)?;
    // Small payloads are copied, so that one of them does not keep a whole frame alive.
    if length <= 64 {
        return Ok(Bytes::copy_from_slice(bytes));
    }
    Ok(decoder.context().slice_ref(bytes))
}

//! One record of a segment: a header, or the saves of one call, with their checksums (feature
//! `file-storage`).
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | length of the body |
//! | 4 | CRC-32C of the body |
//! | 4 | how many of the record's sectors are all zeros |
//! | 4 | CRC-32C of these three, and of the record's place: the number of its segment, its offset there |
//! | body | see below |
//! | 4 | [`TRAILER`] |
//! | 0 to 15 | zeros, up to a place that 16 divides |
//!
//! The body of saves has for each of them: flags; hard state, snapshot, end of the compacted log, or none
//! of these; the number of entries, and each with its length.
//!
//! Where nothing was written there are zeros. So a record that a crash tore can be told from one that was
//! whole and is damaged: of the torn one at least a sector, or its end, is missing, and zeros are there
//! instead. The number of zero sectors says how many it has of its own.
//!
//! Guarantees: what is read is what was written, in the place where it was written. What is not is told
//!             apart: torn by a crash, or damaged.
//! Relies on:  a disk writing a sector of 512 bytes, at a place that 512 divides, whole or not at all; a
//!             record not being begun before the last one is durable.

use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::codec;
use crate::effect::Save;
use crate::snapshot::SnapshotId;
use crate::storage::HardState;
use crate::types::{ClusterId, Index, LogId, ServerId, Term};

/// What stands before a record's body.
pub(super) const PREFIX_BYTES: usize = 16;
/// Every record starts at a place that this divides, so that its prefix is in one sector.
pub(super) const ALIGNMENT: u64 = PREFIX_BYTES as u64;
/// What a disk writes in one piece.
pub(super) const SECTOR_BYTES: u64 = 512;
/// What follows a body. No byte of it is zero.
const TRAILER: [u8; 4] = *b"raft";

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of its segment.
    pub(super) segment: u64,
    /// Its first byte in the segment.
    pub(super) offset: u64,
}

/// What stands before a record's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Of the body, in bytes.
    pub(super) length: u32,
    /// CRC-32C of the body.
    pub(super) checksum: u32,
    /// How many of the record's sectors are all zeros.
    pub(super) zero_sectors: u32,
}

impl Prefix {
    /// The prefix of a record in this place. The place is checked but not stored, so that a record
    /// which a client's command holds a copy of, and one of a file that was used before, is none.
    pub(super) fn encode(self, place: Place) -> [u8; PREFIX_BYTES] {
        let mut bytes = [0; PREFIX_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.zero_sectors.to_le_bytes());
        let mut checked = [0; 28];
        checked[..12].copy_from_slice(&bytes[..12]);
        checked[12..20].copy_from_slice(&place.segment.to_le_bytes());
        checked[20..].copy_from_slice(&place.offset.to_le_bytes());
        bytes[12..].copy_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        bytes
    }

    /// The prefix that `bytes` start with, if they are those of a record in this place.
    pub(super) fn decode(bytes: &[u8], place: Place) -> Option<Self> {
        let found = bytes.get(..PREFIX_BYTES)?;
        let mut fields = found;
        let (length, checksum) = (fields.get_u32_le(), fields.get_u32_le());
        let prefix = Self { length, checksum, zero_sectors: fields.get_u32_le() };
        (prefix.length > 0 && prefix.encode(place) == found).then_some(prefix)
    }

    /// Where the body is, from the start of the record.
    fn body(self) -> Range<usize> {
        PREFIX_BYTES..PREFIX_BYTES + self.length as usize
    }

    /// The body of this record, if it is whole.
    pub(super) fn body_of(self, record: &[u8]) -> Option<&[u8]> {
        let body = record.get(self.body())?;
        let trailer = record.get(self.body().end..self.end())?;
        (trailer == TRAILER && crc32c::crc32c(body) == self.checksum).then_some(body)
    }

    /// Where the trailer ends, from the start of the record.
    pub(super) fn end(self) -> usize {
        self.body().end + TRAILER.len()
    }

    /// How many bytes the record takes, with the zeros behind it.
    pub(super) fn record_bytes(self) -> u64 {
        (self.end() as u64).next_multiple_of(ALIGNMENT)
    }
}

/// What the end of a segment is that starts with no whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A record that a crash tore while it was written.
    Torn,
    /// A record that was saved, and is damaged.
    Damaged,
    /// The same, as others show that follow it.
    DamagedAndFollowed,
}

/// Says what `rest` is, the end of a segment from `place` on, which starts with no whole record and is
/// not all zeros.
pub(super) fn examine(rest: &[u8], place: Place) -> Broken {
    let prefix = Prefix::decode(rest, place);
    // The next record is not begun before this one is durable. Its prefix proves that there is one, so
    // no body is read, and the search takes one short check for each place.
    let own = prefix.map_or(ALIGNMENT, Prefix::record_bytes);
    let follows = |at: u64| {
        let place = Place { offset: place.offset + at, ..place };
        let bytes = usize::try_from(at).ok().and_then(|at| rest.get(at..)).unwrap_or_default();
        Prefix::decode(bytes, place).is_some_and(|prefix| prefix.end() <= bytes.len())
    };
    if (own..rest.len() as u64).step_by(ALIGNMENT as usize).any(follows) {
        return Broken::DamagedAndFollowed;
    }
    let is_torn = match prefix {
        Some(prefix) => match rest.get(..prefix.end()) {
            // The file ends before the record does.
            None => true,
            Some(record) => {
                let is_unfinished = record[prefix.body().end..].contains(&0);
                // Fewer than it has of its own: then one of those is damaged.
                is_unfinished || zero_sectors(record, place.offset) > prefix.zero_sectors
            }
        },
        // Its first sector was not written; or not even its prefix was, to the end.
        None => {
            let is_lost = sectors(rest, place.offset).next().is_none_or(is_zero);
            is_lost || rest.iter().skip(PREFIX_BYTES).all(|&byte| byte == 0)
        }
    };
    if is_torn { Broken::Torn } else { Broken::Damaged }
}

/// The parts of a record that are in one sector each.
fn sectors(record: &[u8], offset: u64) -> impl Iterator<Item = &[u8]> {
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(record.len() as u64) as usize;
    let (first, rest) = record.split_at(first);
    [first].into_iter().chain(rest.chunks(SECTOR_BYTES as usize))
}

fn zero_sectors(record: &[u8], offset: u64) -> u32 {
    sectors(record, offset).filter(|sector| is_zero(sector)).count() as u32
}

/// True if there is nothing but zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Most are not, which the first byte shows; the rest is compared in words.
    let mut words = bytes.chunks_exact(16);
    words.all(|word| *word == [0; 16]) && words.remainder().iter().all(|&byte| byte == 0)
}

/// A record that is made, in a buffer to be used again.
#[derive(Debug, Default)]
pub(super) struct Record {
    buffer: Vec<u8>,
}

/// Why a record cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error(transparent)]
    Entry(#[from] codec::EncodeError),
    #[error("{0} bytes are more than a record can be long")]
    TooLong(usize),
}

impl Record {
    /// Begins a record of saves: see [`Record::push`] and [`Record::finish`].
    pub(super) fn begin(&mut self) {
        self.begin_kind(KIND_SAVES);
    }

    /// Adds a save, with what becomes of the log if it is compacted.
    ///
    /// # Errors
    ///
    /// If an entry is longer than any that was ever sent.
    pub(super) fn push(
        &mut self,
        save: &Save,
        compaction: Option<Compaction>,
    ) -> Result<(), RecordError> {
        let buffer = &mut self.buffer;
        let snapshot = save.snapshot.as_ref().map(|snapshot| snapshot.id());
        push_state(buffer, save.hard_state, snapshot, compaction);
        buffer.extend_from_slice(&(save.entries.len() as u32).to_le_bytes());
        for entry in &save.entries {
            let length_at = buffer.len();
            buffer.extend_from_slice(&[0; 4]);
            codec::encode_entry(entry, buffer)?;
            let length = (buffer.len() - length_at - 4) as u32;
            buffer[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    /// Ends the record. It stands nowhere yet: see [`Record::put`].
    ///
    /// # Errors
    ///
    /// If it is longer than a record can be.
    pub(super) fn finish(&mut self) -> Result<(), RecordError> {
        let length = self.buffer.len() - PREFIX_BYTES;
        if u32::try_from(length).is_err() {
            return Err(RecordError::TooLong(length));
        }
        self.buffer.extend_from_slice(&TRAILER);
        let whole = (self.buffer.len() as u64).next_multiple_of(ALIGNMENT);
        self.buffer.resize(usize::try_from(whole).unwrap_or(usize::MAX), 0);
        Ok(())
    }

    /// The record that a segment starts with.
    pub(super) fn of_header(header: &Header) -> Self {
        let mut record = Self::default();
        record.begin_kind(KIND_HEADER);
        let buffer = &mut record.buffer;
        buffer.extend_from_slice(&header.cluster_id.0.to_le_bytes());
        buffer.extend_from_slice(&header.server_id.0.to_le_bytes());
        buffer.extend_from_slice(&header.previous_end.to_le_bytes());
        push_log_id(buffer, header.start);
        push_log_id(buffer, header.last);
        push_state(buffer, Some(header.hard_state), header.snapshot, None);
        record.finish().expect("a header is short");
        record
    }

    fn begin_kind(&mut self, kind: u8) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; PREFIX_BYTES]);
        self.buffer.push(kind);
    }

    /// How many bytes it takes.
    pub(super) fn len(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Its bytes, for this place.
    pub(super) fn put(&mut self, place: Place) -> &[u8] {
        let trailer = self.buffer.iter().rposition(|&byte| byte != 0).unwrap_or_default() + 1;
        let body = PREFIX_BYTES..trailer - TRAILER.len();
        // Their number is of the prefix, whose own sector is never one of them.
        self.buffer[0] = 1;
        let zero_sectors = zero_sectors(&self.buffer[..trailer], place.offset);
        let checksum = crc32c::crc32c(&self.buffer[body.clone()]);
        let prefix = Prefix { length: body.len() as u32, checksum, zero_sectors };
        self.buffer[..PREFIX_BYTES].copy_from_slice(&prefix.encode(place));
        &self.buffer
    }
}

/// What a body begins with.
const KIND_SAVES: u8 = 1;
const KIND_HEADER: u8 = 2;

/// What a save in a record begins with.
const HAS_HARD_STATE: u8 = 1;
const HAS_VOTE: u8 = 2;
const HAS_SNAPSHOT: u8 = 4;
const HAS_COMPACTED: u8 = 8;
const CLEARS: u8 = 16;

fn push_log_id(buffer: &mut Vec<u8>, LogId { term, index }: LogId) {
    buffer.extend_from_slice(&term.0.to_le_bytes());
    buffer.extend_from_slice(&index.0.to_le_bytes());
}

fn push_state(
    buffer: &mut Vec<u8>,
    hard_state: Option<HardState>,
    snapshot: Option<SnapshotId>,
    compaction: Option<Compaction>,
) {
    let voted_for = hard_state.and_then(|hard_state| hard_state.voted_for);
    let flag = |is_there, flag| if is_there { flag } else { 0 };
    buffer.push(
        flag(hard_state.is_some(), HAS_HARD_STATE)
            | flag(voted_for.is_some(), HAS_VOTE)
            | flag(snapshot.is_some(), HAS_SNAPSHOT)
            | flag(compaction.is_some(), HAS_COMPACTED)
            | flag(compaction.is_some_and(|compaction| compaction.clears), CLEARS),
    );
    if let Some(HardState { current_term, .. }) = hard_state {
        buffer.extend_from_slice(&current_term.0.to_le_bytes());
    }
    if let Some(candidate) = voted_for {
        buffer.extend_from_slice(&candidate.0.to_le_bytes());
    }
    if let Some(SnapshotId { last, size_bytes, checksum }) = snapshot {
        push_log_id(buffer, last);
        buffer.extend_from_slice(&size_bytes.to_le_bytes());
        buffer.extend_from_slice(&checksum.to_le_bytes());
    }
    if let Some(Compaction { to, .. }) = compaction {
        push_log_id(buffer, to);
    }
}

/// That the log was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compaction {
    /// The place before the first entry from now on.
    pub(super) to: LogId,
    /// The log did not hold that very entry, so nothing is left of it.
    pub(super) clears: bool,
}

/// What a segment starts with: whose it is, and what all those before it come to. So they can go as soon
/// as their entries are not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster_id: ClusterId,
    pub(super) server_id: ServerId,
    /// Where the segment before it ends.
    pub(super) previous_end: u64,
    /// The place before the first entry of the log.
    pub(super) start: LogId,
    /// The last entry of the log.
    pub(super) last: LogId,
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotId>,
}

/// A body, as far as it was read.
#[derive(Debug)]
pub(super) enum Body {
    Header(Header),
    /// Saves follow, one for each [`StoredSave::decode`], until nothing is left.
    Saves(Bytes),
}

/// A save as a record has it.
#[derive(Debug)]
pub(super) struct StoredSave {
    pub(super) hard_state: Option<HardState>,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) compaction: Option<Compaction>,
    /// How many entries follow.
    pub(super) entries: u32,
}

const ENDS_EARLY: &str = "the record ends early";

impl Body {
    /// Reads the body of a record.
    pub(super) fn decode(mut body: Bytes) -> Result<Self, String> {
        match body.try_get_u8() {
            Ok(KIND_SAVES) => Ok(Self::Saves(body)),
            Ok(KIND_HEADER) => {
                let (cluster_id, server_id) = (ClusterId(number(&mut body)?), number(&mut body)?);
                let previous_end = number(&mut body)?;
                let (start, last) = (log_id(&mut body)?, log_id(&mut body)?);
                let (hard_state, snapshot, _) = decode_state(&mut body)?;
                let hard_state = hard_state.ok_or_else(|| ENDS_EARLY.to_owned())?;
                let server_id = ServerId(server_id);
                Ok(Self::Header(Header {
                    cluster_id,
                    server_id,
                    previous_end,
                    start,
                    last,
                    hard_state,
                    snapshot,
                }))
            }
            Ok(kind) => Err(format!("unknown kind of record {kind}")),
            Err(_) => Err(ENDS_EARLY.to_owned()),
        }
    }
}

impl StoredSave {
    /// Takes the next save off a body, but for its entries: see [`decode_entry`].
    pub(super) fn decode(body: &mut Bytes) -> Result<Self, String> {
        let (hard_state, snapshot, compaction) = decode_state(body)?;
        let entries = body.try_get_u32_le().map_err(|_| ENDS_EARLY.to_owned())?;
        Ok(Self { hard_state, snapshot, compaction, entries })
    }
}

/// Takes the next entry off a body. Its payload is a part of it.
pub(super) fn decode_entry(body: &mut Bytes) -> Result<crate::log::Entry, String> {
    let length = body.try_get_u32_le().map_err(|_| ENDS_EARLY.to_owned())? as usize;
    let bytes = body.get(..length).ok_or_else(|| ENDS_EARLY.to_owned())?;
    let entry = codec::decode_entry_of(bytes, body).map_err(|error| error.to_string())?;
    body.advance(length);
    Ok(entry)
}

fn number(body: &mut Bytes) -> Result<u64, String> {
    body.try_get_u64_le().map_err(|_| ENDS_EARLY.to_owned())
}

fn log_id(body: &mut Bytes) -> Result<LogId, String> {
    let term = Term(number(body)?);
    Ok(LogId::new(term, Index(number(body)?)))
}

type State = (Option<HardState>, Option<SnapshotId>, Option<Compaction>);

fn decode_state(body: &mut Bytes) -> Result<State, String> {
    let flags = body.try_get_u8().map_err(|_| ENDS_EARLY.to_owned())?;
    let all = HAS_HARD_STATE | HAS_VOTE | HAS_SNAPSHOT | HAS_COMPACTED | CLEARS;
    if flags & !all != 0 {
        return Err(format!("unknown flags of a save {flags:#x}"));
    }
    let has = |flag| flags & flag != 0;
    let mut hard_state = None;
    if has(HAS_HARD_STATE) {
        let current_term = Term(number(body)?);
        let voted_for = if has(HAS_VOTE) { Some(ServerId(number(body)?)) } else { None };
        hard_state = Some(HardState { current_term, voted_for });
    }
    let mut snapshot = None;
    if has(HAS_SNAPSHOT) {
        let (last, size_bytes) = (log_id(body)?, number(body)?);
        let checksum = body.try_get_u32_le().map_err(|_| ENDS_EARLY.to_owned())?;
        snapshot = Some(SnapshotId { last, size_bytes, checksum });
    }
    let mut compaction = None;
    if has(HAS_COMPACTED) {
        compaction = Some(Compaction { to: log_id(body)?, clears: has(CLEARS) });
    }
    Ok((hard_state, snapshot, compaction))
}

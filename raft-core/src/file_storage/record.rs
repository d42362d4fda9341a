//! One record of a log file: the saves of one call, with their checksums (feature `file-storage`).
//!
//! Guarantees: what is read is what was written, in the place where it was written. What is not is told
//!             apart: torn by a crash, or damaged.
//! Relies on:  a record not being begun before the last one is durable.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};

use crate::codec;
use crate::effect::Save;
use crate::snapshot::Snapshot;
use crate::storage::HardState;
use crate::types::{Index, LogId, SaveNumber, ServerId, Term};

/// Length, CRC-32 of the body and CRC-32 of these before a record's body.
pub(super) const PREFIX_BYTES: usize = 4 + 4 + 4;

/// What stands before a record's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    /// Of the body, in bytes.
    pub(super) length: u32,
    /// CRC-32 of the body.
    pub(super) checksum: u32,
}

impl Prefix {
    /// The prefix of a record that starts at `offset`. The place is checked but not stored, so that
    /// a record which a client's command holds a copy of is none where the copy stands.
    pub(super) fn encode(self, offset: u64) -> [u8; PREFIX_BYTES] {
        let mut bytes = [0; PREFIX_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.checksum.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..8]);
        hasher.update(&offset.to_le_bytes());
        bytes[8..].copy_from_slice(&hasher.finalize().to_le_bytes());
        bytes
    }

    /// The prefix that `bytes` start with, if they are those of a record at `offset`.
    pub(super) fn decode(bytes: &[u8], offset: u64) -> Option<Self> {
        let found = bytes.get(..PREFIX_BYTES)?;
        let mut fields = found;
        let prefix = Self { length: fields.get_u32_le(), checksum: fields.get_u32_le() };
        (prefix.length > 0 && prefix.encode(offset) == found).then_some(prefix)
    }

    /// Where the body ends, from the start of the record.
    pub(super) fn end(self) -> usize {
        PREFIX_BYTES.saturating_add(self.length as usize)
    }
}

/// What the end of a file is that starts with no whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A record that a crash tore while it was written.
    Torn,
    /// A record that was saved, and is damaged.
    Damaged,
}

/// Reads the record at `offset` of a file that ends at `end`, if it is whole. Nothing is allocated for a
/// length that the file does not have.
pub(super) fn read_record(
    file: &mut impl Read,
    offset: u64,
    end: u64,
) -> io::Result<Option<Bytes>> {
    if end - offset < PREFIX_BYTES as u64 {
        return Ok(None);
    }
    let mut prefix = [0; PREFIX_BYTES];
    file.read_exact(&mut prefix)?;
    let Some(prefix) = Prefix::decode(&prefix, offset) else { return Ok(None) };
    if end - offset < prefix.end() as u64 {
        return Ok(None);
    }
    let mut body = vec![0; prefix.length as usize];
    file.read_exact(&mut body)?;
    Ok((crc32fast::hash(&body) == prefix.checksum).then(|| body.into()))
}

/// Says what `rest` is, the end of a file from `offset` on, which starts with no whole record.
///
/// A crash tears only the last record, because the next one is not begun before it is synced. So
/// whatever follows a broken record shows that it was promised to someone.
pub(super) fn examine(rest: &[u8], offset: u64) -> Broken {
    if let Some(prefix) = Prefix::decode(rest, offset) {
        return if prefix.end() < rest.len() { Broken::Damaged } else { Broken::Torn };
    }
    // Nobody knows how long this record was. The prefix of another one proves that there is one, so
    // no body is read, and the search takes one short check for each byte.
    let follows = |at: usize| {
        Prefix::decode(&rest[at..], offset + at as u64)
            .is_some_and(|prefix| at.saturating_add(prefix.end()) <= rest.len())
    };
    if (1..rest.len()).any(follows) { Broken::Damaged } else { Broken::Torn }
}

/// A record that is made, in a buffer to be used again. The bytes of snapshots are not copied into it.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Room for the prefix, then the body but for what is shared.
    buffer: Vec<u8>,
    /// What belongs into the body before the byte of the buffer at this place.
    shared: Vec<(usize, Bytes)>,
}

impl Record {
    /// Begins a record with these saves in its body.
    ///
    /// # Errors
    ///
    /// If an entry is longer than any that was ever sent, or all of it longer than a record can be.
    pub(super) fn fill(&mut self, saves: &[Save], offset: u64) -> io::Result<()> {
        self.buffer.clear();
        self.shared.clear();
        self.buffer.extend_from_slice(&[0; PREFIX_BYTES]);
        for save in saves {
            self.push(save).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        let mut checksum = crc32fast::Hasher::new();
        self.pieces().for_each(|piece| checksum.update(piece));
        let length = u32::try_from(self.len() - PREFIX_BYTES as u64);
        let length = length.map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let prefix = Prefix { length, checksum: checksum.finalize() };
        self.buffer[..PREFIX_BYTES].copy_from_slice(&prefix.encode(offset));
        Ok(())
    }

    /// How many bytes it is long.
    pub(super) fn len(&self) -> u64 {
        let shared = self.shared.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        (self.buffer.len() + shared) as u64
    }

    /// Writes it, and lets go of what it shares.
    pub(super) fn write_to(&mut self, file: &mut impl Write) -> io::Result<()> {
        if self.shared.is_empty() {
            return file.write_all(&self.buffer);
        }
        file.write_all(&self.buffer[..PREFIX_BYTES])?;
        self.pieces().try_for_each(|piece| file.write_all(piece))?;
        self.shared.clear();
        Ok(())
    }

    /// The body.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let ends = self.shared.iter().map(|&(at, _)| at).chain([self.buffer.len()]);
        let starts = [PREFIX_BYTES].into_iter().chain(self.shared.iter().map(|&(at, _)| at));
        let shared = self.shared.iter().map(|(_, bytes)| &bytes[..]).chain([&[][..]]);
        let own = starts.zip(ends).map(|(start, end)| &self.buffer[start..end]);
        own.zip(shared).flat_map(|(own, shared)| [own, shared])
    }

    fn push(&mut self, save: &Save) -> Result<(), codec::EncodeError> {
        let buffer = &mut self.buffer;
        let voted_for = save.hard_state.and_then(|hard_state| hard_state.voted_for);
        let flag = |is_there, flag| if is_there { flag } else { 0 };
        buffer.push(
            flag(save.hard_state.is_some(), HAS_HARD_STATE)
                | flag(voted_for.is_some(), HAS_VOTE)
                | flag(save.snapshot.is_some(), HAS_SNAPSHOT)
                | flag(save.compacted.is_some(), HAS_COMPACTED),
        );
        if let Some(HardState { current_term, .. }) = save.hard_state {
            buffer.extend_from_slice(&current_term.0.to_le_bytes());
        }
        if let Some(candidate) = voted_for {
            buffer.extend_from_slice(&candidate.0.to_le_bytes());
        }
        if let Some(snapshot) = &save.snapshot {
            buffer.extend_from_slice(&snapshot.id().size_bytes.to_le_bytes());
            buffer.extend_from_slice(&snapshot.id().checksum.to_le_bytes());
            let parts = snapshot.parts().into_iter().cloned();
            self.shared.extend(parts.map(|part| (buffer.len(), part)));
        }
        if let Some(LogId { term, index }) = save.compacted {
            buffer.extend_from_slice(&term.0.to_le_bytes());
            buffer.extend_from_slice(&index.0.to_le_bytes());
        }
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
}

/// What a save in a record begins with.
const HAS_HARD_STATE: u8 = 1;
const HAS_VOTE: u8 = 2;
const HAS_SNAPSHOT: u8 = 4;
const HAS_COMPACTED: u8 = 8;

const ENDS_EARLY: &str = "the record ends early";

/// Takes so many bytes off a record's body.
fn split_to(body: &mut Bytes, length: usize) -> Result<Bytes, String> {
    if length > body.len() {
        return Err(ENDS_EARLY.to_owned());
    }
    Ok(body.split_to(length))
}

/// Takes the next save off a record's body.
pub(super) fn decode_save(body: &mut Bytes) -> Result<Save, String> {
    let short = |_| ENDS_EARLY.to_owned();
    let flags = body.try_get_u8().map_err(short)?;
    let all = HAS_HARD_STATE | HAS_VOTE | HAS_SNAPSHOT | HAS_COMPACTED;
    if flags & !all != 0 {
        return Err(format!("unknown kind of record {flags}"));
    }
    let has = |flag| flags & flag != 0;
    let mut number = || body.try_get_u64_le().map_err(short);
    let mut hard_state = None;
    if has(HAS_HARD_STATE) {
        let current_term = Term(number()?);
        let voted_for = if has(HAS_VOTE) { Some(ServerId(number()?)) } else { None };
        hard_state = Some(HardState { current_term, voted_for });
    }
    let mut snapshot = None;
    if has(HAS_SNAPSHOT) {
        let size_bytes = usize::try_from(number()?).unwrap_or(usize::MAX);
        let checksum = body.try_get_u32_le().map_err(short)?;
        let bytes = split_to(body, size_bytes)?;
        let read = Snapshot::from_bytes(&bytes, checksum).map_err(|error| error.to_string())?;
        snapshot = Some(read);
    }
    let mut number = || body.try_get_u64_le().map_err(short);
    let mut compacted = None;
    if has(HAS_COMPACTED) {
        let term = Term(number()?);
        compacted = Some(LogId::new(term, Index(number()?)));
    }
    let count = body.try_get_u32_le().map_err(short)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let length = body.try_get_u32_le().map_err(short)? as usize;
        // Each in memory of its own: an entry must not keep a snapshot alive that stood beside it.
        let entry = codec::decode_entry(&Bytes::copy_from_slice(&split_to(body, length)?));
        entries.push(entry.map_err(|error| error.to_string())?);
    }
    // Numbers start anew with every run, so none is stored.
    Ok(Save { number: SaveNumber(0), hard_state, snapshot, compacted, entries: entries.into() })
}

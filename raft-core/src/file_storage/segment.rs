//! One file of the log, read from its start (feature `file-storage`).
//!
//! A segment starts with 16 bytes, [`MAGIC`] and its number, and a header record; the saves follow,
//! and zeros up to the end of the file.
//!
//! Guarantees: records are read in order, up to the first that is not whole; nothing is allocated for
//!             a length that the file does not have.

use std::io;

use bytes::Bytes;

use super::record::{ALIGNMENT, Broken, Place, Prefix, Record, examine, is_zero};
use crate::file_header::{MAGIC, check_magic};
use crate::file_system::StoredFile;

/// Where the header record of a segment is.
pub(super) const START: u64 = ALIGNMENT;
/// How much is read at once. A payload that stays in memory keeps what was read with it.
const CHUNK_BYTES: usize = 1024 * 1024;

const NAME_END: &str = ".log";

/// The name of a segment's file.
pub(super) fn name(number: u64) -> String {
    format!("{number:016}{NAME_END}")
}

/// The number of the segment with this name, if it is one.
pub(super) fn number(name_of_file: &str) -> Option<u64> {
    let number = name_of_file.strip_suffix(NAME_END)?.parse().ok()?;
    (name(number) == name_of_file).then_some(number)
}

/// The first bytes of a segment, with its header record.
pub(super) fn start(number: u64, header: &mut Record) -> Vec<u8> {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(header.put(Place { segment: number, offset: START }));
    bytes
}

/// Reads the records of one segment.
#[derive(Debug)]
pub(super) struct Reader<'a, File> {
    file: &'a File,
    number: u64,
    /// How long the file is.
    pub(super) size: u64,
    /// Where the last record began that was read.
    pub(super) last: u64,
    /// Where the next one begins.
    pub(super) at: u64,
    chunk: Bytes,
    chunk_at: u64,
}

/// What follows the last whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros, or nothing.
    Clean,
    /// A record that a crash tore, and where the last of it is.
    Torn { end: u64 },
    /// A record that was saved, and is damaged.
    Damaged { is_followed: bool },
}

impl<'a, File: StoredFile> Reader<'a, File> {
    pub(super) fn new(file: &'a File, number: u64) -> io::Result<Self> {
        let size = file.size_bytes()?;
        Ok(Self { file, number, size, last: START, at: START, chunk: Bytes::new(), chunk_at: 0 })
    }

    /// Says what is wrong with the first bytes, if something is.
    pub(super) fn check_start(&self) -> io::Result<Result<(), String>> {
        let mut found = [0; START as usize];
        self.file.read_full_at(&mut found, 0)?;
        let (magic, number) = found.split_at(MAGIC.len());
        Ok(check_magic(magic).and_then(|()| match number == self.number.to_le_bytes() {
            true => Ok(()),
            false => Err("it is another segment than its name says".to_owned()),
        }))
    }

    /// The body of the next record, or `None` if there is no whole one.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let place = Place { segment: self.number, offset: self.at };
        let Some(prefix) = self.bytes(ALIGNMENT)? else { return Ok(None) };
        let Some(prefix) = Prefix::decode(&prefix, place) else { return Ok(None) };
        // The zeros behind a record may be missing: nobody needs them.
        let Some(record) = self.bytes(prefix.end() as u64)? else { return Ok(None) };
        let Some(body) = prefix.body_of(&record) else { return Ok(None) };
        let body = record.slice_ref(body);
        (self.last, self.at) = (self.at, self.at + prefix.record_bytes());
        Ok(Some(body))
    }

    /// So many bytes from where the next record begins, if the file has them.
    fn bytes(&mut self, count: u64) -> io::Result<Option<Bytes>> {
        let left = self.size.saturating_sub(self.at);
        if left < count {
            return Ok(None);
        }
        let skipped = self.at - self.chunk_at;
        if self.chunk.len() as u64 <= skipped || self.chunk.len() as u64 - skipped < count {
            let length = left.min(count.max(CHUNK_BYTES as u64)) as usize;
            let mut chunk = vec![0; length];
            if self.file.read_full_at(&mut chunk, self.at)? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (self.chunk, self.chunk_at) = (chunk.into(), self.at);
        }
        let from = (self.at - self.chunk_at) as usize;
        Ok(Some(self.chunk.slice(from..from + count as usize)))
    }

    /// Has what comes next read anew.
    pub(super) fn look_again(&mut self) -> io::Result<()> {
        self.chunk = Bytes::new();
        self.size = self.file.size_bytes()?;
        Ok(())
    }

    /// What follows the records that were read.
    pub(super) fn tail(&self) -> io::Result<Tail> {
        let mut end = None;
        let mut buffer = vec![0; CHUNK_BYTES.min(self.size.saturating_sub(self.at) as usize)];
        let mut at = self.at;
        while at < self.size {
            let read = self.file.read_full_at(&mut buffer, at)?;
            if read == 0 {
                break;
            }
            let found = &buffer[..read];
            if !is_zero(found) {
                let last = found.iter().rposition(|&byte| byte != 0).unwrap_or_default();
                end = Some(at + last as u64 + 1);
            }
            at += read as u64;
        }
        let Some(end) = end else { return Ok(Tail::Clean) };
        let mut rest = vec![0; (end - self.at) as usize];
        self.file.read_full_at(&mut rest, self.at)?;
        Ok(match examine(&rest, Place { segment: self.number, offset: self.at }) {
            Broken::Torn => Tail::Torn { end },
            Broken::Damaged => Tail::Damaged { is_followed: false },
            Broken::DamagedAndFollowed => Tail::Damaged { is_followed: true },
        })
    }
}

/// Writes zeros from `from` to `to`, so that nothing is there any more.
///
/// `goes_on` is asked now and then; what is left undone does not matter if it says no.
pub(super) fn write_zeros(
    file: &impl StoredFile,
    from: u64,
    to: u64,
    goes_on: impl Fn() -> bool,
) -> io::Result<()> {
    let zeros = vec![0; CHUNK_BYTES.min((to - from) as usize)];
    let mut at = from;
    while at < to && goes_on() {
        let length = (to - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..length as usize], at)?;
        // Piece by piece: whoever waits for another file of this disk then waits for little.
        file.sync_data()?;
        at += length;
    }
    Ok(())
}

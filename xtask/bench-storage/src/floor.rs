//! The least that must be done: records in a file that was filled with zeros ahead, one write and one
//! `fdatasync` for each batch.
//!
//! It is no storage: it never removes anything, and trusts that nobody tore or damaged its file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::{Buf, Bytes};

use crate::store::{Outcome, Store};

/// How much is filled with zeros at a time.
const ROOM_BYTES: u64 = 64 << 20;
/// How much is read at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Length (4), CRC-32 of the rest (4), number (8).
const HEADER_BYTES: usize = 16;

/// The file and how far it is used.
#[derive(Debug)]
pub struct Floor {
    file: File,
    /// Where the next record goes.
    end: u64,
    /// How long the file is; zeros from `end` on.
    room: u64,
    /// Reused for each batch.
    records: Vec<u8>,
}

impl Store for Floor {
    type Batch = (u64, Vec<Bytes>);
    type Entries = Vec<(u64, Bytes)>;

    fn open(folder: &Path) -> Outcome<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(folder.join("log"))?;
        let room = file.metadata()?.len();
        let mut floor = Self { file, end: 0, room, records: Vec::new() };
        floor.prepare()?;
        Ok(floor)
    }

    /// Keeps the pieces that it reads; an entry is a slice of one.
    fn read_all(&mut self) -> Outcome<Self::Entries> {
        let mut entries = Vec::new();
        let (mut place, mut rest) = (0, Bytes::new());
        while place < self.room {
            let more = PIECE_BYTES.min(usize::try_from(self.room - place)?);
            let mut piece = vec![0; rest.len() + more];
            piece[..rest.len()].copy_from_slice(&rest);
            self.file.read_exact_at(&mut piece[rest.len()..], place)?;
            place += more as u64;
            rest = Bytes::from(piece);
            while let Some(length) = rest.first_chunk() {
                let length = u32::from_le_bytes(*length) as usize;
                if length == 0 {
                    return Ok(entries);
                }
                if rest.len() < HEADER_BYTES + length {
                    break;
                }
                let mut record = rest.split_to(HEADER_BYTES + length);
                self.end += record.len() as u64;
                record.advance(4);
                if record.get_u32_le() != crc32fast::hash(&record) {
                    return Err("a record is damaged".into());
                }
                entries.push((record.get_u64_le(), record));
            }
        }
        Ok(entries)
    }

    fn payloads(entries: &Self::Entries) -> impl Iterator<Item = &[u8]> {
        entries.iter().map(|(_, payload)| &**payload)
    }

    fn batch(first: u64, payloads: Vec<Bytes>) -> Self::Batch {
        (first, payloads)
    }

    fn prepare(&mut self) -> Outcome<()> {
        if self.end + ROOM_BYTES / 2 > self.room {
            let zeros = vec![0; PIECE_BYTES];
            for _ in 0..ROOM_BYTES / PIECE_BYTES as u64 {
                self.file.write_all_at(&zeros, self.room)?;
                self.room += PIECE_BYTES as u64;
            }
            self.file.sync_all()?;
        }
        Ok(())
    }

    fn append(&mut self, (first, payloads): Self::Batch) -> Outcome<()> {
        self.records.clear();
        for (number, payload) in (first..).zip(&payloads) {
            let start = self.records.len();
            self.records.extend_from_slice(&u32::try_from(payload.len())?.to_le_bytes());
            self.records.extend_from_slice(&[0; 4]);
            self.records.extend_from_slice(&number.to_le_bytes());
            self.records.extend_from_slice(payload);
            let crc = crc32fast::hash(&self.records[start + 8..]);
            self.records[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        }
        self.file.write_all_at(&self.records, self.end)?;
        self.file.sync_data()?;
        self.end += self.records.len() as u64;
        Ok(())
    }
}

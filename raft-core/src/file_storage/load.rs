//! Reads the segments back (feature `file-storage`).
//!
//! Guarantees: what was confirmed is read, or nothing is; damage is reported with its file and place,
//!             and nothing is changed then.

use super::record::{Body, Compaction, Header, StoredSave, decode_entry};
use super::segment::{Reader, Tail};
use crate::file_system::StoredFile;
use crate::log::Entry;
use crate::snapshot::SnapshotId;
use crate::storage::HardState;
use crate::types::{Index, LogId};

/// What the segments read so far come to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotId>,
    /// The place before the first entry of the log.
    pub(super) start: LogId,
    pub(super) last: LogId,
    /// The index before the first of `entries`: less than the log's start as long as entries that were
    /// compacted are still there; more, as long as only segments were read that were written after
    /// entries which are gone.
    base: Index,
    entries: Vec<Entry>,
    /// Where the last segment ends.
    end: Option<u64>,
}

/// One segment, as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// What it starts with.
    pub(super) header: Option<Header>,
    /// Records that hold saves.
    pub(super) records: u64,
    /// Entries, also those that others have replaced since.
    pub(super) entries: u64,
    /// The lowest index of them, and the highest.
    pub(super) first_index: Option<Index>,
    pub(super) last_index: Option<Index>,
    /// Where the last record begins, and where it ends.
    pub(super) last_record: u64,
    pub(super) end: u64,
}

/// What is wrong with a segment, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) reason: String,
}

/// Why a segment cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(std::io::Error),
    Damage(Damage),
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Replay {
    /// Reads one segment to its end, on top of those before it; and says what follows its last record.
    pub(super) fn read<File: StoredFile>(
        &mut self,
        file: &File,
        number: u64,
        contents: &mut Contents,
    ) -> Result<Tail, ReadError> {
        let mut reader = Reader::new(file, number)?;
        let damage = |offset, reason| ReadError::Damage(Damage { offset, reason });
        reader.check_start()?.map_err(|reason| damage(0, reason))?;
        while let Some(body) = reader.next()? {
            let at = reader.last;
            let body = Body::decode(body).map_err(|reason| damage(at, reason))?;
            match (body, contents.header) {
                (Body::Header(header), None) => {
                    self.begin(&header).map_err(|reason| damage(at, reason))?;
                    contents.header = Some(header);
                }
                (Body::Saves(mut body), Some(_)) => {
                    contents.records += 1;
                    while !body.is_empty() {
                        let save = StoredSave::decode(&mut body);
                        let result = save.and_then(|save| self.take(&save, &mut body, contents));
                        result.map_err(|reason| damage(at, reason))?;
                    }
                }
                (Body::Header(_), Some(_)) => {
                    return Err(damage(at, "a second header is in the segment".to_owned()));
                }
                (Body::Saves(_), None) => {
                    return Err(damage(at, "the segment has no header".to_owned()));
                }
            }
            (contents.last_record, contents.end) = (at, reader.at);
        }
        let tail = reader.tail()?;
        if contents.header.is_none() {
            // It got its name only when it had one.
            return Err(damage(reader.at, "the header of the segment is damaged".to_owned()));
        }
        self.end = Some(contents.end);
        Ok(tail)
    }

    fn begin(&mut self, header: &Header) -> Result<(), String> {
        let Header { previous_end, start, last, hard_state, snapshot, .. } = *header;
        match self.end {
            None => {
                (self.start, self.last, self.base) = (start, last, last.index);
                (self.hard_state, self.snapshot) = (hard_state, snapshot);
            }
            Some(end) if end != previous_end => {
                return Err(format!(
                    "the segment before it ended at byte {previous_end}, and ends at {end} now"
                ));
            }
            Some(_) => {
                let found = (self.start, self.last, self.hard_state, self.snapshot);
                if found != (start, last, hard_state, snapshot) {
                    return Err("it does not follow the segment before it".to_owned());
                }
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        save: &StoredSave,
        body: &mut bytes::Bytes,
        contents: &mut Contents,
    ) -> Result<(), String> {
        self.hard_state = save.hard_state.unwrap_or(self.hard_state);
        self.snapshot = save.snapshot.or(self.snapshot);
        if let Some(Compaction { to, clears }) = save.compaction {
            self.start = to;
            if clears {
                self.entries.clear();
                (self.base, self.last) = (to.index, to);
            }
        }
        for place in 0..save.entries {
            let entry = decode_entry(body)?;
            let id = entry.log_id();
            if place == 0 && id.index <= self.last.index && id.index > self.start.index {
                self.truncate(id.index);
            } else if id.index != self.last.index.next() {
                return Err(format!("entry {id} does not follow {}", self.last));
            }
            self.last = id;
            self.entries.push(entry);
            contents.entries += 1;
            contents.first_index =
                Some(contents.first_index.map_or(id.index, |it| it.min(id.index)));
            contents.last_index = contents.last_index.max(Some(id.index));
        }
        Ok(())
    }

    /// Forgets the entries from `first` on.
    fn truncate(&mut self, first: Index) {
        match first.0.checked_sub(self.base.0 + 1) {
            Some(kept) => self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX)),
            None => {
                self.entries.clear();
                self.base = first.previous();
            }
        }
    }

    /// Takes the next segment for the first one, because the last one is damaged.
    pub(super) fn forget_end(&mut self) {
        *self = Self::default();
    }

    /// The entries of the log; `None` if some of them were in segments that are gone.
    pub(super) fn into_entries(mut self) -> Option<Vec<Entry>> {
        let gone = self.start.index.0.checked_sub(self.base.0)?;
        let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.drain(..gone);
        Some(self.entries)
    }
}

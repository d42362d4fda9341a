//! Reads the segments back (feature `file-storage`).
//!
//! Segments are read beside each other, because memory that is new costs more than what is done with it;
//! what they hold is put together in order.
//!
//! Guarantees: what was confirmed is read, or nothing is; damage is reported with its file and place,
//!             and nothing is changed then.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::record::{Body, Compaction, Header, StoredSave, decode_entry};
use super::segment::{self, Reader, Tail};
use crate::file_system::StoredFile;
use crate::log::Entry;
use crate::snapshot::SnapshotId;
use crate::storage::HardState;
use crate::types::{Index, LogId};

/// One segment, as it was read.
#[derive(Debug)]
pub(super) struct Contents {
    /// What it starts with; there is one unless there is damage.
    pub(super) header: Option<Header>,
    /// How many records hold saves.
    pub(super) records: u64,
    /// What was saved, in order, and where its record begins; its entries are among `entries`, which are
    /// in order too.
    saves: Vec<(u64, StoredSave)>,
    entries: Vec<Entry>,
    /// How many entries there are, also those that others have replaced since.
    pub(super) entry_count: u64,
    /// The lowest index of them, and the highest.
    pub(super) indices: Option<(Index, Index)>,
    /// Where the last record begins, and where it ends.
    pub(super) last_record: u64,
    pub(super) end: u64,
    /// What follows it; damage if it could not be read to its end.
    pub(super) tail: Result<Tail, Damage>,
}

/// What is wrong with a segment, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) reason: String,
}

impl Contents {
    /// Reads a segment, as far as it is whole.
    pub(super) fn read<File: StoredFile>(file: &File, number: u64) -> io::Result<Self> {
        let mut reader = Reader::new(file, number)?;
        let mut contents = Self {
            header: None,
            records: 0,
            saves: Vec::new(),
            entries: Vec::new(),
            entry_count: 0,
            indices: None,
            last_record: 0,
            end: reader.at,
            tail: Ok(Tail::Clean),
        };
        if let Err(reason) = reader.check_start()? {
            contents.tail = Err(Damage { offset: 0, reason });
            return Ok(contents);
        }
        while let Some(body) = reader.next()? {
            let offset = reader.last;
            if let Err(reason) = contents.take(body, offset) {
                contents.tail = Err(Damage { offset, reason });
                return Ok(contents);
            }
            (contents.last_record, contents.end) = (offset, reader.at);
        }
        contents.tail = match contents.header {
            Some(_) => Ok(reader.tail()?),
            // It got its name only when it had one.
            None => {
                let reason = "the header of the segment is damaged".to_owned();
                Err(Damage { offset: reader.at, reason })
            }
        };
        Ok(contents)
    }

    fn take(&mut self, body: bytes::Bytes, offset: u64) -> Result<(), String> {
        match (Body::decode(body)?, self.header) {
            (Body::Header(header), None) => self.header = Some(header),
            (Body::Header(_), Some(_)) => {
                return Err("a second header is in the segment".to_owned());
            }
            (Body::Saves(_), None) => return Err("the segment has no header".to_owned()),
            (Body::Saves(mut body), Some(_)) => {
                self.records += 1;
                while !body.is_empty() {
                    let save = StoredSave::decode(&mut body)?;
                    for _ in 0..save.entries {
                        let entry = decode_entry(&mut body)?;
                        let (first, last) = self.indices.unwrap_or((entry.index, entry.index));
                        self.indices = Some((first.min(entry.index), last.max(entry.index)));
                        self.entries.push(entry);
                    }
                    self.entry_count += u64::from(save.entries);
                    self.saves.push((offset, save));
                }
            }
        }
        Ok(())
    }
}

/// Reads these segments, so many at once; what is wrong with one says nothing of the others.
pub(super) fn read_all<File: StoredFile>(
    files: &[(u64, File)],
    readers: usize,
) -> Vec<io::Result<Contents>> {
    let next = AtomicUsize::new(0);
    let slots: Vec<_> = files.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        // The last ones first: they are the longest.
        while let Some(place) = files.len().checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1) {
            let (number, file) = &files[place];
            let contents = Contents::read(file, *number);
            *slots[place].lock().expect(NOBODY_PANICS) = Some(contents);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..readers.min(files.len()) {
            // Whoever does not start leaves its part to the others.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let take = |slot: Mutex<Option<_>>| slot.into_inner().expect(NOBODY_PANICS);
    slots.into_iter().map(|slot| take(slot).expect("each segment was read")).collect()
}

const NOBODY_PANICS: &str = "a panic of a reader is one of everybody";

/// What the segments put together so far come to.
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

impl Replay {
    /// Has room for what these segments hold.
    pub(super) fn with_room_for(contents: &[io::Result<Contents>]) -> Self {
        let entries = contents.iter().flatten().map(|contents| contents.entries.len());
        Self { entries: Vec::with_capacity(entries.sum()), ..Self::default() }
    }

    /// Adds what a segment holds to what those before it come to.
    pub(super) fn add(&mut self, contents: &mut Contents) -> Result<(), Damage> {
        let header = contents.header.as_ref().expect("what has no header is damaged");
        self.begin(header).map_err(|reason| Damage { offset: segment::START, reason })?;
        let mut entries = std::mem::take(&mut contents.entries).into_iter();
        for (offset, save) in contents.saves.drain(..) {
            let own = entries.by_ref().take(save.entries as usize);
            self.take(&save, own).map_err(|reason| Damage { offset, reason })?;
        }
        self.end = Some(contents.end);
        Ok(())
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
        entries: impl Iterator<Item = Entry>,
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
        for (place, entry) in entries.enumerate() {
            let id = entry.log_id();
            if place == 0 && id.index <= self.last.index && id.index > self.start.index {
                self.truncate(id.index);
            } else if id.index != self.last.index.next() {
                return Err(format!("entry {id} does not follow {}", self.last));
            }
            self.last = id;
            self.entries.push(entry);
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

    /// The entries of the log; `None` if some of them were in segments that are gone.
    pub(super) fn into_entries(mut self) -> Option<Vec<Entry>> {
        let gone = self.start.index.0.checked_sub(self.base.0)?;
        let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.drain(..gone);
        Some(self.entries)
    }
}

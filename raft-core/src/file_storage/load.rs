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
    /// What follows it, if it is the last segment; damage if it could not be read to its end. Of others,
    /// the next one says where they end.
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
    pub(super) fn read<File: StoredFile>(
        file: &File,
        number: u64,
        is_last: bool,
    ) -> io::Result<Self> {
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
        if let Err(damage) = contents.take_all(&mut reader)? {
            contents.tail = Err(damage);
            return Ok(contents);
        }
        if contents.header.is_none() {
            // It got its name only when it had one.
            let reason = "the header of the segment is damaged".to_owned();
            contents.tail = Err(Damage { offset: reader.at, reason });
            return Ok(contents);
        }
        if !is_last {
            return Ok(contents);
        }
        loop {
            let (tail, end) = (reader.tail()?, contents.end);
            // Its server may run, and may have written on since the end was read.
            reader.look_again()?;
            contents.tail = contents.take_all(&mut reader)?.map(|()| tail);
            if contents.end == end || contents.tail.is_err() {
                return Ok(contents);
            }
        }
    }

    /// Takes all whole records that come next.
    fn take_all<File: StoredFile>(
        &mut self,
        reader: &mut Reader<'_, File>,
    ) -> io::Result<Result<(), Damage>> {
        while let Some(body) = reader.next()? {
            let offset = reader.last;
            if let Err(reason) = self.take(body, offset) {
                return Ok(Err(Damage { offset, reason }));
            }
            (self.last_record, self.end) = (offset, reader.at);
        }
        Ok(Ok(()))
    }

    /// What is wrong with a segment that this one follows.
    ///
    /// What stands behind the end does not matter then: a write that a crash tore was left there, and
    /// the server went on in the next segment.
    pub(super) fn damage_before(&self, before: &Self) -> Option<Damage> {
        let previous_end = self.header?.previous_end;
        (previous_end != before.end).then(|| {
            let reason = format!(
                "a record is damaged or missing: the next segment says that this one ends at byte \
                 {previous_end}"
            );
            Damage { offset: before.end, reason }
        })
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
            let contents = Contents::read(file, *number, place + 1 == files.len());
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
    /// A segment was added.
    is_begun: bool,
}

impl Replay {
    /// Has room for what these segments hold.
    pub(super) fn with_room_for(contents: &[Contents]) -> Self {
        let entries = contents.iter().map(|contents| contents.entries.len());
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
        self.is_begun = true;
        Ok(())
    }

    fn begin(&mut self, header: &Header) -> Result<(), String> {
        let Header { start, last, hard_state, snapshot, .. } = *header;
        let found = (self.start, self.last, self.hard_state, self.snapshot);
        if !self.is_begun {
            (self.start, self.last, self.base) = (start, last, last.index);
            (self.hard_state, self.snapshot) = (hard_state, snapshot);
        } else if found != (start, last, hard_state, snapshot) {
            return Err("it does not follow the segment before it".to_owned());
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

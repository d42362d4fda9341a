//! A server's hard state, log and snapshots in files (feature `file-storage`).
//!
//! | file | what |
//! | --- | --- |
//! | `raft.id` | whose folder it is, and which voters the cluster began with; locked while it is open |
//! | `0000000000000001.log` and so on | segments of the log: a record for each call of [`Storage::save`] |
//! | `snapshot-INDEX-TERM-CRC` | a snapshot, as long as a record names it |
//! | `spare` | the next segment, all zeros |
//!
//! Records are only ever appended, so that each save is one write and one sync. What they replace stays
//! where it is; a segment goes when all its entries are compacted, because each begins with what those
//! before it come to.
//!
//! Guarantees: what `save` returned for, and what `load` returned, is there after a crash. A record that
//!             a crash tore does not count, and is told; damage anywhere else is reported with its file
//!             and place, and nothing is changed.
//! Relies on:  the promises of [`FileSystem`]; a disk writing a sector of 512 bytes whole or not at all.
//! Elsewhere:  bytes are in `file_storage/record.rs`, reading in `file_storage/load.rs`; when a save may
//!             be confirmed is the driver's business.

mod inspect;
mod load;
mod outline;
mod read_only;
mod record;
mod report;
mod segment;
mod snapshot_file;
mod spare;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

pub use inspect::{
    Damage, FolderReport, FolderState, SegmentReport, SnapshotReport, TailReport, inspect_folder,
};
pub use read_only::{StoredServer, read_folder};
pub use report::{RecoveryReport, TornTail};

use crate::effect::Save;
use crate::file_header::{Owner, is_other_format, server_words};
use crate::file_system::{FileSystem, RealFileSystem, StoredFile};
use crate::storage::{Recovered, Storage, StorageError};
use crate::types::{ClusterId, Index, ServerId};

use load::{Contents, Damage as Damaged, Replay};
use outline::Outline;
use record::{Header, Place, Record, RecordError};
use segment::Tail;
use spare::{SPARE_NAME, Spare, UNFINISHED_NAME};

const ID_NAME: &str = "raft.id";
/// Where everything was before there were segments.
const OLD_NAME: &str = "raft.log";
/// A segment before it has its name.
const NEW_SEGMENT_NAME: &str = "segment.tmp";

/// The first segment is this long; each next one is four times as long, up to the most.
const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
const SEGMENT_GROWTH: u64 = 4;

/// One server's storage in a folder of its own.
///
/// ```
/// use raft_core::{ClusterId, FileStorage, HardState, Save, SaveNumber, ServerId, Storage, Term};
///
/// let folder = tempfile::tempdir()?;
/// let voters = [1, 2, 3].map(ServerId);
/// let hard_state = HardState { current_term: Term(3), voted_for: Some(ServerId(2)) };
/// let mut storage = FileStorage::open(folder.path(), ClusterId(1), ServerId(1), &voters)?;
/// storage.load()?;
/// storage.save(&[Save { number: SaveNumber(1), hard_state: Some(hard_state), ..Save::default() }])?;
/// drop(storage);
///
/// let mut storage = FileStorage::open(folder.path(), ClusterId(1), ServerId(1), &voters)?;
/// assert_eq!(storage.load()?.hard_state, hard_state);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileStorage<F: FileSystem = RealFileSystem> {
    fs: F,
    folder: PathBuf,
    /// Dropped before the lock is: nobody else may come in while somebody works on the spare.
    spare: Spare<F>,
    /// Locked for as long as it is open.
    id_file: F::File,
    /// Whose folder it is; `None` until it was loaded for the first time.
    found: Option<Owner>,
    /// Why `found` is `None` although the file is not empty.
    id_damage: Option<String>,
    /// Who opened it.
    expected: Owner,
    segment_bytes_max: u64,
    /// Segments before the last one, oldest first.
    sealed: VecDeque<Sealed>,
    active: Option<Active<F::File>>,
    /// Files that nobody needs any more, but that are still there.
    obsolete: Vec<String>,
    /// One more, of which the next spare segment is made.
    reserve: Option<String>,
    /// Reused for every record.
    record: Record,
    outline: Outline,
    report: RecoveryReport,
    state: State,
}

/// A segment that is full.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    number: u64,
    /// The highest index in it.
    last_index: Option<Index>,
}

/// The segment that is being filled.
#[derive(Debug)]
struct Active<File> {
    number: u64,
    path: PathBuf,
    file: File,
    /// How long it may become.
    size: u64,
    /// Where the next record goes.
    end: u64,
    last_index: Option<Index>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Opened, not read yet: nobody knows where the next record goes.
    Opened,
    /// The next record goes to the end.
    Ready,
    /// A write failed, so nobody knows what is in the files.
    Failed,
}

impl FileStorage {
    /// Opens the storage in `folder`, and makes both if there are none.
    ///
    /// `voters` are those that the cluster began with, in any order. As long as no snapshot says who
    /// votes, a server takes their word for it (the configurations in its log may be taken back): two
    /// majorities of different sets need not overlap, so a server that came back as one of another set
    /// could elect a leader without what the old set committed. Until then [`Storage::load`] refuses
    /// other voters than at first; afterwards it does not matter which are given.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, belongs to another server or cluster, or is in use by another
    /// process.
    pub fn open(
        folder: impl AsRef<Path>,
        cluster_id: ClusterId,
        server_id: ServerId,
        voters: &[ServerId],
    ) -> Result<Self, StorageError> {
        Self::open_in(RealFileSystem::new(), folder, cluster_id, server_id, voters)
    }
}

impl<F: FileSystem> FileStorage<F> {
    /// As [`FileStorage::open`], in a file system that may be a simulated one.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open_in(
        fs: F,
        folder: impl AsRef<Path>,
        cluster_id: ClusterId,
        server_id: ServerId,
        voters: &[ServerId],
    ) -> Result<Self, StorageError> {
        let folder = folder.as_ref().to_owned();
        fs.create_folder(&folder).map_err(failed("create", &folder))?;
        refuse_old_format(&fs, &folder)?;
        let path = folder.join(ID_NAME);
        let id_file = fs.open(&path, true).map_err(failed("open", &path))?;
        if !lock(&id_file).map_err(failed("lock", &path))? {
            return Err(StorageError::InUse { path: folder.display().to_string() });
        }
        let expected = Owner::new(cluster_id, server_id, voters);
        let bytes = read_all(&id_file).map_err(failed("read", &path))?;
        let (found, id_damage) = match Owner::decode(&bytes) {
            Ok(found) => (Some(found), None),
            Err(reason) if is_other_format(&bytes) => return Err(corrupt(&path, 0, reason)),
            Err(reason) => (None, Some(reason)),
        };
        if let Some(found) = found.as_ref().filter(|found| !found.is_same_server(&expected)) {
            let (found, expected) = (found.server_words(), expected.server_words());
            return Err(StorageError::Foreign {
                path: path.display().to_string(),
                found,
                expected,
            });
        }
        let spare = Spare::new(fs.clone(), folder.clone());
        Ok(Self {
            fs,
            folder,
            spare,
            id_file,
            found,
            id_damage,
            expected,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            sealed: VecDeque::new(),
            active: None,
            obsolete: Vec::new(),
            reserve: None,
            record: Record::default(),
            outline: Outline::default(),
            report: RecoveryReport::default(),
            state: State::Opened,
        })
    }

    /// Has segments become no longer than this, in bytes; 64 MiB by default. One with a longer record
    /// still becomes as long as it must.
    #[must_use]
    pub fn with_segment_bytes_max(mut self, bytes: u64) -> Self {
        self.segment_bytes_max = bytes;
        self
    }

    /// What [`Storage::load`] found, the last time.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.report
    }

    /// True until it was loaded for the first time: the folder was new when it was opened, or what
    /// was in it is gone.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.found.is_none()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn segment_path(&self, number: u64) -> PathBuf {
        self.path(&segment::name(number))
    }

    fn header(&self, previous_end: u64) -> Header {
        let Outline { hard_state, snapshot, start, last, .. } = self.outline;
        let Owner { cluster_id, server_id, .. } = self.expected;
        Header { cluster_id, server_id, previous_end, start, last, hard_state, snapshot }
    }

    /// How long the segment after one of `size` is to be.
    fn next_size(&self, size: u64) -> u64 {
        size.saturating_mul(SEGMENT_GROWTH).min(self.segment_bytes_max)
    }

    /// Reads everything, and makes what is there durable.
    fn read(&mut self) -> Result<Recovered, StorageError> {
        self.spare.stop();
        (self.active, self.report) = (None, RecoveryReport::default());
        self.sealed.clear();
        let names = self.fs.list(&self.folder).map_err(failed("list", &self.folder))?;
        let mut numbers: Vec<_> = names.iter().filter_map(|name| segment::number(name)).collect();
        numbers.sort_unstable();
        let is_new = numbers.is_empty();
        if is_new {
            self.make_first()?;
            numbers.push(1);
        }
        // A segment that was removed may be back after a crash, one after it not.
        let is_next = |pair: &[u64]| pair[1] == pair[0] + 1;
        let gap = numbers.windows(2).rposition(|pair| !is_next(pair)).map_or(0, |at| at + 1);
        let (stray, numbers) = numbers.split_at(gap);

        let mut files = Vec::new();
        for &number in numbers {
            let path = self.segment_path(number);
            files.push((number, self.fs.open(&path, false).map_err(failed("open", &path))?));
        }
        let mut contents = Vec::new();
        for (&number, read) in numbers.iter().zip(load::read_all(&files, self.fs.readers())) {
            contents.push(read.map_err(failed("read", &self.segment_path(number)))?);
        }
        let mut replay = Replay::with_room_for(&contents);
        for (place, &number) in numbers.iter().enumerate() {
            let (read, later) = contents[place..].split_first_mut().expect("each was read");
            self.add_segment(number, read, later.first(), &mut replay)?;
        }
        let last = contents.last().zip(files.pop());
        let (last, (number, file)) = last.expect("there is a segment");
        let (hard_state, start, snapshot) = (replay.hard_state, replay.start, replay.snapshot);
        let Some(entries) = replay.into_entries() else {
            let reason =
                format!("the segments before it are gone, which hold entries from {start} on");
            return Err(corrupt(&self.segment_path(numbers[0]), 0, reason));
        };
        let snapshot = match snapshot {
            Some(id) => Some(snapshot_file::read(&self.fs, &self.folder, id)?),
            None => None,
        };
        let recovered = Recovered { hard_state, snapshot, start, entries };
        self.report.segments = numbers.len() as u64;
        self.report.entries = recovered.entries.len() as u64;
        self.check_owner(&recovered)?;

        self.outline = Outline::of(&recovered);
        self.go_on_from(number, file, last)?;
        self.make_durable()?;
        let needed = self.outline.snapshot.map(snapshot_file::name);
        let is_obsolete = |name: &&String| {
            let is_stray = segment::number(name).is_some_and(|number| stray.contains(&number));
            let is_other = snapshot_file::is_name(name) && Some(*name) != needed.as_ref();
            let remains = [SPARE_NAME, UNFINISHED_NAME, NEW_SEGMENT_NAME, snapshot_file::NEW_NAME];
            is_stray || is_other || remains.contains(&name.as_str())
        };
        self.obsolete = names.iter().filter(is_obsolete).cloned().collect();
        self.reserve = None;
        self.retire_segments();
        self.remove_obsolete();
        Ok(recovered)
    }

    /// Adds what a segment holds to what those before it come to.
    fn add_segment(
        &mut self,
        number: u64,
        contents: &mut Contents,
        next: Option<&Contents>,
        replay: &mut Replay,
    ) -> Result<(), StorageError> {
        let path = self.segment_path(number);
        let damaged = |Damaged { offset, reason }| corrupt(&path, offset, reason);
        let tail = contents.tail.clone().map_err(damaged)?;
        if let Some(header) = contents.header {
            let found = server_words(header.cluster_id, header.server_id);
            let expected = self.expected.server_words();
            if found != expected {
                let path = path.display().to_string();
                return Err(StorageError::Foreign { path, found, expected });
            }
        }
        if let Some(damage) = next.and_then(|next| next.damage_before(contents)) {
            return Err(damaged(damage));
        }
        replay.add(contents).map_err(damaged)?;
        let Contents { records, indices, end, .. } = *contents;
        if let Some(reason) = inspect::damage_of(tail) {
            return Err(corrupt(&path, end, reason.to_owned()));
        }
        if let Tail::Torn { end: torn_end } = tail {
            let path = path.display().to_string();
            let torn = TornTail { path, offset: end, bytes: torn_end - end };
            let TornTail { path, offset, bytes } = &torn;
            tracing::warn!(%path, offset, bytes, "the last write was not finished, and does not count");
            self.report.torn = Some(torn);
        }
        self.report.records += records;
        let last_index = indices.map(|(_, last)| last);
        self.sealed.push_back(Sealed { number, last_index });
        Ok(())
    }

    /// Makes the last segment durable as it was read, and goes on in it; or in a new one, if a write to it
    /// was torn: what is left of that is in the way, and whoever removes it may be interrupted.
    fn go_on_from(
        &mut self,
        number: u64,
        file: F::File,
        contents: &Contents,
    ) -> Result<(), StorageError> {
        let path = self.segment_path(number);
        let &Contents { last_record, end, .. } = contents;
        write_again(&file, last_record, end).map_err(failed("write", &path))?;
        let is_torn = matches!(contents.tail, Ok(Tail::Torn { .. }));
        let size_min = self.segment_bytes_max.min(SEGMENT_BYTES_MIN);
        self.active = Some(if is_torn {
            let number = number + 1;
            let (file, end) = self.make_segment(number, end)?;
            let path = self.segment_path(number);
            Active { number, path, file, size: size_min, end, last_index: None }
        } else {
            let size = file.size_bytes().map_err(failed("read", &path))?.max(size_min);
            let last = self.sealed.pop_back().and_then(|sealed| sealed.last_index);
            Active { number, path, file, size, end, last_index: last }
        });
        Ok(())
    }

    /// Refuses a storage that is not this server's, or of which a part is gone.
    fn check_owner(&self, recovered: &Recovered) -> Result<(), StorageError> {
        let path = self.path(ID_NAME);
        match &self.found {
            // It is written before anything is saved.
            None if self.report.records > 0 => {
                let reason = self.id_damage.clone().unwrap_or_default();
                Err(corrupt(&path, 0, reason))
            }
            Some(found) if *found != self.expected && recovered.snapshot.is_none() => {
                let (found, expected) = (found.voters_words(), self.expected.voters_words());
                Err(StorageError::Foreign { path: path.display().to_string(), found, expected })
            }
            None | Some(_) => Ok(()),
        }
    }

    /// Makes the first segment of all, or finds out that there was one.
    fn make_first(&mut self) -> Result<(), StorageError> {
        if self.found.is_some() {
            let reason =
                "the folder belongs to a server that has run, but its log is gone".to_owned();
            return Err(corrupt(&self.path(ID_NAME), 0, reason));
        }
        self.outline = Outline::default();
        self.make_segment(1, 0).map(drop)
    }

    /// Makes a short segment without a record.
    fn make_segment(&self, number: u64, previous_end: u64) -> Result<(F::File, u64), StorageError> {
        let path = self.path(NEW_SEGMENT_NAME);
        let file = fresh_file(&self.fs, &path).map_err(failed("create", &path))?;
        let size = self.segment_bytes_max.min(SEGMENT_BYTES_MIN);
        segment::write_zeros(&file, 0, size, || true).map_err(failed("write", &path))?;
        let end = self.begin_segment(&file, &path, number, &self.header(previous_end), None)?;
        Ok((file, end))
    }

    /// Writes the start of a segment, and what is in `record` if something is to be; then the file gets
    /// its name. Says where the next record goes.
    fn begin_segment(
        &self,
        file: &F::File,
        path: &Path,
        number: u64,
        header: &Header,
        first: Option<&mut Record>,
    ) -> Result<u64, StorageError> {
        let mut bytes = segment::start(number, &mut Record::of_header(header));
        if let Some(record) = first {
            let place = Place { segment: number, offset: bytes.len() as u64 };
            bytes.extend_from_slice(record.put(place));
        }
        file.write_all_at(&bytes, 0).map_err(failed("write", path))?;
        file.sync_data().map_err(failed("sync", path))?;
        let to = self.segment_path(number);
        self.fs.rename(path, &to).map_err(failed("rename", path))?;
        self.sync_folder()?;
        Ok(bytes.len() as u64)
    }

    /// What can be read need not be on the disk: a process that was killed between a write and its sync
    /// leaves bytes and names that the next one finds in the memory of the operating system. What is in
    /// the log is seen to by [`write_again`].
    fn make_durable(&mut self) -> Result<(), StorageError> {
        // The log before the id: who has an id and no log has lost it.
        self.sync_folder()?;
        let path = self.path(ID_NAME);
        // Written again even if it is there: a sync that failed leaves it in memory alone.
        let owner = self.found.get_or_insert_with(|| self.expected.clone());
        self.id_file.write_all_at(&owner.encode(), 0).map_err(failed("write", &path))?;
        self.id_file.sync_data().map_err(failed("sync", &path))
    }

    fn sync_folder(&self) -> Result<(), StorageError> {
        self.fs.sync_folder(&self.folder).map_err(failed("sync", &self.folder))
    }

    fn append(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        let mut active = self.active.take().expect("a storage that is ready has a segment");
        // Of several snapshots, the last one counts.
        let snapshot = saves.iter().rev().find_map(|save| save.snapshot.as_ref());
        let old_snapshot = self.outline.snapshot;
        // A new segment would begin with what comes before these saves.
        let header = self.header(active.end);
        let mut record = std::mem::take(&mut self.record);
        record.begin();
        let mut is_compacted = false;
        for save in saves {
            let compaction = self.outline.take(save)?;
            is_compacted |= compaction.is_some();
            record.push(save, compaction).map_err(|error| failed_to_encode(&active.path, error))?;
        }
        record.finish().map_err(|error| failed_to_encode(&active.path, error))?;
        // It is there before a record names it.
        if let Some(snapshot) = snapshot.filter(|snapshot| Some(snapshot.id()) != old_snapshot) {
            snapshot_file::write(&self.fs, &self.folder, snapshot)?;
        }
        if active.end + record.len() > active.size {
            active = self.roll(active, &header, &mut record)?;
        } else {
            let place = Place { segment: active.number, offset: active.end };
            let bytes = record.put(place);
            let written = active.file.write_all_at(bytes, active.end);
            written.map_err(failed("write", &active.path))?;
            active.file.sync_data().map_err(failed("sync", &active.path))?;
            active.end += record.len();
        }
        let last_index = saves.iter().filter_map(|save| save.entries.last()).map(|it| it.index);
        active.last_index = active.last_index.max(last_index.max());
        if active.end > active.size / 4 {
            self.spare.prepare(self.next_size(active.size), &mut self.reserve);
        }
        (self.active, self.record) = (Some(active), record);
        // Only these leave anything behind.
        if let Some(old) = old_snapshot.filter(|_| self.outline.snapshot != old_snapshot) {
            self.obsolete.push(snapshot_file::name(old));
        }
        if is_compacted {
            self.retire_segments();
        }
        self.remove_obsolete();
        Ok(())
    }

    /// Goes on in a new segment, which starts with this record.
    fn roll(
        &mut self,
        active: Active<F::File>,
        header: &Header,
        record: &mut Record,
    ) -> Result<Active<F::File>, StorageError> {
        // More than any header needs.
        let size_min = record.len() + 1024;
        let (file, size, name) = match self.spare.take(size_min) {
            Some((file, size)) => (file, size, SPARE_NAME),
            None => {
                let path = self.path(NEW_SEGMENT_NAME);
                let file = fresh_file(&self.fs, &path).map_err(failed("create", &path))?;
                (file, self.next_size(active.size).max(size_min), NEW_SEGMENT_NAME)
            }
        };
        let (number, path) = (active.number + 1, self.path(name));
        let end = self.begin_segment(&file, &path, number, header, Some(record))?;
        self.sealed.push_back(Sealed { number: active.number, last_index: active.last_index });
        let path = self.segment_path(number);
        Ok(Active { number, path, file, size, end, last_index: None })
    }

    /// Lets go of the segments whose entries are all compacted.
    fn retire_segments(&mut self) {
        let start = self.outline.start.index;
        while let Some(oldest) = self.sealed.front()
            && oldest.last_index.is_none_or(|last| last <= start)
        {
            self.obsolete.push(segment::name(oldest.number));
            self.sealed.pop_front();
        }
    }

    /// Removes files that nobody needs, but for a segment to make the next spare of. They do no harm, so
    /// it does not matter if that fails.
    fn remove_obsolete(&mut self) {
        let wanted = self.active.as_ref().map(|active| self.next_size(active.size));
        let mut left = Vec::new();
        for name in std::mem::take(&mut self.obsolete) {
            let path = self.path(&name);
            let size = || self.fs.open(&path, false).and_then(|file| file.size_bytes()).ok();
            if self.reserve.is_none() && segment::number(&name).is_some() && size() >= wanted {
                self.reserve = Some(name);
                continue;
            }
            if let Err(error) = self.fs.remove_if_there(&path) {
                tracing::warn!(path = %path.display(), %error, "an old file cannot be removed");
                left.push(name);
            }
        }
        self.obsolete = left;
    }
}

impl<F: FileSystem> Storage for FileStorage<F> {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        self.state = State::Failed;
        let recovered = self.read()?;
        self.state = State::Ready;
        Ok(recovered)
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        let refusal = match self.state {
            State::Ready => None,
            State::Opened => Some("the storage was not loaded"),
            State::Failed => Some("an earlier write failed, so nobody knows what the files hold"),
        };
        if let Some(refusal) = refusal {
            return Err(failed("write to", &self.folder)(io::Error::other(refusal)));
        }
        if saves.is_empty() {
            return Ok(());
        }
        // After a failed write or sync the operating system may drop what it could not write, and the
        // next sync would succeed without it: so these files are never written again.
        self.state = State::Failed;
        self.append(saves)?;
        self.state = State::Ready;
        Ok(())
    }
}

/// Writes the last record of a segment again, and makes the segment durable.
///
/// The process before may have died because its sync had failed, and then the operating system may keep
/// the bytes in memory without ever writing them. All before it were synced before it was begun.
fn write_again(file: &impl StoredFile, last_record: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(end - last_record).unwrap_or(usize::MAX)];
    let read = file.read_full_at(&mut bytes, last_record)?;
    file.write_all_at(&bytes[..read], last_record)?;
    file.sync_data()
}

/// Locks the file, also if somebody who only looks has it locked just now.
fn lock(file: &impl StoredFile) -> io::Result<bool> {
    /// Whoever looks is done long before.
    const TRIES: usize = 1000;
    for _ in 0..TRIES {
        if file.try_lock()? {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Ok(false)
}

fn refuse_old_format<F: FileSystem>(fs: &F, folder: &Path) -> Result<(), StorageError> {
    let path = folder.join(OLD_NAME);
    match fs.open_for_reading(&path) {
        Ok(_) => {
            let reason =
                "it is of an older version of this program, which kept its log in one file";
            Err(corrupt(&path, 0, reason.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("open", &path)(error)),
    }
}

/// A file with nothing in it, whatever had this name before.
fn fresh_file<F: FileSystem>(fs: &F, path: &Path) -> io::Result<F::File> {
    fs.remove_if_there(path)?;
    fs.open(path, true)
}

fn read_all(file: &impl StoredFile) -> io::Result<Vec<u8>> {
    /// More than any id has.
    const BYTES_MAX: u64 = 1024 * 1024;
    let mut bytes = vec![0; usize::try_from(file.size_bytes()?.min(BYTES_MAX)).unwrap_or(0)];
    let read = file.read_full_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError::Io { action, path: path.display().to_string(), source }
}

fn failed_to_encode(path: &Path, error: RecordError) -> StorageError {
    failed("encode for", path)(io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn corrupt(path: &Path, offset: u64, reason: String) -> StorageError {
    StorageError::Corrupt { path: path.display().to_string(), offset, reason }
}

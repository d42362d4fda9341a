//! A server's hard state and log in one append-only file (feature `file-storage`).
//!
//! The file starts with a header that names its cluster, its server and all voters; a record follows
//! for each call of [`Storage::save`]:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | length of the body |
//! | 4 | CRC-32 of the body |
//! | 4 | CRC-32 of these two and of the record's place in the file (8 bytes) |
//! | body | for each save: hard state (or none), number of entries, each with its length |
//!
//! Guarantees: what `save` returned for, and what `load` returned, is there after a crash. A record
//!             that a crash tore is cut off; damage anywhere else is reported with its place, and
//!             nothing is changed.
//! Relies on:  the file system keeping what `fsync` and `fdatasync` returned for.
//! Elsewhere:  the header is in `file_header.rs`; when a save may be confirmed is the driver's
//!             business. Old entries are never collected here: this suits logs that fit in memory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};

use crate::codec;
use crate::effect::Save;
use crate::file_header::Owner;
use crate::snapshot::Snapshot;
use crate::storage::{HardState, Recovered, Storage, StorageError};
use crate::types::{ClusterId, Index, LogId, SaveNumber, ServerId, Term};

/// Length, CRC-32 of the body and CRC-32 of these before a record's body.
const PREFIX_BYTES: usize = 4 + 4 + 4;
const FILE_NAME: &str = "raft.log";

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
pub struct FileStorage {
    folder: PathBuf,
    path: PathBuf,
    /// Locked for as long as it is open.
    file: File,
    /// Where the first record goes.
    start: u64,
    /// Where the next record goes.
    end: u64,
    /// Reused for every record.
    buffer: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Opened, not read yet: nobody knows where the next record goes.
    Opened,
    /// The next record goes to the end.
    Ready,
    /// A write failed, so nobody knows what is in the file.
    Failed,
}

impl FileStorage {
    /// Opens the storage in `folder`, and makes both if there are none.
    ///
    /// The log is of a fixed set of voters, in any order: two majorities of different sets need not
    /// overlap, so a server that came back as one of another set could elect a leader without what
    /// the old set committed. Once servers can join and leave a running cluster, the log itself will
    /// say who votes.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, belongs to another server or another set of voters, or is in
    /// use by another process.
    pub fn open(
        folder: impl AsRef<Path>,
        cluster_id: ClusterId,
        server_id: ServerId,
        voters: &[ServerId],
    ) -> Result<Self, StorageError> {
        let folder = folder.as_ref();
        let path = folder.join(FILE_NAME);
        let failed = |action, path: &Path| {
            let path = path.display().to_string();
            move |source| StorageError::Io { action, path, source }
        };
        create_folder(folder).map_err(failed("create", folder))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::InUse { path: folder.display().to_string() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
        }
        let expected = Owner::new(cluster_id, server_id, voters);
        let header = expected.encode();
        let mut found = Vec::new();
        // One byte more shows whether anything follows.
        Read::by_ref(&mut file)
            .take(header.len() as u64 + 1)
            .read_to_end(&mut found)
            .map_err(failed("read", &path))?;
        let is_torn = found.len() < header.len() && header.starts_with(&found);
        // The length may have reached the disk before the bytes did.
        let is_empty = found.len() <= header.len() && found.iter().all(|&byte| byte == 0);
        if is_torn || is_empty {
            // New, or torn while it was made: nothing was saved yet.
            file.rewind().and_then(|()| file.write_all(&header)).map_err(failed("write", &path))?;
        } else if !found.starts_with(&header) {
            file.rewind().map_err(failed("seek in", &path))?;
            let path_name = path.display().to_string();
            let found =
                Owner::read(&mut file).map_err(failed("read", &path))?.map_err(|reason| {
                    StorageError::Corrupt {
                        path: path_name.clone(),
                        offset: 0,
                        reason: reason.to_owned(),
                    }
                })?;
            let (found, expected) = found.difference(&expected);
            return Err(StorageError::Foreign { path: path_name, found, expected });
        }
        let start = header.len() as u64;
        let folder = folder.to_owned();
        let storage = Self {
            folder,
            path,
            file,
            start,
            end: start,
            buffer: Vec::new(),
            state: State::Opened,
        };
        storage.sync_all()?;
        Ok(storage)
    }

    /// Makes durable whatever the file holds, and its name.
    ///
    /// What can be read need not be on the disk: a process that was killed between a write and its
    /// sync leaves a record that the next one finds in the memory of the operating system. That one
    /// would acknowledge it without any save, and a power cut would take it back. No test can show
    /// it without cutting the power.
    fn sync_all(&self) -> Result<(), StorageError> {
        self.file.sync_all().map_err(self.failed("sync"))?;
        sync_folder(&self.folder).map_err(self.failed("sync the folder of"))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> StorageError + use<> {
        let path = self.path.display().to_string();
        move |source| StorageError::Io { action, path, source }
    }

    fn append(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; PREFIX_BYTES]);
        for save in saves {
            encode_save(save, &mut self.buffer).map_err(|error| {
                self.failed("encode for")(io::Error::new(io::ErrorKind::InvalidInput, error))
            })?;
        }
        let body = &self.buffer[PREFIX_BYTES..];
        let length = u32::try_from(body.len())
            .map_err(|_| self.failed("write")(io::Error::from(io::ErrorKind::FileTooLarge)))?;
        let prefix = Prefix { length, checksum: crc32fast::hash(body) };
        self.buffer[..PREFIX_BYTES].copy_from_slice(&prefix.encode(self.end));
        self.file.write_all(&self.buffer).map_err(self.failed("write"))?;
        self.file.sync_data().map_err(self.failed("sync"))?;
        self.end += self.buffer.len() as u64;
        Ok(())
    }
}

impl Storage for FileStorage {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        // Before anything is read, so that whatever is read is durable.
        self.sync_all()?;
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(self.start))
            .and_then(|_| self.file.read_to_end(&mut bytes))
            .map_err(self.failed("read"))?;
        let mut rest = Bytes::from(bytes);
        let mut recovered = Recovered::default();
        self.end = self.start;
        while !rest.is_empty() {
            let corrupt = |reason: String| StorageError::Corrupt {
                path: self.path.display().to_string(),
                offset: self.end,
                reason,
            };
            let mut body = match next_record(&rest, self.end) {
                Next::Whole(body) => body,
                Next::Damaged => {
                    return Err(corrupt("the record is damaged, and others follow".to_owned()));
                }
                Next::Torn => {
                    let (path, offset, bytes) = (self.path.display(), self.end, rest.len());
                    tracing::warn!(%path, offset, bytes, "torn tail cut off");
                    self.file
                        .set_len(self.end)
                        .and_then(|()| self.file.sync_all())
                        .map_err(self.failed("truncate"))?;
                    break;
                }
            };
            let record_bytes = PREFIX_BYTES + body.len();
            while !body.is_empty() {
                let save = decode_save(&mut body).map_err(&corrupt)?;
                recovered.replay(save).map_err(|error| corrupt(error.to_string()))?;
            }
            rest.advance(record_bytes);
            self.end += record_bytes as u64;
        }
        self.file.seek(SeekFrom::Start(self.end)).map_err(self.failed("seek in"))?;
        self.state = State::Ready;
        Ok(recovered)
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        match self.state {
            State::Ready => {}
            State::Opened | State::Failed => {
                let refusal = if self.state == State::Opened {
                    "the storage was not loaded"
                } else {
                    "an earlier write failed, so nobody knows what the file holds"
                };
                return Err(self.failed("write")(io::Error::other(refusal)));
            }
        }
        // A record is never empty, so that zeros are none.
        if saves.is_empty() {
            return Ok(());
        }
        // After a failed write or sync the kernel may drop what it could not write, and the next
        // sync would succeed without it: so this file is never written again.
        let result = self.append(saves);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }
}

/// Makes the folder and those above it, each with a name that survives a power cut.
///
/// The name of the lowest folder that was there is made durable as well: whoever made it may have
/// been killed before it was.
fn create_folder(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let is_new = !folder.exists();
    if is_new {
        create_folder(parent)?;
        std::fs::create_dir_all(folder)?;
    }
    match sync_folder(parent) {
        // Whoever prepared the folder for us in a place we may not read has seen to its name.
        Err(error) if !is_new && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What stands before a record's body.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    /// Of the body, in bytes.
    length: u32,
    /// CRC-32 of the body.
    checksum: u32,
}

impl Prefix {
    /// The prefix of a record that starts at `offset`. The place is checked but not stored, so that
    /// a record which a client's command holds a copy of is none where the copy stands.
    fn encode(self, offset: u64) -> [u8; PREFIX_BYTES] {
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
    fn decode(bytes: &[u8], offset: u64) -> Option<Self> {
        let found = bytes.get(..PREFIX_BYTES)?;
        let mut fields = found;
        let prefix = Self { length: fields.get_u32_le(), checksum: fields.get_u32_le() };
        (prefix.length > 0 && prefix.encode(offset) == found).then_some(prefix)
    }

    /// Where the body ends, from the start of the record.
    fn end(self) -> usize {
        PREFIX_BYTES.saturating_add(self.length as usize)
    }
}

/// What the next bytes of the file are.
enum Next {
    /// A record with this body.
    Whole(Bytes),
    /// The end of what was saved: the rest is a record that a crash tore.
    Torn,
    /// A record that was saved, and is damaged.
    Damaged,
}

/// What `rest`, the bytes of the file from `offset` on, start with.
///
/// A crash tears only the last record, because the next one is not begun before it is synced. So
/// whatever follows a broken record shows that it was promised to someone.
fn next_record(rest: &Bytes, offset: u64) -> Next {
    if let Some(prefix) = Prefix::decode(rest, offset) {
        return match rest.get(PREFIX_BYTES..prefix.end()) {
            Some(body) if crc32fast::hash(body) == prefix.checksum => {
                Next::Whole(rest.slice(PREFIX_BYTES..prefix.end()))
            }
            Some(_) if prefix.end() < rest.len() => Next::Damaged,
            Some(_) | None => Next::Torn,
        };
    }
    // Nobody knows how long this record was. The prefix of another one proves that there is one, so
    // no body is read, and the search takes one short check for each byte.
    let follows = |at: usize| {
        Prefix::decode(&rest[at..], offset + at as u64)
            .is_some_and(|prefix| at.saturating_add(prefix.end()) <= rest.len())
    };
    if (1..rest.len()).any(follows) { Next::Damaged } else { Next::Torn }
}

/// What a save in a record begins with.
const HAS_HARD_STATE: u8 = 1;
const HAS_VOTE: u8 = 2;
const HAS_SNAPSHOT: u8 = 4;
const HAS_COMPACTED: u8 = 8;

fn encode_save(save: &Save, buffer: &mut Vec<u8>) -> Result<(), codec::EncodeError> {
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
        snapshot.parts().into_iter().for_each(|part| buffer.extend_from_slice(part));
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

/// Takes the next save off a record's body.
fn decode_save(body: &mut Bytes) -> Result<Save, String> {
    let short = |_| "the record ends early".to_owned();
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
        if size_bytes > body.len() {
            return Err("the record ends early".to_owned());
        }
        let bytes = body.split_to(size_bytes);
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
        if length > body.len() {
            return Err("the record ends early".to_owned());
        }
        let entry = codec::decode_entry(&body.split_to(length));
        entries.push(entry.map_err(|error| error.to_string())?);
    }
    // Numbers start anew with every run, so none is stored.
    Ok(Save { number: SaveNumber(0), hard_state, snapshot, compacted, entries: entries.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Entry, Payload};
    use crate::message::ClientRequest;
    use crate::types::{ClientId, Index, SequenceNumber};

    fn open(folder: &Path) -> Result<FileStorage, StorageError> {
        FileStorage::open(folder, ClusterId(7), ServerId(1), &[1, 2, 3].map(ServerId))
    }

    fn entry(index: u64, term: u64) -> Entry {
        let request = ClientRequest::new(
            ClientId(1),
            SequenceNumber(index),
            Bytes::from(format!("command {index}")),
        );
        Entry { term: Term(term), index: Index(index), payload: Payload::Command(request.into()) }
    }

    fn save(term: u64, entries: Vec<Entry>) -> Save {
        let hard_state = HardState { current_term: Term(term), voted_for: Some(ServerId(term)) };
        Save {
            number: SaveNumber(1),
            hard_state: Some(hard_state),
            entries: entries.into(),
            ..Save::default()
        }
    }

    /// A storage with three records, and where each of them ends.
    fn three_records(folder: &Path) -> Vec<u64> {
        let mut storage = open(folder).unwrap();
        storage.load().unwrap();
        let saves = [
            save(1, vec![entry(1, 1), entry(2, 1)]),
            save(2, vec![]),
            save(2, vec![entry(2, 2), entry(3, 2)]),
        ];
        let mut ends = vec![storage.start];
        for save in saves {
            storage.save(&[save]).unwrap();
            ends.push(storage.file.metadata().unwrap().len());
        }
        ends
    }

    fn bytes(folder: &Path) -> Vec<u8> {
        std::fs::read(folder.join(FILE_NAME)).unwrap()
    }

    #[test]
    fn what_was_saved_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        three_records(folder.path());
        let recovered = open(folder.path()).unwrap().load().unwrap();
        let hard_state = HardState { current_term: Term(2), voted_for: Some(ServerId(2)) };
        assert_eq!(recovered.hard_state, hard_state);
        assert_eq!(recovered.entries, [entry(1, 1), entry(2, 2), entry(3, 2)]);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_off_and_writing_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let ends = three_records(folder.path());
        let whole = bytes(folder.path());
        for length in ends[2]..ends[3] {
            std::fs::write(folder.path().join(FILE_NAME), &whole[..length as usize]).unwrap();
            let mut storage = open(folder.path()).unwrap();
            assert_eq!(storage.load().unwrap().entries, [entry(1, 1), entry(2, 1)]);
            storage.save(&[save(3, vec![entry(3, 3)])]).unwrap();
            drop(storage);
            let recovered = open(folder.path()).unwrap().load().unwrap();
            assert_eq!(recovered.entries, [entry(1, 1), entry(2, 1), entry(3, 3)]);
        }
    }

    #[test]
    fn a_flipped_bit_before_the_last_record_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let ends = three_records(folder.path());
        let whole = bytes(folder.path());
        for at in ends[0]..ends[2] {
            let mut damaged = whole.clone();
            damaged[at as usize] ^= 1;
            std::fs::write(folder.path().join(FILE_NAME), &damaged).unwrap();
            let error = open(folder.path()).unwrap().load().unwrap_err();
            let expected = if at < ends[1] { ends[0] } else { ends[1] };
            assert!(
                matches!(error, StorageError::Corrupt { offset, .. } if offset == expected),
                "byte {at}: {error}"
            );
            assert_eq!(bytes(folder.path()), damaged, "a damaged file is left alone");
        }
    }

    /// A storage with one record and a second one with these commands, and where the second starts.
    fn record_with(folder: &Path, commands: &[Vec<u8>]) -> usize {
        let mut storage = open(folder).unwrap();
        storage.load().unwrap();
        storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
        let start = storage.end as usize;
        let entries = (2..).zip(commands).map(|(index, command)| Entry {
            payload: Payload::Proposal(command.clone().into()),
            ..entry(index, 1)
        });
        storage.save(&[save(1, entries.collect())]).unwrap();
        start
    }

    /// The last record is cut off, whichever part of it a crash kept from the disk.
    fn assert_is_cut_off_however_torn(folder: &Path, start: usize) {
        let whole = bytes(folder);
        let [mut no_prefix, mut no_start, mut no_end] = [(); 3].map(|()| whole.clone());
        no_prefix[start..start + PREFIX_BYTES].fill(0);
        no_start[start + PREFIX_BYTES] ^= 1;
        no_end.pop();
        for torn in [no_prefix, no_start, no_end] {
            std::fs::write(folder.join(FILE_NAME), &torn).unwrap();
            assert_eq!(open(folder).unwrap().load().unwrap().entries, [entry(1, 1)]);
            assert_eq!(bytes(folder), whole[..start]);
        }
    }

    #[test]
    fn a_command_that_looks_like_a_record_does_not_keep_a_torn_one() {
        let body = [1; 20];
        let bare = [&20_u32.to_le_bytes()[..], &crc32fast::hash(&body).to_le_bytes(), &body];
        let elsewhere = Prefix { length: 20, checksum: crc32fast::hash(&body) }.encode(77);
        for command in [bare.concat(), [&elsewhere[..], &body].concat()] {
            let folder = tempfile::tempdir().unwrap();
            let start = record_with(folder.path(), &[command]);
            assert_is_cut_off_however_torn(folder.path(), start);
        }
    }

    /// Each of its bytes could start a record that reaches far: reading the bodies as well would take
    /// minutes.
    #[test]
    fn a_large_torn_record_is_cut_off_without_reading_it_again_from_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let command = [0, 0, 32, 0].repeat(1 << 14);
        let start = record_with(folder.path(), &vec![command; 64]);
        assert_is_cut_off_however_torn(folder.path(), start);
    }

    #[test]
    fn a_save_of_nothing_leaves_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let ends = three_records(folder.path());
        let mut storage = open(folder.path()).unwrap();
        storage.load().unwrap();
        storage.save(&[]).unwrap();
        assert_eq!(bytes(folder.path()).len() as u64, ends[3]);
    }

    #[test]
    fn a_header_torn_while_it_was_made_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        let whole = bytes(folder.path());
        for length in 0..whole.len() {
            std::fs::write(folder.path().join(FILE_NAME), &whole[..length]).unwrap();
            assert_eq!(open(folder.path()).unwrap().load().unwrap(), Recovered::default());
            assert_eq!(bytes(folder.path()), whole);
        }
    }

    #[test]
    fn a_header_whose_bytes_a_crash_kept_from_the_disk_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        let whole = bytes(folder.path());
        for length in 0..=whole.len() {
            std::fs::write(folder.path().join(FILE_NAME), vec![0; length]).unwrap();
            assert_eq!(open(folder.path()).unwrap().load().unwrap(), Recovered::default());
            assert_eq!(bytes(folder.path()), whole);
        }
        // What follows may have been saved.
        std::fs::write(folder.path().join(FILE_NAME), vec![0; whole.len() + 1]).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { offset: 0, .. }), "{error}");
    }

    #[test]
    fn a_damaged_header_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        three_records(folder.path());
        let whole = bytes(folder.path());
        let start = open(folder.path()).unwrap().start as usize;
        for at in 0..start {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(folder.path().join(FILE_NAME), &damaged).unwrap();
            let error = open(folder.path()).unwrap_err();
            assert!(matches!(error, StorageError::Corrupt { offset: 0, .. }), "{at}: {error}");
            assert_eq!(bytes(folder.path()), damaged, "a damaged file is left alone");
        }
    }

    /// One server that comes back as a cluster of three could lose everything it committed alone.
    #[test]
    fn a_storage_of_other_voters_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let open = |voters: &[u64]| {
            let voters: Vec<_> = voters.iter().copied().map(ServerId).collect();
            FileStorage::open(folder.path(), ClusterId(7), ServerId(1), &voters)
        };
        let refusal = |voters| match open(voters).unwrap_err() {
            StorageError::Foreign { found, expected, .. } => format!("{found}, not {expected}"),
            other => panic!("{other}"),
        };
        drop(open(&[1]).unwrap());
        assert_eq!(refusal(&[1, 2, 3]), "a cluster of s1, not a cluster of s1, s2, s3");
        std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        drop(open(&[3, 1, 2]).unwrap());
        assert_eq!(refusal(&[1]), "a cluster of s1, s2, s3, not a cluster of s1");
        assert_eq!(refusal(&[1, 2, 4]), "a cluster of s1, s2, s3, not a cluster of s1, s2, s4");
        open(&[2, 3, 1]).unwrap().load().unwrap();
    }

    #[test]
    fn a_record_that_was_written_but_not_confirmed_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        three_records(folder.path());
        let written = bytes(folder.path());
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join(FILE_NAME), &written).unwrap();
        assert_eq!(open(other.path()).unwrap().load().unwrap().entries.len(), 3);
        assert_eq!(bytes(other.path()), written, "what is synced is not changed");
    }

    #[test]
    fn folders_are_made_where_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        three_records(&deep);
        assert_eq!(open(&deep).unwrap().load().unwrap().entries.len(), 3);
        create_folder(Path::new(".")).unwrap();
        create_folder(Path::new("/")).unwrap();
    }

    #[test]
    fn a_storage_of_someone_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        let voters = [1, 2, 3].map(ServerId);
        for (cluster, server) in [(7, 2), (8, 1)] {
            let (cluster, server) = (ClusterId(cluster), ServerId(server));
            let other = FileStorage::open(folder.path(), cluster, server, &voters).unwrap_err();
            let StorageError::Foreign { found, expected, .. } = other else { panic!("{other}") };
            assert_eq!(found, format!("s1 of cluster {}", ClusterId(7)));
            assert_eq!(expected, format!("{server} of cluster {cluster}"));
        }
        std::fs::write(folder.path().join(FILE_NAME), "something else, and long enough").unwrap();
        let no_log = open(folder.path()).unwrap_err();
        assert!(matches!(no_log, StorageError::Corrupt { offset: 0, .. }), "{no_log}");
    }

    #[test]
    fn two_processes_cannot_share_a_storage() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap();
        let second = open(folder.path()).unwrap_err();
        assert!(matches!(second, StorageError::InUse { .. }), "{second}");
        drop(first);
        open(folder.path()).unwrap();
    }

    #[test]
    fn nothing_is_written_before_the_end_of_the_file_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        assert!(storage.save(&[save(1, vec![])]).is_err());
        storage.load().unwrap();
        assert!(storage.save(&[save(1, vec![])]).is_ok());
    }
}

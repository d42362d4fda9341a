//! A server's hard state, snapshot and log in one checksummed file (feature `file-storage`).
//!
//! The file starts with a header that names its cluster, its server and the voters that the cluster began
//! with; a record follows for each call of [`Storage::save`]:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | length of the body |
//! | 4 | CRC-32 of the body |
//! | 4 | CRC-32 of these two and of the record's place in the file (8 bytes) |
//! | body | for each save: hard state, snapshot and end of the compacted log (or none of these), number of entries, each with its length |
//!
//! Records are only ever appended. When most of the file is out of date, what is not is written into a new
//! file beside it, which then takes its name.
//!
//! Guarantees: what `save` returned for, and what `load` returned, is there after a crash. A record
//!             that a crash tore is cut off; damage anywhere else is reported with its place, and
//!             nothing is changed. The file is at most a few times as long as what it stands for.
//! Relies on:  the file system keeping what `fsync` and `fdatasync` returned for, and renaming a file in
//!             one piece.
//! Elsewhere:  the header is in `file_header.rs`, the records in `file_storage/record.rs`; when a save may
//!             be confirmed is the driver's business.

mod record;
mod rewrite;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::effect::Save;
use crate::file_header::Owner;
use crate::storage::{Recovered, Storage, StorageError};
use crate::types::{ClusterId, ServerId};

use record::{Broken, Record, decode_save, examine, read_record};

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
    /// What the file starts with.
    header: Vec<u8>,
    /// The voters that the cluster began with and those it is opened for, in words, if they differ.
    other_voters: Option<(String, String)>,
    /// Where the next record goes.
    end: u64,
    /// Reused for every record.
    record: Record,
    /// What the file stands for. Entries and snapshot are shared with whoever saved them.
    saved: Recovered,
    /// A shorter file is left as it is, however much of it is out of date.
    rewrite_above: u64,
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
        let folder = folder.as_ref();
        let path = folder.join(FILE_NAME);
        create_folder(folder).map_err(failed("create", folder))?;
        let mut file = open_locked(folder, &path)?;
        rewrite::remove_remains(folder)?;
        let expected = Owner::new(cluster_id, server_id, voters);
        let mut header = expected.encode();
        let mut found = Vec::new();
        // One byte more shows whether anything follows.
        Read::by_ref(&mut file)
            .take(header.len() as u64 + 1)
            .read_to_end(&mut found)
            .map_err(failed("read", &path))?;
        let is_torn = found.len() < header.len() && header.starts_with(&found);
        // The length may have reached the disk before the bytes did.
        let is_empty = found.len() <= header.len() && found.iter().all(|&byte| byte == 0);
        let mut other_voters = None;
        if is_torn || is_empty {
            // New, or torn while it was made: nothing was saved yet.
            file.rewind().and_then(|()| file.write_all(&header)).map_err(failed("write", &path))?;
        } else if !found.starts_with(&header) {
            file.rewind().map_err(failed("seek in", &path))?;
            let path = path.display().to_string();
            let owner = match Owner::read(&mut file).map_err(failed("read", path.as_ref()))? {
                Ok(owner) => owner,
                Err(reason) => return Err(StorageError::Corrupt { path, offset: 0, reason }),
            };
            let (found, expected_words) = owner.difference(&expected);
            if !owner.is_same_server(&expected) {
                return Err(StorageError::Foreign { path, found, expected: expected_words });
            }
            header = owner.encode();
            other_voters = Some((found, expected_words));
        }
        let storage = Self {
            folder: folder.to_owned(),
            path,
            file,
            end: header.len() as u64,
            header,
            other_voters,
            record: Record::default(),
            saved: Recovered::default(),
            rewrite_above: rewrite::FILE_BYTES_MIN,
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
        failed(action, &self.path)
    }

    fn append(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        saves.iter().try_for_each(|save| self.saved.replay(save.clone()))?;
        self.record.fill(saves, self.end).map_err(self.failed("encode for"))?;
        let bytes = self.record.len();
        self.record.write_to(&mut self.file).map_err(self.failed("write"))?;
        self.file.sync_data().map_err(self.failed("sync"))?;
        self.end += bytes;
        // Only these leave much behind.
        if saves.iter().any(|save| save.compacted.is_some()) {
            self.maybe_rewrite()?;
        }
        Ok(())
    }

    /// Reads all records into `saved`, and cuts off one that a crash tore.
    fn read_records(&mut self) -> Result<(), StorageError> {
        let end = self.file.metadata().map_err(self.failed("read"))?.len();
        let start = self.header.len() as u64;
        self.file.seek(SeekFrom::Start(start)).map_err(self.failed("seek in"))?;
        (self.end, self.saved) = (start, Recovered::default());
        let mut reader = BufReader::new(&self.file);
        while self.end < end {
            let corrupt = |reason: String| StorageError::Corrupt {
                path: self.path.display().to_string(),
                offset: self.end,
                reason,
            };
            let body = read_record(&mut reader, self.end, end).map_err(self.failed("read"))?;
            let Some(mut body) = body else {
                let mut rest = Vec::new();
                (&self.file)
                    .seek(SeekFrom::Start(self.end))
                    .and_then(|_| (&self.file).read_to_end(&mut rest))
                    .map_err(self.failed("read"))?;
                if examine(&rest, self.end) == Broken::Damaged {
                    return Err(corrupt("the record is damaged, and others follow".to_owned()));
                }
                let (path, offset, bytes) = (self.path.display(), self.end, rest.len());
                tracing::warn!(%path, offset, bytes, "torn tail cut off");
                self.file
                    .set_len(self.end)
                    .and_then(|()| self.file.sync_all())
                    .map_err(self.failed("truncate"))?;
                break;
            };
            let record_bytes = (record::PREFIX_BYTES + body.len()) as u64;
            while !body.is_empty() {
                let save = decode_save(&mut body).map_err(&corrupt)?;
                self.saved.replay(save).map_err(|error| corrupt(error.to_string()))?;
            }
            self.end += record_bytes;
        }
        (&self.file).seek(SeekFrom::Start(self.end)).map_err(self.failed("seek in"))?;
        Ok(())
    }
}

impl Storage for FileStorage {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        // Before anything is read, so that whatever is read is durable.
        self.sync_all()?;
        self.read_records()?;
        if let (Some((found, expected)), None) = (&self.other_voters, &self.saved.snapshot) {
            let (found, expected) = (found.clone(), expected.clone());
            return Err(StorageError::Foreign {
                path: self.path.display().to_string(),
                found,
                expected,
            });
        }
        self.state = State::Ready;
        Ok(self.saved.clone())
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

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError + use<> {
    let path = path.display().to_string();
    move |source| StorageError::Io { action, path, source }
}

/// Opens the file and locks it against every other process.
fn open_locked(folder: &Path, path: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    loop {
        let file = options.open(path).map_err(failed("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::InUse { path: folder.display().to_string() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
        }
        // Whoever held it may have put a new file in its place since it was opened here.
        if is_at(&file, path).map_err(failed("look for", path))? {
            return Ok(file);
        }
    }
}

/// True if `path` is the name of this very file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let ours = file.metadata()?;
        match std::fs::metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
    #[cfg(not(unix))]
    {
        // A file that is open cannot lose its name there.
        let _ = (file, path);
        Ok(true)
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

//! Looks at a server's folder without changing it (feature `file-storage`).
//!
//! Guarantees: everything that can be read is told, and all damage there is, not the first alone; what
//!             [`Storage::load`](crate::Storage::load) would refuse is damage here.
//! Elsewhere:  what the files mean is in [`crate::file_storage`].

use std::io;
use std::path::Path;

use super::load::{self, Contents, Replay};
use super::segment::{self, Tail};
use super::spare::SPARE_NAME;
use super::{ID_NAME, failed, read_all, refuse_old_format, snapshot_file};
use crate::file_header::{Owner, server_words};
use crate::file_system::{FileSystem, RealFileSystem, StoredFile};
use crate::snapshot::SnapshotId;
use crate::storage::{HardState, StorageError};
use crate::types::{ClusterId, Index, LogId, ServerId};

/// What a server's folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderReport {
    /// Whose it is, as `raft.id` says.
    pub cluster_id: Option<ClusterId>,
    /// Whose it is, as `raft.id` says.
    pub server_id: Option<ServerId>,
    /// With whom its cluster began.
    pub voters: Vec<ServerId>,
    /// A process has it open. What is last in the log may then be half written.
    pub is_in_use: bool,
    /// What a server that starts on it would find, as far as it can be read.
    pub state: FolderState,
    /// The log, oldest first.
    pub segments: Vec<SegmentReport>,
    /// All snapshots that are there.
    pub snapshots: Vec<SnapshotReport>,
    /// How long the file is that will be the next segment, in bytes.
    pub spare_bytes: Option<u64>,
    /// All that is wrong. A server starts only if it is empty.
    pub damage: Vec<Damage>,
}

/// What a server that starts on a folder finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderState {
    /// Its term and vote.
    pub hard_state: HardState,
    /// Its snapshot.
    pub snapshot: Option<SnapshotId>,
    /// The place before the first entry of its log.
    pub start: LogId,
    /// Its last entry, or the place before the first one.
    pub last: LogId,
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its name.
    pub name: String,
    /// How long the file is, in bytes.
    pub size_bytes: u64,
    /// How many of them are used.
    pub used_bytes: u64,
    /// How many writes it holds.
    pub records: u64,
    /// How many entries it holds, also those that were replaced or compacted since.
    pub entries: u64,
    /// The lowest index among them.
    pub first_index: Option<Index>,
    /// The highest index among them.
    pub last_index: Option<Index>,
    /// How it ends.
    pub tail: TailReport,
}

/// What follows the last whole record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailReport {
    /// Nothing.
    Clean,
    /// A write of so many bytes that a crash tore, or that is under way. It was not confirmed to
    /// anybody, and the server removes it when it starts.
    Torn {
        /// How many.
        bytes: u64,
    },
    /// Damage; see [`FolderReport::damage`].
    Damaged,
}

/// A snapshot that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Its file.
    pub name: String,
    /// How long the file is, in bytes.
    pub size_bytes: u64,
    /// The log needs it. Others go when the server starts.
    pub is_needed: bool,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: String,
    /// Where it starts.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// What is wrong with a segment that ends in this way.
pub(super) fn damage_of(tail: Tail, is_last: bool) -> Option<&'static str> {
    match tail {
        Tail::Clean => None,
        Tail::Torn { .. } if is_last => None,
        Tail::Torn { .. } => Some("the record was not finished, but a later segment follows"),
        Tail::Damaged { is_followed: true } => Some("the record is damaged, and others follow"),
        Tail::Damaged { is_followed: false } => {
            Some("the last record was written to its end, and is damaged")
        }
    }
}

/// Looks at the folder of a server, which may be running.
///
/// # Errors
///
/// If the folder is not there, is none of a server, or cannot be read. Damage is no error: it is in
/// the report.
pub fn inspect_folder(folder: impl AsRef<Path>) -> Result<FolderReport, StorageError> {
    inspect_folder_in(&RealFileSystem::new(), folder.as_ref())
}

fn inspect_folder_in<F: FileSystem>(fs: &F, folder: &Path) -> Result<FolderReport, StorageError> {
    let names = fs.list(folder).map_err(failed("list", folder))?;
    refuse_old_format(fs, folder)?;
    let mut report = FolderReport::default();
    let is_ours = |name: &String| name == ID_NAME || segment::number(name).is_some();
    if !names.iter().any(is_ours) {
        let error = io::Error::new(io::ErrorKind::NotFound, "no server has kept a log here");
        return Err(failed("find a log in", folder)(error));
    }
    read_id(fs, folder, &mut report)?;
    read_segments(fs, folder, &names, &mut report)?;
    for name in names.iter().filter(|name| snapshot_file::is_name(name)) {
        let is_needed = report.state.snapshot.is_some_and(|id| snapshot_file::name(id) == **name);
        let size_bytes = size_of(fs, &folder.join(name))?;
        report.snapshots.push(SnapshotReport { name: name.clone(), size_bytes, is_needed });
    }
    if let Some(id) = report.state.snapshot
        && let Err(error) = snapshot_file::read(fs, folder, id)
    {
        match error {
            StorageError::Corrupt { path, offset, reason } => {
                report.damage.push(Damage { path, offset, reason });
            }
            other => return Err(other),
        }
    }
    if names.iter().any(|name| name == SPARE_NAME) {
        report.spare_bytes = Some(size_of(fs, &folder.join(SPARE_NAME))?);
    }
    Ok(report)
}

fn size_of<F: FileSystem>(fs: &F, path: &Path) -> Result<u64, StorageError> {
    match fs.open_for_reading(path).and_then(|file| file.size_bytes()) {
        // Its server has removed it since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        result => result.map_err(failed("read", path)),
    }
}

fn read_id<F: FileSystem>(
    fs: &F,
    folder: &Path,
    report: &mut FolderReport,
) -> Result<(), StorageError> {
    let path = folder.join(ID_NAME);
    let mut damage = |reason: &str| {
        let (path, reason) = (path.display().to_string(), reason.to_owned());
        report.damage.push(Damage { path, offset: 0, reason });
    };
    let file = match fs.open_for_reading(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            damage("it is not there");
            return Ok(());
        }
        result => result.map_err(failed("open", &path))?,
    };
    match Owner::decode(&read_all(&file).map_err(failed("read", &path))?) {
        Ok(Owner { cluster_id, server_id, voters }) => {
            (report.cluster_id, report.server_id) = (Some(cluster_id), Some(server_id));
            report.voters = voters;
        }
        Err(reason) => damage(&reason),
    }
    report.is_in_use = !file.try_lock().map_err(failed("lock", &path))?;
    Ok(())
}

fn read_segments<F: FileSystem>(
    fs: &F,
    folder: &Path,
    names: &[String],
    report: &mut FolderReport,
) -> Result<(), StorageError> {
    let mut numbers: Vec<_> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        let path = folder.join(segment::name(1)).display().to_string();
        let reason = "there is no log".to_owned();
        report.damage.push(Damage { path, offset: 0, reason });
    }
    let mut replay = Replay::default();
    for (place, &number) in numbers.iter().enumerate() {
        let path = folder.join(segment::name(number));
        let mut damage = |offset, reason| {
            let path = path.display().to_string();
            report.damage.push(Damage { path, offset, reason });
        };
        if place > 0 && numbers[place - 1] + 1 != number {
            // As when a server starts: what is before a gap does not count.
            replay = Replay::default();
        }
        let file = match fs.open_for_reading(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            result => result.map_err(failed("open", &path))?,
        };
        let size_bytes = file.size_bytes().map_err(failed("read", &path))?;
        let mut contents = Contents::read(&file, number).map_err(failed("read", &path))?;
        let is_last = place + 1 == numbers.len();
        let owner = report.cluster_id.zip(report.server_id);
        let tail = contents.tail.clone().and_then(|tail| {
            if let (Some(owner), Some(header)) = (owner, contents.header)
                && owner != (header.cluster_id, header.server_id)
            {
                let found = server_words(header.cluster_id, header.server_id);
                let reason = format!("it belongs to {found}");
                return Err(load::Damage { offset: segment::START, reason });
            }
            replay.add(&mut contents)?;
            match damage_of(tail, is_last) {
                Some(reason) => {
                    Err(load::Damage { offset: contents.end, reason: reason.to_owned() })
                }
                None => Ok(tail),
            }
        });
        let tail = match tail {
            Ok(Tail::Torn { end }) => TailReport::Torn { bytes: end - contents.end },
            Ok(Tail::Clean | Tail::Damaged { .. }) => TailReport::Clean,
            Err(load::Damage { offset, reason }) => {
                damage(offset, reason);
                TailReport::Damaged
            }
        };
        if tail == TailReport::Damaged {
            // The next segment begins with what those before it come to.
            replay = Replay::default();
        }
        report.segments.push(SegmentReport {
            name: segment::name(number),
            size_bytes,
            used_bytes: contents.end,
            records: contents.records,
            entries: contents.entry_count,
            first_index: contents.indices.map(|(first, _)| first),
            last_index: contents.indices.map(|(_, last)| last),
            tail,
        });
    }
    let Replay { hard_state, snapshot, start, last, .. } = replay;
    report.state = FolderState { hard_state, snapshot, start, last };
    // If one of them is damaged, nobody knows what those before the next one hold.
    if report.damage.is_empty() && replay.into_entries().is_none() {
        let path = folder.join(segment::name(numbers[0])).display().to_string();
        let reason = format!("the segments before it are gone, which hold entries from {start} on");
        report.damage.push(Damage { path, offset: 0, reason });
    }
    Ok(())
}

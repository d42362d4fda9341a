//! Looks at a server's folder without changing it (feature `file-storage`).
//!
//! Guarantees: everything that can be read is told, and all damage there is, not the first alone; what
//!             [`Storage::load`](crate::Storage::load) would refuse is damage here.
//! Elsewhere:  what the files mean is in [`crate::file_storage`].

use std::io;
use std::path::{Path, PathBuf};

use super::load::{self, Contents, Replay};
use super::segment::{self, Tail};
use super::spare::SPARE_NAME;
use super::{ID_NAME, failed, read_all, refuse_old_format, snapshot_file};
use crate::file_header::{Owner, is_other_format, server_words};
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
    /// anybody, and the server leaves it out when it starts.
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

/// What is wrong with a last segment that ends in this way.
pub(super) fn damage_of(tail: Tail) -> Option<&'static str> {
    match tail {
        Tail::Clean | Tail::Torn { .. } => None,
        Tail::Damaged { is_followed: true } => Some("the record is damaged, and others follow"),
        Tail::Damaged { is_followed: false } => {
            Some("the last record was written to its end, and is damaged")
        }
    }
}

/// How often a folder is looked at that its server is changing meanwhile.
const LOOKS_MAX: usize = 10;

/// Looks at the folder of a server, which may be running.
///
/// # Errors
///
/// If the folder is not there, is none of a server, or cannot be read. Damage is no error: it is in
/// the report.
pub fn inspect_folder(folder: impl AsRef<Path>) -> Result<FolderReport, StorageError> {
    let mut report = FolderReport::default();
    for _ in 0..LOOKS_MAX {
        report = inspect_folder_in(&RealFileSystem::new(), folder.as_ref())?;
        // Files come and go while a server runs.
        if report.damage.is_empty() || !report.is_in_use {
            break;
        }
    }
    Ok(report)
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
    let id_damage = read_id(fs, folder, &mut report)?;
    let has_log = read_segments(fs, folder, &names, &mut report)?;
    // A server that was killed at its very first start makes its id anew.
    let is_new = report.segments.iter().all(|segment| segment.records == 0);
    let reason = match id_damage {
        None if !has_log => {
            Some("it belongs to a server that has run, but its log is gone".to_owned())
        }
        Some(IdDamage { reason, is_other_format }) if !is_new || is_other_format => Some(reason),
        None | Some(_) => None,
    };
    if let Some(reason) = reason {
        let path = folder.join(ID_NAME).display().to_string();
        report.damage.insert(0, Damage { path, offset: 0, reason });
    }
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

/// Why an id cannot be read.
struct IdDamage {
    reason: String,
    is_other_format: bool,
}

fn read_id<F: FileSystem>(
    fs: &F,
    folder: &Path,
    report: &mut FolderReport,
) -> Result<Option<IdDamage>, StorageError> {
    let path = folder.join(ID_NAME);
    let file = match fs.open_for_reading(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let reason = "it is not there".to_owned();
            return Ok(Some(IdDamage { reason, is_other_format: false }));
        }
        result => result.map_err(failed("open", &path))?,
    };
    report.is_in_use = !file.try_lock().map_err(failed("lock", &path))?;
    let bytes = read_all(&file).map_err(failed("read", &path))?;
    Ok(match Owner::decode(&bytes) {
        Ok(Owner { cluster_id, server_id, voters }) => {
            (report.cluster_id, report.server_id) = (Some(cluster_id), Some(server_id));
            report.voters = voters;
            None
        }
        Err(reason) => Some(IdDamage { reason, is_other_format: is_other_format(&bytes) }),
    })
}

/// A segment that was read.
struct Segment {
    number: u64,
    path: PathBuf,
    size_bytes: u64,
    contents: Contents,
}

fn read_segment<F: FileSystem>(
    fs: &F,
    folder: &Path,
    number: u64,
    is_last: bool,
) -> Result<Option<Segment>, StorageError> {
    let path = folder.join(segment::name(number));
    let file = match fs.open_for_reading(&path) {
        // Its server has removed it since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(failed("open", &path))?,
    };
    let size_bytes = file.size_bytes().map_err(failed("read", &path))?;
    let contents = Contents::read(&file, number, is_last).map_err(failed("read", &path))?;
    Ok(Some(Segment { number, path, size_bytes, contents }))
}

/// Tells of the log; false if there is none.
fn read_segments<F: FileSystem>(
    fs: &F,
    folder: &Path,
    names: &[String],
    report: &mut FolderReport,
) -> Result<bool, StorageError> {
    let mut numbers: Vec<_> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    let mut segments = Vec::new();
    for &number in &numbers {
        let is_last = Some(&number) == numbers.last();
        segments.extend(read_segment(fs, folder, number, is_last)?);
    }
    let owner = report.cluster_id.zip(report.server_id);
    let mut replay = Replay::default();
    let mut before = None;
    for place in 0..segments.len() {
        let (read, later) = segments[place..].split_first_mut().expect("it is among them");
        if before.is_some_and(|before: u64| before + 1 != read.number) {
            // As when a server starts: what is before a gap does not count.
            replay = Replay::default();
        }
        before = Some(read.number);
        let is_next = |next: &&Segment| next.number == read.number + 1;
        let next = later.first().filter(is_next).map(|next| &next.contents);
        let tail = match judge(&mut read.contents, next, owner, &mut replay) {
            Ok(Tail::Torn { end }) => TailReport::Torn { bytes: end - read.contents.end },
            Ok(Tail::Clean | Tail::Damaged { .. }) => TailReport::Clean,
            Err(load::Damage { offset, reason }) => {
                let path = read.path.display().to_string();
                report.damage.push(Damage { path, offset, reason });
                // The next segment begins with what those before it come to.
                replay = Replay::default();
                TailReport::Damaged
            }
        };
        let Contents { end, records, entry_count, indices, .. } = read.contents;
        report.segments.push(SegmentReport {
            name: segment::name(read.number),
            size_bytes: read.size_bytes,
            used_bytes: end,
            records,
            entries: entry_count,
            first_index: indices.map(|(first, _)| first),
            last_index: indices.map(|(_, last)| last),
            tail,
        });
    }
    let Replay { hard_state, snapshot, start, last, .. } = replay;
    report.state = FolderState { hard_state, snapshot, start, last };
    // If one of them is damaged, nobody knows what those before the next one hold.
    if report.damage.is_empty()
        && let Some(first) = segments.first()
        && replay.into_entries().is_none()
    {
        let path = first.path.display().to_string();
        let reason = format!("the segments before it are gone, which hold entries from {start} on");
        report.damage.push(Damage { path, offset: 0, reason });
    }
    Ok(!segments.is_empty())
}

/// Adds a segment to those before it, and says how it ends, or what is wrong with it.
fn judge(
    contents: &mut Contents,
    next: Option<&Contents>,
    owner: Option<(ClusterId, ServerId)>,
    replay: &mut Replay,
) -> Result<Tail, load::Damage> {
    let tail = contents.tail.clone()?;
    if let (Some(owner), Some(header)) = (owner, contents.header)
        && owner != (header.cluster_id, header.server_id)
    {
        let reason = format!("it belongs to {}", server_words(header.cluster_id, header.server_id));
        return Err(load::Damage { offset: segment::START, reason });
    }
    if let Some(damage) = next.and_then(|next| next.damage_before(contents)) {
        return Err(damage);
    }
    replay.add(contents)?;
    match damage_of(tail) {
        Some(reason) => Err(load::Damage { offset: contents.end, reason: reason.to_owned() }),
        None => Ok(tail),
    }
}

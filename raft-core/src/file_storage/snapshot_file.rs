//! Snapshots, each in a file of its own (feature `file-storage`).
//!
//! The file starts with [`MAGIC`]; the bytes of the snapshot follow.
//!
//! Guarantees: a file that has a snapshot's name is whole, and durable.
//! Elsewhere:  which of them counts is said by the records of the log.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{corrupt, failed, fresh_file};
use crate::file_header::{MAGIC, check_magic};
use crate::file_system::{FileSystem, StoredFile};
use crate::snapshot::{Snapshot, SnapshotId};
use crate::storage::StorageError;

/// A snapshot before it has its name.
pub(super) const NEW_NAME: &str = "snapshot.tmp";
const NAME_START: &str = "snapshot-";

/// The name of a snapshot's file. Two snapshots that end with the same entry need not be the same bytes.
pub(super) fn name(id: SnapshotId) -> String {
    let SnapshotId { last, checksum, .. } = id;
    format!("{NAME_START}{}-{}-{checksum:08x}", last.index, last.term)
}

/// True if it is the name of a snapshot's file.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(NAME_START)
}

/// Writes a snapshot aside, and gives it its name when it is durable.
pub(super) fn write<F: FileSystem>(
    fs: &F,
    folder: &Path,
    snapshot: &Snapshot,
) -> Result<(), StorageError> {
    let (new, path) = (folder.join(NEW_NAME), folder.join(name(snapshot.id())));
    let file = fresh_file(fs, &new).map_err(failed("create", &new))?;
    let write = || -> io::Result<()> {
        let mut at = 0;
        for part in [&MAGIC[..]].into_iter().chain(snapshot.parts().map(|part| &part[..])) {
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        file.sync_data()
    };
    write().map_err(failed("write", &new))?;
    fs.rename(&new, &path).map_err(failed("rename", &new))?;
    fs.sync_folder(folder).map_err(failed("sync", folder))
}

/// Reads a snapshot that a record names.
pub(super) fn read<F: FileSystem>(
    fs: &F,
    folder: &Path,
    id: SnapshotId,
) -> Result<Snapshot, StorageError> {
    let path: PathBuf = folder.join(name(id));
    let file = match fs.open_for_reading(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(corrupt(&path, 0, "the log needs it, and it is not there".to_owned()));
        }
        result => result.map_err(failed("open", &path))?,
    };
    let size = file.size_bytes().map_err(failed("read", &path))?;
    let expected = id.size_bytes.saturating_add(MAGIC.len() as u64);
    if size != expected {
        let reason = format!("it is {size} bytes long, and should be {expected}");
        return Err(corrupt(&path, size.min(expected), reason));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_full_at(&mut bytes, 0).map_err(failed("read", &path))?;
    check_magic(&bytes).map_err(|reason| corrupt(&path, 0, reason))?;
    let bytes = Bytes::from(bytes).slice(MAGIC.len()..);
    Snapshot::from_bytes(&bytes, id.checksum)
        .map_err(|error| corrupt(&path, MAGIC.len() as u64, error.to_string()))
}

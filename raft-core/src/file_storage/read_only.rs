//! Reads a server's folder without changing it (feature `file-storage`).
//!
//! Guarantees: what [`Storage::load`](crate::Storage::load) would find is found, and what it would refuse
//!             is refused; nothing is repaired, made durable or removed.
//! Elsewhere:  [`inspect_folder`](crate::inspect_folder) tells what the files are, and all damage there is.

use std::io;
use std::path::Path;

use super::load::{Contents, ReadError, Replay};
use super::segment::{self, Tail};
use super::{ID_NAME, corrupt, failed, inspect, read_all, snapshot_file};
use crate::file_header::{Owner, server_words};
use crate::file_system::{FileSystem, RealFileSystem};
use crate::storage::{Recovered, StorageError};
use crate::types::{ClusterId, ServerId};

/// A server as its folder has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredServer {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its id.
    pub server_id: ServerId,
    /// With whom its cluster began.
    pub voters: Vec<ServerId>,
    /// What it would find if it started. A write that a crash tore, or that is under way, is not there.
    pub recovered: Recovered,
}

/// Reads the folder of a server, which should not be running: a file that it removes meanwhile is
/// missing here.
///
/// # Errors
///
/// If no server could start on it, with the first damage there is.
pub fn read_folder(folder: impl AsRef<Path>) -> Result<StoredServer, StorageError> {
    read_folder_in(&RealFileSystem::new(), folder.as_ref())
}

fn read_folder_in<F: FileSystem>(fs: &F, folder: &Path) -> Result<StoredServer, StorageError> {
    let path = folder.join(ID_NAME);
    let file = fs.open_for_reading(&path).map_err(failed("open", &path))?;
    let owner = Owner::decode(&read_all(&file).map_err(failed("read", &path))?)
        .map_err(|reason| corrupt(&path, 0, reason))?;
    let recovered = read_log(fs, folder, &owner)?;
    let Owner { cluster_id, server_id, voters } = owner;
    Ok(StoredServer { cluster_id, server_id, voters, recovered })
}

fn read_log<F: FileSystem>(
    fs: &F,
    folder: &Path,
    owner: &Owner,
) -> Result<Recovered, StorageError> {
    let names = fs.list(folder).map_err(failed("list", folder))?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    // As when a server starts: what is before a gap does not count.
    let is_gap = |pair: &[u64]| pair[1] != pair[0] + 1;
    let first = numbers.windows(2).rposition(is_gap).map_or(0, |at| at + 1);
    let numbers = &numbers[first..];

    let mut replay = Replay::default();
    for &number in numbers {
        let path = folder.join(segment::name(number));
        let file = fs.open_for_reading(&path).map_err(failed("open", &path))?;
        let mut contents = Contents::default();
        let tail: Tail = match replay.read(&file, number, &mut contents) {
            Ok(tail) => tail,
            Err(ReadError::Io(error)) => return Err(failed("read", &path)(error)),
            Err(ReadError::Damage(damage)) => {
                return Err(corrupt(&path, damage.offset, damage.reason));
            }
        };
        if let Some(header) = contents.header {
            let found = server_words(header.cluster_id, header.server_id);
            let expected = owner.server_words();
            if found != expected {
                let path = path.display().to_string();
                return Err(StorageError::Foreign { path, found, expected });
            }
        }
        if let Some(reason) = inspect::damage_of(tail, Some(&number) == numbers.last()) {
            return Err(corrupt(&path, contents.end, reason.to_owned()));
        }
    }
    let (hard_state, snapshot, start) = (replay.hard_state, replay.snapshot, replay.start);
    let Some(&first) = numbers.first() else {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no log");
        return Err(failed("read", folder)(error));
    };
    let entries = replay.into_entries().ok_or_else(|| {
        let reason = format!("the segments before it are gone, which hold entries from {start} on");
        corrupt(&folder.join(segment::name(first)), 0, reason)
    })?;
    let snapshot = snapshot.map(|id| snapshot_file::read(fs, folder, id)).transpose()?;
    Ok(Recovered { hard_state, snapshot, start, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Save;
    use crate::file_storage::FileStorage;
    use crate::log::{Entry, Payload};
    use crate::storage::{HardState, Storage};
    use crate::types::{Index, SaveNumber, Term};

    #[test]
    fn what_is_read_is_what_a_server_would_load_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let voters = [1, 2, 3].map(ServerId);
        let open = || FileStorage::open(folder.path(), ClusterId(7), ServerId(2), &voters).unwrap();
        let mut storage = open().with_segment_bytes_max(4096);
        storage.load().unwrap();
        for number in 1..=40 {
            let payload = Payload::Proposal(vec![number as u8; 500].into());
            let entry = Entry { term: Term(2), index: Index(number), payload };
            let hard_state = Some(HardState { current_term: Term(2), voted_for: None });
            let save = Save {
                number: SaveNumber(number),
                hard_state,
                entries: [entry].into_iter().collect(),
                ..Save::default()
            };
            storage.save(&[save]).unwrap();
        }
        drop(storage);
        let listed = || {
            let fs = RealFileSystem::new();
            let names = fs.list(folder.path()).unwrap().into_iter();
            let read = |name: String| (std::fs::read(folder.path().join(&name)).unwrap(), name);
            names.map(read).collect::<Vec<_>>()
        };
        let before = listed();
        let stored = read_folder(folder.path()).unwrap();
        assert!(before.len() > 4, "the log has several segments");
        assert!(listed() == before, "nothing changed");
        assert_eq!((stored.cluster_id, stored.server_id), (ClusterId(7), ServerId(2)));
        assert_eq!(stored.voters, voters);
        assert_eq!(stored.recovered.entries.len(), 40);
        assert_eq!(stored.recovered, open().load().unwrap());
    }

    #[test]
    fn a_folder_of_two_servers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, server) in [("one", 1), ("two", 2)] {
            let path = folder.path().join(name);
            let voters = [1, 2].map(ServerId);
            let mut storage =
                FileStorage::open(path, ClusterId(7), ServerId(server), &voters).unwrap();
            storage.load().unwrap();
        }
        let segment = segment::name(1);
        let from = folder.path().join("two").join(&segment);
        std::fs::rename(from, folder.path().join("one").join(&segment)).unwrap();
        let error = read_folder(folder.path().join("one")).unwrap_err();
        assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    }
}

//! Reads a server's folder without changing it (feature `file-storage`).
//!
//! It is read by the code that starts a server, in a file system that keeps nothing of what is written.
//!
//! Guarantees: what [`Storage::load`] would find is found, and what it would refuse is refused; nothing is
//!             repaired, made durable, locked or removed.
//! Elsewhere:  [`inspect_folder`](crate::inspect_folder) tells what the files are, and all damage there is.

use std::io;
use std::path::Path;

use super::{FileStorage, ID_NAME, corrupt, failed, read_all};
use crate::file_header::Owner;
use crate::file_system::{FileSystem, RealFileSystem, StoredFile};
use crate::storage::{Recovered, Storage, StorageError};
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

/// Reads the folder of a server. If that is running, files that it removes meanwhile may be missed.
///
/// # Errors
///
/// If there is no log, or no server could start on it, with the first damage there is.
pub fn read_folder(folder: impl AsRef<Path>) -> Result<StoredServer, StorageError> {
    read_folder_in(RealFileSystem::new(), folder.as_ref())
}

fn read_folder_in<F: FileSystem>(fs: F, folder: &Path) -> Result<StoredServer, StorageError> {
    let path = folder.join(ID_NAME);
    let id_file = fs.open_for_reading(&path).map_err(failed("open", &path))?;
    let id = read_all(&id_file).map_err(failed("read", &path))?;
    let Owner { cluster_id, server_id, voters } =
        Owner::decode(&id).map_err(|reason| corrupt(&path, 0, reason))?;
    let mut storage = FileStorage::open_in(ReadOnly(fs), folder, cluster_id, server_id, &voters)?;
    let recovered = storage.load()?;
    Ok(StoredServer { cluster_id, server_id, voters, recovered })
}

/// A file system in which nothing that is done changes anything.
#[derive(Clone, Debug)]
struct ReadOnly<F>(F);

#[derive(Debug)]
struct ReadOnlyFile<File>(Option<File>);

impl<F: FileSystem> FileSystem for ReadOnly<F> {
    type File = ReadOnlyFile<F::File>;

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    /// What is to be made is empty, and stays so.
    fn open(&self, path: &Path, is_made: bool) -> io::Result<Self::File> {
        match self.open_for_reading(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_made => {
                Ok(ReadOnlyFile(None))
            }
            result => result,
        }
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<Self::File> {
        self.0.open_for_reading(path).map(|file| ReadOnlyFile(Some(file)))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn readers(&self) -> usize {
        self.0.readers()
    }

    fn run_aside(&self, _: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl<File: StoredFile> StoredFile for ReadOnlyFile<File> {
    fn size_bytes(&self) -> io::Result<u64> {
        self.0.as_ref().map_or(Ok(0), StoredFile::size_bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.as_ref().map_or(Ok(0), |file| file.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], _: u64) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    /// Its server may run.
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Save;
    use crate::file_storage::segment;
    use crate::log::{Entry, Payload};
    use crate::storage::HardState;
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
        // Of a write that a crash tore.
        let last = RealFileSystem::new().list(folder.path()).unwrap();
        let last = last.iter().rfind(|name| segment::number(name).is_some()).unwrap();
        let last = RealFileSystem::new().open(&folder.path().join(last), false).unwrap();
        last.write_all_at(&[0xab; 5], last.size_bytes().unwrap()).unwrap();
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

//! The file system of the machine, and a count of how often a disk was waited for.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_core::{FileSystem, RealFile, RealFileSystem, StoredFile};

/// How often files and folders were synced, whoever waited for it.
#[derive(Clone, Debug, Default)]
pub struct Syncs(Arc<AtomicU64>);

impl Syncs {
    /// So far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A file system that counts.
#[derive(Clone, Debug, Default)]
pub struct CountingFileSystem {
    real: RealFileSystem,
    /// Shared with whoever wants to know.
    pub syncs: Syncs,
}

/// A file of it.
#[derive(Debug)]
pub struct CountingFile {
    real: RealFile,
    syncs: Syncs,
}

impl CountingFileSystem {
    fn counted(&self, real: RealFile) -> CountingFile {
        CountingFile { real, syncs: self.syncs.clone() }
    }
}

impl FileSystem for CountingFileSystem {
    type File = CountingFile;

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.real.create_folder(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.real.list(folder)
    }

    fn open(&self, path: &Path, is_made: bool) -> io::Result<CountingFile> {
        self.real.open(path, is_made).map(|file| self.counted(file))
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<CountingFile> {
        self.real.open_for_reading(path).map(|file| self.counted(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.syncs.add_one();
        self.real.sync_folder(folder)
    }

    fn readers(&self) -> usize {
        self.real.readers()
    }

    fn run_aside(&self, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        self.real.run_aside(job)
    }
}

impl StoredFile for CountingFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.real.size_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.real.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.real.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.add_one();
        self.real.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.real.try_lock()
    }
}

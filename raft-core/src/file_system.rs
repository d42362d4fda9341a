//! What storage in files asks of a file system (feature `file-storage`): little enough that a simulation
//! can do it, with every fault that a disk can have.
//!
//! Guarantees: [`RealFileSystem`] does what the operating system does, and nothing more.
//! Relies on:  nothing; what survives a crash, and what does not, is stated at each operation.
//! Elsewhere:  who writes what, and in which order, is in [`crate::file_storage`].

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Folders and the names in them.
///
/// Names are made, changed and removed in memory first; [`FileSystem::sync_folder`] makes them survive a
/// crash. Whatever happens, a name stands for one whole file.
pub trait FileSystem: Clone + fmt::Debug + Send + Sync + 'static {
    /// A file that is open for reading and writing.
    type File: StoredFile;

    /// Makes a folder and those above it, each with a name that survives a crash.
    ///
    /// # Errors
    ///
    /// What the operating system says; as for every method here.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Opens a file, which is made if `is_made` and it is not there. Nothing in it changes.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if it is not there and is not to be made.
    fn open(&self, path: &Path, is_made: bool) -> io::Result<Self::File>;

    /// Opens a file that whoever runs this may not be allowed to write. Writing to it may fail.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if it is not there.
    fn open_for_reading(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives a file another name, in one piece; a file that has that name loses it.
    ///
    /// # Errors
    ///
    /// If it is not there, or the folder cannot be written.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name, and the file when nobody has it open.
    ///
    /// # Errors
    ///
    /// If it is not there, or the folder cannot be written.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a name, if it is there.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Makes the names in a folder survive a crash.
    ///
    /// # Errors
    ///
    /// If they may not.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// How many threads may read at once: one where nothing may run beside anything.
    fn readers(&self) -> usize;

    /// Runs a job beside whatever goes on, or at once where nothing may run beside anything.
    ///
    /// # Errors
    ///
    /// If it will not be run.
    fn run_aside(&self, job: Box<dyn FnOnce() + Send>) -> io::Result<()>;
}

/// One file. Bytes that were never written are zeros, and the file ends behind the last one written.
pub trait StoredFile: fmt::Debug + Send + Sync + 'static {
    /// How long the file is, in bytes.
    ///
    /// # Errors
    ///
    /// What the operating system says; as for every method here.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Reads from `offset` on, and says how many bytes: 0 at the end of the file only.
    ///
    /// # Errors
    ///
    /// If the disk cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`, in memory first, and says how many bytes: perhaps not all.
    ///
    /// # Errors
    ///
    /// If there is no room, or the disk is broken. Some of the bytes may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes of the file survive a crash, and how many there are.
    ///
    /// # Errors
    ///
    /// If they may not. Then nobody knows which of the bytes written since the last success survive,
    /// and a later success says nothing about them: the operating system may have given them up.
    fn sync_data(&self) -> io::Result<()>;

    /// Locks the file until it is closed; false if somebody else has locked it.
    ///
    /// # Errors
    ///
    /// If files cannot be locked here.
    fn try_lock(&self) -> io::Result<bool>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// If that cannot be done. Some of the bytes may be written.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until the buffer is full or the file ends, and says how many bytes.
    ///
    /// # Errors
    ///
    /// If the disk cannot be read.
    fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

/// The file system of the machine, with a limit if one is set.
#[derive(Clone, Debug, Default)]
pub struct RealFileSystem {
    quota: Option<Arc<Quota>>,
}

/// How many bytes may be added to files, and how many were.
#[derive(Debug)]
struct Quota {
    bytes_max: u64,
    used: AtomicU64,
}

impl Quota {
    /// Takes so many bytes of what is left, or none.
    fn take(&self, bytes: u64) -> io::Result<()> {
        let take = |used: u64| used.checked_add(bytes).filter(|&used| used <= self.bytes_max);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// Gives so many bytes back; of a file that was there before, perhaps more than were taken.
    fn give_back(&self, bytes: u64) {
        let give = |used: u64| Some(used.saturating_sub(bytes));
        // It never refuses.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }
}

impl RealFileSystem {
    /// The file system as it is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The file system, but full as soon as the files opened through this value (or its clones) have
    /// become `bytes_max` longer in all, less what was removed. This is a guard for the disk of a machine
    /// that others share, and a way to see what a full disk does, and no accounting.
    #[must_use]
    pub fn with_quota(bytes_max: u64) -> Self {
        Self { quota: Some(Arc::new(Quota { bytes_max, used: AtomicU64::new(0) })) }
    }
}

/// A file of the machine.
#[derive(Debug)]
pub struct RealFile {
    file: std::fs::File,
    quota: Option<Arc<Quota>>,
}

impl FileSystem for RealFileSystem {
    type File = RealFile;

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(parent) = folder.parent() else { return Ok(()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let is_new = !folder.exists();
        if is_new {
            self.create_folder(parent)?;
            std::fs::create_dir_all(folder)?;
        }
        // The name of the lowest folder that was there is made durable as well: whoever made it may
        // have been killed before it was.
        match self.sync_folder(parent) {
            // Whoever prepared the folder for us in a place we may not read has seen to its name.
            Err(error) if !is_new && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in std::fs::read_dir(folder)? {
            // A name that is no text is none of ours.
            names.extend(item?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, is_made: bool) -> io::Result<RealFile> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(is_made).truncate(false).open(path)?;
        Ok(RealFile { file, quota: self.quota.clone() })
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<RealFile> {
        Ok(RealFile { file: std::fs::File::open(path)?, quota: None })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let size = self.quota.as_ref().map(|_| std::fs::metadata(path).map_or(0, |it| it.len()));
        std::fs::remove_file(path)?;
        if let (Some(quota), Some(size)) = (&self.quota, size) {
            quota.give_back(size);
        }
        Ok(())
    }

    #[cfg(unix)]
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::File::open(folder)?.sync_all()
    }

    /// A folder cannot be opened there; its names are durable with the files.
    #[cfg(not(unix))]
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn readers(&self) -> usize {
        // More would only wait for memory.
        std::thread::available_parallelism().map_or(1, usize::from).min(4)
    }

    fn run_aside(&self, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let name = "raft-storage".to_owned();
        std::thread::Builder::new().name(name).spawn(job).map(drop)
    }
}

impl StoredFile for RealFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset);
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Some(quota) = &self.quota {
            let end = offset + bytes.len() as u64;
            quota.take(end.saturating_sub(self.size_bytes()?))?;
        }
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(&self.file, bytes, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(&self.file, bytes, offset);
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(std::fs::TryLockError::WouldBlock) => Ok(false),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_full_when_files_have_grown_by_it_and_what_is_there_can_still_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let fs = RealFileSystem::with_quota(100);
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let one = fs.open(&one, true).unwrap();
        one.write_all_at(&[1; 60], 0).unwrap();
        let other = fs.clone().open(&other, true).unwrap();
        let full = other.write_all_at(&[2; 41], 0).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        other.write_all_at(&[2; 40], 0).unwrap();
        one.write_all_at(&[3; 60], 0).unwrap();
        assert!(one.write_all_at(&[3; 2], 59).is_err());
        fs.remove(&folder.path().join("other")).unwrap();
        one.write_all_at(&[3; 41], 59).unwrap();
        assert!(one.write_all_at(&[3; 2], 99).is_err());
    }

    #[test]
    fn a_file_is_not_made_unless_it_is_asked_for_and_never_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let (fs, path) = (RealFileSystem::new(), folder.path().join("file"));
        assert_eq!(fs.open(&path, false).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs.open(&path, true).unwrap().write_all_at(b"kept", 2).unwrap();
        let file = fs.open(&path, true).unwrap();
        let mut read = [9; 10];
        assert_eq!(file.read_full_at(&mut read, 0).unwrap(), 6);
        assert_eq!(&read[..6], b"\0\0kept");
        assert_eq!(fs.list(folder.path()).unwrap(), ["file"]);
    }
}

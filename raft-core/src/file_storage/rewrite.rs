//! Writes what a log file stands for into a new file, which takes its name (feature `file-storage`).
//!
//! Guarantees: at every moment one whole file has the name, and it is locked: a crash leaves the old one or
//!             the new one, which stand for the same. Another process never gets in between.
//! Relies on:  the file system renaming a file in one piece.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{FileStorage, failed, record::Record, sync_folder};
use crate::effect::Save;
use crate::log::Entry;
use crate::storage::StorageError;
use crate::types::LogId;

/// A file shorter than this is not worth it.
pub(super) const FILE_BYTES_MIN: u64 = 1024 * 1024;
/// A file is written anew when it is so many times as long as what it stands for.
const GARBAGE_FACTOR: u64 = 3;
/// The new file, until it takes the name of the old one.
const NEW_FILE_NAME: &str = "raft.log.new";
/// How many entries go into one record of it, so that no record is too long.
const ENTRIES_PER_RECORD: usize = 1024;

/// Removes what a crash has left of a new file. Whoever calls it holds the lock of the old one.
pub(super) fn remove_remains(folder: &Path) -> Result<(), StorageError> {
    let path = folder.join(NEW_FILE_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

impl FileStorage {
    /// Writes the file anew if most of it is out of date.
    ///
    /// # Errors
    ///
    /// If nobody knows any more which file has the name. If there is no room for a second file, the
    /// first is as good as before: then it only goes on growing for a while.
    pub(super) fn maybe_rewrite(&mut self) -> Result<(), StorageError> {
        if self.end <= self.rewrite_above || self.live_bytes() * GARBAGE_FACTOR > self.end {
            return Ok(());
        }
        match self.write_anew() {
            Ok((file, end)) => {
                let new = self.folder.join(NEW_FILE_NAME);
                std::fs::rename(new, &self.path).map_err(self.failed("replace"))?;
                // The old file is closed, and its lock is gone, only now that the new one has its name.
                self.file = file;
                // Until the name is durable, a power cut brings the old file back; so nothing may be
                // saved in the new one before.
                sync_folder(&self.folder).map_err(self.failed("sync the folder of"))?;
                let (path, before) = (self.path.display(), self.end);
                tracing::debug!(%path, before, after = end, "log file written anew");
                self.end = end;
            }
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "log file cannot be written anew");
                let _ = remove_remains(&self.folder);
                self.rewrite_above = self.end * 2;
            }
        }
        Ok(())
    }

    /// How long a file would be that holds nothing out of date, within a few bytes for each entry.
    fn live_bytes(&self) -> u64 {
        let snapshot = self.saved.snapshot.as_ref().map_or(0, |snapshot| snapshot.id().size_bytes);
        let entries = self.saved.entries.iter().map(Entry::size_bytes).sum::<usize>() as u64;
        self.header.len() as u64 + snapshot + entries
    }

    /// Makes a new file, locked and durable, that stands for the same as this one; and says where it
    /// ends.
    fn write_anew(&self) -> io::Result<(File, u64)> {
        let path = self.folder.join(NEW_FILE_NAME);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).open(path)?;
        file.try_lock()?;
        file.write_all(&self.header)?;
        let mut end = self.header.len() as u64;
        let saved = &self.saved;
        let first = Save {
            hard_state: Some(saved.hard_state),
            snapshot: saved.snapshot.clone(),
            compacted: Some(saved.start).filter(|&start| start != LogId::ZERO),
            ..Save::default()
        };
        let rest = saved.entries.chunks(ENTRIES_PER_RECORD);
        let rest = rest.map(|entries| Save { entries: entries.to_vec().into(), ..Save::default() });
        let mut record = Record::default();
        for save in [first].into_iter().chain(rest) {
            record.fill(&[save], end)?;
            end += record.len();
            record.write_to(&mut file)?;
        }
        file.sync_all()?;
        Ok((file, end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::FILE_NAME;
    use super::super::tests::{bytes, entry, open, save, snapshot_save};
    use super::*;
    use crate::storage::{Recovered, Storage};

    /// A storage that is written anew whenever that saves anything, with some snapshots saved, and what
    /// it stands for.
    fn rewritten(folder: &Path) -> (FileStorage, Recovered) {
        let mut storage = open(folder).unwrap();
        storage.load().unwrap();
        storage.rewrite_above = 0;
        storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
        for index in 1..=9 {
            storage.save(&[snapshot_save(index, 2000)]).unwrap();
        }
        let saved = storage.saved.clone();
        (storage, saved)
    }

    #[test]
    fn a_file_that_is_mostly_out_of_date_is_written_anew_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (mut storage, saved) = rewritten(folder.path());
        let longest = bytes(folder.path()).len();
        assert!((2000..3 * 2400).contains(&longest), "{longest} bytes for nine snapshots of 2000");
        storage.save(&[save(2, vec![entry(11, 2)])]).unwrap();
        assert_eq!(storage.end, bytes(folder.path()).len() as u64);
        drop(storage);
        let recovered = open(folder.path()).unwrap().load().unwrap();
        assert_eq!((recovered.snapshot, recovered.start), (saved.snapshot, saved.start));
        assert_eq!(recovered.entries, [entry(10, 1), entry(11, 2)]);
        assert_eq!(recovered.hard_state, save(2, vec![]).hard_state.unwrap());
    }

    #[test]
    fn a_small_file_and_one_that_is_needed_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        storage.load().unwrap();
        for index in 1..=9 {
            storage.save(&[snapshot_save(index, 2000)]).unwrap();
        }
        assert!(storage.end > 9 * 2000, "less than {FILE_BYTES_MIN} bytes are not worth it");
        storage.rewrite_above = 0;
        storage.saved.entries = vec![entry(1, 1); 9 * 2000 / 3 / entry(1, 1).size_bytes()];
        storage.maybe_rewrite().unwrap();
        assert!(storage.end > 9 * 2000, "more than a third of it is live");
    }

    #[test]
    fn many_entries_are_written_in_several_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        storage.load().unwrap();
        let entries: Vec<_> = (1..=2500).map(|index| entry(index, 1)).collect();
        storage.save(&[save(1, entries)]).unwrap();
        let (file, end) = storage.write_anew().unwrap();
        assert_eq!(file.metadata().unwrap().len(), end);
        let saved = storage.saved.clone();
        let path = storage.path.clone();
        std::fs::rename(folder.path().join(NEW_FILE_NAME), path).unwrap();
        drop((storage, file));
        assert_eq!(open(folder.path()).unwrap().load().unwrap(), saved);
    }

    /// Whatever a crash leaves of the new file, the old one is read, and the rest is removed.
    #[test]
    fn a_crash_before_the_new_file_has_its_name_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, saved) = rewritten(folder.path());
        drop(storage.write_anew().unwrap());
        drop(storage);
        let (old, new) = (bytes(folder.path()), folder.path().join(NEW_FILE_NAME));
        let whole = std::fs::read(&new).unwrap();
        for length in (0..whole.len()).step_by(97).chain([whole.len()]) {
            std::fs::write(&new, &whole[..length]).unwrap();
            assert_eq!(open(folder.path()).unwrap().load().unwrap(), saved);
            assert_eq!(bytes(folder.path()), old);
            assert!(!new.exists());
        }
        // And a crash right after it.
        std::fs::write(folder.path().join(FILE_NAME), &whole).unwrap();
        assert_eq!(open(folder.path()).unwrap().load().unwrap(), saved);
    }

    #[test]
    fn a_new_file_is_locked_and_whoever_waited_at_the_old_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        storage.load().unwrap();
        storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
        // Another process opens the old file, and locks it when its name is gone.
        let old = File::open(folder.path().join(FILE_NAME)).unwrap();
        storage.rewrite_above = 0;
        (1..=9).for_each(|index| storage.save(&[snapshot_save(index, 2000)]).unwrap());
        old.try_lock().unwrap();
        assert!(!super::super::is_at(&old, &storage.path).unwrap());
        let second = open(folder.path()).unwrap_err();
        assert!(matches!(second, StorageError::InUse { .. }), "{second}");
        drop(storage);
        assert!(open(folder.path()).is_ok());
    }

    #[test]
    fn a_new_file_that_cannot_be_made_leaves_the_old_one_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        storage.load().unwrap();
        storage.rewrite_above = 0;
        std::fs::create_dir(folder.path().join(NEW_FILE_NAME)).unwrap();
        storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
        for index in 1..=9 {
            storage.save(&[snapshot_save(index, 2000)]).unwrap();
        }
        assert!(storage.rewrite_above > 2000, "it is not tried again at once");
        let saved = storage.saved.clone();
        drop(storage);
        std::fs::remove_dir(folder.path().join(NEW_FILE_NAME)).unwrap();
        assert_eq!(open(folder.path()).unwrap().load().unwrap(), saved);
    }

    #[test]
    fn a_new_file_that_does_not_get_its_name_ends_the_storage() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        storage.load().unwrap();
        storage.rewrite_above = 0;
        storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
        // A folder cannot be replaced by a file.
        storage.path = folder.path().join("folder");
        std::fs::create_dir(&storage.path).unwrap();
        let mut saves = (1..=9).map(|index| storage.save(&[snapshot_save(index, 2000)]));
        assert!(saves.any(|result| result.is_err()));
        drop(saves);
        assert!(storage.save(&[save(3, vec![])]).is_err());
    }
}

//! The next segment, made while the last one is being filled (feature `file-storage`).
//!
//! To write into a file that is all zeros on the disk already costs about half of what it costs to make a
//! file longer: the file system has nothing to note in its journal. So a spare file is filled with zeros
//! beside the writing, out of a segment that is not needed any more if there is one.
//!
//! Guarantees: a spare that is given out is all zeros on the disk, or has never been written.
//! Relies on:  nobody else using its two names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::fresh_file;
use super::segment::write_zeros;
use crate::file_system::{FileSystem, StoredFile};

/// A file that is all zeros.
pub(super) const SPARE_NAME: &str = "spare";
/// One that will be.
pub(super) const UNFINISHED_NAME: &str = "spare.tmp";

/// The spare of one folder.
#[derive(Debug)]
pub(super) struct Spare<F: FileSystem> {
    fs: F,
    folder: PathBuf,
    shared: Arc<Shared<F::File>>,
}

#[derive(Debug)]
struct Shared<File> {
    state: Mutex<State<File>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State<File> {
    None,
    /// Somebody is at it, and is to stop if `is_wanted` does not hold any more.
    Making {
        is_wanted: bool,
    },
    Ready {
        file: File,
        size: u64,
    },
    /// It could not be made, and is not tried again before the next segment: what is tried over and over
    /// on a disk that is nearly full takes the room that others need.
    Failed,
}

impl<File> Shared<File> {
    fn lock(&self) -> MutexGuard<'_, State<File>> {
        // Whoever panicked has changed nothing but the file.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State<File>) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    fn is_wanted(&self) -> bool {
        matches!(*self.lock(), State::Making { is_wanted: true })
    }
}

/// Ends the making even if it panics.
struct Making<File> {
    shared: Arc<Shared<File>>,
    made: State<File>,
}

impl<File> Drop for Making<File> {
    fn drop(&mut self) {
        self.shared.set(std::mem::replace(&mut self.made, State::None));
    }
}

impl<F: FileSystem> Spare<F> {
    pub(super) fn new(fs: F, folder: PathBuf) -> Self {
        let shared = Shared { state: Mutex::new(State::None), changed: Condvar::new() };
        Self { fs, folder, shared: Arc::new(shared) }
    }

    /// Has a spare of this size made, unless that is seen to; or, if there is an old file, one of as many
    /// bytes as that has, out of it.
    pub(super) fn prepare(&self, size: u64, old_name: &mut Option<String>) {
        let mut state = self.shared.lock();
        if !matches!(*state, State::None) {
            return;
        }
        *state = State::Making { is_wanted: true };
        drop(state);
        let old_name = old_name.take();
        let (fs, folder) = (self.fs.clone(), self.folder.clone());
        let mut making = Making { shared: Arc::clone(&self.shared), made: State::Failed };
        let job = move || {
            let is_wanted = || making.shared.is_wanted();
            match make(&fs, &folder, size, old_name.as_deref(), is_wanted) {
                Ok(Some((file, size))) => making.made = State::Ready { file, size },
                Ok(None) => making.made = State::None,
                // Segments are then made when they are needed, which takes longer.
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "no spare segment");
                    let _ = fs.remove(&folder.join(UNFINISHED_NAME));
                }
            }
        };
        if let Err(error) = self.fs.run_aside(Box::new(job)) {
            tracing::warn!(folder = %self.folder.display(), %error, "no thread for a spare segment");
        }
    }

    /// Takes the spare if it is there and has at least this size: the file still has [`SPARE_NAME`].
    pub(super) fn take(&self, size_min: u64) -> Option<(F::File, u64)> {
        let mut state = self.shared.lock();
        match std::mem::replace(&mut *state, State::None) {
            State::Ready { file, size } if size >= size_min => Some((file, size)),
            State::Failed => None,
            other => {
                *state = other;
                None
            }
        }
    }

    /// Waits until nobody is at it, and says if there is one.
    #[cfg(test)]
    pub(super) fn is_made(&self) -> bool {
        let mut state = self.shared.lock();
        while let State::Making { .. } = &*state {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        matches!(&*state, State::Ready { .. })
    }

    /// Waits until nobody works in the folder any more.
    pub(super) fn stop(&self) {
        let mut state = self.shared.lock();
        while let State::Making { is_wanted } = &mut *state {
            *is_wanted = false;
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state = State::None;
    }
}

impl<F: FileSystem> Drop for Spare<F> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a spare, of an old file or a new one; or none, if it is not wanted any more.
fn make<F: FileSystem>(
    fs: &F,
    folder: &Path,
    mut size: u64,
    old_name: Option<&str>,
    is_wanted: impl Fn() -> bool,
) -> io::Result<Option<(F::File, u64)>> {
    let path = folder.join(UNFINISHED_NAME);
    let file = match old_name {
        None => fresh_file(fs, &path)?,
        Some(old_name) => {
            fs.rename(&folder.join(old_name), &path)?;
            // Not before its old name is gone for good: a crash must not bring it back without its
            // bytes.
            fs.sync_folder(folder)?;
            let file = fs.open(&path, false)?;
            size = file.size_bytes()?;
            file
        }
    };
    write_zeros(&file, 0, size, &is_wanted)?;
    if !is_wanted() {
        fs.remove(&path)?;
        return Ok(None);
    }
    fs.rename(&path, &folder.join(SPARE_NAME))?;
    Ok(Some((file, size)))
}

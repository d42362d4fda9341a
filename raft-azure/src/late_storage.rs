//! A planted bug (feature `defects`): storage that says that a save is durable before it is.
//!
//! The driver is told that saves take no time, confirms them at once, and so sends every promise that
//! depends on them. A thread writes them a while later, together with whatever came meanwhile; what was
//! not written when the process is killed is lost.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use raft_core::{Recovered, Save, Storage, StorageError};

/// How long a save is held back.
const HELD_BACK: Duration = Duration::from_millis(300);

/// Storage whose saves are late.
#[derive(Debug)]
pub struct LateStorage<S> {
    storage: Arc<Mutex<S>>,
    saves: mpsc::Sender<Vec<Save>>,
}

impl<S: Storage> LateStorage<S> {
    /// Holds back what is saved to `storage`.
    pub fn new(storage: S) -> Self {
        let storage = Arc::new(Mutex::new(storage));
        let (saves, held_back) = mpsc::channel();
        let writes_to = Arc::clone(&storage);
        std::thread::spawn(move || write(&writes_to, &held_back));
        Self { storage, saves }
    }
}

impl<S: Storage> Storage for LateStorage<S> {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        self.storage.lock().unwrap_or_else(PoisonError::into_inner).load()
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        self.saves.send(saves.to_vec()).map_err(|_| StorageError::Io {
            action: "write behind",
            path: "what was held back".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }

    fn is_instant(&self) -> bool {
        true
    }
}

/// Writes what was held back, until nobody saves any more or a write fails.
fn write<S: Storage>(storage: &Mutex<S>, held_back: &mpsc::Receiver<Vec<Save>>) {
    while let Ok(mut saves) = held_back.recv() {
        std::thread::sleep(HELD_BACK);
        saves.extend(held_back.try_iter().flatten());
        let result = storage.lock().unwrap_or_else(PoisonError::into_inner).save(&saves);
        if let Err(error) = result {
            tracing::error!(%error, "what was held back cannot be written");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use raft_core::{HardState, MemoryStorage, Term};

    use super::*;

    #[test]
    fn a_save_is_confirmed_before_it_is_written_and_written_in_the_end() {
        let mut storage = LateStorage::new(MemoryStorage::new());
        assert!(storage.is_instant());
        let hard_state = HardState { current_term: Term(3), voted_for: None };
        storage.save(&[Save { hard_state: Some(hard_state), ..Save::default() }]).unwrap();
        assert_eq!(storage.load().unwrap(), Recovered::default(), "it is held back");
        let started = Instant::now();
        while storage.load().unwrap().hard_state != hard_state {
            assert!(started.elapsed() < Duration::from_secs(60), "it was never written");
            std::thread::yield_now();
        }
    }
}

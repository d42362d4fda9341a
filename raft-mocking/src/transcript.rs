//! What happened, line by line and with the time: two runs with one seed must write the same.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::Timestamp;
use tokio::time::Instant;

/// A list of lines that many tasks write; clones share it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let transcript = raft_mocking::Transcript::new();
/// transcript.record("s1@1 follower ⇨ s1@2 candidate");
/// assert_eq!(transcript.lines(), ["0.000ms s1@1 follower ⇨ s1@2 candidate"]);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Transcript {
    started: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Default for Transcript {
    fn default() -> Self {
        Self::new()
    }
}

impl Transcript {
    /// An empty transcript whose time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now(), lines: Arc::default() }
    }

    /// Adds a line with the present time before it.
    pub fn record(&self, what: impl fmt::Display) {
        let at = Timestamp::ZERO + self.started.elapsed();
        self.lock().push(format!("{at} {what}"));
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // A line is pushed whole or not at all.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

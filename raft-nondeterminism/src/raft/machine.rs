//! The state machine of every server: one number that tells any two histories apart.
//!
//! Guarantees: two machines with the same digest were given the same commands in the same order, but
//!             for one chance in `2^64`; a snapshot holds the whole state.

use bytes::Bytes;
use raft_core::Entry;

use crate::fingerprint::Fingerprint;

/// What a server's commands have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    /// How many commands it was given, by whoever it was restored from too.
    pub(crate) applied: u64,
    digest: Fingerprint,
}

impl Machine {
    /// Takes a command; the digest is its answer.
    pub(crate) fn apply(&mut self, entry: &Entry) -> u64 {
        let command = entry.payload.command().map_or(&[][..], |command| command);
        self.applied += 1;
        self.digest.mix(entry.index.0);
        command.iter().for_each(|&byte| self.digest.mix(byte.into()));
        self.digest.0
    }

    /// Stands for everything it was given.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.0
    }

    pub(crate) fn snapshot(&self) -> Bytes {
        [self.applied.to_le_bytes(), self.digest.0.to_le_bytes()].concat().into()
    }

    /// # Panics
    ///
    /// If the bytes are no snapshot: what arrives whole is what was taken.
    pub(crate) fn restored(snapshot: &[u8]) -> Self {
        let number =
            |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a snapshot is two"));
        let (applied, digest) = snapshot.split_at(size_of::<u64>());
        Self { applied: number(applied), digest: Fingerprint(number(digest)) }
    }
}

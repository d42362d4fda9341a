//! What a store has to do to be measured, and the entries that all of them store.

use std::error::Error;
use std::path::Path;

use bytes::Bytes;

/// The size of an entry's payload.
pub const ENTRY_BYTES: usize = 256;

/// What a store returns; whatever fails ends the program.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A log of entries in a folder of its own. Its first entry is number 1.
pub trait Store: Sized {
    /// Entries, as the store takes them.
    type Batch;
    /// Entries, as the store gives them back, all in memory.
    type Entries;

    /// Opens the log in a folder, or makes a new one there.
    ///
    /// # Errors
    ///
    /// If the store says so.
    fn open(folder: &Path) -> Outcome<Self>;

    /// Reads everything that was appended. It is called once, before the first append.
    ///
    /// # Errors
    ///
    /// If the store says so.
    fn read_all(&mut self) -> Outcome<Self::Entries>;

    /// The payloads of what was read, in order.
    fn payloads(entries: &Self::Entries) -> impl Iterator<Item = &[u8]>;

    /// Makes entries of payloads, the first of which is number `first`. Whoever appends does this
    /// before, so it is in no figure of time.
    fn batch(first: u64, payloads: Vec<Bytes>) -> Self::Batch;

    /// Does what must be done from time to time and need not be done while somebody waits.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    fn prepare(&mut self) -> Outcome<()> {
        Ok(())
    }

    /// Appends, and returns once it is durable.
    ///
    /// # Errors
    ///
    /// If the store says so.
    fn append(&mut self, batch: Self::Batch) -> Outcome<()>;
}

/// Makes the same payloads for every store.
#[derive(Debug)]
pub struct Source {
    /// What no store can compress.
    noise: [u8; ENTRY_BYTES],
    next: u64,
}

impl Source {
    /// From entry 1 on.
    #[must_use]
    pub fn new() -> Self {
        // An LCG's upper bits are noise enough.
        let mut state: u64 = 7;
        let noise = [(); ENTRY_BYTES].map(|()| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        Self { noise, next: 1 }
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The next entries, each of which starts with its number.
    pub fn batch<S: Store>(&mut self, entries: u64) -> S::Batch {
        let mut all = Vec::with_capacity(entries as usize * ENTRY_BYTES);
        for number in self.next..self.next + entries {
            let start = all.len();
            all.extend_from_slice(&self.noise);
            all[start..start + 8].copy_from_slice(&number.to_le_bytes());
        }
        let all = Bytes::from(all);
        let of = |place: usize| all.slice(place * ENTRY_BYTES..(place + 1) * ENTRY_BYTES);
        let first = self.next;
        self.next += entries;
        S::batch(first, (0..entries as usize).map(of).collect())
    }

    /// Asserts that these are the payloads of the entries 1 to `count`.
    ///
    /// # Panics
    ///
    /// If they are not.
    pub fn check<'a>(&self, count: u64, payloads: impl Iterator<Item = &'a [u8]>) {
        let mut number: u64 = 0;
        for payload in payloads {
            number += 1;
            assert_eq!(payload[..8], number.to_le_bytes(), "entry {number} is in its place");
            assert_eq!(payload[8..], self.noise[8..], "entry {number} is as it was");
        }
        assert_eq!(number, count, "all entries are there, and no others");
    }
}

impl Default for Source {
    fn default() -> Self {
        Self::new()
    }
}

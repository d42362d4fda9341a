//! What the allocator was asked, if the program is the one that counts.

use std::sync::atomic::{AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

/// The allocator was asked for this many bytes.
pub fn allocated(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    LIVE_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// This many bytes were given back.
pub fn freed(bytes: usize) {
    LIVE_BYTES.fetch_sub(bytes as u64, Ordering::Relaxed);
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// How often memory was asked for, a reallocation included.
    pub allocations: u64,
    /// How many bytes are in use, as asked for.
    pub live_bytes: u64,
}

/// The counts now; both are 0 in the program that does not count.
#[must_use]
pub fn now() -> Counts {
    Counts {
        allocations: ALLOCATIONS.load(Ordering::Relaxed),
        live_bytes: LIVE_BYTES.load(Ordering::Relaxed),
    }
}

/// True in the program that counts: no program comes to `main` without an allocation.
#[must_use]
pub fn is_counting() -> bool {
    now().allocations > 0
}

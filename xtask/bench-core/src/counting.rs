//! What the allocator was asked, if the program is one that counts.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

/// The allocator of the system, and a count of what it was asked.
#[derive(Clone, Copy, Debug)]
pub struct CountingAllocator;

// SAFETY: every call is passed on unchanged to `System`, whose contract is the one of this trait; the
// counting in between touches only atomics and allocates nothing. `alloc_zeroed` is not overridden: the
// provided one calls `alloc` of this type, and zeroes.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        freed(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and `place` is of `System`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        allocated(size);
        freed(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, and `place` is of `System`.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// The allocator was asked for this many bytes.
fn allocated(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    LIVE_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// This many bytes were given back.
fn freed(bytes: usize) {
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

/// The counts now; both are 0 in a program that does not count.
#[must_use]
pub fn now() -> Counts {
    Counts {
        allocations: ALLOCATIONS.load(Ordering::Relaxed),
        live_bytes: LIVE_BYTES.load(Ordering::Relaxed),
    }
}

/// True in a program that counts: no program comes to `main` without an allocation.
#[must_use]
pub fn is_counting() -> bool {
    now().allocations > 0
}

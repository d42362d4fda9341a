//! The program that counts allocations. The counting takes time, so nothing is timed with it.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;

use bench_core::counting;

/// The allocator of the system, and a count of what it was asked.
struct Counting;

// SAFETY: every call is passed on unchanged to `System`, whose contract is the one of this trait; the
// counting in between touches only atomics and allocates nothing. `alloc_zeroed` is not overridden: the
// provided one calls `alloc` of this type, and zeroes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        counting::allocated(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        counting::freed(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and `place` is of `System`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        counting::allocated(size);
        counting::freed(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, and `place` is of `System`.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    bench_core::cli::run()
}

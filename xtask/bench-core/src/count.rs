//! The program that counts allocations. The counting takes time, so nothing is timed with it.

use std::process::ExitCode;

use bench_core::counting::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    bench_core::cli::run()
}

//! The program that times; `count.rs` is the one that counts allocations.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench_storage::cli::run()
}

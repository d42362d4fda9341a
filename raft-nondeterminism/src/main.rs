//! `raft-explore`: what this crate does, from the command line.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}

//! `raft-azure`: Raft over an Azure Service Bus topic, one process per server.

use std::process::ExitCode;

#[expect(clippy::print_stdout, reason = "a command prints its results")]
mod cli;

fn main() -> ExitCode {
    cli::main()
}

//! The command line: what can be asked, and how it is answered.
//!
//! Results go to standard output, everything else to standard error. No output is coloured.

mod check_history;

use std::panic;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Finds out what a system can do, and whether it should.
#[derive(Debug, Parser)]
#[command(
    name = "raft-explore",
    version,
    color = clap::ColorChoice::Never,
    after_help = "Exit codes: 0 all is well, 1 wrong usage or unreadable input or no verdict, \
                  2 a property is broken, 3 a bug of this program."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check whether a history of client operations is linearizable.
    CheckHistory(check_history::CheckHistoryArgs),
}

/// How a command ends: the one place that knows the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All is well.
    Holds,
    /// Wrong usage, unreadable input, or no verdict.
    Unusable,
    /// A property is broken.
    Broken,
    /// This program is.
    Internal,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Holds => 0,
            Exit::Unusable => 1,
            Exit::Broken => 2,
            Exit::Internal => 3,
        })
    }
}

pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If nobody reads it, nobody is told.
            let _ = error.print();
            let is_answer = !error.use_stderr();
            return if is_answer { Exit::Holds } else { Exit::Unusable }.into();
        }
    };
    // The message of a panic is on standard error already.
    let ended = panic::catch_unwind(|| match cli.command {
        Command::CheckHistory(args) => check_history::run(&args),
    });
    match ended {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            Exit::Unusable
        }
        Err(_) => Exit::Internal,
    }
    .into()
}

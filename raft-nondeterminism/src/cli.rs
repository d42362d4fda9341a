//! The command line: what can be asked, and how it is answered.
//!
//! Guarantees: results go to standard output, everything else to standard error; nothing is coloured;
//!             options and exit codes are Coyote's wherever it has the same thing.

mod check_history;
mod ci;
mod exhaust;
mod interrupt;
mod list;
mod names;
mod output;
mod progress;
mod replay;
mod report;
mod scenario;
mod summary;
mod test;

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Finds out what a system can do, and whether it should.
#[derive(Debug, Parser)]
#[command(
    name = "raft-explore",
    version,
    color = clap::ColorChoice::Never,
    after_help = "Examples:
  raft-explore list
  raft-explore test sample-with-failure --iterations 5000
  raft-explore test sample-with-failure --defect vote-counted-twice
  raft-explore replay raft-explore.out/NAME.schedule.txt

Exit codes: 0 all is well, 1 wrong usage, or input or output that fails, or no verdict, \
                  2 a property is broken, 3 a bug of this program."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Explore a scenario until a property breaks, or for so many runs.
    Test(Box<test::TestArgs>),
    /// Replay a schedule that `test` has written.
    Replay(replay::ReplayArgs),
    /// Say what can be explored, how, and with which planted bugs.
    List(list::ListArgs),
    /// Tell a schedule's run for people and for other programs.
    Report(report::ReportArgs),
    /// Check whether a history of client operations is linearizable.
    CheckHistory(check_history::CheckHistoryArgs),
}

/// How a command ends: the one place that knows the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All is well.
    Holds,
    /// Wrong usage, input or output that fails, or no verdict.
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
    // Asked for before the rest is understood: whoever reads objects also reads why there are none.
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(std::env::args_os().map(spelled_out)) {
        Ok(cli) => cli,
        Err(error) => {
            // If nobody reads it, nobody is told.
            let _ = error.print();
            if !error.use_stderr() {
                return Exit::Holds.into();
            }
            let message = error.to_string();
            let message = message.trim_start_matches("error: ");
            say_error(is_json, message.lines().next().unwrap_or_default());
            return Exit::Unusable.into();
        }
    };
    // The message of a panic is on standard error already.
    let ended = panic::catch_unwind(|| match cli.command {
        Command::Test(args) => test::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::List(args) => list::run(&args),
        Command::Report(args) => report::run(&args),
        Command::CheckHistory(args) => check_history::run(&args),
    });
    match ended {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            say_error(is_json, &format!("{error:#}"));
            Exit::Unusable
        }
        Err(_) => Exit::Internal,
    }
    .into()
}

/// True once results were printed.
static HAS_SAID: AtomicBool = AtomicBool::new(false);

/// Tells whoever reads objects why there is no summary.
fn say_error(is_json: bool, message: &str) {
    if is_json && !HAS_SAID.load(Ordering::Relaxed) {
        // If nobody reads it, nobody is told.
        let _ = say(&format!("{}\n", serde_json::json!({ "event": "error", "message": message })));
    }
}

/// Coyote has options of two letters behind one dash.
fn spelled_out(argument: OsString) -> OsString {
    match argument.to_str() {
        Some("-sv") => "--sv".into(),
        Some("-ms") => "--ms".into(),
        _ => argument,
    }
}

/// Puts text on standard output. The verdict is the same if nobody reads it.
fn say(text: &str) -> anyhow::Result<()> {
    HAS_SAID.store(true, Ordering::Relaxed);
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended.context("cannot write to standard output"),
    }
}

/// How a command ends whose results could not all be written: a broken property is what counts, whoever
/// cannot be told of it.
fn end(
    verdict: Exit,
    written: impl IntoIterator<Item = anyhow::Result<()>>,
) -> anyhow::Result<Exit> {
    let mut failed = written.into_iter().filter_map(Result::err);
    if verdict == Exit::Broken {
        failed.for_each(|error| eprintln!("error: {error:#}"));
        return Ok(verdict);
    }
    failed.next().map_or(Ok(verdict), Err)
}

/// `1 bug`, `2 bugs`.
fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

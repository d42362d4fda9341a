//! The command line: one measure of one store per run, and one JSON object as its result.
#![expect(clippy::print_stdout, reason = "a command prints its results")]

use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;

use bench_core::driver::TokioLoad;
use bench_core::measure::Figures;
use clap::{Parser, Subcommand, ValueEnum};

use crate::floor::Floor;
use crate::ours::Ours;
#[cfg(feature = "peers")]
use crate::peers::{fjall::Fjall, raft_engine::RaftEngine, raft_log::RaftLog, redb::Redb};
use crate::store::{ENTRY_BYTES, Outcome, Store};
use crate::{append, place, proposers, recover};

/// Measures one thing of one store, and prints its figures as a JSON object.
///
/// `cargo xtask bench storage` runs this program often and compares.
#[derive(Debug, Parser)]
#[command(name = "bench-storage")]
struct Cli {
    /// What is measured.
    #[arg(long, global = true, default_value = "raft-core")]
    engine: Kind,
    /// A folder on the disk that is measured; what is written there is removed at the end.
    #[arg(long, global = true, default_value = "bench-storage-data")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Ours.
    RaftCore,
    /// No store: the least that must be done.
    Floor,
    /// `raft-engine` 0.4.
    #[cfg(feature = "peers")]
    RaftEngine,
    /// `raft-log` 0.4.
    #[cfg(feature = "peers")]
    RaftLog,
    /// `redb` 4.
    #[cfg(feature = "peers")]
    Redb,
    /// `fjall` 3.
    #[cfg(feature = "peers")]
    Fjall,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// How long it takes until a batch is durable.
    Append {
        /// How many entries share an append.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        batch: u64,
        /// How long the burst is.
        #[arg(long, default_value_t = 350)]
        milliseconds: u64,
    },
    /// Allocations per entry in the program that counts; otherwise no figure, for callgrind.
    RunAppends {
        /// How many entries share an append.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        batch: u64,
        /// How many entries; a multiple of the batch.
        #[arg(long)]
        count: u64,
    },
    /// How long it takes to open a log and to read all of it, and how much of the disk it takes.
    Recover {
        /// How many.
        #[arg(long)]
        entries: u64,
    },
    /// Writes the log for `recover`, and is killed.
    Fill {
        /// How many.
        #[arg(long)]
        entries: u64,
    },
    /// Opens the log for `recover`, and is killed.
    Open {
        /// How many.
        #[arg(long)]
        entries: u64,
    },
    /// How often the leader waits for its disk while clients write at the same time.
    Proposers {
        /// How many servers.
        #[arg(long, default_value_t = 1)]
        servers: usize,
        /// How many clients at the same time.
        #[arg(long, default_value_t = 64)]
        clients: usize,
        /// How many commands all of them write.
        #[arg(long)]
        count: u64,
    },
}

/// Reads the command line, measures, and prints.
#[must_use]
pub fn run() -> ExitCode {
    match figures(&Cli::parse()) {
        Ok(figures) => {
            let figure = |(name, value): &(&str, f64)| format!("\"{name}\":{value}");
            let figures: Vec<_> = figures.iter().map(figure).collect();
            println!("{{{}}}", figures.join(","));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn figures(cli: &Cli) -> Outcome<Figures> {
    match cli.engine {
        Kind::RaftCore => match cli.command {
            Command::Proposers { servers, clients, count } => {
                let load = TokioLoad { servers, clients, bytes: ENTRY_BYTES, count };
                in_fresh_folder(cli, |folder| proposers::measure(folder, load))
            }
            _ => of_store::<Ours>(cli),
        },
        Kind::Floor => of_store::<Floor>(cli),
        #[cfg(feature = "peers")]
        Kind::RaftEngine => of_store::<RaftEngine>(cli),
        #[cfg(feature = "peers")]
        Kind::RaftLog => of_store::<RaftLog>(cli),
        #[cfg(feature = "peers")]
        Kind::Redb => of_store::<Redb>(cli),
        #[cfg(feature = "peers")]
        Kind::Fjall => of_store::<Fjall>(cli),
    }
}

fn of_store<S: Store>(cli: &Cli) -> Outcome<Figures> {
    let folder = cli.dir.join(name(cli.engine));
    match cli.command {
        Command::Append { batch, milliseconds } => {
            let length = Duration::from_millis(milliseconds);
            in_fresh_folder(cli, |folder| append::burst::<S>(folder, batch, length))
        }
        Command::RunAppends { batch, count } => {
            in_fresh_folder(cli, |folder| append::count::<S>(folder, batch, count))
        }
        Command::Recover { entries } => in_fresh_folder(cli, |folder| {
            recover::measure(folder, entries, |what| child(cli, what, entries))
        }),
        Command::Fill { entries } => {
            recover::fill::<S>(&folder, entries)?;
            Ok(Figures::new())
        }
        Command::Open { entries } => {
            recover::open::<S>(&folder, entries, |line| println!("{line}"))?;
            Ok(Figures::new())
        }
        Command::Proposers { .. } => Err("only raft-core has a driver here".into()),
    }
}

/// Measures in a folder that is empty before, and gone afterwards.
fn in_fresh_folder(cli: &Cli, measure: impl FnOnce(&Path) -> Outcome<Figures>) -> Outcome<Figures> {
    let folder = place::fresh(&cli.dir, &name(cli.engine))?;
    let figures = measure(&folder);
    place::remove(&folder)?;
    figures
}

/// This program with the same store and folder, and another task.
fn child(cli: &Cli, what: &str, entries: u64) -> Outcome<process::Command> {
    let mut command = process::Command::new(std::env::current_exe()?);
    command.args(["--engine", &name(cli.engine)]).arg("--dir").arg(&cli.dir);
    command.arg(what).arg("--entries").arg(entries.to_string());
    Ok(command)
}

/// As it is called on the command line.
fn name(engine: Kind) -> String {
    let value = engine.to_possible_value().expect("no engine is hidden");
    value.get_name().to_owned()
}

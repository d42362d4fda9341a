//! `cargo xtask bench`: what `raft-core` and the emulator cost, beside peers and our goals.
//!
//! The packages `xtask/bench-*` measure one thing of one engine per run; here is what to run, how often, and
//! what it should come to.

mod core;
mod emulator;
mod measures;
mod report;
mod runner;
mod storage;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use self::measures::Suite;
use self::report::Output;
use self::runner::Runner;

/// The packages that measure, which are outside the workspace.
pub(crate) const PACKAGES: [&str; 2] = ["bench-core", "bench-storage"];

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The consensus core, its codec and its tokio driver.
    #[command(after_help = "Examples:
  cargo xtask bench core --quick
  cargo xtask bench core --peers --json | tail -1
  cargo xtask bench core --peers --report xtask/bench-core/REPORT.md")]
    Core(Options),
    /// The Service Bus emulator: messages a second, latency, connections, memory.
    #[command(after_help = "Examples:
  cargo xtask bench emulator
  cargo xtask bench emulator --json | tail -1")]
    Emulator(emulator::EmulatorArgs),
    /// The storage in files, on a disk of this machine.
    #[command(after_help = "Examples:
  cargo xtask bench storage --quick
  cargo xtask bench storage --dir /mnt/disk --json | tail -1
  cargo xtask bench storage --peers --report xtask/bench-storage/REPORT.md

It writes at most 1 GB at a time, and removes it at the end.")]
    Storage {
        #[command(flatten)]
        options: Options,
        /// A folder on the disk to measure, which is to be none in memory [default: the target folder].
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Measure other libraries of the kind too; they are compiled first.
    #[arg(long)]
    peers: bool,
    /// Print one JSON object per line; the last one is the summary.
    #[arg(long)]
    json: bool,
    /// Measure only what has a goal, and repeat it less.
    #[arg(long)]
    quick: bool,
    /// Write a report in Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    match &args.what {
        What::Core(options) => measure(core::suite(), options, None),
        What::Emulator(args) => emulator::run(args),
        What::Storage { options, dir } => {
            let target = package_target("bench-storage")?;
            let folder = dir.as_ref().unwrap_or(&target);
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            // Removed when it is dropped, whatever happens before.
            let folder = tempfile::Builder::new().prefix("data-").tempdir_in(folder)?;
            measure(storage::suite(), options, Some(folder.path()))
        }
    }
}

/// Measures what the options ask for; `folder` is where it may write.
fn measure(mut suite: Suite, options: &Options, folder: Option<&Path>) -> Result<()> {
    if options.quick {
        suite.measures.retain(|measure| measure.goal.is_some());
        suite.rounds = suite.rounds_quick;
    }
    let output = Output { is_json: options.json };
    let measured = Runner::new(&suite, options.peers, folder, output)?.run()?;
    if let Some(path) = &options.report {
        let text = report::markdown(&suite, &measured, options.peers)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    output.end(&suite, &measured);
    Ok(())
}

/// A cargo for a package that is outside the workspace, with what it builds beside our own.
pub(crate) fn package_cargo(package: &str, subcommand: &str) -> Result<Command> {
    let mut command = crate::cargo();
    command.arg(subcommand).arg("--manifest-path").arg(folder_of(package).join("Cargo.toml"));
    command.arg("--target-dir").arg(package_target(package)?);
    Ok(command)
}

fn folder_of(package: &str) -> PathBuf {
    crate::root().join("xtask").join(package)
}

/// Where the package's programs are built.
fn package_target(package: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let target = this.parent().and_then(|folder| folder.parent());
    Ok(target.context("this program is in no target folder")?.join(package))
}

//! `cargo xtask bench core`: what `raft-core` costs, beside its peers and our goals.
//!
//! The package `xtask/bench-core` measures one thing of one engine per run; here is what to run, how
//! often, and what it should come to.

mod measures;
mod report;
mod runner;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use self::report::Output;
use self::runner::Runner;

/// The package that measures, from the root.
const PACKAGE: &str = "xtask/bench-core";

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The consensus core, its codec and its tokio driver.
    Core(CoreArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench core --quick
  cargo xtask bench core --peers --json | tail -1
  cargo xtask bench core --peers --report xtask/bench-core/REPORT.md")]
struct CoreArgs {
    /// Measure the other consensus libraries too; they are compiled first.
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
    let What::Core(args) = &args.what;
    let is_chosen = |measure: &measures::Measure| measure.goal.is_some() || !args.quick;
    let measures = measures::all().into_iter().filter(is_chosen);
    let output = Output { is_json: args.json };
    let runner = Runner::new(args.peers, if args.quick { 3 } else { 5 }, output)?;
    let rows = runner.rows(measures.collect())?;
    if let Some(path) = &args.report {
        let text = report::markdown(&rows, args.peers)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    output.end(&rows);
    Ok(())
}

/// A cargo for the package, which is outside the workspace, with what it builds beside our own.
pub(crate) fn package_cargo(subcommand: &str) -> Result<Command> {
    let mut command = crate::cargo();
    command.arg(subcommand).arg("--manifest-path");
    command.arg(crate::root().join(PACKAGE).join("Cargo.toml"));
    command.arg("--target-dir").arg(package_target()?);
    Ok(command)
}

/// Where the package's programs are built.
fn package_target() -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let target = this.parent().and_then(|folder| folder.parent());
    Ok(target.context("this program is in no target folder")?.join("bench-core"))
}

//! `cargo xtask soak`: millions of random events in clusters of every shape, with every monitor on.
//!
//! It builds the explorer with optimizations, and runs its example `soak`.

use anyhow::{Result, bail};
use clap::Args;

/// How much a check of a change explores: some seconds.
const EVENTS_IN_CI: u64 = 2_000_000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask soak
  cargo xtask soak --scenario membership --events 50000000 --seed 7")]
pub(crate) struct SoakArgs {
    /// What is explored: see the scenarios of raft-nondeterminism.
    #[arg(long, value_name = "NAME", default_value = "everything")]
    scenario: String,
    /// How many events in all: messages, time-outs, faults, what clients and operators do.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    events: u64,
    /// Chooses the events; the same seed makes the same ones.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    let SoakArgs { scenario, events, seed } = args;
    let example = ["run", "--release", "-p", "raft-nondeterminism", "--example", "soak", "--"];
    let mut command = crate::cargo();
    command.args(example).args([scenario, &events.to_string(), &seed.to_string()]);
    if command.status()?.success() {
        return Ok(());
    }
    bail!("a property was broken, or the soak could not run")
}

/// The short version, as a step of `cargo xtask ci`.
pub(crate) fn run_briefly() -> Result<()> {
    let scenario = "everything".to_owned();
    run(&SoakArgs { scenario, events: EVENTS_IN_CI, seed: 0 })
}

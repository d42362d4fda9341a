//! `raft-explore report`: a run for people and for other programs.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::{Exit, output, replay, say};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-explore report raft-explore.out/NAME.schedule.txt

Exit codes: 0 told, 1 a schedule cannot be read or followed.")]
pub(crate) struct ReportArgs {
    /// Schedules.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<Exit> {
    for file in &args.files {
        let schedule = replay::read(file)?;
        let recording = replay::strictly(&schedule).with_context(|| file.display().to_string())?;
        say(&output::readable(&recording))?;
    }
    Ok(Exit::Holds)
}

//! `cargo xtask explore` and `replay`: `raft-explore` with optimizations, with the options it has itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct ExploreArgs {
    /// What `raft-explore` understands: `cargo xtask explore --help`.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "ARGUMENT"
    )]
    arguments: Vec<OsString>,
}

/// The commands of `raft-explore`, for whoever names one all the same.
const COMMANDS: [&str; 5] = ["test", "replay", "list", "report", "check-history"];

/// Runs `raft-explore test` or `replay`; its exit code is ours.
pub(crate) fn run(command: &str, args: &ExploreArgs) -> Result<ExitCode> {
    let mut explore = Command::new(build()?);
    let is_named = COMMANDS.iter().any(|named| args.arguments[0] == *named);
    if !is_named {
        explore.arg(command);
    }
    run_instead(explore.args(&args.arguments))
}

/// Builds the program, and says where it is. Cargo tells its progress.
fn build() -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    // The target folder has a folder for each profile, and this program is in one of them.
    let target = this.parent().and_then(|folder| folder.parent());
    let target = target.context("this program is in no target folder")?;
    let mut build = crate::cargo();
    build.args(["build", "--release", "--quiet", "-p", "raft-nondeterminism"]);
    build.args(["--bin", "raft-explore", "--target-dir"]).arg(target);
    if !build.status().context("cannot run cargo")?.success() {
        bail!("raft-explore does not build");
    }
    let name = format!("raft-explore{}", std::env::consts::EXE_SUFFIX);
    Ok(target.join("release").join(name))
}

/// Becomes the program, so that Ctrl-C reaches it alone.
#[cfg(unix)]
fn run_instead(command: &mut Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;

    Err(command.exec()).context("cannot run raft-explore")
}

#[cfg(not(unix))]
fn run_instead(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().context("cannot run raft-explore")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

//! `cargo xtask fix`: rewrites what a program can.

use anyhow::{Context, Result, bail};

pub(crate) fn run() -> Result<()> {
    let clippy = ["clippy", "--fix", "--workspace", "--all-targets", "--all-features"];
    for arguments in [&clippy[..], &["--allow-dirty", "--allow-staged"]].chunks(2) {
        run_cargo(&arguments.concat())?;
    }
    run_cargo(&["fmt", "--all"])
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    let status = crate::cargo().args(arguments).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

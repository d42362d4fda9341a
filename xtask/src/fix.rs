//! `cargo xtask fix`: rewrites what a program can.

use anyhow::{Context, Result, bail};

pub(crate) fn run() -> Result<()> {
    let everything = ["--workspace", "--all-targets", "--all-features"];
    run_cargo(
        &[&["clippy", "--fix", "--allow-dirty", "--allow-staged"], &everything[..]].concat(),
    )?;
    run_cargo(&["fmt", "--all"])?;
    // The packages outside the workspace, which `--all` does not reach.
    for package in crate::bench::PACKAGES {
        run_cargo(&["fmt", "--manifest-path", &format!("xtask/{package}/Cargo.toml")])?;
    }
    Ok(())
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    let status = crate::cargo().args(arguments).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

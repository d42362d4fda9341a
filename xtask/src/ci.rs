//! `cargo xtask ci`: what must hold before a change lands. It checks and never rewrites.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::root;

#[derive(Debug, Args)]
pub(crate) struct CiArgs {
    /// Run only the steps whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Name the steps and run none.
    #[arg(long)]
    list: bool,
}

/// A step: its name, and what it runs.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 13] = [
    ("fmt", fmt),
    ("tidy", crate::tidy::run),
    ("mutants", crate::score::check),
    ("msrv", msrv),
    ("clippy", clippy),
    ("docs", docs),
    ("crates", crates_alone),
    ("fuzz", crate::fuzz::run_briefly),
    ("soak", crate::soak::run_briefly),
    ("deny", deny),
    ("demo", demo),
    ("chaos", chaos),
    ("python", python),
];

pub(crate) fn run(args: &CiArgs) -> Result<()> {
    let is_chosen = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let steps: Vec<_> = STEPS.into_iter().filter(|(name, _)| is_chosen(name)).collect();
    if steps.is_empty() {
        bail!("no step has {:?} in its name", args.only.as_deref().unwrap_or_default());
    }
    if args.list {
        steps.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    for (name, step) in steps {
        let started = Instant::now();
        println!("==> {name}");
        step().with_context(|| format!("step {name} failed"))?;
        println!("<== {name} passed in {:.0} s", started.elapsed().as_secs_f64());
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    execute(crate::cargo().args(arguments))
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}

fn fmt() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    // The packages outside the workspace, which `--all` does not reach.
    for package in crate::bench::PACKAGES {
        let manifest = format!("xtask/{package}/Cargo.toml");
        cargo(&["fmt", "--manifest-path", &manifest, "--check"])?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    let everything = ["clippy", "--workspace", "--all-targets", "--all-features"];
    cargo(&[&everything[..], &deny].concat())?;
    // Features add and never alter, so the small builds must stand as well.
    let small = [
        ("raft-core", ""),
        ("raft-core", "driver"),
        ("raft-core", "file-storage"),
        ("raft-mocking", ""),
        ("raft-azure", ""),
    ];
    for (package, features) in small {
        let arguments = ["clippy", "-p", package, "--no-default-features", "--features", features];
        cargo(&[&arguments[..], &deny].concat())?;
    }
    // Without the peers, which would be compiled for nothing.
    for package in crate::bench::PACKAGES {
        let mut bench = crate::bench::package_cargo(package, "clippy")?;
        execute(bench.args(["--all-targets", "--features", "count"]).args(deny))?;
    }
    Ok(())
}

fn docs() -> Result<()> {
    let mut command = crate::cargo();
    command.args(["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items"]);
    execute(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// `cargo test -p CRATE` works for each crate, with the features that it alone asks for.
fn crates_alone() -> Result<()> {
    for package in ["raft-core", "raft-mocking", "raft-nondeterminism", "raft-azure", "xtask"] {
        cargo(&["test", "--quiet", "-p", package])?;
    }
    Ok(())
}

/// Licences, sources and doubles of all dependencies; advisories where their database can be had.
fn deny() -> Result<()> {
    execute(crate::cargo().args([
        "deny",
        "--log-level",
        "error",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// No dependency asks for a newer compiler than we state; clippy checks our own code (`clippy.toml`).
fn msrv() -> Result<()> {
    let output = crate::cargo()
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    let stated = packages
        .iter()
        .find(|package| package["name"] == "raft-core")
        .and_then(|package| package["rust_version"].as_str())
        .context("raft-core states no rust-version")?;
    let mut newer = Vec::new();
    for package in packages {
        let asked = package["rust_version"].as_str().unwrap_or("0");
        if version(asked) > version(stated) {
            newer.push(format!("{} asks for {asked}", package["name"]));
        }
    }
    if !newer.is_empty() {
        bail!("we state {stated}, but {}", newer.join(", "));
    }
    Ok(())
}

/// `1.89` or `1.89.0` as numbers that compare.
fn version(text: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = text.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    numbers.resize(3, 0);
    numbers
}

/// The demo, as a program would run it.
fn demo() -> Result<()> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let output = Command::new(this).args(["demo", "--json"]).current_dir(root()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    println!("{last}");
    if !output.status.success() {
        bail!("the demo failed:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    let summary: serde_json::Value = serde_json::from_str(last).context("no summary")?;
    let holds = summary["event"] == "summary"
        && summary["committed"] == 5
        && summary["leader_changes"].as_u64() >= Some(1)
        && summary["logs_identical"] == true
        && summary["elapsed_ms"].as_u64() < Some(60_000);
    if !holds {
        bail!("the demo's summary is not what it should be");
    }
    Ok(())
}

/// Chaos, as a program would run it: each kind of fault once or more.
fn chaos() -> Result<()> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let words = ["chaos", "--minutes", "0.3", "--seed", "1", "--json"];
    let output = Command::new(this).args(words).current_dir(root()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    println!("{last}");
    if !output.status.success() {
        bail!("chaos failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let summary: serde_json::Value = serde_json::from_str(last).context("no summary")?;
    let holds = summary["event"] == "summary"
        && summary["linearizable"] == true
        && summary["exactly_once"] == true
        && summary["logs_identical"] == true
        && summary["operations"].as_u64() >= Some(200)
        && summary["leader_kills"].as_u64() >= Some(1);
    if !holds {
        bail!("the summary of chaos is not what it should be");
    }
    Ok(())
}

/// The official Python clients against the emulator.
fn python() -> Result<()> {
    crate::conformance::run_python()
}

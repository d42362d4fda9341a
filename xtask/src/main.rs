//! Every chore of this workspace: `cargo xtask --help`.
#![expect(clippy::print_stdout, reason = "a command prints its results")]

mod bench;
mod chaos;
mod ci;
mod conformance;
mod demo;
mod explore;
mod fix;
mod fuzz;
mod processes;
mod score;
mod soak;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every chore of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it: five servers over a real AMQP bus, a leader killed, nothing lost.
    Demo(demo::DemoArgs),
    /// Break it: real processes killed, paused and cut off, and the clients' history checked.
    Chaos(chaos::ChaosArgs),
    /// Measure it: what the core and its storage cost, beside other libraries and our goals.
    Bench(bench::BenchArgs),
    /// Have the official Service Bus clients try all they can on the emulator.
    Conformance(conformance::ConformanceArgs),
    /// Feed the protocol and the codec what nobody would send, for a bounded time.
    Fuzz(fuzz::FuzzArgs),
    /// Explore a scenario: `raft-explore test`, with its options.
    Explore(explore::ExploreArgs),
    /// Replay a schedule: `raft-explore replay`, with its options.
    Replay(explore::ExploreArgs),
    /// Explore millions of events in clusters of every shape, with every monitor on.
    Soak(soak::SoakArgs),
    /// Check everything that must hold before a change lands, and change nothing.
    Ci(ci::CiArgs),
    /// Rewrite what a program can: formatting and simple lints.
    Fix,
    /// Check the style guide, as far as a program can tell.
    Tidy,
    /// Break the core in every way the table knows, and see whether its tests notice.
    Score(score::ScoreArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Chaos(args) => return exit(chaos::run(&args)),
        Command::Bench(args) => bench::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Explore(args) => return exit(explore::run("test", &args)),
        Command::Replay(args) => return exit(explore::run("replay", &args)),
        Command::Soak(args) => soak::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Fix => fix::run(),
        Command::Tidy => tidy::run(),
        Command::Score(args) => return exit(score::run(&args)),
    };
    exit(result.map(|()| ExitCode::SUCCESS))
}

fn exit(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs us, or the one on the path.
fn cargo() -> std::process::Command {
    let mut command =
        std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo told us about ourselves is not for the cargo we start: build scripts that look at it
    // would build their crates again each time.
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_ours {
            command.env_remove(name);
        }
    }
    command
}

//! The command line: one measure of one engine per run, and one JSON object as its result.
#![expect(clippy::print_stdout, reason = "a command prints its results")]

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cluster::{Cluster, Load};
use crate::codec::{self, Codec, Half};
use crate::driver::{self, TokioCluster, TokioLoad};
use crate::floor::{Floor, FloorCodec};
use crate::measure::{self, Figures};
use crate::ours::Ours;
use crate::ours_codec::OurCodec;
use crate::ours_driver::OurCluster;
#[cfg(feature = "peers")]
use crate::peers::{
    noraft::Noraft,
    omnipaxos::Omnipaxos,
    openraft::Openraft,
    raft_rs::{RaftRs, RaftRsCodec},
};

/// Measures one thing of one engine, and prints its figures as a JSON object.
///
/// `cargo xtask bench core` runs this program often and compares.
#[derive(Debug, Parser)]
#[command(name = "bench-core")]
struct Cli {
    /// What is measured.
    #[arg(long, global = true, default_value = "raft-core")]
    engine: Engine,
    #[command(subcommand)]
    command: Command,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Ours.
    RaftCore,
    /// Not a Raft: the least that must be done.
    Floor,
    /// `noraft` 0.7.
    #[cfg(feature = "peers")]
    Noraft,
    /// `omnipaxos` 0.2.
    #[cfg(feature = "peers")]
    Omnipaxos,
    /// `raft` 0.7, a proposal per command.
    #[cfg(feature = "peers")]
    RaftRs,
    /// `raft` 0.7, one proposal with many entries.
    #[cfg(feature = "peers")]
    RaftRsMany,
    /// `openraft` 0.9, only on tokio.
    #[cfg(feature = "peers")]
    Openraft,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// CPU time per command, or allocations in the program that counts.
    Commands(CommandsArgs),
    /// The same work without a figure, for callgrind.
    RunCommands(CommandsArgs),
    /// The heap per entry and server, in the program that counts.
    LiveBytes(ClusterArgs),
    /// CPU time per entry of a follower that was away.
    CatchUp(ClusterArgs),
    /// CPU time of one round of heartbeats.
    Heartbeat(ClusterArgs),
    /// CPU time from nothing to a leader.
    Election(ClusterArgs),
    /// CPU time or allocations of one message.
    Codec {
        /// To bytes, or from bytes.
        half: Half,
    },
    /// The same work without a figure, for callgrind.
    RunCodec {
        /// To bytes, or from bytes.
        half: Half,
        /// How many messages.
        #[arg(long)]
        count: u64,
    },
    /// A cluster on tokio with clients that wait for their answers.
    Tokio {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// How many clients at the same time.
        #[arg(long)]
        clients: usize,
        /// How many commands all of them write.
        #[arg(long)]
        count: u64,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct ClusterArgs {
    /// How many servers.
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// The size of a command.
    #[arg(long, default_value_t = 256, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(8..))]
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Args)]
struct CommandsArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many commands are proposed before the cluster runs.
    #[arg(long)]
    outstanding: u64,
    /// How many commands.
    #[arg(long)]
    count: u64,
}

impl CommandsArgs {
    fn load(self) -> Load {
        let Self { cluster: ClusterArgs { bytes, .. }, outstanding, count } = self;
        Load { count, bytes, outstanding, compacts: true }
    }
}

/// Reads the command line, measures, and prints.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { engine, command } = Cli::parse();
    match figures(engine, command) {
        Ok(figures) => {
            let figure = |(name, value): &(&str, f64)| format!("\"{name}\":{value}");
            let figures: Vec<_> = figures.iter().map(figure).collect();
            println!("{{{}}}", figures.join(","));
            ExitCode::SUCCESS
        }
        Err(NotOffered) => {
            eprintln!("error: {engine:?} does not offer this");
            ExitCode::FAILURE
        }
    }
}

/// An engine has no codec, or no driver, or nothing else.
#[derive(Debug)]
struct NotOffered;

fn figures(engine: Engine, command: Command) -> Result<Figures, NotOffered> {
    match command {
        Command::Codec { .. } | Command::RunCodec { .. } => match engine {
            Engine::RaftCore => Ok(codec_figures::<OurCodec>(command)),
            Engine::Floor => Ok(codec_figures::<FloorCodec>(command)),
            #[cfg(feature = "peers")]
            Engine::RaftRs => Ok(codec_figures::<RaftRsCodec>(command)),
            #[cfg(feature = "peers")]
            Engine::Noraft | Engine::Omnipaxos | Engine::RaftRsMany | Engine::Openraft => {
                Err(NotOffered)
            }
        },
        Command::Tokio { cluster: ClusterArgs { servers, bytes }, clients, count } => {
            let load = TokioLoad { servers, clients, bytes, count };
            match engine {
                Engine::RaftCore => Ok(tokio_figures::<OurCluster>(load)),
                #[cfg(feature = "peers")]
                Engine::Openraft => Ok(tokio_figures::<Openraft>(load)),
                #[cfg(feature = "peers")]
                Engine::Noraft | Engine::Omnipaxos | Engine::RaftRs | Engine::RaftRsMany => {
                    Err(NotOffered)
                }
                Engine::Floor => Err(NotOffered),
            }
        }
        Command::Commands(_)
        | Command::RunCommands(_)
        | Command::LiveBytes(_)
        | Command::CatchUp(_)
        | Command::Heartbeat(_)
        | Command::Election(_) => match engine {
            Engine::RaftCore => Ok(cluster_figures::<Ours>(command)),
            Engine::Floor => Ok(cluster_figures::<Floor>(command)),
            #[cfg(feature = "peers")]
            Engine::Noraft => Ok(cluster_figures::<Noraft>(command)),
            #[cfg(feature = "peers")]
            Engine::Omnipaxos => Ok(cluster_figures::<Omnipaxos>(command)),
            #[cfg(feature = "peers")]
            Engine::RaftRs => Ok(cluster_figures::<RaftRs<false>>(command)),
            #[cfg(feature = "peers")]
            Engine::RaftRsMany => Ok(cluster_figures::<RaftRs<true>>(command)),
            #[cfg(feature = "peers")]
            Engine::Openraft => Err(NotOffered),
        },
    }
}

fn cluster_figures<C: Cluster>(command: Command) -> Figures {
    match command {
        Command::Commands(args) => measure::commands::<C>(args.cluster.servers, args.load()),
        Command::RunCommands(args) => {
            measure::run_once::<C>(args.cluster.servers, args.load());
            Figures::new()
        }
        Command::LiveBytes(args) => measure::live_bytes::<C>(args.servers, args.bytes),
        Command::CatchUp(args) => measure::catch_up::<C>(args.servers, args.bytes),
        Command::Heartbeat(args) => measure::heartbeat::<C>(args.servers),
        Command::Election(args) => measure::election::<C>(args.servers),
        Command::Codec { .. } | Command::RunCodec { .. } | Command::Tokio { .. } => {
            unreachable!("they are no measures of a cluster in one thread")
        }
    }
}

fn codec_figures<C: Codec>(command: Command) -> Figures {
    match command {
        Command::Codec { half } => codec::measure::<C>(half),
        Command::RunCodec { half, count } => {
            codec::run_once::<C>(half, count);
            Figures::new()
        }
        other => unreachable!("{other:?} is no measure of a codec"),
    }
}

fn tokio_figures<C: TokioCluster>(load: TokioLoad) -> Figures {
    driver::measure::<C>(load)
}

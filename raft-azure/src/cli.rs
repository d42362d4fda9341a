//! The command line: what can be asked, and how it is answered.
//!
//! Exit codes: 0 on success, 1 if something failed, 2 for wrong usage. Results go to standard output,
//! everything else to standard error.

mod client;
mod folder;
mod local_cluster;
mod log;
mod machine;
mod provision;
mod server;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use raft_azure::ConnectionString;
use raft_azure::connection_string::redact;
use raft_azure::event::Output;
use raft_azure::process::asked_to_end;
use raft_core::{ClusterId, Config, ServerId};
use tokio::sync::{mpsc, watch};

/// Raft over an Azure Service Bus topic: consensus for sites that can only call out.
#[derive(Debug, Parser)]
#[command(
    name = "raft-azure",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  raft-azure --topic-name rafttopic --num-requests 5 --local-cluster-size 5
      A cluster of five processes over the embedded emulator: no account needed.
  CONNECTION_STRING=… raft-azure --topic-name rafttopic --num-requests 5 --local-cluster-size 5
      The same over your namespace.
  CONNECTION_STRING=… raft-azure provision --topic-name rafttopic --cluster-size 3
  CONNECTION_STRING=… raft-azure server --topic-name rafttopic --cluster-size 3 --server-id 1
  CONNECTION_STRING=… raft-azure client --topic-name rafttopic --cluster-size 3 --num-requests 5
      One process each, wherever you like.
  raft-azure log inspect raft-data/rafttopic/server-1
      What a server has on its disk."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    local_cluster: local_cluster::LocalClusterArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one server of a cluster.
    Server(server::ServerArgs),
    /// Send requests to a cluster.
    Client(client::ClientArgs),
    /// Make the topic, and the subscriptions of servers and clients. Needs the Manage right.
    Provision(provision::ProvisionArgs),
    /// Look at a server's log.
    Log(log::LogArgs),
}

/// Where the bus is.
#[derive(Clone, Debug, Args)]
struct BusArgs {
    /// Connection string of the Service Bus namespace. Better given by the environment: a command
    /// line can be read by every user of the machine.
    #[arg(long, env = "CONNECTION_STRING", hide_env_values = true, value_name = "S")]
    connection_string: Option<String>,
    /// File with the connection string; it is used rather than the environment.
    #[arg(long, value_name = "FILE")]
    connection_string_file: Option<PathBuf>,
    /// Port of the management API, for an emulator that has it elsewhere.
    #[arg(long, value_name = "PORT")]
    management_port: Option<u16>,
    /// Topic that carries the messages.
    #[arg(long, value_name = "NAME", default_value = "rafttopic")]
    topic_name: String,
    /// Name of the cluster; messages of others are refused. One topic carries one running cluster,
    /// whatever its name: servers and clients are addressed by their numbers. [default: the topic]
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
}

impl BusArgs {
    /// The connection string, if there is one.
    fn connection_string(&self) -> Result<Option<ConnectionString>, Failure> {
        let text = match (&self.connection_string_file, &self.connection_string) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()));
                let text = text.map_err(Failure::Usage)?;
                if text.trim().is_empty() {
                    let error = anyhow::anyhow!("{} holds no connection string", file.display());
                    return Err(Failure::Usage(error));
                }
                text
            }
            (None, Some(text)) if !text.trim().is_empty() => text.clone(),
            (None, _) => return Ok(None),
        };
        let parsed: ConnectionString = text
            .trim()
            .parse()
            .map_err(|error: raft_azure::ConnectionStringError| Failure::Usage(error.into()))?;
        if let Some(entity) = parsed.entity_path().filter(|&entity| entity != self.topic_name) {
            return Err(Failure::Usage(anyhow::anyhow!(
                "the connection string is for {entity} only, not for the topic {}",
                self.topic_name
            )));
        }
        Ok(Some(match self.management_port {
            Some(port) => parsed.with_management_port(port),
            None => parsed,
        }))
    }

    /// The connection string, which must be given.
    fn required_connection_string(&self) -> Result<ConnectionString, Failure> {
        self.connection_string()?.ok_or_else(|| {
            Failure::Usage(anyhow::anyhow!(
                "no connection string: set CONNECTION_STRING, or give --connection-string-file"
            ))
        })
    }

    fn cluster_id(&self) -> ClusterId {
        ClusterId::from_name(self.cluster_name.as_deref().unwrap_or(&self.topic_name))
    }
}

/// How patient the servers are.
#[derive(Clone, Debug, Default, Args)]
struct TimingArgs {
    /// Milliseconds between heartbeats. [default: 100 on an emulator, 2000 on Azure]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    heartbeat_ms: Option<u64>,
    /// Milliseconds of silence after which an election may start; it starts before twice as long.
    /// [default: 500 on an emulator, 10000 on Azure]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    election_timeout_ms: Option<u64>,
}

impl TimingArgs {
    /// The configuration of one server of a cluster of `cluster_size`.
    fn config(
        &self,
        server_id: u64,
        cluster_size: u64,
        cluster_id: ClusterId,
        is_emulator: bool,
    ) -> Config {
        // A hop over the real service takes tens of milliseconds, with a long tail.
        let (heartbeat_ms, election_ms) = if is_emulator { (100, 500) } else { (2_000, 10_000) };
        let election_ms = self.election_timeout_ms.unwrap_or(election_ms);
        Config {
            cluster_id,
            heartbeat_interval: Duration::from_millis(self.heartbeat_ms.unwrap_or(heartbeat_ms)),
            election_timeout_min: Duration::from_millis(election_ms),
            election_timeout_max: Duration::from_millis(election_ms.saturating_mul(2)),
            seed: random_seed(),
            ..Config::new(ServerId(server_id), (1..=cluster_size).map(ServerId))
        }
    }

    /// The same as flags, for a child.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (flag, value) in [
            ("--heartbeat-ms", self.heartbeat_ms),
            ("--election-timeout-ms", self.election_timeout_ms),
        ] {
            if let Some(value) = value {
                arguments.extend([flag.to_owned(), value.to_string()]);
            }
        }
        arguments
    }
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// It was asked for something that makes no sense.
    Usage(anyhow::Error),
    /// It did not work.
    Run(anyhow::Error),
    /// The answer is no, and was given.
    Told,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A connection string in the wrong place must not end up on the screen.
            let text = redact(&error.render().to_string());
            if error.use_stderr() {
                eprint!("{text}");
            } else {
                print!("{text}");
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    start_logging();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return report(&Failure::Run(error.into())),
        };
    let result = runtime.block_on(async {
        match cli.command {
            None => local_cluster::run(cli.local_cluster).await,
            Some(Command::Server(args)) => server::run(args).await,
            Some(Command::Client(args)) => client::run(args).await,
            Some(Command::Provision(args)) => provision::run(args).await,
            Some(Command::Log(args)) => log::run(args),
        }
    });
    // A task that still waits for something must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    let dropped = Output::flush(Duration::from_secs(1));
    if dropped > 0 {
        eprintln!("warning: {dropped} lines were dropped because nobody read them");
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// One line that says what is wrong, with all its causes.
fn report(failure: &Failure) -> ExitCode {
    let (error, code) = match failure {
        Failure::Usage(error) => (error, 2),
        Failure::Run(error) => (error, 1),
        Failure::Told => return ExitCode::from(1),
    };
    eprintln!("error: {}", one_line(error.as_ref()));
    ExitCode::from(code)
}

/// An error with all its causes, each told once and none with a secret in it.
fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    redact(&raft_azure::event::one_line(error)).to_string()
}

/// Events of the libraries go to standard error, as far as `RUST_LOG` asks for them.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::ERROR.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// A number that differs from process to process, and from run to run.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// The lines of standard input; the channel closes at its end.
fn input_lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    // A thread of its own: a read of standard input cannot be cancelled, and must not keep the
    // runtime from ending.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// What a parent, or a person, wants of this process; watched from its first moment on, so that a
/// child whose parent dies while it starts does not live on.
struct Control {
    /// What the parent writes; nothing without one.
    lines: mpsc::UnboundedReceiver<String>,
    end: watch::Receiver<bool>,
}

impl Control {
    /// Watches signals, and standard input if there is a parent at its other end.
    fn watch(is_supervised: bool) -> Self {
        let (line_sender, lines) = mpsc::unbounded_channel();
        let (end_sender, end) = watch::channel(false);
        tokio::spawn(async move {
            let end_of_input = async {
                if !is_supervised {
                    std::future::pending::<()>().await;
                }
                let mut lines = input_lines();
                while let Some(line) = lines.recv().await {
                    // Nobody may want the line; the end of the input still counts.
                    let _ = line_sender.send(line);
                }
            };
            // Ctrl-C in a terminal reaches the parent as well, which then closes our input; but a
            // child that is asked alone must end, too.
            tokio::select! {
                () = end_of_input => {}
                () = asked_to_end() => {}
            }
            let _ = end_sender.send(true);
        });
        Self { lines, end }
    }

    /// Resolves when this process is to end.
    fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut end = self.end.clone();
        async move {
            // An error: the watcher is gone, which only happens at the end.
            let _ = end.wait_for(|&is_ended| is_ended).await;
        }
    }
}

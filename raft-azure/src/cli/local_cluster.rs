//! The sample's own line: a client in this process, and each server in one of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use raft_azure::ConnectionString;
use raft_azure::event::{Event, Output};
use raft_azure::process::{ChildProcess, Line, asked_to_end};
use raft_core::{ClientId, ClusterId, SequenceNumber};
use tokio::sync::mpsc;

use super::{BusArgs, Failure, TimingArgs, client, provision, random_seed};

#[derive(Debug, Args)]
pub(super) struct LocalClusterArgs {
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    timing: TimingArgs,
    /// How many servers to start on this machine.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=99))]
    local_cluster_size: u64,
    #[command(flatten)]
    requests: client::RequestArgs,
    /// Folder for the servers' logs. [default: a temporary one, deleted at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: LocalClusterArgs) -> Result<(), Failure> {
    let LocalClusterArgs { mut bus, timing, local_cluster_size, requests, data_dir, json } = args;
    requests.check(false)?;
    let given = bus.connection_string()?;
    let is_emulator = given.as_ref().is_none_or(ConnectionString::is_emulator);
    let check = timing.config(1, local_cluster_size, ClusterId::default(), is_emulator).validate();
    check.map_err(|error| Failure::Usage(error.into()))?;
    if local_cluster_size == 2 {
        eprintln!(
            "warning: a cluster of 2 stops when either server does; 3 is the smallest that survives one"
        );
    }
    let out = Output::new(json);
    let started = Instant::now();
    // Kept until the end: the emulator stops, and the folder goes, when they are dropped.
    let (_emulator, connection_string) = match given {
        Some(connection_string) => (None, connection_string),
        None => embedded_emulator(out).await?,
    };
    let (_temporary, data_dir, client_id) = match data_dir {
        // Logs that are kept remember the requests of every client there ever was.
        Some(data_dir) => (None, data_dir, ClientId(random_seed() >> 1)),
        None => {
            // Servers that start with empty logs are a new cluster, though the topic be the same.
            bus.cluster_name.get_or_insert_with(|| format!("local-{:016x}", random_seed()));
            let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
            let path = folder.path().to_owned();
            (Some(folder), path, ClientId(1))
        }
    };
    let clients = [client_id];
    let topic = &bus.topic_name;
    provision::provision_all(&connection_string, topic, local_cluster_size, &clients).await?;

    let (lines, children_lines) = mpsc::unbounded_channel();
    let mut servers = Vec::new();
    let cluster = async {
        let program = std::env::current_exe().context("cannot find this program")?;
        for server_id in 1..=local_cluster_size {
            let arguments =
                server_arguments(&bus, &timing, server_id, local_cluster_size, &data_dir, json);
            let secret = connection_string.expose_secret();
            let name = format!("Server-{server_id}");
            let server = ChildProcess::start(name, &program, &arguments, secret, &lines);
            servers.push(server.context("cannot start a server")?);
        }
        let mut client = client::connect(
            connection_string.clone(),
            topic,
            bus.cluster_id(),
            client_id,
            SequenceNumber(1),
            local_cluster_size,
        )
        .await?;
        let committed = client::send_numbered(&mut client, &requests, out).await;
        client.stop().await;
        committed
    };
    let result = tokio::select! {
        result = cluster => result,
        () = asked_to_end() => Err(anyhow::anyhow!("interrupted").into()),
        failure = show(children_lines, out, json) => Err(failure),
    };
    let stopping: Vec<_> = servers.into_iter().map(|server| tokio::spawn(server.stop())).collect();
    for server in stopping {
        // Whatever happened, it is gone now.
        let _ = server.await;
    }
    let committed = result?;
    out.tell(&Event::Summary {
        servers: local_cluster_size,
        requests: committed,
        committed,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    Ok(())
}

fn server_arguments(
    bus: &BusArgs,
    timing: &TimingArgs,
    server_id: u64,
    cluster_size: u64,
    data_dir: &Path,
    json: bool,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["server", "--supervised"].map(Into::into).to_vec();
    let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
    add("--server-id", server_id.to_string().into());
    add("--cluster-size", cluster_size.to_string().into());
    add("--topic-name", bus.topic_name.clone().into());
    add("--data-dir", data_dir.join(format!("server-{server_id}")).into());
    if let Some(name) = &bus.cluster_name {
        add("--cluster-name", name.into());
    }
    arguments.extend(timing.arguments().into_iter().map(OsString::from));
    if json {
        arguments.push("--json".into());
    }
    arguments
}

/// Shows what the servers write, under their names, until one of them fails.
async fn show(mut lines: mpsc::UnboundedReceiver<Line>, out: Output, is_json: bool) -> Failure {
    while let Some(Line { child, text, is_error }) = lines.recv().await {
        if let (true, Some(reason)) = (is_error, text.strip_prefix("error: ")) {
            return anyhow::anyhow!("{child}: {reason}").into();
        }
        match (is_error, is_json) {
            (true, _) => eprintln!("{child}: {text}"),
            (false, true) => out.line(&text),
            (false, false) => out.line(&format!("{child}: {text}")),
        }
    }
    std::future::pending().await
}

#[cfg(feature = "emulator")]
type Embedded = raft_mocking::emulator::Emulator;
#[cfg(not(feature = "emulator"))]
type Embedded = std::convert::Infallible;

/// Starts the emulator in this process, and says so.
#[cfg(feature = "emulator")]
async fn embedded_emulator(out: Output) -> Result<(Option<Embedded>, ConnectionString), Failure> {
    let emulator = Embedded::start().await.context("cannot start the embedded emulator")?;
    out.tell(&Event::Emulator { address: emulator.amqp_address().to_string() });
    let connection_string = emulator.connection_string().parse()?;
    Ok((Some(emulator), connection_string))
}

/// There is none in this build.
#[cfg(not(feature = "emulator"))]
async fn embedded_emulator(_out: Output) -> Result<(Option<Embedded>, ConnectionString), Failure> {
    Err(Failure::Usage(anyhow::anyhow!(
        "no connection string, and this build has no embedded emulator: set CONNECTION_STRING"
    )))
}

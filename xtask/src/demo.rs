//! `cargo xtask demo`: the project's main job on real input, in one command.
//!
//! Starts the emulator in this process, a process per server and one for the client; kills the leader
//! with SIGKILL after the second request; restarts it; and succeeds only if every request was
//! committed exactly once and all logs are the same.

mod cluster;
mod report;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use raft_azure::process::asked_to_end;

use self::cluster::Cluster;
use self::report::{Report, Row};
use crate::processes;

/// How long anything may take before the demo gives up: far more than it needs on a busy machine,
/// and little enough that it never hangs.
const PATIENCE: Duration = Duration::from_secs(25);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask demo
  cargo xtask demo --servers 3 --requests 10 --quiet
  cargo xtask demo --json | tail -1")]
pub(crate) struct DemoArgs {
    /// How many servers.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=99))]
    servers: u64,
    /// How many requests.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    requests: u64,
    /// Print one JSON object per line; the last one is the summary.
    #[arg(long)]
    json: bool,
    /// Print only the end.
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

pub(crate) fn run(args: DemoArgs) -> Result<()> {
    if args.servers == 2 {
        eprintln!(
            "warning: a cluster of 2 stops when either server does; 3 is the smallest that survives one"
        );
    }
    let program = processes::build_server(false)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let report = Report::new(args.json, args.quiet, args.servers, args.requests);
        let mut cluster = Cluster::start(&program, args.servers, report).await?;
        let played = tokio::select! {
            played = play(&mut cluster, args.servers, args.requests) => played,
            () = asked_to_end() => Err(anyhow::anyhow!("interrupted")),
        };
        let report = cluster.stop().await;
        played.map(|()| report)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result?.finish()
}

/// The play itself.
async fn play(cluster: &mut Cluster, servers: u64, requests: u64) -> Result<()> {
    cluster.leader_elected(PATIENCE).await.context("no leader was elected")?;
    let kill_after = requests.min(2);
    let mut killed = None;
    let mut had_leader = true;
    for number in 1..=requests {
        let operations_before = cluster.billable_operations();
        let answer = cluster
            .request(&format!("request {number}"), PATIENCE)
            .await
            .with_context(|| format!("request {number} was not answered"))?;
        let operations = cluster.billable_operations() - operations_before;
        cluster.report.row(Row { answer, operations, had_leader });
        had_leader = true;
        if let Some(server) = killed.take() {
            cluster.restart(server)?;
        }
        if number == kill_after {
            cluster.leader_elected(PATIENCE).await.context("the leader went away by itself")?;
            let leader = cluster.kill_leader().await?;
            had_leader = false;
            if servers < 3 {
                // Without it there is no majority, so nothing can go on.
                cluster.restart(leader)?;
            } else {
                killed = Some(leader);
            }
        }
    }
    if let Some(server) = killed {
        // There was no request left to wait for the next leader.
        cluster.leader_elected(PATIENCE).await.context("no new leader was elected")?;
        cluster.restart(server)?;
    }
    let statuses =
        cluster.settled(requests, PATIENCE).await.context("the servers do not agree in time")?;
    cluster.report.statuses(statuses);
    Ok(())
}

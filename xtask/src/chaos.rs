//! `cargo xtask chaos`: real processes, killed, paused and cut off, under clients whose history is
//! checked.
//!
//! Starts the emulator in this process and a process per server; has clients read, write, compare and
//! set, and append; breaks servers and bus by a schedule that the seed chooses; heals everything, and
//! asks whether the history is linearizable, every append was done as often as its client was told, and
//! all servers hold the same. A run in which some kind of fault never happened is a failure.

mod clients;
mod dice;
mod exactly_once;
mod history;
mod monitor;
mod nemesis;
mod plan;
mod report;
mod servers;

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use raft_azure::process::asked_to_end;
use raft_mocking::broker::BrokerConfig;
use raft_mocking::emulator::Emulator;
use raft_nondeterminism::linearizability::Verdict;
use tokio::sync::watch;

use self::clients::{Shared, client_id, connect_all};
use self::history::History;
use self::nemesis::{Nemesis, PATIENCE};
use self::plan::{Fault, Plan};
use self::report::{Outcome, Progress};
use self::servers::{Servers, Setting};
use crate::processes::{self, TOPIC};

/// How long a cluster that is broken is given to show what became of it.
const IMPATIENCE: Duration = Duration::from_secs(5);
/// Long enough that snapshots are taken and logs shortened now and then, short enough that it is often.
const SNAPSHOT_ENTRIES: u64 = 300;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask chaos
  cargo xtask chaos --minutes 10 --seed 7 --json | tail -1
  cargo xtask chaos --faults leader-kill,drop --minutes 1
  cargo xtask chaos --defect vote-not-saved    # finds it, and exits with 2

Exit codes: 0 if all holds and every kind of fault happened, 2 if something is broken, 1 if the run
failed or proves nothing.")]
pub(crate) struct ChaosArgs {
    /// How long servers and bus are broken. It takes longer if not every kind of fault came by then.
    #[arg(long, value_name = "M", default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// Chooses what goes wrong, and what clients ask for. [default: the time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many servers.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=9))]
    servers: u64,
    /// How many clients.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    clients: u64,
    /// Milliseconds that each client waits between two operations, on average.
    #[arg(long, value_name = "MS", default_value_t = 50)]
    pace_ms: u64,
    /// Only these kinds of faults. [default: all]
    #[arg(long, value_name = "FAULT,…", value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Where the history goes. [default: chaos/history-SEED.jsonl in the target folder]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Run servers with a planted bug, which is to be found.
    #[arg(long, value_name = "NAME")]
    defect: Option<String>,
    /// Print one JSON object per line; the last one is the summary.
    #[arg(long)]
    json: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes <= 24.0 * 60.0 => Ok(minutes),
        _ => Err("a number of minutes above 0, a day at most".to_owned()),
    }
}

pub(crate) fn run(args: &ChaosArgs) -> Result<ExitCode> {
    let program = processes::build_server(args.defect.is_some())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let verdict = runtime.block_on(async {
        tokio::select! {
            verdict = play(args, program) => verdict,
            () = asked_to_end() => bail!("interrupted"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(verdict?.show(args.json))
}

/// Where the records of runs go.
fn record_folder() -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let target = this.parent().and_then(Path::parent).context("this program is in no folder")?;
    let folder = target.join("chaos");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The play itself.
async fn play(args: &ChaosArgs, program: PathBuf) -> Result<Outcome> {
    let started = Instant::now();
    let seed = args.seed.unwrap_or_else(seed_of_now);
    let records = record_folder()?;
    let path = args.history.clone();
    let path = path.unwrap_or_else(|| records.join(format!("history-{seed}.jsonl")));
    let faults = records.join(format!("faults-{seed}.jsonl"));
    let history = Arc::new(History::create(&path, &faults)?);
    let events = records.join(format!("events-{seed}.log"));
    let progress = Progress { is_json: args.json, started, history: Arc::clone(&history) };
    progress.note(&format!("seed {seed}, history in {}", path.display()));

    let broker = BrokerConfig { seed, ..BrokerConfig::default() };
    let emulator = Emulator::builder().broker(broker).start().await;
    let emulator = Arc::new(emulator.context("cannot start the emulator")?);
    let connection_string = emulator.connection_string();
    let client_ids = (0..args.clients).map(client_id);
    processes::provision_topic(&connection_string, args.servers, client_ids).await?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let setting = Setting {
        program,
        folder: folder.path().to_owned(),
        topic: TOPIC.to_owned(),
        connection_string: connection_string.clone(),
        size: args.servers,
        snapshot_entries: SNAPSHOT_ENTRIES,
        defect: args.defect.clone(),
    };
    let servers = Servers::new(setting, &events)?;
    servers.start_missing(PATIENCE).await?;
    servers.leader(PATIENCE).await?;
    progress.note(&format!("{} servers run, {} clients", args.servers, args.clients));

    let shared = Arc::new(Shared {
        servers: Arc::clone(&servers),
        history: Arc::clone(&history),
        seed,
        clients: args.clients,
        pace: Duration::from_millis(args.pace_ms),
        begun: AtomicU64::new(0),
    });
    let asked_for =
        if args.faults.is_empty() { Fault::value_variants().to_vec() } else { args.faults.clone() };
    let mut nemesis = Nemesis::new(Arc::clone(&servers), Arc::clone(&emulator), progress.clone());
    let mut verdict = Outcome {
        seed,
        servers: args.servers,
        defect: args.defect.clone(),
        history: path,
        events,
        asked_for,
        ..Outcome::default()
    };
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let ran = torment(&shared, &mut nemesis, &mut verdict, &connection_string, time).await;
    verdict.happened = nemesis.happened();
    {
        let view = servers.view();
        let view = view.borrow();
        verdict.not_identical.extend(view.breaches.iter().cloned());
        for failure in &view.failures {
            // A server that knows that its cluster is broken stops; anything else should stop none.
            if failure.contains("the cluster is broken") || failure.contains("panicked") {
                verdict.not_identical.push(failure.clone());
            } else {
                verdict.failures.push(failure.clone());
            }
        }
        (verdict.elections, verdict.commits) = (view.elections, view.commits);
    }
    if let Err(error) = ran {
        verdict.failures.push(format!("{error:#}"));
    }
    servers.end().await;
    history.finish()?;
    verdict.tally = history.tally();
    progress.note("checking the history");
    let check = Instant::now();
    match linearizable(&verdict.history)? {
        Verdict::Linearizable => {}
        Verdict::NotLinearizable(violation) => {
            let picture = Verdict::NotLinearizable(violation).to_string();
            verdict.not_linearizable = Some(picture);
        }
        Verdict::Undecided(undecided) => verdict.failures.push(undecided.to_string()),
    }
    verdict.check = check.elapsed();
    verdict.elapsed = started.elapsed();
    if verdict.is_broken() {
        let kept = folder.keep();
        progress.note(&format!("the servers' files are kept in {}", kept.display()));
    }
    Ok(verdict)
}

/// Asks the checker.
fn linearizable(history: &Path) -> Result<Verdict> {
    let name = history.display().to_string();
    let file = std::fs::File::open(history).with_context(|| format!("cannot read {name}"))?;
    let history = raft_nondeterminism::history::History::read(BufReader::new(file), &name)?;
    Ok(raft_nondeterminism::linearizability::check(&history).verdict)
}

/// Clients ask and the nemesis does harm for so long; then everything is healed, and the servers must
/// agree.
async fn torment(
    shared: &Arc<Shared>,
    nemesis: &mut Nemesis,
    verdict: &mut Outcome,
    connection_string: &str,
    time: Duration,
) -> Result<()> {
    let servers = &shared.servers;
    let (stop, stopped) = watch::channel(false);
    let clients = connect_all(shared, connection_string, TOPIC).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        tasks.spawn(client.run(stopped.clone()));
    }
    let until = Instant::now() + time;
    let mut plan = Plan::new(shared.seed, &verdict.asked_for, favourite(verdict.defect.as_deref()));
    let mut view = servers.view();
    let is_over = |view: &servers::View| !view.breaches.is_empty() || !view.failures.is_empty();
    while Instant::now() < until || plan.is_first_round() {
        let Some(step) = plan.next() else { break };
        // What is broken already will not mend, and the traces are fresh now.
        tokio::select! {
            carried_out = nemesis.carry_out(&step) => carried_out?,
            _ = view.wait_for(is_over) => break,
        }
    }
    stop.send_replace(true);
    // A broken cluster may well never agree, and need not.
    let patience = if is_over(&servers.view().borrow()) { IMPATIENCE } else { PATIENCE };
    nemesis.heal(patience).await?;
    servers.leader(patience).await?;
    let mut clients = Vec::new();
    while let Some(client) = tasks.join_next().await {
        clients.push(client.context("a client panicked")?);
    }
    let mut finishing = tokio::task::JoinSet::new();
    for client in clients {
        finishing.spawn(client.finish(patience));
    }
    while let Some(finished) = finishing.join_next().await {
        finished.context("a client panicked")??;
    }
    let (statuses, difference) = servers.settled(patience).await?;
    verdict.not_identical.extend(difference);
    let appends = shared.history.tally().appends;
    for status in statuses {
        let breaches = exactly_once::breaches(&appends, &exactly_once::lists(&status.state));
        let told = breaches.into_iter().map(|breach| format!("s{}: {breach}", status.server));
        verdict.not_once.extend(told);
    }
    Ok(())
}

/// What shows a planted bug soonest.
fn favourite(defect: Option<&str>) -> Option<Fault> {
    match defect? {
        "vote-not-saved" => Some(Fault::VoteRace),
        "acknowledged-before-durable" => Some(Fault::KillAll),
        "last-writer-wins-on-restart" => Some(Fault::Duplicate),
        _ => None,
    }
}

/// A seed for whoever asks for none; it is shown, so that the run can be repeated.
fn seed_of_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64 % 1_000_000_000)
}

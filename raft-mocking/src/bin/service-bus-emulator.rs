//! A Service Bus namespace on loopback, as a program: AMQP 1.0 and management for any SDK.
//!
//! Every flag has an environment variable, `SERVICE_BUS_EMULATOR_` and its name.

use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use raft_mocking::broker::{BrokerConfig, Faults, Meter, Tally};
use raft_mocking::emulator::{Config, Emulator, EmulatorError, Rights};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  service-bus-emulator
  service-bus-emulator --amqp-port 0 --admin-port 0 --json
  service-bus-emulator --topic rafttopic:server-1,server-2
  service-bus-emulator --config Config.json --trace trace.jsonl --bill
  service-bus-emulator --drop 0.01 --latency 5..50 --throttle standard --seed 7
  service-bus-emulator --cert-out emulator.pem      # for clients that know HTTPS only

Each flag may be given by its variable, SERVICE_BUS_EMULATOR_ and its name. What goes wrong can be
changed while it runs: curl -X PUT -d '{\"drop\": 0.1}' http://localhost:5300/$emulator/faults
Clients connect with the connection string that is printed at the start. Management is served on
the AMQP port as well. Set RUST_LOG=raft_mocking=debug to see what happens.";

/// An Azure Service Bus emulator on 127.0.0.1: queues, topics and sessions over AMQP 1.0, plain, over
/// TLS or WebSockets; management over HTTP. One process, no Docker.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// Port for AMQP and management; 0 for any free one
    #[arg(long, env = "SERVICE_BUS_EMULATOR_AMQP_PORT", default_value_t = 5672)]
    amqp_port: u16,
    /// Port for management alone; 0 for any free one
    #[arg(long, env = "SERVICE_BUS_EMULATOR_ADMIN_PORT", default_value_t = 5300)]
    admin_port: u16,
    /// Entities to start with: the file of Microsoft's emulator, as it is
    #[arg(long, env = "SERVICE_BUS_EMULATOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Largest message or batch, in bytes
    #[arg(
        long,
        env = "SERVICE_BUS_EMULATOR_MAX_MESSAGE_SIZE",
        default_value_t = 256 * 1024,
        value_parser = clap::value_parser!(u64).range(1024..=100 * 1024 * 1024)
    )]
    max_message_size: u64,
    /// Accept every token, whatever its key
    #[arg(long, env = "SERVICE_BUS_EMULATOR_NO_CHECK_KEYS")]
    no_check_keys: bool,
    /// One more key, with what it allows: Send, Listen, Manage; may be repeated (in the variable: with ';')
    #[arg(
        long = "key",
        env = "SERVICE_BUS_EMULATOR_KEYS",
        value_name = "NAME=KEY[:RIGHT,RIGHT]",
        value_delimiter = ';'
    )]
    keys: Vec<KeyArg>,
    /// Certificate for TLS, in PEM; without it one is made
    #[arg(long, env = "SERVICE_BUS_EMULATOR_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, env = "SERVICE_BUS_EMULATOR_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Write the certificate here, for clients to trust
    #[arg(long, env = "SERVICE_BUS_EMULATOR_CERT_OUT", value_name = "FILE")]
    cert_out: Option<PathBuf>,
    /// Create a queue at the start; may be repeated (in the variable: with ';')
    #[arg(
        long = "queue",
        env = "SERVICE_BUS_EMULATOR_QUEUES",
        value_name = "NAME",
        value_delimiter = ';'
    )]
    queues: Vec<String>,
    /// Create a topic at the start, with subscriptions; may be repeated (in the variable: with ';')
    #[arg(
        long = "topic",
        env = "SERVICE_BUS_EMULATOR_TOPICS",
        value_name = "NAME[:SUB,SUB]",
        value_delimiter = ';'
    )]
    topics: Vec<TopicArg>,
    /// Lose this share of all deliveries, from 0 to 1
    #[arg(
        long,
        env = "SERVICE_BUS_EMULATOR_DROP",
        value_name = "SHARE",
        default_value_t = 0.0,
        value_parser = share
    )]
    drop: f64,
    /// Deliver this share twice, from 0 to 1
    #[arg(
        long,
        env = "SERVICE_BUS_EMULATOR_DUPLICATE",
        value_name = "SHARE",
        default_value_t = 0.0,
        value_parser = share
    )]
    duplicate: f64,
    /// Let others pass this share, from 0 to 1
    #[arg(
        long,
        env = "SERVICE_BUS_EMULATOR_REORDER",
        value_name = "SHARE",
        default_value_t = 0.0,
        value_parser = share
    )]
    reorder: f64,
    /// Delay every delivery by this many milliseconds, or by a random time in such a range
    #[arg(long, env = "SERVICE_BUS_EMULATOR_LATENCY", value_name = "MS[..MS]")]
    latency: Option<Latency>,
    /// Allow what a tier allows: refuse calls beyond it, and have deliveries wait
    #[arg(long, env = "SERVICE_BUS_EMULATOR_THROTTLE", value_name = "TIER", value_enum)]
    throttle: Option<Tier>,
    /// Chooses what is lost, repeated, delayed and passed
    #[arg(long, env = "SERVICE_BUS_EMULATOR_SEED", value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write what happens to every message, as one JSON object per line
    #[arg(long, env = "SERVICE_BUS_EMULATOR_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print the bill at the end: operations by entity, and what they would cost
    #[arg(long, env = "SERVICE_BUS_EMULATOR_BILL")]
    bill: bool,
    /// Print one JSON object per line instead of text
    #[arg(long, env = "SERVICE_BUS_EMULATOR_JSON")]
    json: bool,
}

/// What is throttled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// 1,000 credits per second
    Standard,
}

/// A range of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Latency(Range<Duration>);

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start, end) = text.split_once("..").unwrap_or((text, text));
        let milliseconds = |text: &str| {
            let number = text.parse().map_err(|_| format!("{text:?} is no number of milliseconds"));
            number.map(Duration::from_millis)
        };
        let (start, end) = (milliseconds(start)?, milliseconds(end)?);
        if end < start {
            return Err("the range ends before it begins".to_owned());
        }
        Ok(Self(start..end))
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

impl Args {
    fn faults(&self) -> Faults {
        let Self { drop, duplicate, reorder, latency, throttle, .. } = self;
        Faults {
            drop: *drop,
            duplicate: *duplicate,
            reorder: *reorder,
            delay: if latency.is_some() { 1.0 } else { 0.0 },
            delay_range: latency.as_ref().map(|Latency(range)| range.clone()).unwrap_or_default(),
            credits_per_second: throttle.map(|Tier::Standard| Faults::STANDARD_CREDITS_PER_SECOND),
            ..Faults::default()
        }
    }
}

/// A key, with what it allows.
#[derive(Clone)]
struct KeyArg {
    name: String,
    key: String,
    rights: Rights,
}

impl std::fmt::Debug for KeyArg {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyArg").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for KeyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("a key is written NAME=KEY")?;
        // Base64 has no colon.
        let (key, rights) = match rest.split_once(':') {
            Some((key, rights)) => (key, rights.parse()?),
            None => (rest, Rights::ALL),
        };
        if name.is_empty() || key.is_empty() {
            return Err("neither name nor key may be empty".to_owned());
        }
        Ok(Self { name: name.to_owned(), key: key.to_owned(), rights })
    }
}

/// A topic to create, with its subscriptions.
#[derive(Debug, Clone)]
struct TopicArg {
    name: String,
    subscriptions: Vec<String>,
}

impl FromStr for TopicArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, subscriptions) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err("the topic has no name".to_owned());
        }
        let names = subscriptions.split(',').filter(|name| !name.is_empty());
        Ok(Self { name: name.to_owned(), subscriptions: names.map(str::to_owned).collect() })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, with its causes; a backtrace would tell the user nothing.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let broker = BrokerConfig {
        message_bytes_max: args.max_message_size,
        seed: args.seed,
        ..BrokerConfig::default()
    };
    let mut builder = Emulator::builder()
        .amqp_port(args.amqp_port)
        .admin_port(args.admin_port)
        .broker(broker)
        .check_keys(!args.no_check_keys);
    for KeyArg { name, key, rights } in &args.keys {
        builder = builder.key_with_rights(name, key, *rights);
    }
    if let Some(path) = &args.config {
        let config = Config::from_file(path);
        builder = builder.config(config.with_context(|| path.display().to_string())?);
    }
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        builder = builder.tls_files(certificate, key);
    }
    if let Some(path) = &args.trace {
        builder = builder.trace(path);
    }
    let emulator = match (builder.start().await, &args.config) {
        (Err(EmulatorError::Config(error)), Some(path)) => {
            return Err(error).with_context(|| path.display().to_string());
        }
        (started, _) => started?,
    };
    if let Some(path) = &args.cert_out {
        std::fs::write(path, emulator.certificate_pem()?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    for queue in &args.queues {
        let created = emulator.bus().create_queue(queue, Default::default());
        created.with_context(|| format!("cannot create queue {queue}"))?;
    }
    for topic in &args.topics {
        create(&emulator, topic).with_context(|| format!("cannot create topic {}", topic.name))?;
    }
    emulator.set_faults(args.faults());
    // Before the ready line, so that whoever waits for it may stop us at once.
    let stop = stop_signal()?;
    announce(&emulator, args.json).context("cannot print the ready line")?;
    stop.await;
    let (meter, bill, faults) = (emulator.meter(), emulator.bill(), emulator.fault_counts());
    emulator.shutdown().await;
    let operations = meter.operations();
    let mut out = std::io::stdout().lock();
    // Whoever read the output may be gone by now.
    _ = if args.json {
        let mut line = serde_json::json!({
            "event": "stopped",
            "billable_operations": operations,
            "dropped": faults.dropped,
            "duplicated": faults.duplicated,
            "delayed": faults.delayed,
            "reordered": faults.reordered,
            "throttled": faults.throttled,
            "held_back": faults.held_back,
        });
        if args.bill {
            line["bill"] = serde_json::from_str(&bill).context("the bill is no JSON")?;
        }
        writeln!(out, "{line}")
    } else {
        writeln!(out, "Stopped after {operations} billable operations.")
    };
    if args.bill && !args.json {
        _ = print_bill(&mut out, &meter);
    }
    Ok(())
}

/// Operations by entity and kind, and what they would cost.
fn print_bill(out: &mut impl std::io::Write, meter: &Meter) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<40} {:<12} {:>10} {:>12} {:>14}",
        "entity", "kind", "calls", "bytes", "operations"
    )?;
    for (entity, kind, tally) in meter.rows() {
        let entity = if entity.is_empty() { "(namespace)" } else { entity };
        let Tally { calls, operations, bytes } = tally;
        let kind = kind.to_string();
        writeln!(out, "{entity:<40} {kind:<12} {calls:>10} {bytes:>12} {operations:>14}")?;
    }
    let (operations, usd) = (meter.operations(), meter.marginal_usd());
    writeln!(out, "{operations} operations, {} credits.", meter.credits())?;
    writeln!(
        out,
        "Standard tier: within the 13 million of a month they cost nothing beyond the base fee; after \
         these about USD {usd:.6} (list price of USD 0.80 a million; check it before you rely on it)."
    )
}

fn create(emulator: &Emulator, topic: &TopicArg) -> anyhow::Result<()> {
    emulator.bus().create_topic(&topic.name, Default::default())?;
    for name in &topic.subscriptions {
        emulator.bus().create_subscription(&topic.name, name, Default::default())?;
    }
    Ok(())
}

fn announce(emulator: &Emulator, is_json: bool) -> std::io::Result<()> {
    let (amqp, admin) = (emulator.amqp_address(), emulator.admin_address());
    let connection_string = emulator.connection_string();
    let mut out = std::io::stdout().lock();
    if is_json {
        let ready = serde_json::json!({
            "event": "ready",
            "amqp_port": amqp.port(),
            "admin_port": admin.map(|address| address.port()),
            "connection_string": connection_string,
        });
        writeln!(out, "{ready}")?;
    } else {
        let admin = admin.map(|address| format!(", management on {address}")).unwrap_or_default();
        writeln!(out, "Ready: AMQP and management on {amqp}{admin}.")?;
        writeln!(out, "{connection_string}")?;
    }
    out.flush()
}

/// Ends when the process is asked to stop.
#[cfg(unix)]
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends when the process is asked to stop.
#[cfg(not(unix))]
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

//! A Service Bus namespace on loopback, as a program: AMQP 1.0 and management for any SDK.

use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use raft_mocking::broker::{BrokerConfig, Faults};
use raft_mocking::emulator::Emulator;
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  service-bus-emulator
  service-bus-emulator --amqp-port 0 --admin-port 0 --json
  service-bus-emulator --topic rafttopic:server-1,server-2
  service-bus-emulator --drop 0.01 --latency 5..50 --throttle standard --seed 7

Clients connect with the connection string that is printed at the start. Management is served on
the AMQP port as well. Set RUST_LOG=raft_mocking=debug to see what happens.";

/// An Azure Service Bus emulator on 127.0.0.1: topics and subscriptions over AMQP 1.0, management
/// over HTTP. One process, no Docker.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// Port for AMQP and management; 0 for any free one
    #[arg(long, env = "SERVICE_BUS_EMULATOR_AMQP_PORT", default_value_t = 5672)]
    amqp_port: u16,
    /// Port for management alone; 0 for any free one
    #[arg(long, env = "SERVICE_BUS_EMULATOR_ADMIN_PORT", default_value_t = 5300)]
    admin_port: u16,
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
    /// Create a topic at the start, with subscriptions; may be repeated (in the variable: with ';')
    #[arg(
        long = "topic",
        env = "SERVICE_BUS_EMULATOR_TOPICS",
        value_name = "NAME[:SUB,SUB]",
        value_delimiter = ';'
    )]
    topics: Vec<TopicArg>,
    /// Lose this share of all deliveries, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    drop: f64,
    /// Deliver this share twice, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    duplicate: f64,
    /// Delay every delivery by this many milliseconds, or by a random time in such a range
    #[arg(long, value_name = "MS[..MS]")]
    latency: Option<Latency>,
    /// Refuse sends beyond what a tier allows, as the service does
    #[arg(long, value_name = "TIER", value_enum)]
    throttle: Option<Tier>,
    /// Chooses what is lost, repeated and delayed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
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
        let Self { drop, duplicate, latency, throttle, .. } = self;
        Faults {
            drop: *drop,
            duplicate: *duplicate,
            delay: if latency.is_some() { 1.0 } else { 0.0 },
            delay_range: latency.as_ref().map(|Latency(range)| range.clone()).unwrap_or_default(),
            credits_per_second: throttle.map(|Tier::Standard| Faults::STANDARD_CREDITS_PER_SECOND),
            ..Faults::default()
        }
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
    let emulator = Emulator::builder()
        .amqp_port(args.amqp_port)
        .admin_port(args.admin_port)
        .broker(broker)
        .check_keys(!args.no_check_keys)
        .start()
        .await?;
    for topic in &args.topics {
        create(&emulator, topic).with_context(|| format!("cannot create topic {}", topic.name))?;
    }
    emulator.set_faults(args.faults());
    // Before the ready line, so that whoever waits for it may stop us at once.
    let stop = stop_signal()?;
    announce(&emulator, args.json).context("cannot print the ready line")?;
    stop.await;
    let operations = emulator.meter().operations();
    let faults = emulator.fault_counts();
    emulator.shutdown().await;
    let line = if args.json {
        serde_json::json!({
            "event": "stopped",
            "billable_operations": operations,
            "dropped": faults.dropped,
            "duplicated": faults.duplicated,
            "delayed": faults.delayed,
            "throttled": faults.throttled,
        })
        .to_string()
    } else {
        format!("Stopped after {operations} billable operations.")
    };
    // Whoever read the output may be gone by now.
    _ = writeln!(std::io::stdout(), "{line}");
    Ok(())
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

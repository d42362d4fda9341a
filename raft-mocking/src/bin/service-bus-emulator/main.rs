//! A Service Bus namespace on loopback, as a program: AMQP 1.0 and management for any SDK.

mod args;

use std::convert::Infallible;
use std::future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use raft_mocking::broker::{BrokerConfig, Meter, Tally};
use raft_mocking::emulator::{Config, ConfigError, Emulator, EmulatorError};
use tokio::time::{Instant, interval_at};
use tracing_subscriber::EnvFilter;

use self::args::{Args, KeyArg, TopicArg};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::read();
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
    for KeyArg { name, key, rights, entity } in args.keys().map_err(anyhow::Error::msg)? {
        builder = match entity {
            Some(entity) => builder.key_of_entity(entity, name, key, rights),
            None => builder.key_with_rights(name, key, rights),
        };
    }
    if let Some(path) = &args.config {
        builder = builder.config(match Config::from_file(path) {
            // It names the file itself.
            Err(error @ ConfigError::Read { .. }) => return Err(error.into()),
            config => config.with_context(|| path.display().to_string())?,
        });
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
    emulator.refuse_connections(args.refuse_connections);
    // Before the ready line, so that whoever waits for it may stop us at once.
    let stop = stop_signal()?;
    announce(&emulator, args.json).context("cannot print the ready line")?;
    tokio::select! {
        () = stop => {}
        never = every(args.blip_every, || emulator.drop_connections()) => match never {},
        never = every(args.detach_every, || emulator.detach_links()) => match never {},
        never = every(args.expire_tokens_every, || emulator.expire_tokens()) => match never {},
    }
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

/// Does something again and again, if that is wanted.
async fn every(period: Option<Duration>, act: impl Fn()) -> Infallible {
    let Some(period) = period else { return future::pending().await };
    let mut ticks = interval_at(Instant::now() + period, period);
    loop {
        ticks.tick().await;
        act();
    }
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

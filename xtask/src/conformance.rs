//! `cargo xtask conformance`: the official clients do everything they can, row by row, against the
//! emulator or a real namespace; the bus in memory does the same rows as far as they apply.
//!
//! Guarantees: the clients come from their own registries, in the versions named here, into a folder
//! below the target folder; every row is a case of each client, or says why it is none; one failed case
//! fails the run.
//! Elsewhere:  the cases are in `xtask/conformance/`, the table in [`report`].

mod clients;
mod memory;
mod report;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use raft_mocking::emulator::{Emulator, Rights};

use self::clients::{CaseResult, Client, Namespace};
use self::report::Table;

/// Where a real namespace is named.
const REAL: &str = "SERVICE_BUS_CONNECTION_STRING";

/// The rows: an id that every client's cases have in common, and what it is about.
pub(crate) const ROWS: &[(&str, &str)] = &[
    ("receive-and-delete", "ReceiveAndDelete, every field of a message"),
    ("peek-lock", "PeekLock and complete"),
    ("batches", "Batches, and their size limit"),
    ("large-messages", "Messages in many frames, and the size limit"),
    ("body-types", "Data, value and sequence bodies"),
    ("drain", "Drain: no message is lost between two calls"),
    ("competing-receivers", "Competing receivers"),
    ("prefetch", "Prefetch and streaming"),
    ("abandon", "Abandon, delivery count"),
    ("abandon-properties", "Abandon with properties"),
    ("lock-renewal", "Lock renewal"),
    ("lock-expiry", "Lock expiry, and settling after it"),
    ("auto-lock-renewal", "The client's own lock renewer"),
    ("defer", "Defer and receive deferred"),
    ("dead-letter", "Dead-letter with reason, and the sub-queue"),
    ("max-delivery-count", "Largest delivery count"),
    ("time-to-live", "Time to live"),
    ("expiry-dead-letters", "Dead-lettering on expiry"),
    ("schedule", "Schedule and cancel"),
    ("scheduled-by-property", "Scheduled by property, to a topic"),
    ("duplicate-detection", "Duplicate detection"),
    ("session-named", "Sessions: accept a named one, order, exclusion"),
    ("session-next", "Sessions: accept the next, time out"),
    ("session-lock", "Sessions: lock renewal and loss"),
    ("session-state", "Sessions: state"),
    ("session-list", "Sessions: list"),
    ("session-required", "Sessions: refusals"),
    ("session-defer", "Sessions: deferred messages"),
    ("topic-fan-out", "Topics: a copy for each subscription"),
    ("correlation-filter", "Correlation filters"),
    ("sql-filter", "SQL filters with system properties"),
    ("sql-action", "SQL actions"),
    ("rules-over-amqp", "Rules over AMQP: add, list, remove"),
    ("auto-forward", "Auto-forward"),
    ("forward-dead-letters", "Forwarding of dead letters"),
    ("peek", "Peek: active, deferred, scheduled"),
    ("peek-session", "Peek in a session"),
    ("unknown-entity", "Unknown entities"),
    ("disabled-entity", "Disabled entities"),
    ("entity-full", "A full entity"),
    ("throttling", "Throttling: server busy"),
    ("wrong-key", "A wrong key"),
    ("expired-token", "A token that has expired"),
    ("rights", "A key without the right"),
    ("entity-key", "A key of one entity"),
    ("idle-detach", "Idle links are detached, and come back"),
    ("token-expiry", "Tokens expire, and are renewed"),
    ("broker-blip", "Connections are cut, and come back"),
    ("websockets", "AMQP over WebSockets"),
    ("tls", "AMQP over TLS"),
    ("admin-queues", "Administration: queues"),
    ("admin-topics", "Administration: topics and subscriptions"),
    ("admin-rules", "Administration: rules"),
    ("admin-counts", "Administration: runtime counts"),
    ("admin-namespace", "Administration: the namespace"),
];

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask conformance
  cargo xtask conformance --client python --case sql
  cargo xtask conformance --write
  SERVICE_BUS_CONNECTION_STRING='Endpoint=sb://…' cargo xtask conformance

The clients are installed below the target folder, by pip and npm. The client `memory` is the bus
itself, without a network.")]
pub(crate) struct ConformanceArgs {
    /// Run only this client; may be repeated.
    #[arg(long = "client", value_name = "CLIENT", value_enum)]
    clients: Vec<Kind>,
    /// Run only the cases whose id contains this.
    #[arg(long = "case", value_name = "TEXT")]
    case: Option<String>,
    /// Write the table into the README of raft-mocking.
    #[arg(long, conflicts_with = "case")]
    write: bool,
    /// Print one JSON object per case.
    #[arg(long)]
    json: bool,
}

/// A client's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Python,
    Node,
    /// The bus itself, without a network.
    Memory,
}

pub(crate) fn run(args: &ConformanceArgs) -> Result<()> {
    let is_wanted =
        |client: &&Client| args.clients.is_empty() || args.clients.contains(&client.kind);
    let clients: Vec<_> = clients::ALL.iter().filter(is_wanted).collect();
    run_clients(args, &clients)
}

/// The Python clients, as a step of the checks.
pub(crate) fn run_python() -> Result<()> {
    let clients = vec![Kind::Python];
    run(&ConformanceArgs { clients, case: None, write: false, json: false })
}

fn run_clients(args: &ConformanceArgs, clients: &[&Client]) -> Result<()> {
    let is_chosen = |id: &str| args.case.as_deref().is_none_or(|part| id.contains(part));
    let rows: Vec<_> = ROWS.iter().copied().filter(|(id, _)| is_chosen(id)).collect();
    if rows.is_empty() {
        bail!("no case has {:?} in its id", args.case.as_deref().unwrap_or_default());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (emulator, namespace) = match std::env::var(REAL) {
        Ok(connection_string) => (None, Namespace::Real { connection_string }),
        Err(_) => {
            let listen = Rights { listen: true, ..Rights::default() };
            let send = Rights { send: true, ..Rights::default() };
            let builder = Emulator::builder()
                .admin_port(0)
                .key_with_rights("listen", "LISTEN_KEY", listen)
                .key_of_entity("own-queue", "own", "OWN_KEY", send);
            let emulator =
                runtime.block_on(builder.start()).context("the emulator does not start")?;
            let namespace = Namespace::emulator(&emulator)?;
            (Some(emulator), namespace)
        }
    };
    let mut table = Table::new(&rows);
    for client in clients {
        let ids: Vec<_> = rows.iter().map(|(id, _)| *id).collect();
        let mut tell = |result: CaseResult| {
            if args.json {
                println!("{}", result.to_json(client));
            } else {
                eprintln!("{}", result.line(client));
            }
            table.add(client, result);
        };
        if client.kind == Kind::Memory {
            memory::run(&ids, tell);
            continue;
        }
        let installed =
            client.install().with_context(|| format!("cannot install {}", client.title()))?;
        client.run(&installed, &namespace, &ids, &mut tell)?;
    }
    if let Some(emulator) = emulator {
        runtime.block_on(emulator.shutdown());
    }
    if !args.json {
        println!("{}", table.text());
    }
    if args.write {
        table.write_into_readme()?;
    }
    match table.failures() {
        0 => Ok(()),
        count => bail!("{count} cases failed"),
    }
}

//! `raft-azure client`: one client in this process.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use raft_azure::event::{Event, Output, short};
use raft_azure::{AzureClient, ConnectionString};
use raft_core::driver::RequestError;
use raft_core::{ClientConfig, ClientId, ClientResult, ClusterId, SequenceNumber, ServerId};
use tokio::sync::mpsc;

use super::machine::{MachineKind, Told};
use super::{BusArgs, Control, Failure, input_lines, random_seed};

/// What a leader takes at most: see [`raft_core::Config::command_bytes_max`].
const COMMAND_BYTES_MAX: usize = 128 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-azure client --topic-name rafttopic --cluster-size 3 --num-requests 5
  echo 'write colour \"red\"' | raft-azure client --cluster-size 3 --state-machine kv --stdin
      The other commands: read KEY, cas KEY OLD NEW, append KEY VALUE; values are JSON.")]
pub(super) struct ClientArgs {
    #[command(flatten)]
    bus: BusArgs,
    /// How many servers the cluster has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=99))]
    cluster_size: u64,
    /// This client's id, whose subscription exists. Never use one twice with the same cluster.
    /// [default: a random one, whose subscription is made; that needs the Manage right]
    #[arg(long, value_name = "N")]
    client_id: Option<u64>,
    #[command(flatten)]
    requests: RequestArgs,
    /// The state machine that the servers have.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = MachineKind::List)]
    state_machine: MachineKind,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// The number of the first request. [default: the time in milliseconds if --client-id is given, so
    /// that it is above all numbers used before; else 1]
    #[arg(long, value_name = "N", hide_short_help = true)]
    first_sequence_number: Option<u64>,
    /// Started by a parent: take commands from standard input, and stop at its end at once.
    #[arg(long, hide = true)]
    supervised: bool,
}

/// What a client asks for.
#[derive(Clone, Debug, Args)]
pub(super) struct RequestArgs {
    /// How many requests to send, one after the other.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) num_requests: u64,
    /// Take each line of standard input as a command instead.
    #[arg(long, conflicts_with = "num_requests")]
    stdin: bool,
    /// What the commands are for; a local cluster always has a list.
    #[arg(skip)]
    state_machine: MachineKind,
    /// Make each command at least this long, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    payload_bytes: usize,
    /// Seconds to wait for the answer to one request before giving up.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    request_timeout_s: u64,
}

pub(super) async fn run(args: ClientArgs) -> Result<(), Failure> {
    let ClientArgs {
        bus,
        cluster_size,
        client_id,
        mut requests,
        state_machine,
        json,
        first_sequence_number,
        supervised,
    } = args;
    requests.state_machine = state_machine;
    let connection_string = bus.required_connection_string()?;
    requests.check(supervised)?;
    let mut control = Control::watch(supervised);
    let first_sequence_number =
        first_sequence_number.unwrap_or_else(|| client_id.map_or(1, |_| milliseconds_now()));
    let client_id = match client_id {
        Some(client_id) => ClientId(client_id),
        None => {
            // Above every id that a person would choose.
            let client_id = ClientId(random_seed() | 1 << 63);
            super::provision::provision_all(&connection_string, &bus.topic_name, 0, &[client_id])
                .await?;
            client_id
        }
    };
    let ended = control.ended();
    let work = async {
        let first = SequenceNumber(first_sequence_number);
        let topic = &bus.topic_name;
        let cluster_id = bus.cluster_id();
        let mut client =
            connect(connection_string, topic, cluster_id, client_id, first, cluster_size).await?;
        let out = Output::new(json);
        let sent = if supervised {
            send_lines(&mut client, &mut control.lines, &requests, out).await
        } else if requests.stdin {
            send_lines(&mut client, &mut input_lines(), &requests, out).await
        } else {
            send_numbered(&mut client, &requests, out).await
        };
        client.stop().await;
        sent
    };
    tokio::select! {
        sent = work => sent.map(|_| ()),
        // A parent that closes our input has heard all it wants.
        () = ended => match supervised {
            true => Ok(()),
            false => Err(anyhow::anyhow!("interrupted").into()),
        },
    }
}

/// The time, as a number that only grows from run to run.
fn milliseconds_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Connects a client.
pub(super) async fn connect(
    connection_string: ConnectionString,
    topic: &str,
    cluster_id: ClusterId,
    client_id: ClientId,
    first_sequence_number: SequenceNumber,
    cluster_size: u64,
) -> Result<AzureClient, Failure> {
    let is_emulator = connection_string.is_emulator();
    let seconds = |emulator: u64, azure: u64| {
        Duration::from_millis(if is_emulator { emulator } else { azure })
    };
    let config = ClientConfig {
        cluster_id,
        first_sequence_number,
        answer_timeout: seconds(1_000, 5_000),
        retry_interval: seconds(100, 1_000),
        // A run asks for little, one thing at a time, and each message is paid for. That a client id was
        // used before shows in the answer to its first request.
        register: false,
        ..ClientConfig::new(client_id, (1..=cluster_size).map(ServerId))
    };
    let time_to_live = config.answer_timeout;
    Ok(AzureClient::start(connection_string, topic, config, time_to_live).await?)
}

impl RequestArgs {
    /// Refuses what no leader takes, before anything is started.
    pub(super) fn check(&self, is_supervised: bool) -> Result<(), Failure> {
        match self.state_machine {
            MachineKind::List => encode(self.state_machine, &self.command(self.num_requests))?,
            MachineKind::Kv if self.stdin || is_supervised => return Ok(()),
            MachineKind::Kv => {
                let error = "the state machine kv takes its commands from standard input: add \
                             --stdin, and write lines such as: write KEY VALUE";
                return Err(Failure::Usage(anyhow::anyhow!(error)));
            }
        };
        Ok(())
    }

    fn command(&self, number: u64) -> String {
        let mut command = format!("request {number}");
        let missing = self.payload_bytes.saturating_sub(command.len());
        command.push_str(&".".repeat(missing.min(COMMAND_BYTES_MAX + 1)));
        command
    }
}

/// A command in the encoding of the servers' state machine.
fn encode(machine: MachineKind, command: &str) -> Result<Bytes, Failure> {
    let encoded = machine.encode(command)?;
    if encoded.len() > COMMAND_BYTES_MAX {
        let error = anyhow::anyhow!(
            "a command of {} bytes is over the limit of {COMMAND_BYTES_MAX} bytes",
            encoded.len()
        );
        return Err(Failure::Usage(error));
    }
    Ok(encoded)
}

/// Sends the lines that come, one after the other, until they end; says how many were committed.
async fn send_lines(
    client: &mut AzureClient,
    lines: &mut mpsc::UnboundedReceiver<String>,
    requests: &RequestArgs,
    out: Output,
) -> Result<u64, Failure> {
    let mut committed = 0;
    while let Some(command) = lines.recv().await {
        send_one(client, committed + 1, &command, requests, out).await?;
        committed += 1;
    }
    Ok(committed)
}

/// Sends as many requests as were asked for, one after the other; says how many were committed.
pub(super) async fn send_numbered(
    client: &mut AzureClient,
    requests: &RequestArgs,
    out: Output,
) -> Result<u64, Failure> {
    for number in 1..=requests.num_requests {
        send_one(client, number, &requests.command(number), requests, out).await?;
    }
    Ok(requests.num_requests)
}

async fn send_one(
    client: &mut AzureClient,
    sequence: u64,
    command: &str,
    requests: &RequestArgs,
    out: Output,
) -> Result<(), Failure> {
    let encoded = encode(requests.state_machine, command)?;
    out.tell(&Event::Request { sequence, command: short(command) });
    let within = Duration::from_secs(requests.request_timeout_s);
    let started = Instant::now();
    let answer = match client.request(encoded, within).await {
        Err(RequestError::Refused(ClientResult::Superseded)) => {
            return Err(anyhow::anyhow!(
                "request failed: this client id was used before with higher numbers; leave out \
                 --client-id, or choose another"
            )
            .into());
        }
        answer => answer.context("request failed")?,
    };
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (applied, response) = match requests.state_machine.decode(&answer.response)? {
        Told::Applied(applied) => (Some(applied), None),
        Told::Response(response) => (None, Some(response)),
    };
    out.tell(&Event::Answer {
        sequence,
        by: answer.by.0,
        index: answer.log_id.index.0,
        term: answer.log_id.term.0,
        attempts: answer.attempts,
        latency_us,
        applied,
        response,
    });
    Ok(())
}

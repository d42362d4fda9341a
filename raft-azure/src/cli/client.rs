//! `raft-azure client`: one client in this process.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use raft_azure::event::{Event, Output, short};
use raft_azure::{AzureClient, ConnectionString};
use raft_core::{ClientConfig, ClientId, ClusterId, ServerId, codec, decode_outcome};

use super::{BusArgs, Failure, asked_to_end, input_lines, output, random_seed};

/// What a leader takes at most: see [`raft_core::Config::command_bytes_max`].
const COMMAND_BYTES_MAX: usize = 128 * 1024;

#[derive(Debug, Args)]
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
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
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
    /// Make each command at least this long, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    payload_bytes: usize,
    /// Seconds to wait for the answer to one request before giving up.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    request_timeout_s: u64,
}

pub(super) async fn run(args: ClientArgs) -> Result<(), Failure> {
    let ClientArgs { bus, cluster_size, client_id, requests, json } = args;
    let connection_string = bus.required_connection_string()?;
    requests.check()?;
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
    let mut client =
        connect(connection_string, &bus.topic_name, bus.cluster_id(), client_id, cluster_size)
            .await?;
    let result = tokio::select! {
        result = send(&mut client, &requests, output(json)) => result.map(|_| ()),
        () = asked_to_end() => Err(anyhow::anyhow!("interrupted").into()),
    };
    client.stop().await;
    result
}

/// Connects a client.
pub(super) async fn connect(
    connection_string: ConnectionString,
    topic: &str,
    cluster_id: ClusterId,
    client_id: ClientId,
    cluster_size: u64,
) -> Result<AzureClient, Failure> {
    let is_emulator = connection_string.is_emulator();
    let seconds = |emulator: u64, azure: u64| {
        Duration::from_millis(if is_emulator { emulator } else { azure })
    };
    let config = ClientConfig {
        cluster_id,
        answer_timeout: seconds(1_000, 5_000),
        retry_interval: seconds(100, 1_000),
        ..ClientConfig::new(client_id, (1..=cluster_size).map(ServerId))
    };
    let time_to_live = config.answer_timeout;
    Ok(AzureClient::start(connection_string, topic, config, time_to_live).await?)
}

impl RequestArgs {
    /// Refuses what no leader takes, before anything is started.
    pub(super) fn check(&self) -> Result<(), Failure> {
        check_size(self.payload_bytes)
    }

    fn command(&self, number: u64) -> String {
        let command = format!("request {number}");
        format!("{command:.<width$}", width = self.payload_bytes.max(command.len()))
    }
}

fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes > COMMAND_BYTES_MAX {
        let error = anyhow::anyhow!(
            "a command of {bytes} bytes is over the limit of {COMMAND_BYTES_MAX} bytes"
        );
        return Err(Failure::Usage(error));
    }
    Ok(())
}

/// Sends all requests, one after the other; says how many were committed.
pub(super) async fn send(
    client: &mut AzureClient,
    requests: &RequestArgs,
    out: Output,
) -> Result<u64, Failure> {
    let mut committed = 0;
    if requests.stdin {
        let mut lines = input_lines();
        while let Some(command) = lines.recv().await {
            check_size(command.len())?;
            send_one(client, committed + 1, command, requests, out).await?;
            committed += 1;
        }
    } else {
        for number in 1..=requests.num_requests {
            send_one(client, number, requests.command(number), requests, out).await?;
            committed += 1;
        }
    }
    Ok(committed)
}

async fn send_one(
    client: &mut AzureClient,
    sequence: u64,
    command: String,
    requests: &RequestArgs,
    out: Output,
) -> Result<(), Failure> {
    out.tell(&Event::Request { sequence, command: short(&command) });
    let within = Duration::from_secs(requests.request_timeout_s);
    let started = Instant::now();
    let encoded = codec::encode_value(&command).into();
    let answer = client.request(encoded, within).await.context("request failed")?;
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let applied = decode_outcome::<u64>(&answer.response)??;
    out.tell(&Event::Answer {
        sequence,
        by: answer.by.0,
        index: answer.log_id.index.0,
        term: answer.log_id.term.0,
        attempts: answer.attempts,
        latency_us,
        applied,
    });
    Ok(())
}

//! `raft-azure provision`: makes the topic and the subscriptions.

use std::time::Duration;

use clap::Args;
use raft_azure::{Admin, AdminOptions, ConnectionString, ProvisionOptions, Provisioned, provision};
use raft_core::{Address, ClientId, ServerId};

use super::{BusArgs, Failure};

/// No message is of use to Raft for longer.
const TIME_TO_LIVE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct ProvisionArgs {
    #[command(flatten)]
    bus: BusArgs,
    /// How many servers get a subscription.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=99))]
    cluster_size: u64,
    /// A client that gets a subscription; may be repeated.
    #[arg(long, value_name = "N")]
    client_id: Vec<u64>,
}

pub(super) async fn run(args: ProvisionArgs) -> Result<(), Failure> {
    let connection_string = args.bus.required_connection_string()?;
    let clients: Vec<_> = args.client_id.into_iter().map(ClientId).collect();
    let topic = &args.bus.topic_name;
    let done = provision_all(&connection_string, topic, args.cluster_size, &clients).await?;
    let Provisioned { topic_created, subscriptions_created, rules_deleted, .. } = &done;
    if done == Provisioned::default() {
        println!("{topic} is as it should be");
    }
    if *topic_created {
        println!("created topic {topic}");
    }
    for subscription in subscriptions_created {
        println!("created subscription {topic}/{subscription}");
    }
    for rule in rules_deleted {
        println!("deleted rule {topic}/{rule}");
    }
    Ok(())
}

/// Makes the topic with subscriptions for servers 1 to `servers` and for these clients.
pub(super) async fn provision_all(
    connection_string: &ConnectionString,
    topic: &str,
    servers: u64,
    clients: &[ClientId],
) -> Result<Provisioned, Failure> {
    let admin = Admin::new(connection_string.clone(), AdminOptions::default())?;
    let servers: Vec<_> =
        (1..=servers).map(|server| Address::Server(ServerId(server)).routing_name()).collect();
    let clients: Vec<_> =
        clients.iter().map(|&client| Address::Client(client).routing_name()).collect();
    let options = ProvisionOptions::with_time_to_live(TIME_TO_LIVE_MAX);
    Ok(provision(&admin, topic, &servers, &clients, &options).await?)
}

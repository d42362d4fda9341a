//! `raft-azure server`: one server in this process.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use raft_azure::cluster_manager::Carried;
use raft_azure::event::{Event, LogEntry, Output, ServerStatus, short};
use raft_azure::message_receiver::Sifted;
use raft_azure::{ConnectionState, RecoveredServer, ServerOptions};
use raft_core::driver::Handle;
use raft_core::{CommandList, Entry, Payload, RoleChange, Server, ServerId, ServerManager, codec};

use tokio::sync::watch;

use super::folder::{FolderArgs, warn_not_noted};
use super::{BusArgs, Control, Failure, TimingArgs};

/// A server whose parent died must end within five seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    timing: TimingArgs,
    /// Which server of the cluster this is: 1 to the cluster's size.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    server_id: u64,
    /// How many servers the cluster has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=99))]
    cluster_size: u64,
    /// Folder for this server's log. [default: raft-data/TOPIC/server-N]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    folder: FolderArgs,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Started by a parent: stop at the end of standard input, and answer the line `status` there.
    #[arg(long, hide = true)]
    supervised: bool,
}

pub(super) async fn run(args: ServerArgs) -> Result<(), Failure> {
    let ServerArgs { bus, timing, server_id, cluster_size, data_dir, folder, json, supervised } =
        args;
    folder.check(server_id, cluster_size)?;
    let connection_string = bus.required_connection_string()?;
    let mut config =
        timing.config(server_id, cluster_size, bus.cluster_id(), connection_string.is_emulator());
    config.start = folder.start();
    config.validate().map_err(|error| Failure::Usage(error.into()))?;
    let default_dir = || format!("raft-data/{}/server-{server_id}", bus.topic_name).into();
    let options = ServerOptions {
        connection_string,
        topic: bus.topic_name.clone(),
        config: config.clone(),
        data_dir: data_dir.unwrap_or_else(default_dir),
        disk_quota: folder.disk_quota,
    };
    let out = Output::new(json);
    let host = TellingHost { server_id: config.server_id, voters: config.voters, out };
    let mut control = Control::watch(supervised);
    let joining = async {
        let recovered = RecoveredServer::open(options).await?;
        out.tell(&Event::recovered(config.server_id, recovered.report()));
        recovered.join(CommandList::new(), host).await
    };
    let server = tokio::select! {
        server = joining => server?,
        () = control.ended() => {
            return Err(anyhow::anyhow!("asked to end before the server had joined").into());
        }
    };
    if let Some(error) = server.not_noted() {
        warn_not_noted(error);
    }
    out.tell(&Event::Joined { server: server_id });

    let (handle, carried, sifted) = (server.handle().clone(), server.carried(), server.sifted());
    tokio::spawn(tell_connection(server.connection()));
    let stop = control.ended();
    let ended = control.ended();
    // The time to stop starts when the end is asked for.
    let too_long = async {
        ended.await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::spawn(async move {
        while let Some(line) = control.lines.recv().await {
            if line.trim() == "status" {
                tell_status(&handle, &carried, &sifted, out).await;
            }
        }
    });
    tokio::select! {
        result = server.run(stop) => result?,
        () = too_long => tracing::warn!("the bus did not let go in time"),
    }
    out.tell(&Event::Stopped { server: server_id });
    Ok(())
}

/// Says when the bus is gone and when it is back: without it a server can only wait.
async fn tell_connection(mut connection: watch::Receiver<ConnectionState>) {
    while connection.changed().await.is_ok() {
        match *connection.borrow_and_update() {
            ConnectionState::Reconnecting => {
                eprintln!("the connection to the bus is lost; trying again")
            }
            ConnectionState::Connected => eprintln!("connected to the bus again"),
            _ => return,
        }
    }
}

async fn tell_status(
    handle: &Handle<CommandList>,
    carried: &Carried,
    sifted: &Sifted,
    out: Output,
) {
    // If the server has stopped, its end says why.
    if let Ok(mut status) = handle.inspect(status).await {
        status.undecodable = sifted.undecodable();
        status.own = sifted.own();
        status.too_large = carried.too_large();
        out.tell(&Event::Status(Box::new(status)));
    }
}

fn status(server: &Server, machine: &CommandList) -> ServerStatus {
    let refusals = server.refusals().iter();
    ServerStatus {
        server: server.id().0,
        role: server.role().name().to_owned(),
        term: server.current_term().0,
        leader: server.leader_hint().map(|leader| leader.0),
        commit_index: server.commit_index().0,
        last_applied: server.last_applied().0,
        log: server.log().iter().map(log_entry).collect(),
        state: machine.commands().iter().map(|(_, command)| short(command)).collect(),
        refusals: refusals.map(|(&reason, &count)| (reason.to_owned(), count)).collect(),
        undecodable: 0,
        own: 0,
        too_large: 0,
    }
}

pub(super) fn log_entry(entry: &Entry) -> LogEntry {
    let told = |command: &[u8]| match codec::decode_value::<String>(command) {
        Ok(command) => short(&command),
        Err(_) => format!("({} bytes)", command.len()),
    };
    let (asked_by, command) = match &entry.payload {
        Payload::Noop => (None, None),
        Payload::Command(request) => {
            (Some((request.client_id, request.sequence_number)), Some(told(&request.command)))
        }
        Payload::Proposal(command) => (None, Some(told(command))),
        &Payload::RegisterClient { client_id, registration, .. } => {
            (None, Some(format!("register {client_id}{registration}")))
        }
        Payload::Configuration(configuration) => (None, Some(configuration.to_string())),
    };
    LogEntry {
        index: entry.index.0,
        term: entry.term.0,
        client: asked_by.map(|(client, _)| client.0),
        sequence: asked_by.map(|(_, sequence)| sequence.0),
        command,
    }
}

/// Tells what happens to the server.
struct TellingHost {
    server_id: ServerId,
    voters: Vec<ServerId>,
    out: Output,
}

impl ServerManager for TellingHost {
    fn server_id(&self) -> ServerId {
        self.server_id
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        self.voters.iter().copied().filter(|&voter| voter != self.server_id).collect()
    }

    fn notify_role_change(&mut self, change: RoleChange) {
        self.out.tell(&Event::role(change));
    }

    fn notify_commit(&mut self, entry: &Entry) {
        let entry = log_entry(entry);
        self.out.tell(&Event::Commit { server: self.server_id.0, entry });
    }
}

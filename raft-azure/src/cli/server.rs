//! `raft-azure server`: one server in this process.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use raft_azure::cluster_manager::Carried;
use raft_azure::event::{Event, LogEntry, Output, ServerStatus, short};
use raft_azure::kv::KvStore;
use raft_azure::message_receiver::Sifted;
use raft_azure::{ConnectionState, RecoveredServer, ServerOptions};
use raft_core::driver::Handle;
use raft_core::{
    CommandList, Config, Entry, Payload, ReadMode, RoleChange, Server, ServerId, ServerManager,
};
use serde_json::Value;
use tokio::sync::watch;

use super::folder::{FolderArgs, warn_not_noted};
use super::machine::{MachineKind, Spoken};
use super::{BusArgs, Control, Failure, TimingArgs};

/// A server whose parent died must end within five seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-azure server --topic-name rafttopic --cluster-size 3 --server-id 1
  raft-azure server --cluster-size 3 --server-id 1 --state-machine kv --snapshot-entries 10000")]
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
    /// What the committed commands do.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = MachineKind::List)]
    state_machine: MachineKind,
    /// Take a snapshot whenever so many entries were applied since the last one, and shorten the log;
    /// a quarter as many stay behind it. [default: the log is kept whole]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_entries: Option<u64>,
    /// Serve reads by the clock as long as the lease holds. All servers of a cluster must agree on it.
    #[arg(long)]
    lease_reads: bool,
    /// Run with a planted bug, for those who want to see it found.
    #[cfg(feature = "defects")]
    #[arg(long, value_name = "NAME")]
    defect: Option<raft_core::Defect>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Started by a parent: stop at the end of standard input, and answer the lines `status` and
    /// `query {"id":1,"key":"k","mode":"read-index"}` there; the other mode is `lease`.
    #[arg(long, hide = true)]
    supervised: bool,
}

impl ServerArgs {
    /// The server that is asked for, which may make no sense yet.
    fn config(&self, is_emulator: bool) -> Config {
        let cluster_id = self.bus.cluster_id();
        let mut config =
            self.timing.config(self.server_id, self.cluster_size, cluster_id, is_emulator);
        config.start = self.folder.start();
        config.lease_reads = self.lease_reads;
        config.snapshot_entries = self.snapshot_entries;
        if let Some(entries) = self.snapshot_entries {
            config.snapshot_keep_entries = entries / 4;
        }
        #[cfg(feature = "defects")]
        {
            config.defect = self.defect;
        }
        config
    }
}

pub(super) async fn run(args: ServerArgs) -> Result<(), Failure> {
    match args.state_machine {
        MachineKind::List => serve(args, CommandList::new()).await,
        MachineKind::Kv => serve(args, KvStore::new()).await,
    }
}

async fn serve<M: Spoken>(args: ServerArgs, machine: M) -> Result<(), Failure> {
    let server_id = args.server_id;
    args.folder.check(server_id, args.cluster_size)?;
    let connection_string = args.bus.required_connection_string()?;
    let config = args.config(connection_string.is_emulator());
    config.validate().map_err(|error| Failure::Usage(error.into()))?;
    let ServerArgs { bus, data_dir, folder, json, supervised, .. } = args;
    let default_dir = || format!("raft-data/{}/server-{server_id}", bus.topic_name).into();
    let options = ServerOptions {
        connection_string,
        topic: bus.topic_name.clone(),
        config: config.clone(),
        data_dir: data_dir.unwrap_or_else(default_dir),
        disk_quota: folder.disk_quota,
    };
    let out = Output::new(json);
    let (server_id, voters) = (config.server_id, config.voters);
    let host = TellingHost { server_id, voters, describe: M::describe, out };
    let mut control = Control::watch(supervised);
    let joining = async {
        let recovered = RecoveredServer::open(options).await?;
        out.tell(&Event::recovered(server_id, recovered.report()));
        recovered.join(machine, host).await
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
    out.tell(&Event::Joined { server: server_id.0 });

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
            match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
                ("status", "") => tell_status(&handle, &carried, &sifted, out).await,
                // A task of its own: while nobody leads an answer takes its time.
                ("query", asked) => {
                    let (handle, asked) = (handle.clone(), asked.to_owned());
                    tokio::spawn(async move {
                        out.tell(&answer(&handle, server_id, &asked).await);
                    });
                }
                _ => {}
            }
        }
    });
    tokio::select! {
        result = server.run(stop) => result?,
        () = too_long => tracing::warn!("the bus did not let go in time"),
    }
    out.tell(&Event::Stopped { server: server_id.0 });
    Ok(())
}

/// Asks the state machine what a line asks.
async fn answer<M: Spoken>(handle: &Handle<M>, server_id: ServerId, asked: &str) -> Event {
    let asked: Value = serde_json::from_str(asked).unwrap_or_default();
    let id = asked["id"].as_u64().unwrap_or_default();
    let read = async {
        let mode = match asked["mode"].as_str() {
            None | Some("read-index") => ReadMode::ReadIndex,
            Some("lease") => ReadMode::Lease,
            Some(mode) => return Err(format!("there is no read mode {mode:?}")),
        };
        let question = M::question(&asked)?;
        let answer = handle.query(question, mode).await.map_err(|error| error.to_string())?;
        Ok(M::answer(answer))
    };
    let (value, as_of, error) = match read.await {
        Ok((value, as_of)) => (Some(value), as_of, None),
        Err(error) => (None, None, Some(error)),
    };
    Event::Query { server: server_id.0, id, value, as_of, error }
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

async fn tell_status<M: Spoken>(
    handle: &Handle<M>,
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

fn status<M: Spoken>(server: &Server, machine: &M) -> ServerStatus {
    let refusals = server.refusals().iter();
    ServerStatus {
        server: server.id().0,
        role: server.role().name().to_owned(),
        term: server.current_term().0,
        leader: server.leader_hint().map(|leader| leader.0),
        commit_index: server.commit_index().0,
        last_applied: server.last_applied().0,
        log: server.log().iter().map(|entry| log_entry(entry, M::describe)).collect(),
        state: machine.lines(),
        refusals: refusals.map(|(&reason, &count)| (reason.to_owned(), count)).collect(),
        undecodable: 0,
        own: 0,
        too_large: 0,
    }
}

pub(super) fn log_entry(entry: &Entry, describe: Describe) -> LogEntry {
    let told = |command: &[u8]| match describe(command) {
        Some(command) => short(&command),
        None => format!("({} bytes)", command.len()),
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

/// Puts an encoded command into words, if it is one.
pub(super) type Describe = fn(&[u8]) -> Option<String>;

/// Tells what happens to the server.
struct TellingHost {
    server_id: ServerId,
    voters: Vec<ServerId>,
    describe: Describe,
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
        let entry = log_entry(entry, self.describe);
        self.out.tell(&Event::Commit { server: self.server_id.0, entry });
    }
}

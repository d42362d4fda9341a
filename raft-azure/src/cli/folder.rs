//! What a server is told about the folder it starts on.

use clap::{Args, ValueEnum};
use raft_azure::started::MarkerError;
use raft_core::Start;

use super::{Failure, one_line};

#[derive(Debug, Args)]
pub(super) struct FolderArgs {
    /// Whether the server may find no log, and what it is then. [default: a server that never ran
    /// founds the cluster; one that has run here and whose log is gone is refused]
    #[arg(long, value_name = "HOW", value_enum)]
    start: Option<StartKind>,
    /// Stop, with nothing lost, when the server's files have grown by so many bytes since it started.
    /// A guard for a disk that others share: what the server removes is not given back.
    #[arg(long, value_name = "BYTES")]
    pub(super) disk_quota: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StartKind {
    /// Found a cluster: refused if there is a log
    #[value(alias = "initial")]
    Found,
    /// Join a cluster that runs, under an id that nobody had before; it belongs to it once a change of
    /// its members is committed
    Join,
    /// Go on after an earlier run: refused if there is no log
    Rejoin,
}

impl FolderArgs {
    /// What the core calls it.
    pub(super) fn start(&self) -> Start {
        match self.start {
            None => Start::Any,
            Some(StartKind::Found) => Start::Found,
            Some(StartKind::Join) => Start::Join,
            Some(StartKind::Rejoin) => Start::Rejoin,
        }
    }

    /// Refuses an id that the cluster did not begin with, unless it joined later.
    pub(super) fn check(&self, server_id: u64, cluster_size: u64) -> Result<(), Failure> {
        match self.start {
            Some(StartKind::Join | StartKind::Rejoin) => Ok(()),
            _ if server_id <= cluster_size => Ok(()),
            None | Some(StartKind::Found) => Err(Failure::Usage(anyhow::anyhow!(
                "there is no server {server_id} in a cluster of {cluster_size}; one that joins it \
                 later is started with --start join"
            ))),
        }
    }
}

/// Says that a server goes on without a guard.
pub(super) fn warn_not_noted(error: &MarkerError) {
    eprintln!(
        "warning: {}; if the log of this server is lost, nobody will notice, so never start it again \
         on an empty folder",
        one_line(error)
    );
}

//! The Raft consensus algorithm as a pure state machine.
//!
//! Three nouns carry the crate:
//! - [`Server`] is one Raft server as a function: [`Server::step`] takes the time and an [`Input`], and
//!   appends what it wants done to a buffer of [`Effects`]. No clock, socket, disk, thread or dice
//!   inside.
//! - [`StateMachine`] is your application: what a committed command does.
//! - The driver runs a server on tokio: it owns the clock, the [`Storage`], the way to the
//!   other servers ([`ClusterManager`]), and calls the host ([`ServerManager`]).
//!
//! A cluster of three in one thread, without any of the driver:
//!
//! ```
//! use std::collections::VecDeque;
//! use raft_core::*;
//!
//! let ids = [1, 2, 3].map(ServerId);
//! let mut servers = ids.map(|id| Server::new(Config::new(id, ids), Recovered::default()).unwrap());
//! let mut effects = Effects::new();
//! let mut network = VecDeque::new();
//! let mut applied = Vec::new();
//!
//! let mut inputs: VecDeque<_> = (0..3).map(|place| (place, Input::NotifyJoinedService)).collect();
//! inputs.push_back((0, Input::TimerElapsed));
//! for round in 0.. {
//!     let Some((place, input)) = inputs.pop_front() else { break };
//!     // Time stands still, except that the first server's patience ends at once.
//!     let now = if round == 3 { servers[0].next_timeout().unwrap() } else { Timestamp::ZERO };
//!     servers[place].step(now, input, &mut effects)?;
//!     for effect in effects.drain() {
//!         match effect {
//!             Effect::Save(save) => inputs.push_back((place, Input::Saved(save.number))),
//!             Effect::Send(envelope) => network.push_back(envelope),
//!             Effect::Apply(apply) => {
//!                 let responses = apply.requests().map(|_| bytes::Bytes::new()).collect();
//!                 applied.extend(apply.commands().cloned());
//!                 inputs.push_back((place, Input::Applied { through: apply.through, responses }));
//!             }
//!             Effect::NotifyElectedLeader { .. } => {
//!                 let from = Address::Client(ClientId(7));
//!                 let (client_id, number) = (ClientId(7), SequenceNumber(1));
//!                 let request = ClientRequest::new(client_id, number, "hello".into());
//!                 let message = Message::ClientRequest(request);
//!                 let (cluster_id, to) = (ClusterId::default(), ids[place].into());
//!                 network.push_back(Envelope { cluster_id, from, to, message });
//!             }
//!             _ => {}
//!         }
//!     }
//!     for envelope in network.drain(..) {
//!         let is_meant = |&place: &usize| match envelope.to {
//!             Address::Server(id) => ids[place] == id,
//!             Address::AllServers => envelope.from != Address::Server(ids[place]),
//!             Address::Client(_) => false,
//!         };
//!         inputs.extend((0..3).filter(is_meant).map(|p| (p, Input::Message(envelope.clone()))));
//!     }
//! }
//! assert!(servers[0].role().is_leader());
//! assert_eq!(applied.len(), 1, "the leader has applied; the others learn of it with the heartbeat");
//! # Ok::<(), StepError>(())
//! ```
//!
//! Sources: [Raft] is "In Search of an Understandable Consensus Algorithm (Extended Version)" by Diego
//! Ongaro and John Ousterhout; the [dissertation] is Ongaro's "Consensus: Bridging Theory and Practice".
//!
//! [Raft]: https://raft.github.io/raft.pdf
//! [dissertation]: https://github.com/ongardie/dissertation
#![forbid(unsafe_code)]

mod client;
mod cluster_manager;
pub mod codec;
mod config;
#[cfg(feature = "defects")]
mod defect;
#[cfg(feature = "driver")]
pub mod driver;
mod durability;
mod effect;
mod election;
mod entries;
mod error;
#[cfg(feature = "file-storage")]
mod file_header;
#[cfg(feature = "file-storage")]
mod file_storage;
#[cfg(feature = "file-storage")]
mod file_system;
mod followers;
mod input;
mod invariant;
mod log;
mod membership;
mod message;
#[cfg(feature = "metrics")]
mod metrics;
mod progress;
mod quorum;
mod read;
pub mod recovery;
mod replication;
mod request;
mod rng;
mod role;
mod server;
mod server_manager;
mod session;
mod snapshot;
mod state_hash;
mod state_machine;
mod status;
mod storage;
mod transfer;
mod types;

pub use client::{Client, ClientConfig, ClientError, ClientEvent};
pub use cluster_manager::ClusterManager;
pub use config::{Config, ConfigError, Start};
#[cfg(feature = "defects")]
pub use defect::{Defect, UnknownDefect};
pub use effect::{Apply, Effect, Effects, Save};
pub use entries::Entries;
pub use error::{NewServerError, Refusals, StepError};
#[cfg(feature = "file-storage")]
pub use file_storage::{
    Damage, FileStorage, FolderReport, FolderState, RecoveryReport, SegmentReport, SnapshotReport,
    StoredServer, TailReport, TornTail, inspect_folder, read_folder,
};
#[cfg(feature = "file-storage")]
pub use file_system::{FileSystem, RealFile, RealFileSystem, StoredFile};
pub use followers::Followers;
pub use input::Input;
pub use log::{Entry, Log, Payload};
pub use membership::{Configuration, MembershipChange, MembershipError};
pub use message::{
    Address, AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientRequest,
    ClientResponse, ClientResult, ConflictHint, Envelope, InstallSnapshotRequest,
    InstallSnapshotResponse, Message, ReadIndexRequest, ReadIndexResponse, RegisterClient,
    TimeoutNow, VoteRequest, VoteResponse,
};
pub use progress::{Progress, ProgressState, Transfer};
pub use quorum::Quorum;
pub use read::{ReadFailure, ReadMode};
pub use role::{Candidate, Follower, Leader, LeadershipTransfer, PreCandidate, Role};
pub use server::Server;
pub use server_manager::{RoleChange, ServerManager};
pub use snapshot::{Snapshot, SnapshotError, SnapshotId};
pub use state_machine::{
    CommandList, CommandOutcome, RestoreError, StateMachine, UnreadableCommand, apply_encoded,
    decode_outcome,
};
pub use status::Status;
pub use storage::{HardState, MemoryStorage, Recovered, Storage, StorageError};
pub use types::{
    ClientId, ClusterId, Index, LogId, ReadId, Round, SaveNumber, SequenceNumber, ServerId,
    SessionId, Term, Timestamp,
};

/// The examples of the README are compiled like those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeExamples;

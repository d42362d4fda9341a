//! Controlled nondeterminism: explores what a cluster of Raft servers can do, finds what it must not
//! do, and replays it.
//!
//! Three nouns carry the crate:
//! - A [`Scenario`] is what is explored: real [`raft_core::Server`]s and clients, and what may go wrong.
//! - A [`Strategy`] answers every question that may be answered differently next time: which message
//!   arrives, is lost or comes twice, which timer fires, who crashes. Nothing else chooses.
//! - A [`Schedule`] is one run's answers as text, which replays exactly.
//!
//! [`Explorer`] ties them together, and every run is watched by [`Monitor`]s:
//!
//! ```
//! use raft_nondeterminism::{Explorer, Goal, Scenario};
//!
//! let report = Explorer::new(Scenario::sample_with_failure()).seed(1).iterations(200).run()?;
//! report.check().expect("no property is broken, and every fault really happened");
//! assert!(report.goals().count(Goal::RequestAnswered) > 0);
//! # Ok::<(), raft_nondeterminism::ExploreError>(())
//! ```
#![forbid(unsafe_code)]

mod disk;
mod engine;
mod event;
mod explorer;
mod fault;
mod fingerprint;
mod goal;
pub mod history;
pub mod linearizability;
mod machine;
mod monitor;
mod network;
mod operation;
mod oracle;
mod panic;
pub mod picture;
mod plan;
mod report;
mod rng;
mod scenario;
mod schedule;
mod shrink;
mod strategy;
pub mod trace;
mod watch;
mod world;

pub use disk::{DiskFault, DiskFaultCounts, SimulatedDisk, SimulatedFile};
pub use event::{EnabledView, EventClass, Pick};
pub use explorer::{ExploreError, Explorer, Recording, ReplayError};
pub use fault::{Fault, FaultCounts, FaultPlan};
pub use fingerprint::Fingerprint;
pub use goal::{Goal, GoalCounts};
pub use monitor::{
    CommittedPrefix, ConfigurationSafety, DurableMajority, ElectionSafety, ExactlyOnce, Fact,
    LeaderCompleteness, LinearizableReads, Monitor, StateMachineSafety, Violation,
};
pub use operation::{Operation, OperationCounts, OperationPlan};
pub use plan::{Counts, Kind, Plan, UnknownKind};
pub use report::{Bug, Failure, Report};
pub use rng::Rng;
pub use scenario::{Clocks, Protocol, SaveMode, Scenario, ScenarioError};
pub use schedule::{Line, Schedule, ScheduleError};
pub use strategy::{NotReproducible, Random, Strategy, Weighted};

/// The examples of the README are compiled like those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeExamples;

//! Controlled nondeterminism: explores what a message-passing system can do, finds what it must not do,
//! and replays it. Clusters of Raft servers are ready to be explored; for anything else, write a
//! [`node::Node`]. [`systematic_test!`] does it in `cargo test`.
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

#[cfg(any(test, feature = "proptest"))]
pub mod any;
pub mod coverage;
mod coverage_map;
mod engine;
mod event;
mod exhaustive;
mod explorer;
mod fault;
mod fingerprint;
pub mod history;
pub mod linearizability;
mod links;
mod model;
mod network;
pub mod node;
mod operation;
mod oracle;
mod panic;
pub mod picture;
mod plan;
mod raft;
mod recording;
mod repeat;
pub mod report;
mod rng;
mod schedule;
mod shared;
mod shrink;
mod sleep;
mod strategy;
pub mod testing;
pub mod trace;
mod violation;
mod watch;
mod workers;
mod written;

pub use event::{EnabledView, EventClass, Names, Pick};
pub use exhaustive::{Exhausted, Exhaustive, ExhaustiveError};
pub use explorer::{ExploreError, Explorer};
pub use fault::{Fault, FaultCounts, FaultPlan};
pub use fingerprint::{Fingerprint, StateHasher};
pub use model::{Model, ModelError, StartError, World};
pub use network::Delivery;
pub use operation::{Operation, OperationCounts, OperationPlan};
pub use oracle::{Choice, Oracle};
pub use plan::{Counts, Kind, Plan, UnknownKind};
pub use raft::disk::{DiskFault, DiskFaultCounts, SimulatedDisk, SimulatedFile};
pub use raft::goal::Goal;
pub use raft::monitor::{
    CommittedPrefix, ConfigurationSafety, DurableMajority, ElectionSafety, ExactlyOnce, Fact,
    LeaderCompleteness, LinearizableReads, Monitor, MonitorFork, StateMachineSafety,
};
pub use raft::scenario::{Clocks, Protocol, SaveMode, Scenario, ScenarioError};
pub use raft::{Cluster, Raft};
pub use recording::{Recording, ReplayError};
pub use repeat::Parting;
pub use report::{Bug, Failure, GoalCounts, MemberCounts, Report};
pub use rng::Rng;
pub use schedule::{Line, Remains, Schedule, ScheduleError, Setting, SettingReader};
pub use sleep::{Action, Publicity};
pub use strategy::{
    CoverageGuided, DelayBounding, FairSuffix, Lesson, MaxSteps, NotReproducible,
    PartialOrderSampling, Portfolio, Prioritization, Probabilistic, QLearning, Random, Step,
    Strategy, StrategyFork, StrategyInfo, Swarm, UniformWalk, UnknownStrategy, Weighted,
    strategies, strategy,
};
pub use violation::Violation;
pub use watch::Watch;

/// The examples of the README are compiled like those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeExamples;

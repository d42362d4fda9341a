//! An in-memory bus, mocks, and a Service Bus emulator on loopback: tests without Docker.
//!
//! The very server that runs in production, on a bus in memory and on paused time:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), raft_mocking::ScenarioError> {
//! use raft_mocking::Scenario;
//!
//! let scenario = Scenario::new().servers(5).requests(2).kill_leader_after(1).seed(7);
//! let outcome = scenario.run().await?;
//! assert_eq!((outcome.answered(), outcome.verdict), (2, Ok(())));
//! # Ok(())
//! # }
//! ```
//!
//! - [`Scenario`]: servers, a client, some requests, faults, and a verdict.
//! - [`MockServerHost`], [`MockClient`], [`MockClusterManager`]: the parts of it, for scenarios of
//!   your own, and for your own state machine.
//! - [`SafetyMonitor`]: watches a cluster from outside, this one or another.
//! - `mocks` (feature `mocks`): mockall mocks of the edge traits.
//! - [`broker`]: the bus as a pure model with an injected clock.
//! - [`bus`]: its async face, for tests and in-process drivers.
//! - `emulator` (feature `emulator`): the same broker over AMQP 1.0 and the Atom management API.

pub mod broker;
pub mod bus;
mod client;
mod cluster_manager;
mod dice;
#[cfg(feature = "emulator")]
pub mod emulator;
#[cfg(feature = "mocks")]
pub mod mocks;
mod safety_monitor;
mod scenario;
mod server_host;
mod transcript;

pub use client::MockClient;
pub use cluster_manager::{
    Arrivals, Inbox, MockClusterManager, TIME_TO_LIVE, TOPIC, Traffic, VoteRequestsTwice,
};
pub use safety_monitor::{Life, SafetyMonitor, Seen, Violation};
pub use scenario::{Outcome, Scenario, ScenarioError};
pub use server_host::{
    HostError, MockServerHost, MockServerManager, Monitored, Outbound, SharedStorage,
};
pub use transcript::Transcript;

/// The examples of the README are compiled and run like those of the documentation.
#[cfg(all(doctest, feature = "emulator"))]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeExamples;

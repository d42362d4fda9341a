//! Raft over an Azure Service Bus topic: [`AzureServer`] is one server, [`AzureClient`] one client,
//! [`provision`](provision::provision) makes what both need on the bus.
//!
//! Below them stand a [`Bus`] that comes back by itself, and a [`transport`] that names no AMQP library.
//! The README, whose example is compiled with the tests, says how to run all this.
//!
//! The lower half, from a connection string to bytes on a topic:
//!
//! ```
//! use raft_azure::provision::{ProvisionOptions, provision, server_address};
//! use raft_azure::{Admin, AdminOptions, AmqpBus, AmqpOptions, BusMessage, ConnectionString};
//! # use raft_mocking::emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let emulator = Emulator::start().await?;
//! # let text = emulator.connection_string();
//! let connection_string: ConnectionString = text.parse()?;
//!
//! // Once, with the Manage right: the topic, and a subscription with its rules for each server.
//! let admin = Admin::new(connection_string.clone(), AdminOptions::default())?;
//! let me = server_address(1);
//! provision(&admin, "rafttopic", &[me.clone()], &[], &ProvisionOptions::default()).await?;
//!
//! // From then on, with Send and Listen.
//! let options = AmqpOptions { entity: Some("rafttopic".into()), ..AmqpOptions::default() };
//! let bus = AmqpBus::connect(connection_string, options).await?;
//! let mut subscriber = bus.subscriber("rafttopic", &me);
//! let message = BusMessage { to: Some(me), body: "hello".into(), ..BusMessage::default() };
//! bus.publisher("rafttopic").publish(message)?;
//! assert_eq!(subscriber.receive().await?.body(), "hello");
//! bus.close().await;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod amqp;
mod backoff;
pub mod bus;
pub mod client;
pub mod cluster_manager;
pub mod connection_string;
mod counters;
pub mod event;
pub mod kv;
#[cfg(feature = "defects")]
pub mod late_storage;
pub mod message;
pub mod message_receiver;
pub mod process;
pub mod provision;
pub mod publisher;
mod sas;
pub mod server;
pub mod started;
pub mod subscriber;
mod supervisor;
mod tls;
pub mod transport;

pub use admin::{Admin, AdminError, AdminOptions};
pub use amqp::{AmqpBus, AmqpOptions};
pub use bus::{Bus, BusOptions, ConnectionState, WhenFull};
pub use client::AzureClient;
pub use cluster_manager::AzureClusterManager;
pub use connection_string::{ConnectionString, ConnectionStringError};
pub use counters::Counters;
pub use message_receiver::MessageReceiver;
pub use provision::{ProvisionError, ProvisionOptions, Provisioned, provision};
pub use publisher::{PublishError, Publisher};
pub use server::{AzureServer, RecoveredServer, ServerError, ServerOptions};
pub use subscriber::Subscriber;
pub use tls::TrustedRoots;
pub use transport::{BusMessage, PropertyValue, ReceivedMessage, TransportError};

/// The examples of the README are compiled like those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeExamples;

//! Raft over an Azure Service Bus topic.

pub mod admin;
pub mod amqp;
mod backoff;
pub mod bus;
pub mod client;
pub mod cluster_manager;
pub mod connection_string;
mod counters;
pub mod event;
pub mod message;
pub mod message_receiver;
pub mod process;
pub mod provision;
pub mod publisher;
mod sas;
pub mod server;
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
pub use server::{AzureServer, ServerError, ServerOptions};
pub use subscriber::Subscriber;
pub use tls::TrustedRoots;
pub use transport::{BusMessage, PropertyValue, ReceivedMessage, TransportError};

//! Raft over an Azure Service Bus topic.

pub mod admin;
pub mod amqp;
mod backoff;
pub mod bus;
pub mod connection_string;
mod counters;
pub mod provision;
pub mod publisher;
mod sas;
pub mod subscriber;
mod supervisor;
mod tls;
pub mod transport;

pub use admin::{Admin, AdminError, AdminOptions};
pub use amqp::{AmqpBus, AmqpOptions};
pub use bus::{Bus, BusOptions, ConnectionState, WhenFull};
pub use connection_string::{ConnectionString, ConnectionStringError};
pub use counters::Counters;
pub use provision::{ProvisionError, ProvisionOptions, Provisioned, provision};
pub use publisher::{PublishError, Publisher};
pub use subscriber::Subscriber;
pub use tls::TrustedRoots;
pub use transport::{BusMessage, PropertyValue, ReceivedMessage, TransportError};

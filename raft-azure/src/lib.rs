//! Raft over an Azure Service Bus topic.

pub mod connection_string;
mod sas;

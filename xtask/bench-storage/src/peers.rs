//! The other stores, each set up as its documentation asks for a log that must be durable.
//!
//! RocksDB is not among them: its C++ takes the better part of an hour to compile, and `raft-engine`, which
//! is among them, was made to replace it for logs of this kind.

pub mod fjall;
pub mod raft_engine;
pub mod raft_log;
pub mod redb;

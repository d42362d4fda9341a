//! The other consensus libraries, each set up as its documentation asks.

pub mod noraft;
pub mod omnipaxos;
pub mod openraft;
pub mod raft_rs;

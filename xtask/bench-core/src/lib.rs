//! Measures `raft-core` beside its peers: the same work for each, one measure per run of the program.
//!
//! Guarantees: every engine proposes, replicates, commits and applies every command on every server;
//!             number and checksum of what was applied are asserted, or there is no figure.
//! Relies on:  `cargo xtask bench core`, which repeats, interleaves and compares, and alone knows the
//!             goals.
//! Elsewhere:  what touches `raft-core` is in [`ours`], [`ours_codec`] and [`ours_driver`].

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod codec;
pub mod counting;
pub mod driver;
pub mod floor;
pub mod measure;
pub mod network;
pub mod ours;
pub mod ours_codec;
pub mod ours_driver;
#[cfg(feature = "peers")]
pub mod peers;

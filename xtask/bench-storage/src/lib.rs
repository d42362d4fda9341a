//! Measures the file storage of `raft-core` beside other log stores: the same entries for each, one measure
//! of one store per run of the program.
//!
//! Guarantees: what was appended is durable when its time is taken; number and sum of what was read
//!             back are asserted, or there is no figure.
//! Relies on:  `cargo xtask bench storage`, which repeats, interleaves and compares, and alone knows the
//!             goals; `bench-core`, which brings the clocks, the counts and the cluster on tokio.
//! Elsewhere:  what touches `raft-core` is in [`ours`], [`proposers`] and [`syncs`].

pub mod append;
pub mod cli;
pub mod floor;
pub mod ours;
#[cfg(feature = "peers")]
pub mod peers;
pub mod place;
pub mod proposers;
pub mod recover;
pub mod store;
pub mod syncs;

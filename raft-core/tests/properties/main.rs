//! Properties, each against a naive twin or an observer that knows everything. A shrunk failure
//! becomes a named test.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "../support/bench.rs"]
mod bench;
#[path = "../support/cluster.rs"]
mod cluster;

use proptest::prelude::ProptestConfig;

mod any;
mod client;
mod codec;
mod elections;
mod leases;
mod log;
mod quorum;
mod server;
mod simulation;
mod snapshots;
mod storage;

/// This many cases, or as many as `PROPTEST_CASES` asks for; and no file with seeds: what a failure
/// shrinks to is printed, and becomes a test.
fn cases(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(cases);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

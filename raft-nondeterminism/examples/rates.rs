//! How fast the tester is, and how often each strategy finds the planted bug. Run it in release:
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example rates
//! ```
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::time::Instant;

use raft_core::Defect;
use raft_nondeterminism::{Explorer, Report, Scenario, strategies, strategy};

/// Runs of 200 events.
const RUNS: u64 = 5_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:24} {:>12} {:>12} {:>12}", "scenario, weighted", "events/s", "states", "paths");
    for scenario in Scenario::all() {
        let name = scenario.name().to_owned();
        let (report, speed) = measure(scenario, "weighted", None)?;
        let (states, paths) = (report.unique_states(), report.unique_paths());
        println!("{name:24} {speed:12.0} {states:12} {paths:12}");
    }
    println!();
    println!("{:24} {:>12} {:>12} {:>12}", "strategy", "events/s", "states", "buggy runs");
    for info in strategies() {
        let planted = Some(Defect::VoteCountedTwice);
        let (report, speed) = measure(Scenario::sample_with_failure(), info.name(), planted)?;
        let (states, buggy) = (report.unique_states(), report.buggy_iterations());
        println!("{:24} {speed:12.0} {states:12} {buggy:12}", info.name());
    }
    Ok(())
}

fn measure(
    scenario: Scenario,
    name: &str,
    defect: Option<Defect>,
) -> Result<(Report, f64), Box<dyn std::error::Error>> {
    let explorer = Explorer::new(scenario).boxed_strategy(strategy(name, None)?).defect(defect);
    let start = Instant::now();
    let report = explorer.iterations(RUNS).count_bugs().run()?;
    let speed = report.steps() as f64 / start.elapsed().as_secs_f64();
    Ok((report, speed))
}

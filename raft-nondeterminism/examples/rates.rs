//! How fast the tester is, and how often it finds the planted bug. Run it in release:
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example rates
//! ```
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::time::Instant;

use raft_core::Defect;
use raft_nondeterminism::{ExploreError, Explorer, Random, Scenario, Weighted};

fn main() -> Result<(), ExploreError> {
    let none = None::<Defect>;
    let planted = Some(Defect::VoteCountedTwice);
    for scenario in Scenario::all() {
        measure(Explorer::new(scenario.clone()).strategy(Weighted::new()), none)?;
        measure(Explorer::new(scenario.clone()).strategy(Weighted::new()), planted)?;
        measure(Explorer::new(scenario).strategy(Random::new()), planted)?;
    }
    Ok(())
}

fn measure(explorer: Explorer, defect: Option<Defect>) -> Result<(), ExploreError> {
    let start = Instant::now();
    let report = explorer.defect(defect).iterations(10_000).count_bugs().run()?;
    let seconds = start.elapsed().as_secs_f64();
    let speed = report.steps() as f64 / seconds;
    println!("{report}..... Defect: {defect:?}. {speed:.0} events/s\n");
    Ok(())
}

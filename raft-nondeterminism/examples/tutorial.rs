//! The README's example: finds the sample's bug, and prints the shortest run that shows it.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use raft_core::Defect;
use raft_nondeterminism::{Explorer, Scenario};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let report = Explorer::new(Scenario::sample_with_failure())
        .seed(3)
        .iterations(5_000)
        .max_steps(200)
        .defect(Defect::VoteCountedTwice)
        .run()?;
    println!("{report}");
    Ok(())
}

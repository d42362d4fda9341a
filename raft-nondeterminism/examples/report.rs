//! Finds the sample's bug, and writes everything there is to see of it into a folder.
#![expect(clippy::print_stdout, reason = "an example shows what it wrote")]

use std::path::PathBuf;

use raft_core::Defect;
use raft_nondeterminism::report::{write_bug, write_coverage};
use raft_nondeterminism::{Explorer, Scenario};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "report".to_owned()));
    let report = Explorer::new(Scenario::sample_with_failure())
        .seed(7)
        .iterations(5_000)
        .max_steps(200)
        .defect(Defect::VoteCountedTwice)
        .cover()
        .run()?;
    let bug = report.bug().ok_or("there is no bug")?;
    let mut files = write_bug(bug, &folder, "two-leaders")?;
    if let Some(coverage) = report.coverage() {
        files.extend(write_coverage(coverage, &folder, "two-leaders")?);
    }
    for file in files {
        println!("{}", file.display());
    }
    Ok(())
}

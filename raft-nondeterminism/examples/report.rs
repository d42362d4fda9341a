//! Finds the sample's bug, and writes everything there is to see of it into a folder.
#![expect(clippy::print_stdout, reason = "an example shows what it wrote")]

use raft_core::Defect;
use raft_nondeterminism::report::html;
use raft_nondeterminism::{Explorer, Scenario};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "report".to_owned());
    let report = Explorer::new(Scenario::sample_with_failure())
        .seed(7)
        .iterations(5_000)
        .max_steps(200)
        .defect(Defect::VoteCountedTwice)
        .run()?;
    let bug = report.bug().ok_or("there is no bug")?;
    std::fs::create_dir_all(&folder)?;
    let shrunk = bug.shrunk().trace_data();
    let full = bug.full().trace_data().matter_as_in(&shrunk);
    std::fs::write(format!("{folder}/full.html"), html(&full))?;
    std::fs::write(format!("{folder}/shrunk.html"), html(&shrunk.all_matter()))?;
    println!("{folder}");
    Ok(())
}

//! The explorer's short run: so many schedules of every scenario, each from the same seed.
//!
//! Prints what it found, and then exits with 2; `cargo xtask score` asks it to judge mutants.
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example short_run -- 2000
//! ```
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::process::ExitCode;

use raft_nondeterminism::{
    ExploreError, Explorer, Failure, Fault, FaultPlan, Goal, SaveMode, Scenario,
};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let schedules = std::env::args().nth(1).unwrap_or("2000".to_owned()).parse()?;
    for scenario in scenarios() {
        if let Some(found) = explore(scenario.clone(), schedules)? {
            println!("found {found} in {}", scenario.name());
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The scenarios with a name, and the last of them for every size: some faults need an even number
/// of servers, or more than three.
fn scenarios() -> Vec<Scenario> {
    let rough = FaultPlan::none()
        .allow(Fault::Drop, 10)
        .allow(Fault::Duplicate, 10)
        .allow(Fault::Crash, 8)
        .allow(Fault::LoseSaves, 8);
    let mut scenarios = Scenario::all();
    // Nobody asks for anything there.
    scenarios.retain(|scenario| scenario.name() != "small");
    for servers in 1..=5 {
        let name = format!("rough-{servers}");
        let scenario = Scenario::new(&name, servers).clients(2).requests(5);
        scenarios.push(scenario.saves(SaveMode::Delayed).faults(rough));
    }
    scenarios
}

/// What is wrong, if anything is.
fn explore(scenario: Scenario, schedules: u64) -> Result<Option<String>, ExploreError> {
    let report = Explorer::new(scenario).iterations(schedules).run()?;
    if let Err(failure) = report.check() {
        return Ok(Some(match failure {
            Failure::Bug(bug) => bug.violation().property.clone(),
            other => other.to_string(),
        }));
    }
    // Whoever answers nobody breaks no promise either.
    let is_reached = |goal| report.goals().count(goal) > 0;
    let missed =
        [Goal::LeaderElected, Goal::RequestAnswered].into_iter().find(|goal| !is_reached(*goal));
    Ok(missed.map(|goal| format!("no path to {goal}")))
}

//! How much can happen in small clusters: explores all of it.
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example exhausted -- [STATES]
//! ```
#![expect(clippy::print_stdout, reason = "an example is a program")]

use raft_nondeterminism::{Exhaustive, Fault, FaultPlan, Operation, OperationPlan, Raft, Scenario};

/// Servers, time-outs, duplicates, crashes, proposals.
const SCOPES: [(usize, u32, u32, u32, u32); 9] = [
    (3, 1, 0, 0, 0),
    (3, 1, 1, 1, 0),
    (3, 1, 1, 1, 1),
    (2, 2, 0, 0, 0),
    (2, 2, 1, 1, 0),
    (2, 3, 1, 1, 0),
    (3, 2, 0, 0, 0),
    (3, 2, 1, 0, 0),
    (3, 2, 1, 1, 0),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let states_max = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    for (servers, timeouts, duplicates, crashes, proposals) in SCOPES {
        let faults =
            FaultPlan::none().allow(Fault::Duplicate, duplicates).allow(Fault::Crash, crashes);
        let operations = OperationPlan::none().allow(Operation::Propose, proposals);
        let scenario = Scenario::small().servers(servers).timeouts_max(timeouts);
        let scenario = scenario.faults(faults).operations(operations);
        let search = Exhaustive::new(&Raft::new(scenario)).states_max(states_max).depth_first();
        let exhausted = search.run()?;
        println!(
            "{servers} servers, {timeouts} time-outs, {duplicates} duplicates, {crashes} crashes, \
             {proposals} proposals: {} states, {} events, {}, {:.0} states/s",
            exhausted.states(),
            exhausted.transitions(),
            match (exhausted.bug(), exhausted.is_complete()) {
                (Some(bug), _) => bug.violation().to_string(),
                (None, true) => "exhausted".to_owned(),
                (None, false) => "and more".to_owned(),
            },
            exhausted.states() as f64 / exhausted.elapsed().as_secs_f64(),
        );
    }
    Ok(())
}

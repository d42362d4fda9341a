//! How large small clusters are: explores everything that can happen in a few of them.
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example exhaustive -- [STATES]
//! ```
#![expect(clippy::print_stdout, reason = "an example is a program")]

use raft_nondeterminism::{Exhaustive, Fault, FaultPlan, Operation, OperationPlan, Raft, Scenario};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let states_max = std::env::args().nth(1).map_or(Ok(2_000_000), |text| text.parse())?;
    for (servers, timeouts, faults, proposals) in [
        (3, 1, 0, 0),
        (3, 2, 0, 0),
        (3, 2, 0, 1),
        (3, 2, 1, 0),
        (3, 2, 1, 1),
        (3, 3, 0, 1),
        (3, 3, 1, 1),
        (3, 4, 0, 0),
        (3, 4, 1, 1),
        (2, 4, 1, 1),
        (5, 2, 0, 0),
    ] {
        let plan = FaultPlan::none().allow(Fault::Duplicate, faults).allow(Fault::Crash, faults);
        let operations = OperationPlan::none().allow(Operation::Propose, proposals);
        let scenario = Scenario::small()
            .servers(servers)
            .timeouts_max(timeouts)
            .faults(plan)
            .operations(operations);
        let exhausted = Exhaustive::new(&Raft::new(scenario)).states_max(states_max).run()?;
        println!(
            "{servers} servers, {timeouts} timeouts, {faults} faults, {proposals} proposals: {} states, {} transitions, depth {}, complete {}, bug {:?}, {:.0} states/s",
            exhausted.states(),
            exhausted.transitions(),
            exhausted.depth(),
            exhausted.is_complete(),
            exhausted.bug().map(|b| b.violation().to_string()),
            exhausted.states() as f64 / exhausted.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

//! Explores a scenario for a long time, and prints what happened in it and the verdict.
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example soak -- [SCENARIO] [EVENTS] [SEED] [TIMEOUTS]
//! ```
//!
//! Without arguments: `everything`, ten million events, seed 0. `TIMEOUTS` is the weight of elections
//! and heartbeats: few let leaders do much, many change leaders all the time.
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::process::ExitCode;
use std::time::Instant;

use raft_nondeterminism::{DurableMajority, EventClass, Explorer, Scenario, Weighted};

/// Long enough for snapshots and changes of the cluster to come about.
const MAX_STEPS: usize = 1_000;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "everything".to_owned());
    let events: u64 = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let seed = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let timeouts = arguments.next().map(|text| text.parse()).transpose()?;
    let scenario = Scenario::all().into_iter().find(|scenario| scenario.name() == name);
    let scenario = scenario.ok_or_else(|| format!("there is no scenario {name:?}"))?;
    // Each weight has its own bugs; one after the other, unless one was asked for.
    let weights = timeouts.map_or_else(|| vec![2, 4, 8, 16], |weight| vec![weight]);
    let iterations = (events / weights.len() as u64).div_ceil(MAX_STEPS as u64);
    let mut is_fine = true;
    for weight in weights {
        let start = Instant::now();
        let report = Explorer::new(scenario.clone())
            .strategy(Weighted::new().weight(EventClass::Timeout, weight))
            .seed(seed)
            .iterations(iterations)
            .max_steps(MAX_STEPS)
            .monitor(DurableMajority)
            .run()?;
        let speed = report.steps() as f64 / start.elapsed().as_secs_f64();
        println!("{report}..... Weight of time-outs: {weight}. {speed:.0} events/s");
        match report.check() {
            Ok(()) => println!("..... Verdict: fine.\n"),
            Err(failure) => {
                is_fine = false;
                let first = failure.to_string();
                println!("..... Verdict: {}\n", first.lines().next().unwrap_or_default());
            }
        }
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

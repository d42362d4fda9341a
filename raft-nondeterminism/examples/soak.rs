//! Explores scenarios for a long time, in many shapes, and prints what happened and the verdict.
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example soak -- [SCENARIO] [EVENTS] [SEED]
//! ```
//!
//! Without arguments: `everything`, ten million events, seed 0. The shapes are the sizes of the cluster,
//! the protocol, the disks, how much goes wrong, and how often timers fire: few time-outs let leaders do
//! much, many change leaders all the time.
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::process::ExitCode;
use std::time::Instant;

use raft_nondeterminism::{
    DurableMajority, EventClass, ExploreError, Explorer, Fault, FaultPlan, Protocol, Report,
    SaveMode, Scenario, Weighted,
};

/// Long enough for snapshots and changes of the cluster to come about.
const MAX_STEPS: usize = 1_000;

/// What differs between the parts of a soak.
#[derive(Clone, Copy, Debug)]
struct Shape {
    servers: usize,
    protocol: Protocol,
    saves: SaveMode,
    is_rough: bool,
    timeouts: u32,
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "everything".to_owned());
    let events: u64 = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let seed = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let scenario = Scenario::all().into_iter().find(|scenario| scenario.name() == name);
    let scenario = scenario.ok_or_else(|| format!("there is no scenario {name:?}"))?;

    let is_on_files = name == "disk-faults";
    let saves = if is_on_files { &[SaveMode::Files][..] } else { &SaveMode::ALL[..2] };
    let shapes = shapes(saves);
    let iterations = (events / shapes.len() as u64).div_ceil(MAX_STEPS as u64);
    let (mut explored, mut broken, start) = (0, 0, Instant::now());
    for shape in shapes {
        let report = explore(&scenario, shape, seed, iterations)?;
        explored += report.steps();
        // A bug is a part of the report.
        broken += u64::from(report.bug().is_some());
        println!("{shape:?}\n{report}");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{name}, seed {seed}: {explored} events in {seconds:.0} s, {broken} shapes broken.");
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shapes(modes: &[SaveMode]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for servers in [3, 5, 2, 4, 1] {
        for protocol in [Protocol::Full, Protocol::Plain] {
            for &saves in modes {
                for (is_rough, timeouts) in [(false, 2), (false, 6), (true, 4), (true, 12)] {
                    shapes.push(Shape { servers, protocol, saves, is_rough, timeouts });
                }
            }
        }
    }
    shapes
}

fn explore(
    scenario: &Scenario,
    shape: Shape,
    seed: u64,
    iterations: u64,
) -> Result<Report, ExploreError> {
    let Shape { servers, protocol, saves, is_rough, timeouts } = shape;
    let often = if is_rough { 4 } else { 1 };
    // Where saves are immediate there is none to lose.
    let lost = if saves == SaveMode::Immediate { 0 } else { 3 };
    let failing = u32::from(saves == SaveMode::Files);
    let faults = FaultPlan::none()
        .allow(Fault::Drop, 5 * often)
        .allow(Fault::Duplicate, 5 * often)
        .allow(Fault::Crash, 3 * often)
        .allow(Fault::LoseSaves, lost * often)
        .allow(Fault::DiskError, 2 * often * failing)
        .allow(Fault::DiskStall, 2 * often * failing)
        .allow(Fault::Partition, often.min(u32::from(servers > 1) * often));
    let scenario = scenario.clone().servers(servers).protocol(protocol).saves(saves).faults(faults);
    Explorer::new(scenario)
        .strategy(Weighted::new().weight(EventClass::Timeout, timeouts))
        .seed(seed)
        .iterations(iterations)
        .max_steps(MAX_STEPS)
        .monitor(DurableMajority)
        .settle()
        .run()
}

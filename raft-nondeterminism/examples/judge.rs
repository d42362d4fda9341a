//! Judges the servers: does some strategy notice within its time that they are wrong?
//!
//! Explores every scenario in rounds that grow, first for safety and then, in every other round, for
//! progress too. Prints a line of JSON for each strategy, and exits with 2 if one found something;
//! `cargo xtask score` asks it to judge mutants.
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example judge -- --seconds 10 --strategies portfolio,pos
//! ```
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use raft_nondeterminism::{
    DurableMajority, Explorer, Failure, Fault, FaultPlan, Goal, Report, SaveMode, Scenario,
    strategy,
};
use serde_json::{Value, json};

/// How many schedules of each scenario the first round has.
const FIRST_ROUND: u64 = 40;
/// Rounds double so often.
const DOUBLINGS: u32 = 5;
/// Long enough for snapshots and changes of the cluster to come about.
const MAX_STEPS: usize = 300;
/// How many schedules tell how often a fault shows.
const SAMPLE: u64 = 1_000;

/// What is asked for.
struct Request {
    strategies: Vec<String>,
    seconds: f64,
    /// At least so many rounds, however long they take: then a clean verdict depends on no clock.
    rounds: u32,
}

fn main() -> Result<ExitCode> {
    let request = Request::parse(std::env::args().skip(1))?;
    let mut is_found = false;
    for name in &request.strategies {
        let judgement = judge(name, &request)?;
        is_found |= judgement["found"].as_str().is_some();
        println!("{judgement}");
        if let (Some(property), Some(scenario)) =
            (judgement["found"].as_str(), judgement["scenario"].as_str())
        {
            println!("found {property} in {scenario}");
        }
    }
    Ok(if is_found { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut this = Self { strategies: vec!["portfolio".to_owned()], seconds: 10.0, rounds: 2 };
        while let Some(option) = arguments.next() {
            let value = arguments.next().unwrap_or_default();
            match option.as_str() {
                "--strategies" => this.strategies = value.split(',').map(str::to_owned).collect(),
                "--seconds" => this.seconds = value.parse()?,
                "--rounds" => this.rounds = value.parse()?,
                _ => bail!("{option:?} is not --strategies NAMES, --seconds N or --rounds N"),
            }
        }
        Ok(this)
    }
}

/// The scenarios with a name, and one more for every size: some faults need an even number of servers, or
/// more than three.
fn scenarios() -> Vec<Scenario> {
    let rough = FaultPlan::none()
        .allow(Fault::Drop, 10)
        .allow(Fault::Duplicate, 10)
        .allow(Fault::Crash, 8)
        .allow(Fault::LoseSaves, 8);
    let mut scenarios = Scenario::all();
    // Nobody asks for anything there.
    scenarios.retain(|scenario| scenario.name() != "small");
    let scenario = Scenario::new("rough", 1).servers_between(1, 5).clients(2).requests(5);
    scenarios.push(scenario.saves(SaveMode::Delayed).faults(rough));
    scenarios
}

/// What a strategy finds in its time.
fn judge(name: &str, request: &Request) -> Result<Value> {
    let started = Started::now();
    let (mut iterations, mut steps) = (0, 0);
    for round in 0.. {
        let is_over = started.seconds() >= request.seconds && round >= request.rounds;
        if is_over {
            break;
        }
        let schedules = FIRST_ROUND << round.min(DOUBLINGS);
        for scenario in scenarios() {
            if started.seconds() >= request.seconds && round >= request.rounds {
                break;
            }
            let (seed, is_settling) = (u64::from(round), round % 2 == 1);
            let report =
                explorer(&scenario, name, is_settling)?.seed(seed).iterations(schedules).run()?;
            iterations += report.iterations();
            steps += report.steps();
            let Some(found) = wrong(&report, round) else { continue };
            let seconds = started.seconds();
            let sample = explorer(&scenario, name, is_settling)?.seed(seed).iterations(SAMPLE);
            let sample = match report.bug() {
                Some(_) => sample.count_bugs().without_shrinking().run()?,
                None => report.clone(),
            };
            return Ok(json!({
                "event": "judged",
                "strategy": name,
                "found": found,
                "scenario": scenario.name(),
                "message": report.bug().map(|bug| bug.violation().message.clone()),
                "iterations": iterations,
                "steps": steps,
                "seconds": seconds,
                "buggy_schedules": sample.buggy_iterations(),
                "of_schedules": sample.iterations(),
                "events": report.bug().map(|bug| bug.schedule().events()),
                "shrunk_events": report.bug().map(|bug| bug.shrunk().schedule().events()),
            }));
        }
    }
    let seconds = started.seconds();
    Ok(json!({
        "event": "judged",
        "strategy": name,
        "found": null,
        "iterations": iterations,
        "steps": steps,
        "seconds": seconds,
    }))
}

fn explorer(scenario: &Scenario, name: &str, is_settling: bool) -> Result<Explorer> {
    let explorer = Explorer::new(scenario.clone()).max_steps(MAX_STEPS).monitor(DurableMajority);
    let explorer = explorer.boxed_strategy(strategy(name, None)?);
    Ok(if is_settling { explorer.settle() } else { explorer })
}

/// What is wrong, if anything is.
fn wrong(report: &Report, round: u32) -> Option<String> {
    match report.check() {
        Err(Failure::Bug(bug)) => return Some(bug.violation().property.clone()),
        // A short round may miss a fault that is rare.
        Err(other) if round >= 1 => return Some(other.to_string()),
        Err(_) | Ok(()) => {}
    }
    // Whoever answers nobody breaks no promise either.
    let is_reached = |goal| report.goals().count(goal) > 0;
    let mut goals = [Goal::LeaderElected, Goal::RequestAnswered].into_iter();
    let missed = goals.find(|goal| !is_reached(*goal))?;
    Some(format!("no path to {goal}", goal = missed.name()))
}

/// When this began: in time that this program had the processor, where the system tells, because others
/// may use it too.
struct Started {
    wall: Instant,
    processor: Option<Duration>,
}

impl Started {
    fn now() -> Self {
        Self { wall: Instant::now(), processor: processor_time() }
    }

    fn seconds(&self) -> f64 {
        let used = processor_time().zip(self.processor).map(|(now, then)| now.saturating_sub(then));
        used.unwrap_or_else(|| self.wall.elapsed()).as_secs_f64()
    }
}

/// What this process has used so far: the 14th and 15th field of its line, in hundredths of a second.
fn processor_time() -> Option<Duration> {
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<_> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

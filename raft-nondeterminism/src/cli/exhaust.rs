//! `raft-explore test --strategy bfs`, `dfs` and `dpor`: everything that can happen, instead of many runs.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use raft_nondeterminism::{Exhausted, Exhaustive, Raft, Report, Scenario};
use serde_json::{Value, json};

use super::count;
use super::interrupt::Interrupt;
use super::progress::Progress;

/// The strategies that are none: names, and what they do.
pub(crate) const ORDERS: [(&str, &str); 3] = [
    ("bfs", "everything that can happen, the shortest ways first; BOUND is the most states"),
    ("dfs", "everything that can happen, one way to its end first; BOUND is the most states"),
    ("dpor", "the same as dfs: both leave one of two orders out where the order does not matter"),
];
/// How many states are visited at most, if nothing is said: they fit into some gigabytes.
pub(crate) const STATES_MAX: u32 = 1_000_000;

/// An order, and how many states are visited at most; `None` if the strategy is another one. In a scenario
/// without an end somebody must say where to stop.
pub(crate) fn parse(
    strategy: &str,
    bound: Option<u32>,
    scenario: &Scenario,
) -> anyhow::Result<Option<(bool, u64)>> {
    let (name, suffix) = match strategy.split_once(':') {
        Some((name, suffix)) => (name, Some(suffix)),
        None => (strategy, None),
    };
    if !ORDERS.iter().any(|(order, _)| *order == name) {
        return Ok(None);
    }
    let own = suffix.map(|suffix| suffix.parse::<u32>()).transpose();
    let own =
        own.map_err(|_| anyhow::anyhow!("{strategy:?} does not end in a number of states"))?;
    let bound = bound.or(own);
    if bound.is_none() && !scenario.is_bounded() {
        let scenario = scenario.name();
        anyhow::bail!(
            "{scenario} has no end, so it cannot be exhausted: `small` can, or say after how many states \
             to stop: --strategy {name}:100000"
        );
    }
    Ok(Some((name != "bfs", bound.unwrap_or(STATES_MAX).into())))
}

/// Explores everything, as far as there are states and time.
pub(crate) fn run(
    model: &Raft,
    (strategy, is_depth_first, states_max): (&str, bool, u64),
    time: Option<Duration>,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> anyhow::Result<(Report, Exhausted)> {
    let search = Exhaustive::new(model).states_max(states_max);
    let search = if is_depth_first { search.depth_first() } else { search };
    let started = Instant::now();
    let exhausted = search.run_watched(|exhausted| {
        progress.show_states(exhausted);
        let is_late = time.is_some_and(|time| started.elapsed() >= time);
        if is_late || interrupt.is_asked() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok((Report::of_exhausted(model, strategy, &exhausted), exhausted))
}

/// What it came to, for programs.
pub(crate) fn json(exhausted: &Exhausted) -> Value {
    json!({
        "states": exhausted.states(),
        "transitions": exhausted.transitions(),
        "depth": exhausted.depth(),
        "is_complete": exhausted.is_complete(),
    })
}

/// What it came to, for people.
pub(crate) fn text(exhausted: &Exhausted) -> String {
    let (states, transitions) = (exhausted.states(), exhausted.transitions());
    let outcome = match (exhausted.bug(), exhausted.is_complete()) {
        (Some(_), _) => "up to the first bug",
        (None, true) => "exhausted, no violation",
        (None, false) => "not exhausted: there are more",
    };
    let bugs = count(u64::from(exhausted.bug().is_some()), "bug");
    let (depth, elapsed) = (exhausted.depth(), exhausted.elapsed().as_secs_f64());
    format!(
        "... Testing statistics:\n\
         ..... Found {bugs}.\n\
         ... Exploration statistics:\n\
         ..... Visited {states} states over {transitions} events: {outcome}.\n\
         ..... The longest way to one of them has {depth} events.\n\
         ..... Elapsed {elapsed:.3} sec.\n"
    )
}

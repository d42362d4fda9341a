//! Sharing the iterations of an epoch out among workers.
//!
//! Guarantees: what an epoch comes to does not depend on how many workers there are, nor on which of
//!             them ran what: each iteration starts from what was known when the epoch began, and its
//!             results are taken in by number.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, Run, Setting};
use crate::explorer::ExploreError;
use crate::model::{Model, ModelError};
use crate::repeat;
use crate::strategy::{Lesson, Strategy};

/// What one iteration came to.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) iteration: u64,
    pub(crate) seed: u64,
    /// Who chose.
    pub(crate) member: String,
    /// Nothing was left out for ever.
    pub(crate) is_fair: bool,
    pub(crate) run: Run,
    /// The same run once more, if it was its turn.
    pub(crate) again: Option<Result<Run, ModelError>>,
    /// What the strategy wants to remember of it.
    pub(crate) notes: Vec<u64>,
    /// The abstract states that were new to this epoch.
    pub(crate) states: Vec<u64>,
}

impl Finished {
    pub(crate) fn is_buggy(&self) -> bool {
        self.run.violation.is_some()
    }

    /// What there is to learn from it, if it was the first to visit so many states.
    pub(crate) fn lesson(&self, new_states: u64) -> Lesson<'_> {
        Lesson {
            iteration: self.iteration,
            seed: self.seed,
            tape: &self.run.tape,
            new_states,
            goals: self.run.goals,
            notes: &self.notes,
            is_buggy: self.is_buggy(),
        }
    }
}

/// What is the same for all runs of an epoch.
pub(crate) struct Epoch<'a, M> {
    pub(crate) setting: Setting<'a, M>,
    pub(crate) settles_at: &'a (dyn Fn(u64) -> bool + Sync),
    pub(crate) map: &'a CoverageMap,
    pub(crate) stops_at_bug: bool,
    /// When long runs are cut off.
    pub(crate) deadline: Option<Instant>,
    pub(crate) seed_of: &'a (dyn Fn(u64) -> u64 + Sync),
}

/// Runs some iterations, one worker per strategy, and returns what they came to, in order: all of them,
/// or those up to the first bug, or those before the first that was cut off.
pub(crate) fn run_epoch<M: Model>(
    epoch: &Epoch<'_, M>,
    mut strategies: Vec<Box<dyn Strategy>>,
    iterations: Range<u64>,
) -> Result<Vec<Finished>, ExploreError> {
    let next = AtomicU64::new(iterations.start);
    // Nothing behind the first bug counts.
    let end = AtomicU64::new(iterations.end);
    let work = |mut strategy: Box<dyn Strategy>| {
        let mut finished = Vec::new();
        loop {
            let iteration = next.fetch_add(1, Ordering::Relaxed);
            if iteration >= end.load(Ordering::Relaxed) {
                return finished;
            }
            let outcome = run(epoch, iteration, &mut *strategy);
            let is_buggy = outcome.as_ref().is_ok_and(|it| it.run.violation.is_some());
            if outcome.is_err() || is_buggy && epoch.stops_at_bug {
                end.fetch_min(iteration + 1, Ordering::Relaxed);
            }
            if outcome.as_ref().is_ok_and(|it| it.run.is_out_of_time) {
                end.fetch_min(iteration, Ordering::Relaxed);
            }
            finished.push((iteration, outcome));
        }
    };
    let own = strategies.pop().expect("there is one for each worker");
    let work = &work;
    let mut finished = thread::scope(|scope| {
        let helpers = strategies.into_iter().map(|strategy| scope.spawn(move || work(strategy)));
        let helpers: Vec<_> = helpers.collect();
        let mut finished = work(own);
        for helper in helpers {
            // A panic of the system under test is a violation; this one is ours.
            finished.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        finished
    });
    finished.sort_unstable_by_key(|(iteration, _)| *iteration);
    let end = end.into_inner();
    let counted = finished.into_iter().take_while(|(iteration, _)| *iteration < end);
    counted.map(|(_, outcome)| outcome).collect()
}

fn run<M: Model>(
    epoch: &Epoch<'_, M>,
    iteration: u64,
    strategy: &mut dyn Strategy,
) -> Result<Finished, ExploreError> {
    let seed = (epoch.seed_of)(iteration);
    strategy.begin(seed);
    let setting = Setting { settles: (epoch.settles_at)(iteration), ..epoch.setting };
    let mut novelty = Novelty::new(epoch.map);
    let run = engine::run_until(epoch.deadline, &setting, strategy, Vec::new(), &mut novelty)?;
    let make_again = || repeat::make_again(&setting, &run, epoch.deadline);
    let again = repeat::is_checked(iteration).then(make_again);
    let (member, is_fair, notes) = (strategy.member(), strategy.is_fair(), strategy.notes());
    let states = novelty.into_states();
    Ok(Finished { iteration, seed, member, is_fair, run, again, notes, states })
}

//! Making a run again: whether the same answers give the same run, and if not, where the two part.
//!
//! Guarantees: what is found is something the oracle does not determine: a clock, random numbers, the
//!             order of a hash map, or a strategy that remembers. Whose code it is in is named if it
//!             shows again.

use std::fmt;
use std::time::Instant;

use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, COMES_TO_REST, MAX_STEPS, Record, Run, Setting};
use crate::explorer::{ExploreError, Explorer};
use crate::fingerprint::Fingerprint;
use crate::model::{Model, ModelError};
use crate::schedule::Line;
use crate::strategy::{MaxSteps, NotReproducible, TapeReplay};
use crate::watch::{MONITOR_PANIC, NO_PANIC};

/// Every so many runs, one is made again.
const ITERATIONS: u64 = 64;
/// How many more runs are made to see where the first of them parts from another.
const TRIES: usize = 8;

/// One event of a run: everything up to it, and whose state it changed.
pub(crate) type Print = (Fingerprint, Option<String>);

/// Where two runs part that should be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The number of the event that did not do the same again, or was not judged the same again, from 1.
    pub event: usize,
    /// Its name.
    pub name: String,
    /// Who handled it; the monitor, if all was the same but what it said.
    pub who: Option<String>,
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, name, who } = self;
        let who = who.as_deref().unwrap_or("somebody");
        write!(f, "in event {event}, {name:?}, {who} does not do the same again: ")?;
        f.write_str("look for a clock, random numbers, threads, or the order of a hash map")
    }
}

/// True if it is this run's turn to be made again.
pub(crate) fn is_checked(iteration: u64) -> bool {
    iteration > 0 && iteration.is_multiple_of(ITERATIONS)
}

/// Makes a run again from its tape, as far as there is time.
pub(crate) fn make_again<M: Model>(
    setting: &Setting<'_, M>,
    run: &Run,
    deadline: Option<Instant>,
) -> Result<Run, ModelError> {
    let mut replay = TapeReplay::new(&run.tape);
    let setting = Setting { max_steps: MaxSteps::all(run.max_steps), ..*setting };
    let map = CoverageMap::empty();
    engine::run_until(deadline, &setting, &mut replay, Vec::new(), &mut Novelty::new(&map))
}

impl<M: Model> Explorer<M> {
    /// Makes the first run again, as far as there is time: twice and by one copy of the strategy, so neither
    /// the system nor the strategy may remember anything.
    pub(crate) fn assert_first_repeats(
        &self,
        first: &Run,
        deadline: Option<Instant>,
    ) -> Result<(), ExploreError> {
        let mut strategy = self.fresh_strategy();
        for _ in 0..2 {
            strategy.begin(self.seed_of(0));
            let again = self.run_once(&mut *strategy, 0, Record::Lines, deadline)?;
            self.assert_repeated(0, first, &again)?;
        }
        Ok(())
    }

    /// Makes a run again, with everything that happens written down.
    pub(crate) fn traced(&self, iteration: u64, run: &Run) -> Result<Run, ExploreError> {
        let again = make_again(&self.setting(Record::Trace, iteration), run, None);
        self.repeated(iteration, run, again)
    }

    /// A run that was made again, if it is the same.
    pub(crate) fn repeated(
        &self,
        iteration: u64,
        run: &Run,
        again: Result<Run, ModelError>,
    ) -> Result<Run, ExploreError> {
        let again = again.map_err(|error| match error {
            ModelError::NotReproducible(NotReproducible { step, .. }) => {
                self.nondeterminism(iteration, step, String::new())
            }
            error => error.into(),
        })?;
        self.assert_repeated(iteration, run, &again)?;
        Ok(again)
    }

    /// Compares a run with the same one again.
    fn assert_repeated(&self, iteration: u64, run: &Run, again: &Run) -> Result<(), ExploreError> {
        if again.is_out_of_time {
            return Ok(());
        }
        let length = run.tape.len().max(again.tape.len());
        let different = (0..length).find(|&place| run.tape.get(place) != again.tape.get(place));
        let is_same = (run.fingerprint, &run.violation) == (again.fingerprint, &again.violation);
        if different.is_none() && is_same {
            return Ok(());
        }
        let place = different.unwrap_or(length);
        let before = again.lines[..place.min(again.lines.len())].last();
        let after = before.map(ToString::to_string).unwrap_or_default();
        Err(self.nondeterminism(iteration, place + 1, after))
    }

    fn nondeterminism(&self, iteration: u64, choice: usize, after: String) -> ExploreError {
        let parting = self.parting(iteration).map(Box::new);
        ExploreError::Nondeterminism { iteration, choice, after, parting }
    }

    /// Makes a run several times, and finds out where the first of them parts from another: earliest of
    /// all, because dice may fall alike a few times.
    fn parting(&self, iteration: u64) -> Option<Parting> {
        let make = || {
            let mut strategy = self.fresh_strategy();
            strategy.begin(self.seed_of(iteration));
            self.run_once(&mut *strategy, iteration, Record::Trace, None).ok()
        };
        let first = make()?;
        let partings = (0..TRIES).filter_map(|_| parted(&first, &make()?));
        partings.min_by_key(|parting| parting.event)
    }
}

fn parted(one: &Run, other: &Run) -> Option<Parting> {
    let mut pairs = one.prints.iter().zip(&other.prints);
    let Some(place) = pairs.position(|((one, _), (other, _))| one != other) else {
        return judged_otherwise(one, other);
    };
    let (name, who) = (event_name(one, place)?, one.prints[place].1.clone());
    Some(Parting { event: place + 1, name, who })
}

/// Where two runs of the same events part because a monitor does not say the same of them.
fn judged_otherwise(one: &Run, other: &Run) -> Option<Parting> {
    if (one.steps, &one.violation) == (other.steps, &other.violation) {
        return None;
    }
    // Whoever is broken first ends first.
    let is_first = |run: &&Run| run.steps == one.steps.min(other.steps);
    let mut broken = [one, other].into_iter().filter(is_first);
    let run = broken.find(|run| run.violation.is_some())?;
    let property = &run.violation.as_ref()?.property;
    // These are of the engine, and of whoever panicked.
    if [NO_PANIC, MONITOR_PANIC, COMES_TO_REST, MAX_STEPS].contains(&property.as_str()) {
        return None;
    }
    let name = event_name(run, run.steps.checked_sub(1)?)?;
    Some(Parting { event: run.steps, name, who: Some(format!("the monitor of {property}")) })
}

/// The name of an event by its place.
fn event_name(run: &Run, place: usize) -> Option<String> {
    let mut events = run.lines.iter().filter_map(|line| match line {
        Line::Event(name) => Some(name),
        Line::Choose { .. } => None,
    });
    events.nth(place).cloned()
}

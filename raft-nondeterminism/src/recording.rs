//! One run, written down, and made again from what was written.
//!
//! Guarantees: a strict replay ends where the schedule says, or says why it does not; a tolerant one
//!             follows a schedule as far as the code under test still goes that way.
//! Elsewhere:  what a schedule looks like is in `schedule.rs`; how runs are found, in `explorer.rs`.

use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, Record, Run, Setting};
use crate::explorer::Explorer;
use crate::model::{Model, ModelError, StartError};
use crate::schedule::{self, Schedule, ScheduleError};
use crate::shrink;
use crate::strategy::{MaxSteps, NotReproducible, Replay, Strategy, TolerantReplay};
use crate::trace::{Trace, TraceRecorder};
use crate::violation::Violation;

impl<M: Model> Explorer<M> {
    /// Replays a schedule, event by event, under the model of this explorer; its settings come from the
    /// schedule.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the run cannot follow it, or follows it to another end.
    pub fn replay_watched(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        let run = self.follow_strictly(schedule)?;
        let found = run.violation.as_ref().map(|violation| violation.property.as_str());
        if found != schedule.property() {
            let (expected, found) =
                (schedule.property().unwrap_or("none"), found.unwrap_or("none"));
            let (expected, found) = (expected.to_owned(), found.to_owned());
            return Err(ReplayError::OtherProperty { expected, found });
        }
        let (expected, found) = (schedule.events(), run.steps);
        if expected != found {
            return Err(ReplayError::OtherLength { expected, found });
        }
        let (expected, found) = (schedule.fingerprint.to_string(), run.fingerprint.to_string());
        if expected != found {
            return Err(ReplayError::OtherFingerprint { expected, found });
        }
        Ok(Recording::new(schedule.clone(), run))
    }

    /// Replays a schedule, event by event, to whatever end: what to do with one whose planted bug was
    /// changed. The recording tells what became of it; no violation is no error.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the run cannot follow it.
    pub fn replay_open(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        Ok(outcome(schedule, self.follow_strictly(schedule)?))
    }

    fn follow_strictly(&self, schedule: &Schedule) -> Result<Run, ReplayError> {
        let mut replay = Replay::new(schedule.lines());
        replay.begin(schedule.seed);
        let model = self.model.configured_by(schedule)?;
        Ok(follow(&model, schedule, &mut replay, Record::Trace)?)
    }

    /// Replays a schedule as far as it is possible, under the model of this explorer: skips events
    /// that cannot happen, and takes the nearest message for one that is not there. The recording
    /// tells what became of it; no violation is no error.
    ///
    /// For schedules that are kept while the code changes.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the system does not start.
    pub fn replay_tolerant(&mut self, schedule: &Schedule) -> Result<Recording, ReplayError> {
        let mut replay = TolerantReplay::new(schedule.lines().to_vec());
        let model = self.model.configured_by(schedule)?;
        Ok(outcome(schedule, follow(&model, schedule, &mut replay, Record::Trace)?))
    }

    /// Leaves out of a failing schedule what it does not need: see [`Explorer::replay_tolerant`]. `None`
    /// if it does not fail.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or the system does not start.
    pub fn minimize(&mut self, schedule: &Schedule) -> Result<Option<Recording>, ReplayError> {
        let model = self.model.configured_by(schedule)?;
        let full = self.replay_tolerant(schedule)?;
        Ok(full.violation.is_some().then(|| shrunk(&model, &full)))
    }
}

/// Writes a run down.
pub(crate) fn recording<M: Model>(
    model: &M,
    settles: bool,
    strategy: String,
    (seed, iteration): (u64, u64),
    mut run: Run,
) -> Recording {
    let schedule = Schedule {
        model: model.name().to_owned(),
        settings: model.settings().into_iter().map(schedule::Setting::from).collect(),
        settles,
        strategy,
        seed,
        iteration,
        property: run.violation.as_ref().map(|violation| violation.property.clone()),
        fingerprint: run.fingerprint,
        lines: std::mem::take(&mut run.lines),
    };
    Recording::new(schedule, run)
}

/// Runs as `strategy` says in the setting of a schedule.
fn follow<M: Model>(
    model: &M,
    schedule: &Schedule,
    strategy: &mut dyn Strategy,
    record: Record,
) -> Result<Run, ModelError> {
    // A run that was too long is so again, and without any of its events it is not.
    let fails_at_max_steps = schedule.property() == Some(engine::MAX_STEPS);
    let max_steps = MaxSteps::all(if fails_at_max_steps { schedule.events() } else { usize::MAX });
    let settles = schedule.settles;
    let setting = Setting { model, max_steps, fails_at_max_steps, settles, record, coverage: None };
    let map = CoverageMap::empty();
    engine::run(&setting, strategy, Vec::new(), &mut Novelty::new(&map))
}

/// What a run along a schedule came to.
fn outcome(schedule: &Schedule, mut run: Run) -> Recording {
    let schedule = Schedule {
        property: run.violation.as_ref().map(|violation| violation.property.clone()),
        fingerprint: run.fingerprint,
        lines: std::mem::take(&mut run.lines),
        ..schedule.clone()
    };
    Recording::new(schedule, run)
}

/// Leaves out what a failing run does not need.
pub(crate) fn shrunk<M: Model>(model: &M, full: &Recording) -> Recording {
    let Some(violation) = &full.violation else { return full.clone() };
    let schedule = &full.schedule;
    let lines = shrink::shrink(schedule.lines(), |lines| {
        let mut replay = TolerantReplay::new(lines);
        let run = follow(model, schedule, &mut replay, Record::Lines).ok()?;
        let is_same = run.violation.as_ref()?.property == violation.property;
        is_same.then_some(run.lines)
    });
    let mut replay = TolerantReplay::new(lines);
    match follow(model, schedule, &mut replay, Record::Trace) {
        Ok(run) if run.violation.is_some() => {
            let strategy = format!("{}+shrunk", schedule.strategy);
            outcome(&Schedule { strategy, ..schedule.clone() }, run)
        }
        Ok(_) | Err(_) => full.clone(),
    }
}

/// One run, written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub(crate) schedule: Schedule,
    trace: String,
    data: Option<Trace>,
    violation: Option<Violation>,
}

impl Recording {
    fn new(schedule: Schedule, run: Run) -> Self {
        Self { schedule, trace: run.trace, data: run.data, violation: run.violation }
    }

    /// Every event with everything it caused, for programs: for the player, graphs, and tools of one's
    /// own.
    #[must_use]
    pub fn trace_data(&self) -> Trace {
        let Self { schedule, data, violation, .. } = self;
        let mut trace = data.clone().unwrap_or_else(|| TraceRecorder::new().finish(None));
        let broken = violation.as_ref().map_or("no property broken", |it| &it.property);
        trace.title = format!("{}: {broken}", schedule.model);
        trace.model.clone_from(&schedule.model);
        trace.strategy.clone_from(&schedule.strategy);
        (trace.seed, trace.iteration) = (schedule.seed, schedule.iteration);
        let defect = schedule.setting("defect").filter(|&defect| defect != "none");
        trace.defect = defect.map(str::to_owned);
        trace.schedule = schedule.to_string();
        trace
    }

    /// Its choices, to keep and to replay.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Every event with everything it caused, for people.
    #[must_use]
    pub fn trace(&self) -> &str {
        &self.trace
    }

    /// What broke.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}

/// Why a schedule cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Something in the model refuses to start.
    #[error(transparent)]
    Start(StartError),
    /// The schedule is not one of this model.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The run cannot do what the schedule says.
    #[error(transparent)]
    NotReproducible(NotReproducible),
    /// Every event happened, but the end is another one.
    #[error("the schedule breaks {expected}, but its replay breaks {found}")]
    OtherProperty {
        /// What the schedule says.
        expected: String,
        /// What happened.
        found: String,
    },
    /// The property broke before the schedule ended.
    #[error(
        "the schedule breaks its property with event {expected}, its replay with event {found}"
    )]
    OtherLength {
        /// How many events the schedule has.
        expected: usize,
        /// How many the replay had.
        found: usize,
    },
    /// Every event happened, but the servers went through other states: the schedule was edited, or
    /// the code has changed.
    #[error("the schedule has fingerprint {expected}, but its replay {found}")]
    OtherFingerprint {
        /// What the schedule says.
        expected: String,
        /// What happened.
        found: String,
    },
}

impl From<ModelError> for ReplayError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Start(error) => Self::Start(error),
            ModelError::NotReproducible(error) => Self::NotReproducible(error),
        }
    }
}

//! What can be explored: the one interface between the engine and a system under test.
//!
//! Guarantees: the engine, the strategies, schedules and shrinking know nothing of the system but what
//!             is said here.
//! Relies on:  a world changing by its events alone, and asking the oracle for everything that may go
//!             differently next time.
//! Elsewhere:  clusters of Raft servers are in [`crate::raft`], any other message-passing system in
//!             [`crate::node`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::coverage::CoveragePlan;
use crate::event::{EnabledView, EventClass, Names, Pick};
use crate::fault::{FaultCounts, FaultPlan};
use crate::operation::{OperationCounts, OperationPlan};
use crate::oracle::Oracle;
use crate::schedule::{Schedule, ScheduleError, Setting};
use crate::sleep::Action;
use crate::strategy::NotReproducible;
use crate::trace::Lane;
use crate::watch::Watch;

/// What is the same in all runs of an exploration: the system under test, its surroundings, and what is
/// demanded of it.
pub trait Model: Clone + fmt::Debug + Send + Sync {
    /// One run.
    type World: World;

    /// The name it has on the command line and in schedules: one word.
    fn name(&self) -> &str;

    /// What it is made of, in a few words: `5 servers`.
    fn describe(&self) -> String;

    /// Checks that its settings make sense.
    ///
    /// # Errors
    ///
    /// What makes none.
    fn validate(&self) -> Result<(), StartError>;

    /// A fresh world. What differs from run to run is asked of the oracle here already.
    ///
    /// # Errors
    ///
    /// If the system does not start, or the run cannot repeat what was recorded.
    fn start(&self, oracle: &mut Oracle<'_>, watch: &mut Watch) -> Result<Self::World, ModelError>;

    /// Everything that a schedule must say so that its run can be repeated, by name. A name is one word,
    /// a value one line.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// The same model with the settings of a schedule.
    ///
    /// # Errors
    ///
    /// The first setting that is missing or makes no sense here.
    fn configured(&self, settings: &[Setting]) -> Result<Self, ScheduleError>;

    /// The same model as the schedule says.
    ///
    /// # Errors
    ///
    /// If the schedule is of another model, or one of its settings makes no sense.
    fn configured_by(&self, schedule: &Schedule) -> Result<Self, ScheduleError> {
        if schedule.model() != self.name() {
            let (expected, found) = (self.name().to_owned(), schedule.model().to_owned());
            return Err(ScheduleError::OtherScenario { expected, found });
        }
        let model = self.configured(schedule.settings())?;
        model.validate().map_err(ScheduleError::Scenario)?;
        Ok(model)
    }

    /// The same model without whatever keeps its worlds from telling their states: what is explored
    /// exhaustively.
    #[must_use]
    fn exhaustible(&self) -> Self {
        self.clone()
    }

    /// True if exhaustive search goes through whatever is chosen before the first event. False if that is
    /// settings, too many for all combinations: it stays at their first values, the defaults, unless it is
    /// told otherwise.
    fn has_all_starts(&self) -> bool {
        true
    }

    /// How often what may go wrong.
    fn faults(&self) -> FaultPlan;

    /// What there is to cover: in which states its nodes can be, and which events they can meet there.
    /// Places in it are what a world gives to [`Watch::coverage`].
    fn coverage_plan(&self) -> CoveragePlan {
        CoveragePlan::default()
    }

    /// How often operators and applications ask for what.
    fn operations(&self) -> OperationPlan {
        OperationPlan::none()
    }

    /// The names of what should happen in some runs, at most 64.
    fn goals(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// True if some run can reach this goal, with these faults and enough luck: what cannot be reached is
    /// not missed.
    fn can_reach(&self, goal: &str) -> bool {
        let _ = goal;
        true
    }
}

/// One run of a system with everything around it.
pub trait World: Names + fmt::Debug {
    /// How many events of each class can happen next.
    fn counts(&self) -> [usize; EventClass::COUNT];

    /// Whose state an enabled event changes: the place of a server or client, or, for what concerns
    /// everyone, a number larger than that of any.
    fn place(&self, pick: Pick) -> usize;

    /// Who is at a place; `None` if nobody in particular is.
    fn place_name(&self, place: usize) -> Option<String> {
        let _ = place;
        None
    }

    /// A number that stays with an enabled event as long as it is enabled, and is that of no other. A
    /// strategy may give events priorities by it.
    fn key(&self, pick: Pick) -> u64;

    /// Tells the place and the key of each enabled event of a class, in the order of their picks: what
    /// strategies that compare all of them ask before each event, so it should cost little.
    fn survey(&self, class: EventClass, visit: &mut dyn FnMut(usize, u64)) {
        for index in 0..self.counts()[class as usize] {
            let pick = Pick { class, index };
            visit(self.place(pick), self.key(pick));
        }
    }

    /// Lets an enabled event happen, to its end, and takes what it did into the fingerprint of `watch`.
    ///
    /// # Errors
    ///
    /// If the run cannot repeat what was recorded.
    fn perform(
        &mut self,
        pick: Pick,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch,
    ) -> Result<(), NotReproducible>;

    /// Lets nothing go wrong any more, and lets everything happen until all is at rest.
    ///
    /// # Errors
    ///
    /// What does not come to rest.
    fn settle(&mut self, watch: &mut Watch) -> Result<(), String>;

    /// How often each fault has happened.
    fn faults(&self) -> FaultCounts;

    /// How often each operation was taken.
    fn operations(&self) -> OperationCounts {
        OperationCounts::default()
    }

    /// Which of the model's goals were reached, a bit for each.
    fn goals(&self) -> u64 {
        0
    }

    /// Stands for the state as far as a tester cares: what two runs have in common if one of them teaches
    /// nothing new. Names of servers, times and contents of commands do not matter.
    fn abstract_state(&self) -> u64;

    /// Stands for the whole state, and for everything its future depends on, but for one chance in
    /// `2^128`. `None` if the world cannot tell.
    fn exact_state(&self) -> Option<u128> {
        None
    }

    /// Who takes part, each as it is now: first those whose place is 0, 1 and so on. Asked only if
    /// somebody will read it.
    fn lanes(&self) -> Vec<Lane> {
        Vec::new()
    }

    /// True if another enabled event leads to the same but for the names of servers, and that one is not
    /// redundant.
    fn is_redundant(&self, pick: Pick) -> bool {
        let _ = pick;
        false
    }

    /// What an enabled event has to do with, if that is only its own place and what it sends; `None` if it
    /// may be anything. Exhaustive search leaves out one of two orders of events that have nothing to do
    /// with each other.
    fn action(&self, pick: Pick) -> Option<Action> {
        let _ = pick;
        None
    }

    /// An independent copy, if there can be one.
    fn fork(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Makes another world, which nobody needs as it is, an independent copy of this one. False if there
    /// can be none. Whoever makes many copies asks for this, because the memory is there already.
    fn fork_into(&self, copy: &mut Self) -> bool
    where
        Self: Sized,
    {
        let fork = self.fork();
        let is_made = fork.is_some();
        fork.into_iter().for_each(|fork| *copy = fork);
        is_made
    }

    /// Everything that can happen next.
    fn enabled(&self) -> EnabledView<'_>
    where
        Self: Sized,
    {
        EnabledView::new(self.counts(), self)
    }
}

/// Why there is no world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The settings make no sense, or something refuses to start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run cannot repeat what was recorded.
    #[error(transparent)]
    NotReproducible(#[from] NotReproducible),
}

/// Why a system does not start, in its own words.
#[derive(Clone)]
pub struct StartError(Arc<dyn Error + Send + Sync>);

impl StartError {
    /// From what the system says.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl PartialEq for StartError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for StartError {}

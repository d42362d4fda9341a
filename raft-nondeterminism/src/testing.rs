//! Exploring in `cargo test`: a `#[test]` that explores, keeps what it found, and tries that first from
//! then on.
//!
//! Guarantees: a test that has failed once fails again until its cause is mended, however unlikely the
//!             schedule; what it finds does not depend on the number of workers.
//! Elsewhere:  [`systematic_test!`](crate::systematic_test) writes the test, [`check`] is the same
//!             without a macro; variables for nightly runs are in [`Environment`].

mod environment;
mod failure;
mod generated;
mod regressions;

use std::env;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::coverage::Coverage;
use crate::explorer::{ExploreError, Explorer};
use crate::fault::FaultPlan;
use crate::model::Model;
use crate::raft::Raft;
use crate::raft::scenario::Scenario;
use crate::recording::Recording;
use crate::report::{self, Report};
use crate::schedule::{Schedule, Setting};
use crate::strategy::strategy;

pub use environment::Environment;
pub use failure::{BadFile, TestFailure};
pub use generated::{assert_holds, regression_test};
use regressions::Regressions;

/// Makes `#[test]`s that explore.
///
/// Each looks like a function: its arguments are any of the settings of [`Check`], and its block gives what
/// is to be explored: a [`Scenario`], a [`Simulation`](crate::node::Simulation) or any other [`Model`], or
/// an [`Explorer`] with settings of its own.
///
/// ```
/// use raft_nondeterminism::{Fault, FaultPlan, Scenario, systematic_test};
///
/// systematic_test! {
///     /// No matter what is lost.
///     fn the_sample_survives_losses(
///         iterations = 500,
///         max_steps = 200,
///         strategy = "weighted",
///         faults = FaultPlan::none().allow(Fault::Drop, 5),
///         workers = 2,
///         settle = true,
///     ) {
///         Scenario::sample()
///     }
/// }
/// # fn main() {}
/// ```
///
/// A failing schedule is saved in `regressions/` beside the `Cargo.toml` of the test, where it is found
/// and tried first the next time; commit it with the fix. The failure shows the shrunk run and the
/// command that replays it. [`Environment`] says how a nightly run explores more without a change.
#[macro_export]
macro_rules! systematic_test {
    ($($(#[$attribute:meta])* fn $name:ident($($setting:ident = $value:expr),* $(,)?) $what:block)+) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                let name = ::core::concat!(::core::module_path!(), "::", ::core::stringify!($name));
                $crate::testing::check($what, name)
                    .package(::core::env!("CARGO_PKG_NAME"), ::core::env!("CARGO_MANIFEST_DIR"))
                    $(.$setting($value))*
                    .assert();
            }
        )+
    };
}

/// Something that a test can explore.
pub trait Testable {
    /// What is explored.
    type Model: Model;

    /// It, to be explored.
    fn into_explorer(self) -> Explorer<Self::Model>;
}

impl<M: Model> Testable for M {
    type Model = M;

    fn into_explorer(self) -> Explorer<M> {
        Explorer::of(self)
    }
}

impl<M: Model> Testable for Explorer<M> {
    type Model = M;

    fn into_explorer(self) -> Self {
        self
    }
}

impl Testable for Scenario {
    type Model = Raft;

    fn into_explorer(self) -> Explorer {
        Explorer::new(self)
    }
}

/// A test with this name, which should be that of its function with its modules, as cargo writes it after
/// that of the crate: `my_crate::module::name`.
///
/// ```
/// use raft_nondeterminism::{Scenario, testing};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let outcome = testing::check(Scenario::sample(), "my_crate::the_sample_holds")
///     .iterations(100)
///     .run()?;
/// assert_eq!(outcome.report.expect("it has explored").iterations(), 100);
/// # Ok(())
/// # }
/// ```
pub fn check<T: Testable>(what: T, name: impl Into<String>) -> Check<T::Model> {
    let beside = env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from);
    Check {
        name: name.into(),
        package: None,
        beside,
        explorer: Ok(what.into_explorer()),
        demands_goals: false,
    }
}

/// A test that explores.
#[derive(Debug)]
pub struct Check<M: Model> {
    name: String,
    package: Option<String>,
    /// The folder beside which schedules are kept.
    beside: PathBuf,
    /// Or the first setting that made no sense.
    explorer: Result<Explorer<M>, TestFailure>,
    demands_goals: bool,
}

/// What a test that passed has done.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it explored; `None` if it only replayed what it was told to.
    pub report: Option<Report>,
    /// The schedules that failed once and do not any more: keep them as guards, or remove them.
    pub healed: Vec<PathBuf>,
}

impl<M: Model> Check<M> {
    /// Tells where the test is: the name of its package, and the folder of its manifest.
    #[must_use]
    pub fn package(mut self, name: &str, folder: impl Into<PathBuf>) -> Self {
        (self.package, self.beside) = (Some(name.to_owned()), folder.into());
        self
    }

    /// Changes the folder beside which schedules are kept.
    #[must_use]
    pub fn beside(mut self, folder: impl Into<PathBuf>) -> Self {
        self.beside = folder.into();
        self
    }

    /// Changes the number of runs.
    #[must_use]
    pub fn iterations(self, iterations: u64) -> Self {
        self.map(|explorer| Ok(explorer.iterations(iterations)))
    }

    /// Explores for about so long, whatever the number of runs.
    #[must_use]
    pub fn time(self, time: Duration) -> Self {
        self.map(|explorer| Ok(explorer.time(time)))
    }

    /// Changes the number of events after which a run ends.
    #[must_use]
    pub fn max_steps(self, max_steps: usize) -> Self {
        self.map(|explorer| Ok(explorer.max_steps(max_steps)))
    }

    /// Changes the seed from which everything follows.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.map(|explorer| Ok(explorer.seed(seed)))
    }

    /// Changes who chooses, by name, perhaps with a bound: `portfolio`, `pct:3`. See
    /// [`strategies`](crate::strategies).
    #[must_use]
    pub fn strategy(self, name: &str) -> Self {
        self.map(|explorer| Ok(explorer.boxed_strategy(strategy(name, None)?)))
    }

    /// Changes how many threads share the runs.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        self.map(|explorer| {
            let zero = ExploreError::ZeroBound { setting: "workers" };
            Ok(explorer.workers(NonZeroUsize::new(workers).ok_or(zero)?))
        })
    }

    /// Changes what may go wrong.
    #[must_use]
    pub fn faults(self, plan: FaultPlan) -> Self {
        self.map(|mut explorer| {
            let mut settings: Vec<Setting> =
                explorer.model.settings().into_iter().map(Setting::from).collect();
            for setting in settings.iter_mut().filter(|setting| setting.key == "faults") {
                setting.value = plan.to_string();
            }
            explorer.model = explorer.model.configured(&settings).map_err(TestFailure::Faults)?;
            Ok(explorer)
        })
    }

    /// With `true`, nothing goes wrong after the last event of each run, and everything has to come to
    /// rest: see [`Explorer::settle`].
    #[must_use]
    pub fn settle(self, settles: bool) -> Self {
        self.map(|explorer| Ok(if settles { explorer.settle() } else { explorer }))
    }

    /// With `true`, says on standard error which event was met in which state, and what never was, whether
    /// the test passes or not: see [`Report::coverage`]. Of a test that passes, `cargo test` shows that with
    /// `-- --nocapture` only. `RAFT_EXPLORE_OUT` names a folder for the same as page, graph and JSON.
    #[must_use]
    pub fn coverage(self, covers: bool) -> Self {
        self.map(|explorer| Ok(if covers { explorer.cover() } else { explorer }))
    }

    /// With `true`, each goal has to be reached in some run, but for those that no run can reach.
    #[must_use]
    pub fn all_goals(mut self, demands_goals: bool) -> Self {
        self.demands_goals = demands_goals;
        self
    }

    fn map(mut self, change: impl FnOnce(Explorer<M>) -> Result<Explorer<M>, TestFailure>) -> Self {
        self.explorer = self.explorer.and_then(change);
        self
    }

    /// Tries the schedules that failed before, then explores, as the environment says.
    ///
    /// # Errors
    ///
    /// What is wrong: with the system under test, or with the test.
    pub fn run(self) -> Result<Outcome, TestFailure> {
        let environment = Environment::of_process()?;
        self.run_in(&environment)
    }

    /// The same in an environment of one's own.
    ///
    /// # Errors
    ///
    /// What is wrong: with the system under test, or with the test.
    pub fn run_in(self, environment: &Environment) -> Result<Outcome, TestFailure> {
        self.run_and_cover(environment, &mut None)
    }

    /// The same, with what was met, also if it fails.
    fn run_and_cover(
        self,
        environment: &Environment,
        met: &mut Option<Coverage>,
    ) -> Result<Outcome, TestFailure> {
        let check = self.overridden(environment);
        let kept = Regressions::new(&check.name, check.package.as_deref(), &check.beside);
        let pages = environment.out.as_deref().map(|folder| kept.locate(folder));
        let outcome = check.judge(environment, &kept, met);
        let written = match (met, &pages) {
            (Some(coverage), Some(folder)) => {
                report::write_coverage(coverage, folder, kept.stem()).map(drop)
            }
            _ => Ok(()),
        };
        let outcome = outcome.map_err(|failure| failure.drawn_in(pages.as_deref()))?;
        written?;
        Ok(outcome)
    }

    fn judge(
        self,
        environment: &Environment,
        kept: &Regressions,
        met: &mut Option<Coverage>,
    ) -> Result<Outcome, TestFailure> {
        let demands_goals = self.demands_goals;
        let mut explorer = self.explorer?;
        if let Some(file) = &environment.replay {
            let healed = replay(&mut explorer, kept, kept.locate(file))?;
            return Ok(Outcome { report: None, healed: healed.into_iter().collect() });
        }
        let mut healed = Vec::new();
        for file in kept.files()? {
            healed.extend(replay(&mut explorer, kept, file)?);
        }
        let report = explorer.run()?;
        *met = report.coverage().cloned();
        if let Some(bug) = report.bug() {
            let saved = kept.save(bug);
            return Err(TestFailure::found(kept, bug, saved));
        }
        report.check().map_err(|failure| TestFailure::Unproven(Box::new(failure)))?;
        let unreached = report.unreached_goals().next();
        if demands_goals && let Some(goal) = unreached {
            return Err(TestFailure::GoalNotReached { goal, iterations: report.iterations() });
        }
        Ok(Outcome { report: Some(report), healed })
    }

    fn overridden(mut self, environment: &Environment) -> Self {
        if let Some(seed) = environment.seed {
            self = self.seed(seed);
        }
        if let Some(iterations) = environment.iterations {
            self = self.iterations(iterations);
        }
        if let Some(time) = environment.time {
            self = self.time(time);
        }
        if let Some(strategy) = &environment.strategy {
            self = self.strategy(strategy);
        }
        if let Some(workers) = environment.workers {
            self = self.workers(workers);
        }
        self
    }

    /// The same, for a test: what is wrong is its message, and what may be removed is said.
    ///
    /// # Panics
    ///
    /// If anything is wrong.
    #[track_caller]
    pub fn assert(self) {
        let (name, mut met) = (self.name.clone(), None);
        let environment = Environment::of_process();
        let outcome = environment.and_then(|it| self.run_and_cover(&it, &mut met));
        if let Some(coverage) = met {
            eprintln!("{name}: this was met:\n\n{coverage}");
        }
        match outcome {
            Ok(outcome) => {
                for file in outcome.healed {
                    let file = file.display();
                    eprintln!(
                        "{name}: {file} does not fail any more: keep it as a guard, or remove it"
                    );
                }
                let Some(report) = outcome.report else { return };
                let runs = report.iterations();
                for goal in report.unreached_goals() {
                    eprintln!(
                        "{name}: no run of {runs} has reached {goal}: make more or longer runs?"
                    );
                }
            }
            Err(failure) => panic!("{name}: {failure}"),
        }
    }
}

/// Replays a schedule, exactly if that is possible, and else as far as it is. Returns its file if it does
/// not fail any more.
fn replay<M: Model>(
    explorer: &mut Explorer<M>,
    kept: &Regressions,
    file: PathBuf,
) -> Result<Option<PathBuf>, TestFailure> {
    let schedule = kept.read(&file)?;
    let recording = follow(explorer, &schedule).map_err(|error| {
        let cause = BadFile::Replay(Box::new(error));
        TestFailure::File { file: file.clone(), cause }
    })?;
    match recording.violation() {
        Some(_) => Err(TestFailure::again(kept, file, &recording)),
        None => Ok(Some(file)),
    }
}

fn follow<M: Model>(
    explorer: &mut Explorer<M>,
    schedule: &Schedule,
) -> Result<Recording, crate::ReplayError> {
    explorer.replay_watched(schedule).or_else(|_| explorer.replay_tolerant(schedule))
}

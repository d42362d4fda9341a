//! `raft-explore test`: many runs of a scenario, until one breaks a property.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use raft_nondeterminism::{ExploreError, Explorer, Recording, Report, Scenario};
use serde_json::json;

use super::interrupt::Interrupt;
use super::output::{self, Written};
use super::progress::{Goal, Progress};
use super::summary::{Counted, Summary};
use super::{Exit, ci, count, end, exhaust, names, say, scenario};

/// Which runs have to come to rest, if nothing is said: each so many-th. It doubles the time of these.
const SETTLES: u64 = 4;

/// How many events a run has at most, if nothing is said.
const MAX_STEPS: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-explore test sample-with-failure
      A thousand runs of the clean core; ends with 0.
  raft-explore test sample-with-failure --defect vote-counted-twice
      Finds the planted bug, shrinks the run, writes its schedule, and ends with 2.
  raft-explore test everything --time 60 --workers 2 --max-steps 1000 --settle
  raft-explore test restarts --defect vote-not-saved --explore --json | tail -n 1
  raft-explore test sample --seed 7 --iteration 41 --verbose
      That one run again.
  raft-explore test partitions --until-coverage-stalls --junit result.xml
  raft-explore test small --strategy bfs
      Everything that can happen in a cluster of three, up to the second term.

Nothing is written unless a bug is found or --coverage asks for it. A bug leaves NAME.schedule.txt
(shrunk), NAME.full.schedule.txt (as found), NAME.txt (for people), NAME.html (plays it), graphs and
logs; NAME says scenario, property, seed and iteration. What broke the property is told of the shrunk
run, also in the summary and in JUnit. Iterations are counted from 0, as in schedules.

With --json the last line of standard output is
  {\"event\":\"summary\",\"scenario\":…,\"strategy\":…,\"seed\":…,\"iterations\":…,\"steps\":…,\"bug\":null or
  {\"property\":…,\"iteration\":…,\"events\":…,\"shrunk_events\":…,\"trace\":…},\"faults\":{…},\"sometimes\":{…},
  \"elapsed_ms\":…,\"steps_per_second\":…} and more fields after these; `replay` takes the trace.

Ctrl-C ends with the runs that are under way and says what there is so far; with 1, if nothing was found.

What --out, --junit and --coverage need is tried before the first run.

Exit codes: 0 no bug, 2 a bug, 1 wrong usage or interrupted or output that fails, 3 a bug of this
program.")]
pub(crate) struct TestArgs {
    /// What is explored: see `raft-explore list`.
    scenario: String,
    /// How many runs; bfs and dfs visit everything all the same, whatever the seed, in one thread.
    #[arg(short, long, value_name = "N", default_value_t = 1_000)]
    iterations: u64,
    /// Make this run only, as it is among the others; a strategy that learns goes through all before it.
    #[arg(long, value_name = "K", conflicts_with_all = ["iterations", "time", "until_bug", "explore",
        "until_coverage_stalls"])]
    iteration: Option<u64>,
    /// For how many seconds, whatever the number of runs; a long run that is under way then is cut off,
    /// and not counted. What it takes to shorten the run of a bug comes on top.
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<f64>,
    /// Who chooses, perhaps with its bound, as in `pct:3`: see `raft-explore list`.
    #[arg(short, long, value_name = "NAME", default_value = "portfolio")]
    strategy: String,
    /// Which members the portfolio has: the usual ones, or those that let nobody wait for ever, or those
    /// that do.
    #[arg(long, value_name = "MODE", conflicts_with = "strategy")]
    portfolio_mode: Option<PortfolioMode>,
    /// What the strategy takes as its bound, if it has one; -sv as well.
    #[arg(long, visible_alias = "sv", value_name = "N")]
    strategy_bound: Option<u32>,
    /// The number from which everything follows.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How many events a run has at most, 200 unless said; -ms as well.
    #[arg(long, visible_alias = "ms", value_name = "N")]
    max_steps: Option<usize>,
    /// The same for runs whose strategy is fair.
    #[arg(long, value_name = "N")]
    max_fair_steps: Option<usize>,
    /// The same for all others.
    #[arg(long, value_name = "N")]
    max_unfair_steps: Option<usize>,
    /// How many threads share the runs; what is found does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Plant a bug in the servers: see `raft-explore list`.
    #[arg(long, value_name = "NAME")]
    defect: Option<String>,
    /// How many servers the cluster has, instead of what the scenario says.
    #[arg(long, value_name = "N")]
    servers: Option<usize>,
    /// Watch for this property only, or for these: see `raft-explore list`.
    #[arg(short, long, value_name = "NAME")]
    property: Vec<String>,
    /// Do not compare each step with the Raft specification: faster, and finds less.
    #[arg(long, conflicts_with = "property")]
    no_refinement: bool,
    /// Go on until a bug is found, for ever if need be.
    #[arg(long, conflicts_with_all = ["iterations", "explore"])]
    until_bug: bool,
    /// Go on until so many runs in a row have added less than a hundredth to the states that were
    /// visited, or a bug is found.
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "1000",
        conflicts_with_all = ["iterations", "until_bug"])]
    until_coverage_stalls: Option<u64>,
    /// Go on after a bug, and count how many runs have one.
    #[arg(long)]
    explore: bool,
    /// Let nothing go wrong after each run, and demand that everything comes to rest; without this, after
    /// every fourth.
    #[arg(long, visible_alias = "liveness")]
    settle: bool,
    /// Never do that.
    #[arg(long, conflicts_with = "settle")]
    no_settle: bool,
    /// Take a run that reaches --max-steps for a bug.
    #[arg(long)]
    fail_on_max_steps: bool,
    /// Leave a failing run as long as it was found.
    #[arg(long)]
    no_shrink: bool,
    /// Where files go.
    #[arg(short, long, value_name = "FOLDER", default_value = output::FOLDER)]
    out: PathBuf,
    /// Say which message was met in which state, as text, page, graph and JSON.
    #[arg(short, long)]
    coverage: bool,
    /// Say how often each kind of choice was made, and among how many alternatives.
    #[arg(long)]
    schedule_coverage: bool,
    /// Write what came of it as JUnit XML, for the programs that show the results of tests.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print a bug on standard error as GitHub's runners take it for an annotation.
    #[arg(long)]
    github: bool,
    /// Print the shrunk run as well.
    #[arg(short, long)]
    verbose: bool,
    /// Print one JSON object per line, a summary as the last.
    #[arg(long)]
    json: bool,
}

/// What the portfolio is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PortfolioMode {
    /// Fair and unfair ones.
    Mixed,
    /// Fair ones only.
    Fair,
    /// Unfair ones only.
    Unfair,
}

pub(crate) fn run(args: &TestArgs) -> anyhow::Result<Exit> {
    let result = explore(args);
    // Whoever reads the file must not take an older one for the result, or none for a good one.
    if let (Err(error), Some(path)) = (&result, &args.junit) {
        let case = ci::unfinished(&args.scenario, &format!("{error:#}"));
        let _ = ci::write_junit(path, &case);
    }
    result
}

fn explore(args: &TestArgs) -> anyhow::Result<Exit> {
    let (scenario, mut explorer) = args.explorer()?;
    let (strategy, goal) = (args.strategy(), args.goal()?);
    let everything = exhaust::parse(strategy, args.strategy_bound, &scenario)?;
    if everything.is_some() {
        args.check_exhaustive()?;
    }
    if args.out != *output::FOLDER || args.coverage {
        output::check(&args.out)?;
    }
    if let Some(path) = &args.junit {
        ci::check(path, &args.scenario)?;
    }
    // If nobody can be told, there may still be a bug.
    let headed = if args.json { Ok(()) } else { say(&args.heading(&scenario)) };
    let interrupt = Interrupt::listen();
    let mut progress = Progress::new(goal, args.json);
    let (mut exhausted, mut stall) = (None, Stall::new(args.until_coverage_stalls));
    let explored = match everything {
        Some((is_depth_first, states_max)) => {
            let order = (strategy, is_depth_first, states_max);
            let time = args.time()?;
            let model = explorer.model();
            let (report, found) = exhaust::run(model, order, time, &mut progress, &interrupt)?;
            exhausted = Some(found);
            Ok(report)
        }
        None => explorer.run_watched(|report| {
            progress.show(report);
            let is_over = interrupt.is_asked() || stall.has_come(report);
            if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }),
    };
    progress.end();
    let report = match explored {
        Ok(report) => report,
        // Nothing but the oracle may choose; these systems are ours.
        Err(error @ ExploreError::Nondeterminism { .. }) => {
            eprintln!("error: {error}");
            return Ok(Exit::Internal);
        }
        Err(error) => return Err(error.into()),
    };
    // Whatever cannot be written, what was found is told.
    let written = report.bug().map(|bug| output::write(&args.out, bug)).transpose();
    let covered = output::write_coverage(&args.out, &report);
    let files = written.as_ref().ok().and_then(Option::as_ref);
    let coverage = covered.as_deref().unwrap_or_default();
    let summary = Summary::new(&report, &scenario, files, coverage, interrupt.is_asked());
    let summary = summary.with_exhausted(exhausted.as_ref());
    if args.verbose
        && !args.json
        && report.bug().is_none()
        && let Some(iteration) = args.iteration
    {
        say(&format!("\n{}\n", explorer.record(iteration)?.trace()))?;
    }
    let told = if args.json {
        say(&format!("{}{}", bug_line(&report), summary.json()))
    } else {
        say(&format!(
            "{}{}{}",
            args.bug_text(&report),
            summary.text(),
            files_text(&report, files, coverage)
        ))
    };
    let case = match report.bug() {
        None if interrupt.is_asked() => ci::unfinished(&args.scenario, "interrupted"),
        _ => ci::case(&report, files),
    };
    if args.github {
        eprint!("{}", ci::annotations(&case));
    }
    let junit = args.junit.as_deref().map_or(Ok(()), |path| ci::write_junit(path, &case));
    let not_kept = "what was found is not kept: --out names another folder";
    let kept = written.map(drop).and(covered.map(drop)).context(not_kept);
    let verdict = match report.bug() {
        Some(_) => Exit::Broken,
        None if interrupt.is_asked() => Exit::Unusable,
        None => Exit::Holds,
    };
    end(verdict, [kept, junit, headed.and(told)])
}

impl TestArgs {
    fn explorer(&self) -> anyhow::Result<(Scenario, Explorer)> {
        let max_steps = self.max_steps.unwrap_or(MAX_STEPS);
        let fair_steps = self.max_fair_steps.unwrap_or(max_steps);
        let unfair_steps = self.max_unfair_steps.unwrap_or(max_steps);
        let sizes = [
            ("--iterations", self.iterations as usize),
            ("--max-steps", max_steps),
            ("--max-fair-steps", fair_steps),
            ("--max-unfair-steps", unfair_steps),
            ("--until-coverage-stalls", self.until_coverage_stalls.unwrap_or(1) as usize),
            ("--workers", self.workers),
            ("--servers", self.servers.unwrap_or(1)),
        ];
        if let Some((option, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            bail!("{option} must be more than zero");
        }
        if self.iteration == Some(u64::MAX) {
            bail!("--iteration must be less than {}", u64::MAX);
        }
        if self.strategy.contains(':') && self.strategy_bound.is_some() {
            bail!("{} has its bound already: leave out --strategy-bound", self.strategy);
        }
        if self.no_settle && self.property.iter().any(|name| name == "comes-to-rest") {
            bail!("comes-to-rest is watched after a run only, and --no-settle says never");
        }
        let mut scenario = scenario::scenario(&self.scenario)?;
        if let Some(servers) = self.servers {
            scenario = scenario.servers(servers);
        }
        let defect = self.defect.as_deref().map(scenario::defect).transpose()?.flatten();
        let workers = NonZeroUsize::new(self.workers).unwrap_or(NonZeroUsize::MIN);
        let is_open = self.until_bug || self.until_coverage_stalls.is_some();
        let iterations = if is_open { u64::MAX } else { self.iterations };
        let (name, bound) = (self.strategy(), self.strategy_bound);
        let mut explorer = Explorer::new(scenario.clone())
            .boxed_strategy(match exhaust::parse(name, bound, &scenario)? {
                Some(_) => names::strategy("random", None)?,
                None => names::strategy(name, bound)?,
            })
            .seed(self.seed)
            .iterations(iterations)
            .time(self.time()?)
            .max_fair_steps(fair_steps)
            .max_unfair_steps(unfair_steps)
            .workers(workers)
            .defect(defect);
        explorer = scenario::watch(explorer, &self.property)?;
        if self.no_refinement {
            explorer = explorer.without_refinement();
        }
        let is_of_interest =
            |name| self.property.is_empty() || self.property.iter().any(|it| it == name);
        explorer = explorer.settle_every(match (self.settle, self.no_settle) {
            (true, _) => 1,
            (false, false) if is_of_interest("comes-to-rest") => SETTLES,
            (false, _) => 0,
        });
        if self.fail_on_max_steps {
            explorer = explorer.fail_at_max_steps();
        }
        if self.no_shrink {
            explorer = explorer.without_shrinking();
        }
        if self.coverage {
            explorer = explorer.cover();
        }
        if self.schedule_coverage {
            explorer = explorer.count_choices();
        }
        if self.explore {
            explorer = explorer.count_bugs();
        }
        if let Some(iteration) = self.iteration {
            explorer = explorer.only(iteration);
        }
        Ok((scenario, explorer))
    }

    /// Refuses what a search that visits everything has no use for.
    fn check_exhaustive(&self) -> anyhow::Result<()> {
        let given = [
            ("--iteration", self.iteration.is_some()),
            ("--max-steps", self.max_steps.is_some()),
            ("--max-fair-steps", self.max_fair_steps.is_some()),
            ("--max-unfair-steps", self.max_unfair_steps.is_some()),
            ("--until-bug", self.until_bug),
            ("--until-coverage-stalls", self.until_coverage_stalls.is_some()),
            ("--explore", self.explore),
            ("--settle", self.settle),
            ("--fail-on-max-steps", self.fail_on_max_steps),
            ("--coverage", self.coverage),
            ("--schedule-coverage", self.schedule_coverage),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => {
                let strategy = &self.strategy;
                bail!("{strategy} visits every state once, and has no use for {option}")
            }
            None => Ok(()),
        }
    }

    /// Who chooses, by name.
    fn strategy(&self) -> &str {
        match self.portfolio_mode {
            None | Some(PortfolioMode::Mixed) => &self.strategy,
            Some(PortfolioMode::Fair) => "fair-portfolio",
            Some(PortfolioMode::Unfair) => "unfair-portfolio",
        }
    }

    fn time(&self) -> anyhow::Result<Option<Duration>> {
        let Some(seconds) = self.time else { return Ok(None) };
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if !time.is_zero() => Ok(Some(time)),
            Err(_) if seconds > 0.0 => bail!("--time must be at most {} seconds", u64::MAX),
            _ => bail!("--time must be more than zero seconds, not {seconds}"),
        }
    }

    fn goal(&self) -> anyhow::Result<Goal> {
        Ok(match self.time()? {
            Some(time) => Goal::Time(time),
            None if self.until_bug || self.until_coverage_stalls.is_some() => Goal::Open,
            None => Goal::Iterations(self.iteration.map_or(self.iterations, |_| 1)),
        })
    }

    /// What is about to be explored.
    fn heading(&self, scenario: &Scenario) -> String {
        use raft_nondeterminism::{Model, Raft};

        let model = Raft::new(scenario.clone());
        let (name, description, what) = (scenario.name(), scenario.description(), model.describe());
        let faults = Counted::budgets(&model.faults()).list();
        let defect = match self.defect.as_deref() {
            None | Some("none") => String::new(),
            Some(defect) => format!("..... Planted the bug {defect}.\n"),
        };
        let (strategy, seed) = (self.strategy(), self.seed);
        format!(
            "... Setting up the test:\n\
             ..... Exploring {name} ({what}): {description}.\n\
             ..... Faults in each run, at most: {faults}.\n\
             {defect}\
             ..... Using the {strategy} exploration strategy (seed:{seed}).\n"
        )
    }

    /// The bug as soon as it is known.
    fn bug_text(&self, report: &Report) -> String {
        let Some(bug) = report.bug() else { return String::new() };
        let (iteration, violation) = (bug.iteration(), bug.violation());
        let trace = match self.verbose {
            true => format!("\n{}\n", bug.shrunk().trace()),
            false => String::new(),
        };
        format!("..... Iteration #{iteration} found bug #1\n..... {violation}\n{trace}")
    }
}

/// Whether there is anything new to see.
#[derive(Debug)]
struct Stall {
    /// So many runs in a row are looked at.
    runs: Option<u64>,
    /// How many states had been visited when these began, and after how many runs that was.
    states: u64,
    begun: u64,
}

impl Stall {
    fn new(runs: Option<u64>) -> Self {
        Self { runs, states: 0, begun: 0 }
    }

    /// True if the last so many runs, and those of the epoch they are in, have added less than a hundredth
    /// to the states that were visited.
    fn has_come(&mut self, report: &Report) -> bool {
        let (states, iterations) = (report.unique_states(), report.iterations());
        if self.runs.is_none_or(|runs| iterations - self.begun < runs) {
            return false;
        }
        let has_come = states - self.states <= self.states / 100;
        (self.states, self.begun) = (states, iterations);
        has_come
    }
}

fn bug_line(report: &Report) -> String {
    let Some(bug) = report.bug() else { return String::new() };
    let line = json!({
        "event": "bug",
        "property": bug.property(),
        "message": bug.violation().message,
        "iteration": bug.iteration(),
    });
    format!("{line}\n")
}

/// Where everything is, and what to do with it.
fn files_text(report: &Report, written: Option<&Written>, coverage: &[PathBuf]) -> String {
    let mut text = String::new();
    if !coverage.is_empty() {
        text += "... Writing what was met:\n";
    }
    for path in coverage {
        text += &format!("..... {}\n", path.display());
    }
    let (Some(bug), Some(written)) = (report.bug(), written) else { return text };
    text += "... Writing the bug:\n";
    for path in written.paths() {
        let what = if *path == written.schedule {
            format!(": {}, shrunk", events(bug.shrunk()))
        } else if *path == written.full {
            format!(": {}, as found", events(bug.full()))
        } else if *path == written.trace {
            ": what happens, for people".to_owned()
        } else if path.extension().is_some_and(|extension| extension == "html") {
            ": a page that plays it".to_owned()
        } else {
            String::new()
        };
        text += &format!("..... {}{what}\n", path.display());
    }
    text + &format!("... Replay with: {}\n", output::replay_line(&written.schedule))
}

fn events(recording: &Recording) -> String {
    count(recording.schedule().events() as u64, "event")
}

//! Builds the programs that measure, and runs them.
//!
//! Guarantees: engines take turns within each measure, each run in a process of its own, so that a
//!             neighbour's busy minute or an earlier engine's heap meets all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Finished, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::measures::{
    FLOOR, INSTRUCTIONS, Measure, OURS, OVER_FLOOR, Run, Suite, THROTTLED, Tool,
};
use super::report::{Output, Row};

/// How long a disk rests before it is measured, so that it is not throttled.
const REST: Duration = Duration::from_millis(300);
/// The same if it was throttled all the same.
const LONG_REST: Duration = Duration::from_secs(5);
/// How often a round may meet a throttled disk before it is given up.
const ATTEMPTS_MAX: usize = 4;

/// The figures of one run of one engine; nothing if it could not be measured.
type Figures = BTreeMap<String, f64>;
/// The same of several runs, by engine.
type Samples = BTreeMap<&'static str, BTreeMap<String, Vec<f64>>>;

/// Runs what the measures ask for.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    suite: &'a Suite,
    programs: PathBuf,
    /// Where the programs may write.
    folder: Option<&'a Path>,
    has_peers: bool,
    has_callgrind: bool,
    output: Output,
    throttled: usize,
}

/// What all runs came to.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) rows: Vec<Row>,
    /// How many runs were discarded, because the disk was throttled.
    pub(super) throttled: usize,
}

impl<'a> Runner<'a> {
    /// Builds the programs; cargo tells its progress.
    pub(super) fn new(
        suite: &'a Suite,
        has_peers: bool,
        folder: Option<&'a Path>,
        output: Output,
    ) -> Result<Self> {
        let mut build = super::package_cargo(suite.package, "build")?;
        build.args(["--release", "--bins", "--features"]);
        build.arg(if has_peers { "count,peers" } else { "count" }).stdout(Stdio::null());
        if !build.status().context("cannot run cargo")?.success() {
            bail!("{} does not build", suite.package);
        }
        let valgrind = Command::new("valgrind").arg("--version").output();
        let has_callgrind = valgrind.is_ok_and(|finished| finished.status.success());
        if !has_callgrind {
            output.note("valgrind is not installed, so no instructions are counted (null)");
        }
        let programs = super::package_target(suite.package)?.join("release");
        Ok(Self { suite, programs, folder, has_peers, has_callgrind, output, throttled: 0 })
    }

    /// Measures everything.
    ///
    /// # Errors
    ///
    /// If a figure of ours cannot be had. One of a peer that cannot is left out, and told.
    pub(super) fn run(mut self) -> Result<Measured> {
        let mut figures: BTreeMap<Run, BTreeMap<&str, Figures>> = BTreeMap::new();
        let measures = &self.suite.measures;
        let total = measures.iter().map(|measure| &measure.run).collect::<BTreeSet<_>>().len();
        let mut rows = Vec::new();
        for Measure { name, goal, run, figure } in measures {
            if !figures.contains_key(run) {
                self.output.progress(figures.len() + 1, total, &run.arguments.join(" "));
                figures.insert(run.clone(), self.figures(run)?);
            }
            let of = |engine: &str| figures[run].get(engine)?.get(*figure).copied();
            let peers = run.peers.iter().filter(|engine| self.takes_part(engine));
            let peers = peers.map(|&engine| (engine, of(engine))).collect();
            let row = Row { name: name.clone(), goal: *goal, value: of(OURS), peers };
            self.output.row(&row);
            rows.push(row);
        }
        Ok(Measured { rows, throttled: self.throttled })
    }

    fn takes_part(&self, engine: &str) -> bool {
        self.has_peers || engine == FLOOR
    }

    /// All figures of one run, of every engine that takes part.
    fn figures(&mut self, run: &Run) -> Result<BTreeMap<&'static str, Figures>> {
        let peers = run.peers.iter().copied().filter(|engine| self.takes_part(engine));
        let engines: Vec<_> = std::iter::once(OURS).chain(peers).collect();
        let mut samples = Samples::new();
        match run.tool {
            Tool::Clock => {
                for _ in 0..self.suite.rounds {
                    self.take_turns(run, &engines, &mut samples)?;
                }
            }
            Tool::Disk => {
                for round in 0..self.suite.rounds {
                    self.beside_the_floor(run, &engines, round, &mut samples)?;
                }
            }
            Tool::Allocator | Tool::Callgrind { .. } => {
                self.take_turns(run, &engines, &mut samples)?;
            }
        }
        let medians = |samples: BTreeMap<String, Vec<f64>>| {
            samples.into_iter().map(|(figure, values)| (figure, median(values))).collect()
        };
        Ok(samples.into_iter().map(|(engine, samples)| (engine, medians(samples))).collect())
    }

    /// Runs each engine once.
    fn take_turns(&self, run: &Run, engines: &[&'static str], samples: &mut Samples) -> Result<()> {
        for &engine in engines {
            if let Some(figures) = self.once_if_possible(run, engine)? {
                add(samples, engine, figures);
            }
        }
        Ok(())
    }

    /// Runs each engine once, and the floor right before or right after each of them: a disk has a
    /// weather of its own, and both are to meet the same. Whatever meets a throttled disk is discarded
    /// together with its neighbour, and tried again.
    fn beside_the_floor(
        &mut self,
        run: &Run,
        engines: &[&'static str],
        round: usize,
        samples: &mut Samples,
    ) -> Result<()> {
        for &engine in engines.iter().filter(|engine| **engine != FLOOR) {
            for _ in 0..ATTEMPTS_MAX {
                let mut pair = [FLOOR, engine];
                pair.rotate_left(round % 2);
                let mut found = BTreeMap::new();
                for engine in pair {
                    std::thread::sleep(REST);
                    if let Some(figures) = self.once_if_possible(run, engine)? {
                        found.insert(engine, figures);
                    }
                }
                let throttled = found.values().filter(|figures| figures.contains_key(THROTTLED));
                let throttled = throttled.count();
                if throttled > 0 {
                    self.throttled += throttled;
                    std::thread::sleep(LONG_REST);
                    continue;
                }
                let (Some(floor), Some(mut figures)) = (found.remove(FLOOR), found.remove(engine))
                else {
                    break;
                };
                for (figure, least) in &floor {
                    if let Some(value) = figures.get(figure) {
                        figures.insert(format!("{figure}{OVER_FLOOR}"), value / least);
                    }
                }
                add(samples, FLOOR, floor);
                add(samples, engine, figures);
                break;
            }
        }
        Ok(())
    }

    /// `None` if it is a peer that has no figure.
    fn once_if_possible(&self, run: &Run, engine: &str) -> Result<Option<Figures>> {
        match self.once(run, engine) {
            Ok(figures) => Ok(Some(figures)),
            Err(error) if engine != OURS => {
                self.output.note(&format!("{engine} has no figure: {error:#}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn once(&self, run: &Run, engine: &str) -> Result<Figures> {
        let package = self.suite.package;
        match run.tool {
            Tool::Clock | Tool::Disk => self.printed(package, run, engine),
            Tool::Allocator => self.printed(&format!("{package}-count"), run, engine),
            Tool::Callgrind { .. } if !self.has_callgrind => Ok(Figures::new()),
            Tool::Callgrind { counts: [short, long] } => {
                let difference = self.instructions(run, engine, long)?
                    - self.instructions(run, engine, short)?;
                let per_piece = difference / (long - short) as f64;
                Ok(Figures::from([(INSTRUCTIONS.to_owned(), per_piece)]))
            }
        }
    }

    /// What the program prints: one JSON object.
    fn printed(&self, program: &str, run: &Run, engine: &str) -> Result<Figures> {
        let mut command = Command::new(self.programs.join(program));
        self.tell(&mut command, run, engine);
        let finished = self.execute(&mut command)?;
        serde_json::from_slice(&finished.stdout)
            .with_context(|| format!("{command:?} printed no figures"))
    }

    /// How many instructions the program takes for so much work, its start included.
    fn instructions(&self, run: &Run, engine: &str, count: u64) -> Result<f64> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(self.programs.join(self.suite.package));
        self.tell(&mut command, run, engine);
        command.arg("--count").arg(count.to_string());
        let finished = self.execute(&mut command)?;
        let told = String::from_utf8_lossy(&finished.stderr);
        collected(&told).with_context(|| format!("{command:?} counted nothing"))
    }

    /// Tells a program what to measure.
    fn tell(&self, command: &mut Command, run: &Run, engine: &str) {
        command.args(["--engine", engine]);
        if let Some(folder) = self.folder {
            command.arg("--dir").arg(folder);
        }
        command.args(&run.arguments);
    }

    fn execute(&self, command: &mut Command) -> Result<Finished> {
        command.envs(self.suite.environment.iter().copied());
        let finished = command.output().with_context(|| format!("cannot run {command:?}"))?;
        if !finished.status.success() {
            let told = String::from_utf8_lossy(&finished.stderr);
            bail!("{command:?} failed:\n{}", told.trim());
        }
        Ok(finished)
    }
}

fn add(samples: &mut Samples, engine: &'static str, figures: Figures) {
    let samples = samples.entry(engine).or_default();
    for (figure, value) in figures {
        samples.entry(figure).or_default().push(value);
    }
}

/// The number in the line `==7== Collected : 123`.
fn collected(told: &str) -> Option<f64> {
    let (_, number) = told.lines().find_map(|line| line.split_once("Collected :"))?;
    number.trim().parse().ok()
}

/// The middle one; the upper of two middle ones.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_counted_is_found_in_what_it_says() {
        let told = "==7== Events    : Ir\n==7== Collected : 46128\n==7==\n";
        assert_eq!(collected(told), Some(46128.0));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
